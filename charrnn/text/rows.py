"""Tables and the Hub to rows of text."""

import glob
from typing import TYPE_CHECKING, Any, cast

from charrnn.errors import CorpusError, _reason
from charrnn.text.sources import HUB_PREFIX, _structured

if TYPE_CHECKING:
    from datasets import IterableDataset


def _open_rows(file: str, split: str, column: str | None = None) -> "IterableDataset":
    """Opens rows as a stream of Arrow tables; a known column is read as text, whatever it holds."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are ours to print
    try:
        if file.startswith(HUB_PREFIX):
            name, _, config = file.removeprefix(HUB_PREFIX).partition(":")
            rows = datasets.load_dataset(name, config or None, split=split, streaming=True)
        else:
            options: dict[str, Any] = {}
            if _structured(file) == "csv":
                options = {"keep_default_na": False}
                options |= {"delimiter": "\t"} if ".tsv" in file.lower() else {}
                options |= {"converters": {column: str}} if column else {}
            elif _structured(file) == "parquet":
                import pyarrow.dataset

                # Arrow would hold all that it has read of a file until it has read it all
                scan = pyarrow.dataset.ParquetFragmentScanOptions(
                    pre_buffer=False, use_buffered_stream=True
                )
                options = {"fragment_scan_options": scan, "batch_size": 2**16}
            rows = datasets.load_dataset(
                _structured(file),
                data_files=glob.escape(file),
                split="train",
                streaming=True,
                **options,
            )
    except Exception as error:
        # datasets documents no exception tree; whatever it is, the user needs one line
        raise CorpusError(
            f"{file}: cannot be opened: {_reason(error)}: check the name and the network"
        ) from None
    return cast("IterableDataset", rows.with_format("arrow"))


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
