"""Notices a text whose lines are in order of the alphabet, like a list of names."""

from collections import Counter
from typing import Any

from charrnn.text.vocabulary import Piece

PLACES = 50  # where a line is looked at, in each piece
MIN_LINES = 30  # fewer tell nothing
MIN_LETTERS = 5  # as few different ones are no alphabet, but a log's levels
MAX_LETTERS = 40  # more are no alphabet either, and would take long
IN_ORDER = 0.95  # share of the pairs


class AlphabeticalOrder:
    """Compares the first letters of lines from everywhere in a text, each with all before it."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()  # lines by their first letter
        self._pairs = self._in_order = 0  # of lines with different ones

    def look(self, piece: Piece) -> None:
        """Looks at some lines of the text's next piece that begin with a letter."""
        line_feed: Any = b"\n" if isinstance(piece, bytes) else "\n"
        start = 0  # of the last line that was looked at
        for place in range(0, len(piece), max(len(piece) // PLACES, 1)):
            if place >= start and len(self._seen) <= MAX_LETTERS:
                start = piece.find(line_feed, place) + 1
                if start == 0:
                    return
                self._add(piece[start : start + 1])

    def _add(self, first: Piece) -> None:
        letter = (first if isinstance(first, str) else first.decode("ascii", "ignore")).lower()
        if letter.isalpha():
            for other, count in self._seen.items():
                if other != letter:
                    self._pairs += count
                    self._in_order += count * (other < letter)
            self._seen[letter] += 1

    @property
    def is_sorted(self) -> bool:
        """Whether the lines are in order, but for a few."""
        return (
            self._seen.total() >= MIN_LINES
            and MIN_LETTERS <= len(self._seen) <= MAX_LETTERS
            and self._in_order >= IN_ORDER * self._pairs
        )
