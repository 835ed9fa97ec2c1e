"""A table as its reader returns it: numbered rows in groups, and all before a damage is there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from charrnn.errors import DamagedError

SAMPLE_ROWS = 64  # that show what a table is, if the user names no column or delimiter
LONGEST_ROW = 2**28  # characters; what is longer is damaged

Row = Mapping[str, Any]  # values by column


class Number(str):
    """A number as it is written in the source."""


class Group(NamedTuple):
    """Rows that arrive together."""

    numbers: Sequence[int]  # of each in its file
    rows: Sequence[Row]


@dataclass
class Table:
    """A table as it is read."""

    groups: Iterable[Group]
    columns: Sequence[str] | None = None  # of every row, if they are known before the first
    texts: Sequence[str] | None = None  # those that hold text, if that is known
    otherwise: str = "read it as plain text with --format text"  # what an error offers, too


def lines_of(pieces: Iterable[str], name: str, remedy: str) -> Iterator[list[str]]:
    """Yields lines without their line feeds: all that a piece completes, as soon as it does.

    Raises:
        DamagedError: A line is too long; all before it were yielded.
    """
    number, size = 1, 0  # of the line that has not ended yet
    waiting: list[str] = []  # the parts of it
    for piece in pieces:
        *lines, rest = piece.split("\n")
        if lines:
            lines[0] = "".join([*waiting, lines[0]])
            waiting, size = [], 0
            number += len(lines)
            yield lines
        waiting.append(rest)
        size += len(rest)
        if size > LONGEST_ROW:
            raise DamagedError(f"{name}: line {number} is too long: {remedy}")
    if last := "".join(waiting):
        yield [last]


def grouped(numbered: Iterable[tuple[int, Row] | None]) -> Iterator[Group]:
    """Groups numbered rows: a None ends a group.

    Raises:
        DamagedError: A row is damaged; all before it were yielded.
    """
    numbers: list[int] = []
    rows: list[Row] = []
    try:
        for pair in numbered:
            if pair is None:
                yield Group(numbers, rows)
                numbers, rows = [], []
            else:
                numbers.append(pair[0])
                rows.append(pair[1])
    except DamagedError:
        yield Group(numbers, rows)
        raise
    yield Group(numbers, rows)
