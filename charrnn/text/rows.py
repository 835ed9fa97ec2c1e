"""Rows of a table to text: which column is read, what its values become."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text.chunks import first_of
from charrnn.text.compressed import READ_BYTES
from charrnn.text.notes import Notes
from charrnn.text.plain import KEEP_NEWLINES, WINDOWS, has_halves, lf_only, whole_characters
from charrnn.text.tables import SAMPLE_ROWS, Group, Row, Table

_SHOWN_COLUMNS = 12


def text_of(table: Table, config: DataConfig, name: str, notes: Notes) -> Iterator[str]:
    """Yields the text of a table's rows, each ended by the separator, in pieces.

    A string is itself; a row without a value is left out; numbers, booleans and other single values
    are written as JSON writes them. What is left out or changed is counted in the notes.

    Raises:
        CorpusError: There is no such column, or it holds objects or lists.
        EncodingError: A string holds half a character.
    """
    groups, column = iter(table.groups), config.column
    if column is None:
        sample, groups = first_of(groups, SAMPLE_ROWS, lambda group: len(group.rows))
        rows = [row for group in sample for row in group.rows]
        if not rows:
            list(groups)  # raises the damage, if there is any
            notes.add("tables without rows", 1, name)
            return
        column = _only_text_column(table, rows[:SAMPLE_ROWS], name)
        notes.add(f"tables read by their column {column!r}", 1, name)
    elif table.columns is not None and {column, column.split(".")[0]}.isdisjoint(table.columns):
        raise _no_column(name, column, table.columns, table.otherwise)
    count_halves = notes.counting("invalid characters replaced by U+FFFD", name)
    count_windows = notes.counting(WINDOWS, name, KEEP_NEWLINES)
    values = _Values(column, name, notes, table.otherwise)
    for group in groups:
        numbers, texts = values.of(group)
        text = config.separator.join([*texts, ""])
        # what is rare is looked for in all of them at once
        has_windows = config.unit == "char" and config.newlines == "lf" and "\r\n" in text
        if has_windows or has_halves(text):
            texts = [
                whole_characters(text, config, f"{name}: row {number}", count_halves)
                for number, text in zip(numbers, texts, strict=True)
            ]
            if has_windows:
                texts = [lf_only(text, count_windows) for text in texts]
            text = config.separator.join([*texts, ""])
        for start in range(0, len(text), READ_BYTES):
            yield text[start : start + READ_BYTES]
    if not values.seen and values.others:
        raise _no_column(name, column, list(values.others), table.otherwise)


class _Values:
    """One column's values as text, counted by kind."""

    def __init__(self, column: str, name: str, notes: Notes, otherwise: str) -> None:
        self._column, self._name, self._notes = column, name, notes
        self._otherwise = otherwise  # what else an error offers
        self.seen = False  # whether a row had such a column
        self.others: dict[str, None] = {}  # columns of rows without it

    def of(self, group: Group) -> tuple[Sequence[int], list[str]]:
        """Returns the texts of rows that arrive together, and the rows' numbers."""
        column = self._column
        values = [row.get(column) for row in group.rows]
        if values and all(type(value) is str for value in values):
            self.seen = True
            return group.numbers, cast("list[str]", values)
        numbers, texts = [], []
        for number, row in zip(group.numbers, group.rows, strict=True):
            if (text := self._written(number, row)) is not None:
                numbers.append(number)
                texts.append(text)
        return numbers, texts

    def _written(self, number: int, row: Row) -> str | None:
        """Returns a row's text; None if it has none."""
        place = f"row {number} of {self._name}"
        value = self._find(row)
        if value is None:
            self._notes.add("rows without text left out", 1, place)
            return None
        if isinstance(value, Mapping | list):
            raise CorpusError(
                f"{self._name}: row {number}: column {self._column!r} holds "
                f"{'an object' if isinstance(value, Mapping) else 'a list'}, no text: "
                + _choose(_text_paths(row), self._otherwise)
            )
        if type(value) is str:  # and no Number
            return value
        self._notes.add("values that are no strings written as text", 1, place)
        return json.dumps(value) if isinstance(value, bool | int | float) else str(value)

    def _find(self, row: Row) -> Any:
        """Returns the value of the column, or of a path into objects; None if there is none."""
        if self._column in row:
            self.seen = True
            return row[self._column]
        value: Any = row
        for key in self._column.split("."):
            if not isinstance(value, Mapping) or key not in value:
                if not self.seen:
                    paths = (path for path, _ in _leaves(row))
                    self.others |= dict.fromkeys(itertools.islice(paths, _SHOWN_COLUMNS))
                return None
            value = value[key]
        self.seen = True
        return value


def only_column(columns: Sequence[str], texts: Sequence[str]) -> str | None:
    """Returns the only column that holds text, or the only one of all; None if there are more."""
    choices = texts or columns
    return choices[0] if len(choices) == 1 else None


def _only_text_column(table: Table, sample: Sequence[Row], name: str) -> str:
    """Returns the column that holds the text.

    Strings at the top count first; then those in objects; then a column without any value.
    """
    columns, texts = table.columns, table.texts
    if columns is None or texts is None:
        paths = _text_paths(*sample)
        texts = [path for path in paths if any(path in row for row in sample)] or paths
        values = [(key, value) for row in sample for key, value in row.items()]
        single = [key for key, value in values if not isinstance(value, Mapping | list)]
        columns = [key for key in single if all(row.get(key) is None for row in sample)]
        columns = list(dict.fromkeys(columns or single))
    if (column := only_column(columns, texts)) is not None:
        return column
    choices = _choose(texts or columns, table.otherwise)
    raise CorpusError(f"{name}: {len(texts) or 'no'} text columns: {choices}")


def _text_paths(*rows: Row) -> list[str]:
    """Returns the columns, and the paths into objects, that hold strings."""
    return list(dict.fromkeys(p for row in rows for p, value in _leaves(row) if type(value) is str))


def _leaves(row: Row, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the paths into objects, and the values there."""
    for key, value in row.items():
        if isinstance(value, Mapping) and before.count(".") < 8:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield before + key, value


def _choose(columns: Sequence[str], otherwise: str) -> str:
    shown = ", ".join(map(repr, columns[:_SHOWN_COLUMNS]))
    more = len(columns) - _SHOWN_COLUMNS
    shown += f" and {more} more" if more > 0 else ""
    return f"choose --column from {shown}" + (f", or {otherwise}" if otherwise else "")


def _no_column(name: str, column: str, columns: Sequence[str], otherwise: str) -> CorpusError:
    return CorpusError(f"{name}: no column {column!r}: {_choose(columns, otherwise)}")
