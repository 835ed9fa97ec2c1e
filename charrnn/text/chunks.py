"""Regroups streams of text or ids."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.text.corpus import Piece
from charrnn.text.vocabulary import Ids


class Reader:
    """Regroups a stream of arrays into arrays of the sizes that are asked for."""

    def __init__(self, arrays: Iterator[Ids]) -> None:
        """Takes the stream; nothing is read yet."""
        self._arrays = arrays
        self._rest: Ids | None = None

    def read(self, count: int) -> Ids:
        """Returns the next ``count`` ids, or as many as there are."""
        parts, have = [], 0
        while have < count:
            part = next(self._arrays, None) if self._rest is None else self._rest
            self._rest = None
            if part is None:
                break
            take = part[: count - have]
            if len(take) < len(part):
                self._rest = part[len(take) :]
            parts.append(take)
            have += len(take)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)


def _segments(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Regroups pieces into segments of so many symbols; the last may be shorter."""
    held: list[Any] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= length:
            joined = held[0][:0].join(held)
            whole = size - size % length
            for start in range(0, whole, length):
                yield joined[start : start + length]
            held, size = [joined[whole:]], size - whole
    if size:
        yield held[0][:0].join(held)


def split_lines(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yields a text's lines without their ends: all that a piece completes, as soon as it does.

    Only a line feed ends a line; a carriage return before it goes with it.
    """
    held: list[Any] = []
    for piece in pieces:
        line_end: Any = b"\n" if isinstance(piece, bytes) else "\n"
        first, *others = piece.split(line_end)
        held.append(first)
        if others:
            whole = [held[0][:0].join(held), *others[:-1]]
            held = [others[-1]]
            yield [_without_return(line) for line in whole]
    if held and (last := held[0][:0].join(held)):
        yield [last]


def _without_return(line: Any) -> Piece:
    text: Piece = line.removesuffix(b"\r" if isinstance(line, bytes) else "\r")
    return text
