"""From a name that the user typed to files: folders, globs, pipes, the Hub; what is skipped."""

import bz2
import glob
import gzip
import io
import lzma
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from charrnn.config import MODEL_FILE
from charrnn.errors import CorpusError, reason

STDIN = "-"
HUB_PREFIX = "hf:"
# file endings that are read row by row, and what `datasets` calls their format
TABLES = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


def _open_zstd(path: str) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(path), "zstd")


# file endings that are decompressed, and how
COMPRESSED: dict[str, Callable[[str], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _open_zstd,
}


def find_files(source: str, *, ascii_based: bool = True) -> tuple[list[str], list[str]]:
    """Returns the files that a source stands for, sorted, and the binary ones that are skipped.

    Standard input, names of the Hub and files that are named stand for themselves. A file in a
    folder or glob is binary if it holds a zero byte and the encoding is based on ASCII.

    Raises:
        CorpusError: There is no such file, or no text in the folder.
    """
    if source == STDIN or source.startswith(HUB_PREFIX):
        return [source], []
    path = Path(source)
    try:
        if source and path.is_dir():
            paths: Iterable[Path] = (p for p in path.rglob("*") if not _is_hidden(p, path))
        elif source and path.exists():
            return [source], []
        elif glob.has_magic(source):
            paths = map(Path, glob.glob(source, recursive=True))
        else:
            raise CorpusError(
                f"{source or 'an empty name'}: no such file or folder: check the path"
            )
        # a run's own files are the output of a training, not text to train on
        files = sorted(p for p in paths if p.is_file() and not p.with_name(MODEL_FILE).exists())
    except (OSError, ValueError) as error:
        raise CorpusError(f"{source}: {reason(error)}: check the path") from None
    binary = {p for p in files if ascii_based and _is_binary(p)}
    texts = [str(p) for p in files if p not in binary]
    if not texts:
        raise CorpusError(f"{source}: no text files in it: name a file or another folder")
    return texts, [str(p) for p in files if p in binary]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_binary(path: Path) -> bool:
    """Returns whether a file holds a zero byte and is no format that is unpacked."""
    if is_unpacked(path):
        return False
    try:
        with path.open("rb") as stream:
            return b"\0" in stream.read(8192)
    except OSError:
        return False  # reading it later names the reason


def is_unpacked(path: Path) -> bool:
    """Returns whether a file's text differs from its bytes: compressed, or a table."""
    return path.suffix.lower() in COMPRESSED or path.suffix.lower() in TABLES


def table_ending(file: str) -> str:
    """Returns the ending that makes a file a table, compressed or not; none for plain text."""
    path = Path(file.lower())
    ending = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    return ending if ending in TABLES else ""


def is_stream(source: str) -> bool:
    """Returns whether a source can be read only once: standard input, a named pipe, a device."""
    try:
        path = Path(source)
        return source == STDIN or (path.exists() and not path.is_file() and not path.is_dir())
    except (OSError, ValueError):
        return False


def standard_input() -> io.BufferedReader:
    """Returns standard input as bytes.

    Raises:
        CorpusError: It is closed.
    """
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: name a file or pipe a text in")
    return cast("io.BufferedReader", sys.stdin.buffer)


def shown(source: str) -> str:
    """Returns what to call a source in a message."""
    return "standard input" if source == STDIN else source


def plain_name(source: str) -> str:
    """Returns a source's name without folder and suffixes, as a name for a folder."""
    stem = Path(source.removeprefix(HUB_PREFIX)).resolve().name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "corpus"


def absolute(source: str) -> str:
    """Returns a source so that it is found from any folder; a name of the Hub stays as it is."""
    if source.startswith(HUB_PREFIX) and not Path(source).exists():
        return source
    if Path(source).exists():
        return str(Path(source).absolute())
    return os.path.join(glob.escape(os.getcwd()), source)
