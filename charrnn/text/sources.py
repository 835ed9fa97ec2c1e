"""A name to files: folders, globs, pipes, the Hub; what is skipped."""

import bz2
import gzip
import io
import lzma
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charrnn.config import MODEL_FILE
from charrnn.errors import CorpusError

if TYPE_CHECKING:
    pass

STDIN = "-"
HUB_PREFIX = "hf:"
STRUCTURED = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


def _open_zstd(path: Path) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _open_zstd,
}


def is_stream(source: str) -> bool:
    """Tells whether a source can be read only once: standard input, a named pipe, a device."""
    try:
        path = Path(source)
        return source == STDIN or (path.exists() and not path.is_file() and not path.is_dir())
    except (OSError, ValueError):
        return False


def run_name(sources: Sequence[str]) -> str:
    """Returns a run's name for its sources: the first one's, without folder and suffixes."""
    first = sources[0]
    if is_stream(first):
        return "stdin"
    stem = Path(first.removeprefix(HUB_PREFIX)).resolve().name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "corpus"


def _stdin() -> "io.BufferedReader":
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: name a file or pipe a text in")
    return cast("io.BufferedReader", sys.stdin.buffer)


def _structured(file: str) -> str | None:
    """Returns the format of a structured file, also of a compressed one; None for plain text."""
    suffixes = [suffix.lower() for suffix in Path(file).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return STRUCTURED.get(suffixes[-1]) if suffixes else None


def _shown(file: str) -> str:
    return "standard input" if file == STDIN else file


def _of_a_run(path: Path) -> bool:
    """Tells whether a file lies in a run's folder: what was learnt is no text to learn."""
    return path.with_name(MODEL_FILE).exists()


def _unpacked(path: Path) -> bool:
    """Tells whether a file's text is another than its bytes: compressed or structured."""
    return path.suffix.lower() in COMPRESSED or path.suffix.lower() in STRUCTURED


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_binary(path: Path) -> bool:
    """Tells whether a file is neither text nor a kind of file that is read as text."""
    if _unpacked(path):
        return False
    try:
        with path.open("rb") as stream:
            return b"\0" in stream.read(8192)
    except OSError:
        return False  # reading it later names the reason
