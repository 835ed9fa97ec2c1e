"""Small texts and notes, on any standard error."""

import io
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import Broken

from charrnn.display.console import drawing_console, duration, note, printable
from charrnn.display.live import sparkline

few = settings(deadline=None, max_examples=60)


# --- small texts


def test_a_sparkline_is_as_high_as_its_numbers() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7.5, 0.5, 4]) == "█▁▅"
    assert sparkline([]) == ""
    assert sparkline([3, 3]) in ("▁▁", "██")
    assert sparkline([1, math.nan, 2, math.inf]) == "▁█"
    assert sparkline([1, 5, 3, 2], width=2) == "█▁"


def test_a_sparkline_is_not_flattened_by_its_first_number() -> None:
    rest = [2.5, 2.4, 2.32, 2.26, 2.22, 2.19, 2.17, 2.16]
    shown = sparkline([6.0, *rest])
    assert shown[0] == "█" and len(set(shown[1:])) >= 5
    assert sparkline([2.0, 2.0, 2.0, 6.0]) == "▁▁▁█", "no scale of nothing"


@few
@given(st.lists(st.integers(-99, 99), min_size=1, max_size=60), st.integers(1, 50))
def test_sparklines_keep_the_order(values: list[int], width: int) -> None:
    blocks, shown = sparkline(values, width), values[-width:]
    assert len(blocks) == len(shown)
    pairs = sorted(zip(shown, blocks, strict=True))
    assert [block for _, block in pairs] == sorted(blocks)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (-3, "0:00"),
        (0.4, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.7, "1:00:00"),
        (3725, "1:02:05"),
        (360_000, "100:00:00"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_printable_cannot_upset_a_terminal() -> None:
    assert printable("a é漢\U0001f600\nb") == "a é漢\U0001f600\nb"
    assert printable("\x1b[2J\x07\r\t\x9b\x7f\0\u202e\ud800") == "·[2J········"


@few
@given(st.text())
def test_nothing_printable_is_a_control_character(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() for c in shown.replace("\n", ""))


# --- notes


def test_a_note_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\nb \x1b[31mred")
    assert capsys.readouterr() == ("", "a b ·[31mred\n")


def test_a_note_that_nobody_reads_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    note("lost")


def test_a_note_on_an_ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    note("é\nb\x1b[31m")
    text = buffer.getvalue().decode("ascii")
    assert text.startswith(r"\xe9 b")
    assert text.count("\n") == 1 and "\x1b" not in text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "draws"),
    [
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
        (io.StringIO(), "xterm", False),
        (None, "xterm", False),
    ],
)
def test_only_a_terminal_that_can_is_drawn_on(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, term: str, draws: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", stream)
    assert (drawing_console() is not None) == draws
