"""Parquet, Arrow and datasets of the Hub to rows, through `datasets`."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from charrnn.config import DataConfig
from charrnn.errors import CharrnnError, DamagedError, EncodingError, reason
from charrnn.text.compressed import byte_blocks, unreadable
from charrnn.text.formats import compression, kind_of
from charrnn.text.hub import open_hub
from charrnn.text.notes import Notes
from charrnn.text.plain import INVALID, decode
from charrnn.text.rows import only_column
from charrnn.text.tables import Group, Table

if TYPE_CHECKING:
    from datasets import IterableDataset
    from pyarrow import ChunkedArray

GROUP_ROWS = 4096


@contextlib.contextmanager
def arrow_table(file: str, config: DataConfig, notes: Notes) -> Iterator[Table]:
    """Opens a file, or a dataset of the Hub, as a table.

    Raises:
        CorpusError: It cannot be read; also raised while its rows are iterated.
    """
    with contextlib.ExitStack() as at_end, _named_errors(file):
        path = file
        if kind_of(file) != "hub":
            path = at_end.enter_context(_plain_path(file))
        opened = _open(path, config.split)
        head = next(iter(opened.with_format("arrow").iter(batch_size=1)), None)
        if head is None:
            yield Table([])
            return
        schema, columns = head.schema, head.column_names
        texts = list(_text_paths(schema, deep=False)) or list(_text_paths(schema, deep=True))
        column = config.column or only_column(columns, texts)
        if column is not None and column not in columns:
            column = column.split(".")[0]  # of a path, the column that holds the objects
        rows: Iterator[Group] = iter(())
        if column is not None and column in columns:
            # only Parquet's reader must be told before it opens a file that it can skip columns
            if kind_of(path) == "parquet":
                opened = _open(path, config.split, column)
            one = opened.select_columns([column]).with_format("arrow")
            rows = _rows(file, one, column, config, notes)
        yield Table(rows, columns, texts, otherwise="")


@contextlib.contextmanager
def _named_errors(file: str) -> Iterator[None]:
    try:
        yield
    except CharrnnError:
        raise
    except Exception as error:
        # datasets lets through the errors of every format's own reader
        advice = "check the network" if kind_of(file) == "hub" else "get a whole copy"
        raise DamagedError(
            f"{file}: cannot be read, or is damaged ({reason(error)}): {advice}, or go on "
            "without the rest of it with --skip-damaged"
        ) from None


@contextlib.contextmanager
def _plain_path(file: str) -> Iterator[str]:
    """Returns a path of a plain name: `datasets` reads brackets and colons in a name as patterns.

    A compressed table is decompressed there, since its readers start at the end of a file.
    """
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise unreadable(file, error) from None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"table.{kind_of(file)}")
        if compression(file):
            with open(path, "wb") as stream:
                stream.writelines(byte_blocks(file, file))
        else:
            os.symlink(os.path.abspath(file), path)
        yield path


def _open(path: str, split: str, column: str | None = None) -> "IterableDataset":
    """Opens rows as a stream; of Parquet, only one column if it is given."""
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # nobody is told of a file that is read
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are ours to print
    kind = kind_of(path)
    if kind == "hub":
        rows = open_hub(path, split)
    else:
        # datasets leaves a lock there, named after the path, which is new each time
        options: dict[str, Any] = {"cache_dir": os.path.dirname(path)}
        if kind == "parquet":
            import pyarrow.dataset

            # Arrow would hold all that it has read of a file until it has read it all
            scan = pyarrow.dataset.ParquetFragmentScanOptions(
                pre_buffer=False, use_buffered_stream=True
            )
            options |= {"fragment_scan_options": scan, "batch_size": 2**16}
            options |= {"columns": [column]} if column is not None else {}
        rows = datasets.load_dataset(
            kind, data_files=path, split="train", streaming=True, **options
        )
    return cast("IterableDataset", rows)


def _text_paths(fields: Any, *, deep: bool, before: str = "") -> Iterator[str]:
    """Yields the columns that hold text by their type; ``deep``: also within objects."""
    import pyarrow as pa

    for field in fields:
        kind = field.type
        if deep and pa.types.is_struct(kind):
            yield from _text_paths(kind, deep=deep, before=f"{before}{field.name}.")
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
            yield before + field.name


def _rows(
    file: str, rows: "IterableDataset", column: str, config: DataConfig, notes: Notes
) -> Iterator[Group]:
    number = 1
    with _named_errors(file):
        for table in rows.iter(batch_size=GROUP_ROWS):
            values = _values(table.column(column), number, file, config, notes)
            numbers = range(number, number + len(values))
            yield Group(numbers, [{column: value} for value in values])
            number += len(values)


def _values(
    column: "ChunkedArray", first: int, file: str, config: DataConfig, notes: Notes
) -> list[Any]:
    """Returns a column's values; of strings that are not valid UTF-8, what the settings say."""
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
    for i, value in enumerate(values):
        if isinstance(value, bytes):
            values[i] = _decoded(value, f"{file}: row {first + i}", config, notes)
    return values


def _decoded(value: bytes, place: str, config: DataConfig, notes: Notes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        if config.encoding_errors == "strict":
            raise EncodingError(
                f"{place}: not valid utf-8 at byte {error.start}: take --encoding-errors replace"
            ) from None
    count = notes.counting(INVALID, place)
    return "".join(decode([value], replace(config, encoding="utf-8"), place, count))
