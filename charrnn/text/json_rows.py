"""JSON to rows: a row a line, or an array of rows."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from charrnn.errors import DamagedError
from charrnn.text.rows import LONGEST_ROW, Group, Number, Row, Table

# numbers stay as they are written, as a float would change them; integers need that only if they
# have more digits than Python reads, and are read ten times as fast without
_SLOW = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=Number)
_FAST: Any = json.JSONDecoder(parse_float=Number, parse_constant=Number)
_BETWEEN = re.compile(r"\s*,?\s*")  # two rows of an array
_LONGEST_WORD = 12  # characters of a word or an escape that may be cut, at least
_REMEDY = "mend the row, or read it as plain text with --format text"


def json_lines(pieces: Iterable[str], name: str) -> Table:
    """Returns the rows of JSON lines; blank lines are none.

    Iterating them raises DamagedError if a line is no JSON object.
    """
    return Table(_rows_of_lines(pieces, name))


def json_array(pieces: Iterable[str], name: str) -> Table:
    """Returns the rows of an array of objects.

    Iterating them raises DamagedError if one is no object, or the array does not end.
    """
    return Table(_rows_of_array(iter(pieces), name))


def is_array(start: str) -> bool:
    """Returns whether a text that starts like this is an array of objects."""
    return re.match(r"\ufeff?\s*\[\s*\{", start) is not None


def _rows_of_lines(pieces: Iterable[str], name: str) -> Iterator[Group]:
    number = 1  # of the next line
    waiting: list[str] = []  # a line that has not ended yet
    size = 0
    for piece in itertools.chain(pieces, ["\n"]):
        *lines, rest = piece.split("\n")
        if lines:
            lines[0] = "".join([*waiting, lines[0]])
            waiting, size = [], 0
            rows: list[Row | None] = []
            try:
                rows.extend(_row_of(line, number + i, name) for i, line in enumerate(lines))
            except DamagedError:
                yield Group.of(rows, number)  # all before the damaged one
                raise
            yield Group.of(rows, number)
            number += len(lines)
        waiting.append(rest)
        size += len(rest)
        if size > LONGEST_ROW:
            raise DamagedError(f"{name}: row {number} is too long: {_REMEDY}")


def _row_of(line: str, number: int, name: str) -> Row | None:
    """Returns a line's object; None if the line is blank."""
    try:
        row, end = _FAST.scan_once(line, 0)
        if type(row) is dict and (end == len(line) or line[end:].isspace()):
            return row
    except (StopIteration, ValueError, RecursionError):
        pass  # the slower decoder knows why, or reads it
    if not line or line.isspace():
        return None
    try:
        row = _SLOW.decode(line)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name}: row {number}: no JSON ({error}): {_REMEDY}") from None
    return _an_object(row, number, name)


def _rows_of_array(pieces: Iterator[str], name: str) -> Iterator[Group]:
    text = next(filter(str.strip, pieces))
    place = text.index("[") + 1
    rows: list[Row | None] = []  # that are complete in the text
    number = 1  # of the first of them
    while True:
        between = _BETWEEN.match(text, place)
        assert between is not None
        place = between.end()
        try:
            row, place = _SLOW.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            if text.startswith("]", place):
                break
            yield Group.of(rows, number)
            number += len(rows)
            rows = []
            more = "".join(_at_least(len(text) - place, pieces)) if _is_cut(error, text) else ""
            if not more or len(text) - place > LONGEST_ROW:
                raise DamagedError(f"{name}: row {number}: no JSON ({error}): {_REMEDY}") from None
            text, place = text[place:] + more, 0
        else:
            if not isinstance(row, dict):
                yield Group.of(rows, number)
            rows.append(_an_object(row, number + len(rows), name))
    yield Group.of(rows, number)
    for rest in itertools.chain([text[place + 1 :]], pieces):
        if rest.strip():
            raise DamagedError(f"{name}: more text after its array: {_REMEDY}")


def _is_cut(error: Exception, text: str) -> bool:
    """Returns whether a row may go on after this text, as far as its error shows."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos > len(text) - _LONGEST_WORD


def _at_least(size: int, pieces: Iterator[str]) -> Iterator[str]:
    """Yields pieces of at least that size together: a row that grows is not read too often."""
    size += 1
    while size > 0 and (piece := next(pieces, "")):
        size -= len(piece)
        yield piece


def _an_object(row: Any, number: int, name: str) -> Row:
    if not isinstance(row, dict):
        raise DamagedError(f"{name}: row {number} is no object with columns: {_REMEDY}")
    return row
