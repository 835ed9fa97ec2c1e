"""Pieces of text, cut anew: lines, however the text comes."""

import itertools
from collections.abc import Iterable

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from texts import cut

from charrnn.text.chunks import split_lines
from charrnn.text.corpus import Piece

few = settings(deadline=None, max_examples=60)


# --- lines


def flat(groups: Iterable[list[Piece]]) -> list[Piece]:
    return list(itertools.chain.from_iterable(groups))


def lines_of(text: str) -> list[str]:
    """The reference: line feeds end lines, and take a carriage return before them along."""
    *ended, rest = text.split("\n")
    return [line.removesuffix("\r") for line in ended] + [rest] * bool(rest)


@few
@given(
    text=st.text("ab\r\n\x0b\u2028", max_size=20), places=st.lists(st.integers(0, 99), max_size=6)
)
@example(text="a\r\nb", places=[2])
@example(text="a\n\nb\r\r\n\n", places=[1, 2, 3, 4])
def test_lines_however_the_text_is_cut(text: str, places: list[int]) -> None:
    assume(not text.endswith("\r"))
    assert flat(split_lines(cut(text, places))) == lines_of(text)
    data = [piece.encode() for piece in cut(text, places)]
    assert flat(split_lines(data)) == [line.encode() for line in lines_of(text)]


def test_a_carriage_return_without_line_feed_is_text() -> None:
    assert flat(split_lines(["a\rb\n", "c\r"])) == ["a\rb", "c\r"]


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterable[Piece]:
        for piece in ("a", "b\nc\nd", "\n"):
            taken.append(piece)
            yield piece

    assert next(split_lines(pieces())) == ["ab", "c"]
    assert taken == ["a", "b\nc\nd"]
