"""Sources of text, read in order as pieces in constant memory; knows nothing of ids or batches.

Plain text is read as it is: line ends are kept, and files are joined by nothing. If the unit is the
character, a leading byte-order mark is dropped, and noted. Rows of tables end in the separator.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text.chunks import Piece
from charrnn.text.plain import byte_blocks, decode
from charrnn.text.rows import read_rows
from charrnn.text.sources import HUB_PREFIX, find_files, is_unpacked, shown, table_ending
from charrnn.text.spool import Spool


class File(NamedTuple):
    """One file of a corpus."""

    path: str  # what is read
    name: str  # what to call it in a message: what the user typed, if this is a copy
    spool: Spool | None = None  # keeps the copy


class Corpus:
    """Sources of text, read in order.

    Attributes:
        skipped: binary files of folders and globs that were left out.
        marked: files that began with a byte-order mark, as far as they were read.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        config: DataConfig | None = None,
        copies: Mapping[int, Spool] | None = None,
    ) -> None:
        """Finds every file; ``copies`` keep sources that can be read only once, by their number.

        Raises:
            CorpusError: A source does not exist or holds no text.
        """
        self.config = config or DataConfig()
        self.sources = [str(source) for source in sources]
        if not self.sources:
            raise CorpusError("no source of text: name a file, a folder or - for standard input")
        self.files: list[File] = []
        self.skipped: list[str] = []
        self.marked: list[str] = []
        # an encoding that is not made of ASCII bytes has zero bytes in its text
        ascii_based = "a".encode(self.config.encoding) == b"a"
        for i, source in enumerate(self.sources):
            if copies and i in copies:
                self.files.append(File(str(copies[i].path), shown(source), copies[i]))
                continue
            paths, skipped = find_files(source, ascii_based=ascii_based)
            self.files += [File(path, shown(path)) for path in paths]
            self.skipped += skipped

    @property
    def name(self) -> str:
        """What to call the corpus in a message."""
        return shown(self.sources[0]) if len(self.sources) == 1 else f"{len(self.files)} files"

    def size_bytes(self) -> int | None:
        """Returns the size of the text if the file system knows it: all files are plain text."""
        try:
            paths = [Path(file.path) for file in self.files]
            if all(path.is_file() and not is_unpacked(path) for path in paths):
                return sum(path.stat().st_size for path in paths)
        except (OSError, ValueError):
            pass  # reading it names the reason
        return None

    def pieces(self) -> Iterator[Piece]:
        """Yields the text in pieces that are never empty, each at most about a million characters.

        Raises:
            EncodingError: Bytes are not valid in the encoding.
            CorpusError: A source cannot be read.
        """
        for file in self.files:
            yield from filter(None, self._read(file))

    def _read(self, file: File) -> Iterator[Piece]:
        as_bytes = self.config.unit == "byte"
        if file.spool is None and (table_ending(file.path) or file.path.startswith(HUB_PREFIX)):
            rows = read_rows(file.path, self.config)
            yield from (row.encode() for row in rows) if as_bytes else rows
            return
        blocks = file.spool.blocks() if file.spool else byte_blocks(file.path, file.name)
        if as_bytes:
            yield from blocks
            return
        at_start = True
        for text in decode(blocks, self.config, file.name):
            if at_start and text.startswith("\ufeff"):
                if file.name not in self.marked:
                    self.marked.append(file.name)
                yield text[1:]
            else:
                yield text
            at_start = at_start and not text

    def close(self) -> None:
        """Closes the sources that may still send text."""
        for file in self.files:
            if file.spool is not None:
                file.spool.close()
