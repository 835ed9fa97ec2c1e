"""From a name that the user typed to files: folders, globs, pipes, the Hub; what is skipped."""

import glob
import io
import os
import re
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, refusal
from charrnn.likely import did_you_mean, likely_paths
from charrnn.text.compressed import READ_BYTES, byte_blocks, next_block
from charrnn.text.folders import Finder
from charrnn.text.formats import HUB_PREFIX, kind_of
from charrnn.text.notes import Notes
from charrnn.text.recognize import HEAD_BYTES, is_ascii_based, recognize, wide_encoding

STDIN = "-"


def find_files(source: str, config: DataConfig, notes: Notes) -> list[str]:
    """Returns the files that a source stands for, sorted.

    Standard input, names of the Hub and files that are named stand for themselves. What is no text
    in a folder or glob is skipped, and noted; if the unit is the byte, all is text.

    Raises:
        CorpusError: There is no such file, or no text in the folder.
    """
    if source == STDIN or kind_of(source) == "hub":
        return [source]
    finder = Finder(notes, skip_damaged=config.skip_damaged)
    try:
        if source and _exists(source):
            if not os.path.isdir(source):
                return [source]
            files = finder.files_in(source)
        elif glob.has_magic(source):
            files = finder.matching(source)
            if not files:
                raise CorpusError(f"{source}: no file matches: check the pattern and the folder")
        else:
            remedy = did_you_mean(likely_paths(source), "check the path")
            raise CorpusError(f"{source or 'an empty name'}: no such file or folder: {remedy}")
    except (OSError, ValueError) as error:
        raise CorpusError(refusal(source, "read", error, "check the path")) from None
    texts = [file for file in files if not _skipped(file, config, notes)]
    if not texts:
        raise CorpusError(
            f"{source}: no text files in it: name others, or train on bytes with --unit byte"
            if files
            else f"{source}: no files in it: name a file or another folder"
        )
    return texts


def _exists(source: str) -> bool:
    """Returns whether there is such a file or folder.

    Raises:
        OSError: The system refuses to tell, or a link leads to itself.
    """
    try:
        os.stat(source)
    except FileNotFoundError:
        return False
    return True


def _skipped(file: str, config: DataConfig, notes: Notes) -> bool:
    """Returns whether a file of a folder is no text, and notes it."""
    if config.unit == "byte" or kind_of(file) in ("parquet", "arrow"):
        return False
    try:
        head = next(byte_blocks(file, file, HEAD_BYTES), b"")
    except CorpusError:
        return False  # reading it later names the reason
    what = ""
    if (thing := recognize(head)) is not None:
        what = f"files skipped that are no text, but {thing.name}"
    elif b"\0" in head and is_ascii_based(config.encoding):
        encoding = wide_encoding(head)
        binary = "files skipped that are no text, but a binary file"
        what = binary if encoding is None else f"files in {encoding} skipped"
    if what:
        notes.add(what, 1, file)
    return bool(what)


def joined_name(sources: Sequence[str], missing: str) -> str | None:
    """Returns the name of a file that several sources are together, if spaces cut it."""
    for start in range(len(sources)):
        for end in range(start + 2, len(sources) + 1):
            name = " ".join(sources[start:end])
            if missing in sources[start:end] and os.path.exists(name):
                return name
    return None


def is_stream(source: str) -> bool:
    """Returns whether a source can be read only once: standard input, a named pipe, a device."""
    try:
        path = Path(source)
        return source == STDIN or (path.exists() and not path.is_file() and not path.is_dir())
    except (OSError, ValueError):
        return False


def standard_input() -> io.RawIOBase:
    """Returns standard input as bytes, without a buffer: none must be waited for.

    Raises:
        CorpusError: It is closed.
    """
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: name a file or pipe a text in")
    buffer: Any = sys.stdin.buffer
    raw: io.RawIOBase = getattr(buffer, "raw", buffer)
    return raw


def standard_input_blocks() -> Generator[bytes, None, None]:
    """Yields what standard input sends, as it comes.

    Raises:
        CorpusError: It is closed, or cannot be read.
    """
    source = standard_input()
    try:
        yield from iter(lambda: next_block(source, READ_BYTES), b"")
    except (OSError, ValueError) as error:
        raise unreadable_stream(STDIN, error) from None


def unreadable_stream(source: str, error: Exception) -> CorpusError:
    """Returns the error of a source that can be read only once, and that the system refuses."""
    return CorpusError(refusal(shown(source), "read", error, "name a file or pipe a text in"))


def shown(source: str) -> str:
    """Returns what to call a source in a message."""
    return "standard input" if source == STDIN else source


def plain_name(source: str) -> str:
    """Returns a source's name without folder and suffixes, as a name for a folder."""
    stem = Path(os.path.realpath(source.removeprefix(HUB_PREFIX))).name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "corpus"


def absolute(source: str) -> str:
    """Returns a source so that it is found from any folder; a name of the Hub stays as it is."""
    if kind_of(source) == "hub":
        return source
    if os.path.exists(source):
        return str(Path(source).absolute())
    return os.path.join(glob.escape(os.getcwd()), source)
