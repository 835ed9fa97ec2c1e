"""CSV and TSV to rows: the delimiter, the header, the quotes."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from charrnn.config import DataConfig, Quotes
from charrnn.errors import DamagedError
from charrnn.text.chunks import first_of
from charrnn.text.notes import Notes
from charrnn.text.tables import LONGEST_ROW, SAMPLE_ROWS, Group, Row, Table, grouped, lines_of

DELIMITERS = (",", ";", "\t", "|")
_AS_TEXT = "or read its lines as they are with --format text"

csv.field_size_limit(LONGEST_ROW)


def csv_table(
    pieces: Iterable[str], config: DataConfig, name: str, notes: Notes, *, tabs: bool = False
) -> Table:
    """Returns the rows of CSV, or of TSV if ``tabs``.

    What the settings leave open is found in the first lines: the delimiter, if only one fits, and
    whether quotes in TSV are those of CSV or text.

    Raises:
        DamagedError: A row cannot be read; also raised while the rows are iterated.
    """
    with_ends = (
        [line + "\n" for line in lines] for lines in lines_of(pieces, name, f"mend it, {_AS_TEXT}")
    )
    sample, groups = first_of(with_ends, SAMPLE_ROWS, len)
    first = list(itertools.chain(*sample))[:SAMPLE_ROWS]
    usual = "\t" if tabs else ","
    delimiter = config.delimiter or (usual if tabs else _delimiter(first))
    if config.delimiter is None and delimiter != usual:
        notes.add(f"tables whose delimiter is {delimiter!r}", 1, name, "--delimiter sets another")
    quotes = config.quotes or (_quotes(first) if delimiter == "\t" else "csv")
    lines = _Lines(groups)
    numbered: Iterator[tuple[int, list[str]]]
    numbered = enumerate(_cells(lines, delimiter, quotes, name, notes), start=1)
    first_row = next(numbered, (1, []))
    _, columns = first_row
    if config.no_header:
        columns = [str(i + 1) for i in range(len(columns))]
        numbered = itertools.chain([first_row], numbered)
    elif columns:
        advice = "--no-header reads it as text"
        notes.add("tables whose first row names the columns", 1, name, advice)
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise DamagedError(
            f"{name}: row 1 names two columns {twice!r}: rename one, or take --no-header"
        )
    rows = grouped(_rows(numbered, columns, lines, name, notes))
    start = next(rows, Group([], []))
    texts = _texts(start.rows[:SAMPLE_ROWS]) if start.rows else None
    return Table(itertools.chain([start], rows), columns, texts)


class _Lines:
    """Lines one by one, for a reader that takes more than one for some rows.

    Attributes:
        taken: those with quotes, since it was last emptied.
        paused: whether all that have arrived were taken.
    """

    def __init__(self, groups: Iterable[list[str]]) -> None:
        self._groups = groups
        self.taken = io.StringIO()
        self.paused = False

    def __iter__(self) -> Iterator[str]:
        for group in self._groups:
            self.paused = False
            yield from group[:-1]
            self.paused = True
            yield group[-1]

    def recorded(self) -> Iterator[str]:
        """Yields lines, and keeps them in ``taken`` from the first quote of a row on."""
        for line in self:
            if '"' in line or self.taken.tell():
                self.taken.write(line)
            yield line

    def take(self) -> str:
        """Returns what was recorded, once."""
        text = self.taken.getvalue()
        if text:
            self.taken = io.StringIO()
        return text


def _cells(
    lines: _Lines, delimiter: str, quotes: Quotes, name: str, notes: Notes
) -> Iterator[list[str]]:
    """Yields the cells of each row; none of a blank line."""
    if quotes == "text":
        for line in lines:
            yield _split(line, delimiter) if line.strip("\r\n") else []
        return
    row = 1
    tabs = delimiter == "\t"
    try:
        source = lines.recorded() if tabs else lines
        for cells in csv.reader(source, delimiter=delimiter, strict=True):
            if tabs and (quoted := lines.take()):
                as_text = _split(quoted, delimiter)
                changed = sum(cell not in as_text for cell in cells)
                place, advice = f"row {row} of {name}", "--quotes text keeps them"
                notes.add("cells of TSV whose quotes were left out", changed, place, advice)
            yield cells
            row += 1
    except csv.Error as error:
        raise DamagedError(
            f"{name}: row {row}: {error}: mend its quotes, take --quotes text, {_AS_TEXT}"
        ) from None


def _split(line: str, delimiter: str) -> list[str]:
    return line.removesuffix("\n").removesuffix("\r").split(delimiter)


def _rows(
    numbered: Iterable[tuple[int, list[str]]],
    columns: Sequence[str],
    lines: _Lines,
    name: str,
    notes: Notes,
) -> Iterator[tuple[int, Row] | None]:
    for number, cells in numbered:
        if row := _row_of(cells, columns, number, name):
            yield number, row
        else:
            notes.add("blank lines of tables left out", 1, f"row {number} of {name}")
        if lines.paused:
            yield None


def _row_of(cells: list[str], columns: Sequence[str], number: int, name: str) -> Row:
    """Returns a row; an empty one for a blank line, unless there is only one column."""
    width = len(columns)
    if len(cells) != width:
        if not cells and width > 1:
            return {}
        cells = cells or [""]
        if len(cells) < width or any(cells[width:]):
            raise DamagedError(
                f"{name}: row {number} has {len(cells)} cells, but the first row has {width}: "
                f"mend it, name another --delimiter, {_AS_TEXT}"
            )
    return dict(zip(columns, cells, strict=False))


def _delimiter(lines: Sequence[str]) -> str:
    """Returns the only delimiter that cuts the first lines into rows of the same width."""
    fitting = [delimiter for delimiter in DELIMITERS if _width(lines, delimiter) > 1]
    return fitting[0] if len(fitting) == 1 else ","


def _width(lines: Sequence[str], delimiter: str, *, strict: bool = False) -> int:
    """Returns how many cells each of the first rows has; 0 if not all have as many."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=strict) if row]
    except csv.Error:
        return 0
    if len(lines) == SAMPLE_ROWS and len(rows) > 1:
        rows.pop()  # it may be cut
    widths = {len(row) for row in rows}
    return widths.pop() if len(widths) == 1 else 0


def _quotes(lines: Sequence[str]) -> Quotes:
    """Returns whether quotes are those of CSV in TSV: text if they cannot be, and the cells fit."""
    if _width(lines, "\t", strict=True) or not any('"' in line for line in lines):
        return "csv"
    widths = {line.count("\t") for line in lines if line.strip("\r\n")}
    return "text" if len(widths) == 1 else "csv"


def _texts(rows: Sequence[Row]) -> list[str]:
    """Returns the columns whose cells are neither all empty nor all numbers."""
    return [
        column
        for column in rows[0]
        if any(row[column] and not _is_number(row[column]) for row in rows)
    ]


def _is_number(cell: str) -> bool:
    """Returns whether a cell is a number in any country's way of writing: 1,234.5 or 12,5 %."""
    return re.fullmatch(r"\s*[-+]?[\d.,']*\d(e[-+]?\d+)?\s*%?\s*", cell, re.IGNORECASE) is not None
