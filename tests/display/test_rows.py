"""Rows of lines and characters, as text and as JSON."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from screens import LN_2, any_bytes, bytes_of, is_utf_8

from charrnn.display.rows import char_rows, line_rows
from charrnn.scoring.lines import LineScore
from charrnn.scoring.reports import CharScore
from charrnn.text.lines import LongLine


class InPieces(LongLine):
    """A long line of some pieces."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pieces)


def rows(*scores: LineScore, as_json: bool = False, above: float | None = None) -> bytes:
    return b"".join(line_rows(scores, "a.log", as_json=as_json, above=above))


def test_a_line_as_json_has_every_figure() -> None:
    score = LineScore("I had", 7, 6, 1, 60 * LN_2)
    assert json.loads(rows(score, as_json=True)) == {
        "bits": pytest.approx(60.0),
        "chars": 6,
        "unknown_chars": 1,
        "bits_per_char": pytest.approx(10.0),
        "line_number": 7,
        "source": "a.log",
        "encoding": "utf-8",
        "line": "I had",
    }
    assert rows(score) == b"10.0000\tI had\n"
    left_out = LineScore("XX", 7, 0, 2, 0.0)
    assert json.loads(rows(left_out, as_json=True))["bits_per_char"] is None
    assert rows(left_out) == b"nan\tXX\n"


def test_only_lines_above_a_threshold_are_printed() -> None:
    """An empty line costs nothing; one that is wholly left out is as odd as a line can be."""
    lines = [
        LineScore(str(bits), n, 2, 0, 2 * bits * LN_2) for n, bits in enumerate((2.9, 3.0, 3.1))
    ]
    lines += [LineScore("", 4, 0, 0, 0.0), LineScore("X", 5, 0, 1, 0.0)]
    printed = [line.split(b"\t")[1] for line in rows(*lines, above=3.0).splitlines()]
    assert printed == [b"3.1", b"X"]
    assert len(rows(*lines, above=math.nan).splitlines()) == 5


@settings(deadline=None)
@given(st.lists(any_bytes, min_size=1, max_size=5))
@example([b"\xc3", b"\xa9"])
@example([b"a", b"\xff", b""])
def test_the_bytes_of_a_line_are_exact_however_it_comes(parts: list[bytes]) -> None:
    """Bytes of a byte model, and characters with lone surrogates for what is not UTF-8."""
    data = b"".join(parts)
    text = data.decode("utf-8", "surrogateescape")
    as_text = [part.decode("utf-8", "surrogateescape") for part in parts]
    same = [data, InPieces(*parts)]
    same += [text, InPieces(text[:2], text[2:])] if "".join(as_text) != text else []
    same += [InPieces(*as_text)] if "".join(as_text) == text else []
    for line in same:
        score = LineScore(line, 1, 1, 0, LN_2)
        row = json.loads(rows(score, as_json=True))
        assert bytes_of(row, "line") == data
        assert row["encoding"] == ("utf-8" if is_utf_8(data) else "base64")
        assert rows(score) == b"1.0000\t" + data + b"\n"


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("a", "a"),
        (" ", " "),
        ("'", "'"),
        ("漢", "漢"),
        ("\t", r"\t"),
        ("\n", r"\n"),
        ("\r", r"\r"),
        ("\\", r"\\"),
        ("\x1b", r"\x1b"),
        ("\u2028", r"\u2028"),
        ("\udc80", r"\udc80"),
        (65, "A"),
        (10, r"\n"),
        (92, r"\\"),
        (0, r"\x00"),
        (200, r"\xc8"),
    ],
)
def test_a_row_has_five_fields_whatever_the_character(symbol: str | int, shown: str) -> None:
    row = char_rows([CharScore(7, symbol, 3 * LN_2, 2, symbol)], as_json=False).removesuffix("\n")
    assert row.split("\t") == ["7", shown, "3.0000", "2", shown]
    assert len(row.splitlines()) == 1
