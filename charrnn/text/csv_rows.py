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
from charrnn.text.tables import LONGEST_ROW, SAMPLE_ROWS, Row, Table, grouped, lines_of

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
    # settings that leave nothing open let the first line through as soon as it comes
    is_known = config.delimiter and config.column and (config.quotes or config.delimiter != "\t")
    with_ends = (
        [line + "\n" for line in lines] for lines in lines_of(pieces, name, f"mend it, {_AS_TEXT}")
    )
    sample, groups = first_of(with_ends, 1 if is_known else SAMPLE_ROWS, len)
    first = list(itertools.chain(*sample))[:SAMPLE_ROWS]
    delimiter = config.delimiter or ("\t" if tabs else ",")
    if (named := re.fullmatch(r'"?sep=(.)"?\r?\n', first[0] if first else "")) is not None:
        delimiter, groups = config.delimiter or named[1], _without_first_line(groups)
        notes.add("first lines left out that name the delimiter (sep=)", 1, name)
    elif config.delimiter is None and not tabs and (found := _delimiter(first)) != delimiter:
        delimiter = found
        notes.add(f"tables whose delimiter is {found!r}", 1, name, "--delimiter sets another")
    quotes = config.quotes or (_quotes(first) if delimiter == "\t" else "csv")
    lines = _Lines(groups)
    cells = _cells(lines, delimiter, quotes, name, notes)
    columns, numbered = _columns(enumerate(cells, start=1), config, name, notes)
    rows = grouped(_rows(numbered, columns, lines, name, notes))
    if config.column is not None:
        return Table(rows, columns)
    start, rows = first_of(rows, SAMPLE_ROWS, lambda group: len(group.rows))
    sampled = [row for group in start for row in group.rows][:SAMPLE_ROWS]
    return Table(rows, columns, _texts(sampled) if sampled else None)


def _columns(
    numbered: Iterator[tuple[int, list[str]]], config: DataConfig, name: str, notes: Notes
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Returns the columns' names, and the rows after the header; one without a name has its number.

    Blank lines before the first row are left out.
    """
    number, first_row = next(((n, cells) for n, cells in numbered if cells), (1, []))
    notes.add("blank lines of tables left out", number - 1, f"row 1 of {name}")
    numbers = [str(i + 1) for i in range(len(first_row))]
    if config.no_header or not first_row:
        return numbers, itertools.chain([(number, first_row)] if first_row else [], numbered)
    columns = [column or n for column, n in zip(first_row, numbers, strict=True)]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice and config.column in (None, *twice):
        raise DamagedError(
            f"{name}: row {number} names two columns {twice[0]!r}: rename one, or take --no-header"
        )
    advice = "--no-header reads it as text"
    notes.add("tables whose first row names the columns", 1, name, advice)
    return columns, numbered


def _without_first_line(groups: Iterator[list[str]]) -> Iterator[list[str]]:
    yield next(groups)[1:]
    yield from groups


class _Lines:
    """Lines one by one, for a reader that takes more than one for some rows.

    Attributes:
        taken: those with quotes, since it was last emptied.
        paused: whether all that had arrived were taken, since it was last set to False.
    """

    def __init__(self, groups: Iterable[list[str]]) -> None:
        self._groups = groups
        self.taken = io.StringIO()
        self.paused = False

    def __iter__(self) -> Iterator[str]:
        for group in self._groups:
            yield from group[:-1]
            self.paused = True
            yield from group[-1:]

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
    source = lines.recorded() if tabs else lines
    try:
        for cells in csv.reader(source, delimiter=delimiter, strict=True):
            if tabs and (quoted := lines.take()):
                _note_quotes(cells, quoted, f"row {row} of {name}", notes)
            yield cells
            row += 1
    except csv.Error as error:
        problem = f"{error}: mend its quotes, take --quotes text"
        if "new-line" in str(error):
            problem = "a carriage return ends no line: write newlines instead"
        raise DamagedError(f"{name}: row {row}: {problem}, {_AS_TEXT}") from None


def _note_quotes(cells: list[str], quoted: str, place: str, notes: Notes) -> None:
    """Notes the cells of a row of TSV whose quotes were read as those of CSV."""
    as_text = _split(quoted, "\t")
    if len(as_text) == len(cells) and "\n" not in as_text[-1]:
        changed = sum(a != b for a, b in zip(cells, as_text, strict=True))
    else:
        changed = sum('"' + cell.replace('"', '""') + '"' in quoted for cell in cells)
    advice = "--quotes text keeps them"
    notes.add("cells of TSV whose quotes were left out", changed, place, advice)
    ends = quoted.count("\n") - quoted.endswith("\n")
    notes.add("line ends of TSV within quotes, which join lines", ends, place, advice)


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
            if (beyond := len(cells) - len(columns)) > 0:
                place = f"row {number} of {name}"
                notes.add("empty cells left out that the first row lacks", beyond, place)
            yield number, row
        else:
            notes.add("blank lines of tables left out", 1, f"row {number} of {name}")
        if lines.paused:
            lines.paused = False
            yield None


def _row_of(cells: list[str], columns: Sequence[str], number: int, name: str) -> Row:
    """Returns a row; an empty one for a blank line, unless there is only one column."""
    width = len(columns)
    if len(cells) != width:
        if not cells:
            return {} if width > 1 else {columns[0]: ""}
        if len(cells) < width or any(cells[width:]) or width == 1:
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
    number = r"[-+]?[\d.,']*\d(e[-+]?\d+)?( ?%)?"
    return re.fullmatch(number, cell.strip(), re.IGNORECASE) is not None
