"""JSON to rows: a row a line, or an array of rows."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from charrnn.errors import DamagedError
from charrnn.text.tables import LONGEST_ROW, Number, Row, Table, grouped, lines_of

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
    return Table(grouped(_rows_of_lines(pieces, name)))


def json_array(pieces: Iterable[str], name: str) -> Table:
    """Returns the rows of an array of objects.

    Iterating them raises DamagedError if one is no object, or the array does not end.
    """
    return Table(grouped(_rows_of_array(iter(pieces), name)))


def is_array(start: str) -> bool:
    """Returns whether a text that starts like this is an array of objects."""
    return re.match(r"\ufeff?\s*\[\s*\{", start) is not None


def _rows_of_lines(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Row] | None]:
    number = 0
    for lines in lines_of(pieces, name, _REMEDY):
        for line in lines:
            number += 1
            if (row := _row_of(line, number, name)) is not None:
                yield number, row
        yield None


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
        raise DamagedError(f"{name}: row {number}: no JSON ({_reason(error)}): {_REMEDY}") from None
    return _an_object(row, number, name)


def _rows_of_array(pieces: Iterator[str], name: str) -> Iterator[tuple[int, Row] | None]:
    text = next(filter(str.strip, pieces))
    place = text.index("[") + 1
    number = 1
    while not text.startswith("]", place := _row_start(text, place)):
        try:
            row, place = _SLOW.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield None
            # a row that the text's end cuts is decoded again with more of it
            more = "".join(_at_least(len(text) - place, pieces)) if _is_cut(error, text) else ""
            if not more or len(text) - place > LONGEST_ROW:
                raise DamagedError(
                    f"{name}: row {number}: no JSON ({_reason(error)}): {_REMEDY}"
                ) from None
            text, place = text[place:] + more, 0
        else:
            yield number, _an_object(row, number, name)
            number += 1
    for rest in itertools.chain([text[place + 1 :]], pieces):
        if rest.strip():
            raise DamagedError(f"{name}: more text after its array: {_REMEDY}")


def _row_start(text: str, place: int) -> int:
    """Returns the place after white space and a comma."""
    between = _BETWEEN.match(text, place)
    assert between is not None, "it matches nothing, too"
    return between.end()


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


def _reason(error: Exception) -> str:
    """Returns why a row cannot be read, without the place, which is one in a part of the text."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _an_object(row: Any, number: int, name: str) -> Row:
    if not isinstance(row, dict):
        raise DamagedError(f"{name}: row {number} is no object with columns: {_REMEDY}")
    return row
