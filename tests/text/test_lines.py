"""Lines, however the text comes, and however long they are."""

import itertools
import tempfile
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import cut

from charrnn.errors import CorpusError
from charrnn.text import lines
from charrnn.text.lines import Line, LongLine, split_lines
from charrnn.text.vocabulary import Piece

few = settings(deadline=None, max_examples=60)


def whole(line: Line) -> Any:
    """Returns a line's text."""
    if not isinstance(line, LongLine):
        return line
    pieces: list[Any] = list(line)
    assert pieces == list(line), "it can be read again"
    return pieces[0][:0].join(pieces)


def flat(groups: Iterable[list[Line]]) -> list[Any]:
    return [whole(line) for line in itertools.chain.from_iterable(groups)]


def lines_of(text: str) -> list[str]:
    """The reference: line feeds end lines, and nothing else does."""
    *ended, rest = text.split("\n")
    return ended + [rest] * bool(rest)


@few
@given(
    text=st.text("ab\r\n\x0b\u2028", max_size=20), places=st.lists(st.integers(0, 99), max_size=6)
)
@example(text="a\r\nb", places=[2])
@example(text="a\n\nb\r\r\n\n", places=[1, 2, 3, 4])
def test_lines_however_the_text_is_cut(text: str, places: list[int]) -> None:
    data = [piece.encode() for piece in cut(text, places)]
    assert flat(split_lines(cut(text, places))) == lines_of(text)
    assert flat(split_lines(data)) == [line.encode() for line in lines_of(text)]


@few
@given(
    text=st.text("aé\udc80\r\n", max_size=30),
    places=st.lists(st.integers(0, 99), max_size=9),
    longest=st.integers(1, 9),
)
def test_a_long_line_is_the_same_from_a_file(text: str, places: list[int], longest: int) -> None:
    """With invalid bytes and carriage returns, and wherever it is cut."""
    data = [piece.encode("utf-8", "surrogateescape") for piece in cut(text, places)]
    wanted = lines_of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONG", longest)
        patch.setattr(lines, "PIECE", 2)
        by_line = list(itertools.chain.from_iterable(split_lines(cut(text, places))))
        assert [whole(line) for line in by_line] == wanted
        as_bytes = flat(split_lines(data))
    assert as_bytes == [line.encode("utf-8", "surrogateescape") for line in wanted]


def test_only_a_long_line_is_kept_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONG", 5)
    kinds = [isinstance(line, LongLine) for (line,) in split_lines(["abcde\n", "abcdef\n", "a"])]
    assert kinds == [False, True, False]


def test_a_long_line_that_cannot_be_kept_is_a_named_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(lines, "LONG", 5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(CorpusError, match=r"cannot be kept .*: No such file .*TMPDIR"):
        next(split_lines(["abcdef\n"]))


def test_a_carriage_return_is_text() -> None:
    assert flat(split_lines(["a\rb\n", "c\r", "\n"])) == ["a\rb", "c\r"]


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterable[Piece]:
        for piece in ("a", "b\nc\nd", "\n"):
            taken.append(piece)
            yield piece

    assert next(split_lines(pieces())) == ["ab", "c"]
    assert taken == ["a", "b\nc\nd"]
