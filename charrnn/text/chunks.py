"""Regroups what comes in pieces of any size: ids into arrays, text into segments."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from charrnn.errors import CorpusError
from charrnn.text.vocabulary import Ids, Piece

T = TypeVar("T")


class Reader:
    """Regroups a stream of arrays into arrays of the sizes that are asked for."""

    def __init__(self, arrays: Iterator[Ids]) -> None:
        self._arrays = arrays
        self._rest: Ids | None = None  # what was taken from the stream, but not asked for yet

    def read(self, count: int) -> Ids:
        """Returns the next ``count`` ids, or as many as there are."""
        parts: list[Ids] = []
        missing = count
        while missing:
            part = next(self._arrays, None) if self._rest is None else self._rest
            if part is None:
                break
            self._rest = part[missing:] if len(part) > missing else None
            parts.append(part[:missing])
            missing -= len(parts[-1])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)


def first_of(
    groups: Iterator[T], count: int, size: Callable[[T], int]
) -> tuple[list[T], Iterator[T]]:
    """Returns groups of at least ``count`` items in all, or all there are, and all from the first.

    An error that follows them is raised where the iteration gets there.
    """
    first: list[T] = []
    problem: list[CorpusError] = []
    try:
        while count > 0 and (group := next(groups, None)) is not None:
            first.append(group)
            count -= size(group)
    except CorpusError as error:
        problem.append(error)

    def all_of_them() -> Iterator[T]:
        yield from first
        for error in problem:
            raise error
        yield from groups

    return first, all_of_them()


def segments(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Regroups pieces into segments of ``length`` symbols; the last may be shorter."""
    waiting: list[Any] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= length:
            joined = waiting[0][:0].join(waiting)  # of the pieces' own type
            whole = size - size % length
            for start in range(0, whole, length):
                yield joined[start : start + length]
            waiting, size = [joined[whole:]], size - whole
    if size:
        yield waiting[0][:0].join(waiting)
