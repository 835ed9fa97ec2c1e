"""Tables and datasets of the Hub: rows of text, through `datasets`."""

import glob
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, reason
from charrnn.text.plain import READ_BYTES
from charrnn.text.sources import HUB_PREFIX, TABLES, table_ending

if TYPE_CHECKING:
    from datasets import IterableDataset


def read_rows(file: str, config: DataConfig) -> Iterator[str]:
    """Yields the text of a table's rows, each ended by the separator, in pieces.

    Raises:
        CorpusError: It cannot be read, or has no such column.
    """
    import pyarrow as pa

    try:
        column = config.column or _only_text_column(file, _open_rows(file, config.split))
        for table in _open_rows(file, config.split, column).iter(batch_size=4096):
            if column not in table.column_names:
                names = table.column_names
                raise CorpusError(f"{file}: no column {column!r}: choose --column from {names}")
            rows = table.column(column).cast(pa.large_string()).to_pylist()
            text = "".join(f"{row or ''}{config.separator}" for row in rows)
            for start in range(0, len(text), READ_BYTES):
                yield text[start : start + READ_BYTES]
    except CorpusError:
        raise
    except Exception as error:
        # datasets lets through the errors of every format's own reader
        raise CorpusError(f"{file}: cannot be read: {reason(error)}: mend the file") from None


def _open_rows(file: str, split: str, column: str | None = None) -> "IterableDataset":
    """Opens rows as a stream of Arrow tables; a known column is read as text, whatever it holds."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are ours to print
    try:
        if file.startswith(HUB_PREFIX):
            name, _, config = file.removeprefix(HUB_PREFIX).partition(":")
            rows = datasets.load_dataset(name, config or None, split=split, streaming=True)
        else:
            rows = datasets.load_dataset(
                TABLES[table_ending(file)],
                data_files=glob.escape(file),
                split="train",
                streaming=True,
                **_reader_options(file, column),
            )
    except Exception as error:
        # datasets documents no exception tree; whatever it is, the user needs one line
        raise CorpusError(
            f"{file}: cannot be opened: {reason(error)}: check the name and the network"
        ) from None
    return cast("IterableDataset", rows.with_format("arrow"))


def _reader_options(file: str, column: str | None) -> dict[str, Any]:
    """Returns what the format's reader must know."""
    ending = table_ending(file)
    if ending in (".csv", ".tsv"):
        options: dict[str, Any] = {"keep_default_na": False}
        options |= {"delimiter": "\t"} if ending == ".tsv" else {}
        return options | ({"converters": {column: str}} if column else {})
    if ending == ".parquet":
        import pyarrow.dataset

        # Arrow would hold all that it has read of a file until it has read it all
        scan = pyarrow.dataset.ParquetFragmentScanOptions(
            pre_buffer=False, use_buffered_stream=True
        )
        return {"fragment_scan_options": scan, "batch_size": 2**16}
    return {}


def _only_text_column(file: str, rows: "IterableDataset") -> str:
    import pyarrow as pa

    table = next(iter(rows.iter(batch_size=64)), None)
    if table is None:
        raise CorpusError(f"{file}: it has no rows: name a source that holds text")
    kinds = (pa.types.is_string, pa.types.is_large_string)
    texts = [field.name for field in table.schema if any(is_text(field.type) for is_text in kinds)]
    if len(texts) != 1:
        raise CorpusError(
            f"{file}: {len(texts)} text columns: choose --column from {texts or table.column_names}"
        )
    return str(texts[0])
