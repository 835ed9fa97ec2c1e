"""The heat map colours by surprise."""

import io
import math
import re

import pytest
from rich.console import Console

from charrnn.display import heatmap
from charrnn.scoring.reports import CharScore


def heated(monkeypatch: pytest.MonkeyPatch, *symbols: tuple[str | int, float]) -> list[str]:
    """Returns the lines of a heat map of symbols and their bits; colours as their codes."""
    stream = io.StringIO()
    sixteen = {"TERM": "xterm-16color"}
    monkeypatch.setattr(
        heatmap,
        "Console",
        lambda **options: Console(
            file=stream, force_terminal=True, color_system="standard", _environ=sixteen, **options
        ),
    )
    scores = [CharScore(0, s, bits * math.log(2), 1, s) for s, bits in symbols]
    heat_map = heatmap.HeatMap()
    shown = heat_map.draw(scores[:1]) + heat_map.draw(scores[1:]) + heat_map.end()
    shown += heatmap.heat_legend()
    assert stream.getvalue() == ""
    return shown.splitlines()


def test_a_heat_map_colours_by_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    little, some, much = ("a", 0.99), ("[", 1.01), ("\\", 50.0)
    *lines, legend = heated(monkeypatch, little, some, ("\n", 0.1), much, ("\n", 3.0), ("\t", 8.0))
    assert lines == [
        "a\x1b[30;46m[\x1b[0m",
        "\x1b[37;41m\\\x1b[0m\x1b[30;42m↵\x1b[0m",
        "\x1b[37;41m\\t\x1b[0m",
    ]
    assert re.sub(r"\x1b\[[0-9;]*m", "", legend).split("  ") == [
        "bits:",
        "0 to 1",
        "1 to 2",
        "2 to 4",
        "4 to 8",
        "8 or more ",
    ]


def test_a_heat_map_of_bytes_shows_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "é".encode()
    line, _ = heated(monkeypatch, (97, 0.0), (data[0], 0.6), (data[1], 0.6), (10, 0.0))
    assert line == "a\x1b[30;46mé\x1b[0m"


def test_a_heat_map_keeps_empty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    *lines, _ = heated(monkeypatch, ("a", 0.0), ("\n", 0.0), ("\n", 0.0), ("b", 0.0))
    assert lines == ["a", "", "b"]


@pytest.mark.parametrize("count", [7, 8, 9, 12])
def test_a_long_line_is_drawn_in_parts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one line still, whether a newline ends it or not, and memory is bounded."""
    monkeypatch.setattr(heatmap, "LONGEST_LINE", 4)
    line = [("a", 0.0)] * count
    *lines, _ = heated(monkeypatch, *line, ("\n", 0.0), ("b", 0.0))
    assert lines == ["a" * count, "b"]
    *lines, _ = heated(monkeypatch, *line)
    assert lines == ["a" * count]
    scores = [CharScore(0, "a", 0.0, 1, "a")] * count
    assert heatmap.HeatMap().draw(scores) == "a" * (count // 4 * 4), "what is drawn is let go"
