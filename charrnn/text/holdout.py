"""Holds out lines for validation, instead of the tail: puts them behind all others.

The text is then cut at one place, training lines before it and held-out lines after it, so that
everything else works as for a tail.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from charrnn.config import UNIT_NAMES, DataConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.spool import Spool
from charrnn.text.vocabulary import Piece


def lines_of(pieces: Iterable[Piece], share: float, *, held_out: bool) -> Iterator[Piece]:
    """Yields a text's training lines, or those held out for validation, with their ends.

    Line i, from 1 up, is held out if ``int(i * share) > int((i - 1) * share)``. Only a line feed
    ends a line.
    """
    before = 0  # lines that have ended
    for piece in pieces:
        line_feed: Any = b"\n" if isinstance(piece, bytes) else "\n"
        *lines, rest = piece.split(line_feed)  # the rest goes on in the next piece
        counts = (np.arange(before, before + len(lines) + 2) * share).astype(np.int64)
        *taken, rest_taken = ((np.diff(counts) > 0) == held_out).tolist()
        if part := line_feed.join([*compress(lines, taken), rest if rest_taken else piece[:0]]):
            yield part
        before += len(lines)


class LinesHeldOut(Corpus):
    """Sources of text, read as their training lines, then those held out for validation."""

    _train_chars = 0  # when it was read last

    def pieces(self) -> Iterator[Piece]:
        """Yields the text as :class:`Corpus` does, in this other order; errors as there."""
        share, chars = self.config.val_fraction, 0
        for piece in lines_of(super().pieces(), share, held_out=False):
            chars += len(piece)
            yield piece
        self._train_chars = chars
        yield from lines_of(super().pieces(), share, held_out=True)

    def train_chars(self, chars: int) -> int:
        """Returns how many of the text's ``chars`` characters train, once it has been read.

        Raises:
            CorpusError: There are too few lines to train or to validate on.
        """
        train, held_out = self._train_chars, chars - self._train_chars
        if min(train, held_out) < 2:
            raise CorpusError(
                f"{self.name}: its lines leave {train} {UNIT_NAMES[self.config.unit]}s to train on "
                f"and {held_out} to validate on, which both need at least 2: "
                "leave --split lines out"
            )
        return train


def corpus_of(
    sources: Sequence[str], config: DataConfig, copies: Mapping[int, Spool] | None = None
) -> Corpus:
    """Returns a training's corpus; arguments and errors as :class:`Corpus`."""
    return (LinesHeldOut if config.hold_out == "lines" else Corpus)(sources, config, copies)
