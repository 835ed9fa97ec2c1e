"""Where text comes from: files, folders, compressed files, standard input, `datasets`.

A :class:`Corpus` is a list of sources read in order as pieces of text, each at most about a million
characters, in constant memory, from the start or from a place that was met before. It knows nothing
of ids, batches or models.

Plain text is read as it is: line ends are kept, and files are joined by nothing. Where the unit is
the character, a leading byte-order mark is dropped, and noted. Structured files and the Hub go
through `datasets`, streamed as Arrow tables, and every row ends in the separator (a newline).
Standard input that does not end is read as it comes, and kept (:class:`Spool`).
"""

import codecs
import contextlib
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, EncodingError, _reason
from charrnn.text.plain import READ_BYTES, _byte_blocks
from charrnn.text.rows import _only_text_column, _open_rows
from charrnn.text.sources import (
    COMPRESSED,
    HUB_PREFIX,
    STDIN,
    _hidden,
    _is_binary,
    _of_a_run,
    _shown,
    _structured,
    _unpacked,
)
from charrnn.text.spool import Spool

if TYPE_CHECKING:
    pass

Piece = str | bytes
"""Some consecutive text: characters, or bytes where the unit is the byte."""


class Place(NamedTuple):
    """A place in a corpus where reading can start.

    Attributes:
        chars: characters (or bytes) of the corpus before it.
        file: which file it is in.
        byte: bytes of that file before it.
    """

    chars: int = 0
    file: int = 0
    byte: int = 0


class Corpus:
    """Sources of text, read in order.

    Attributes:
        sources: what the user named, in order.
        files: each source's files (standard input and Hub names stand for themselves).
        skipped: binary files of folders and globs that were left out.
        marked: files that began with a byte-order mark, as far as they were read.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        config: DataConfig | None = None,
        *,
        spool: "Spool | None" = None,
    ) -> None:
        """Finds every file; looks into those of folders and globs, to leave binary ones out.

        Args:
            sources: files, folders, globs, ``-`` for standard input, ``hf:NAME``.
            config: unit, encoding, column and so on.
            spool: keeps one of the files, while more of it comes.

        Raises:
            CorpusError: A source does not exist or holds no text.
        """
        self.config = config or DataConfig()
        self.sources = [str(source) for source in sources]
        if not self.sources:
            raise CorpusError("no source of text: name a file, a folder or - for standard input")
        self.files: list[str] = []
        self.skipped: list[str] = []
        self.marked: list[str] = []
        self._spool = spool
        for source in self.sources:
            self.files.extend(self._find(source))

    @property
    def name(self) -> str:
        """What to call the corpus in a message."""
        return _shown(self.sources[0]) if len(self.sources) == 1 else f"{len(self.files)} files"

    def size_bytes(self) -> int | None:
        """Returns the size of its text where the file system tells it: all is plain files."""
        try:
            paths = [Path(file) for file in self.files]
            if all(path.is_file() and not _unpacked(path) for path in paths):
                return sum(path.stat().st_size for path in paths)
        except (OSError, ValueError):
            pass  # reading it names the reason
        return None

    def _find(self, source: str) -> list[str]:
        if source == STDIN or source.startswith(HUB_PREFIX):
            return [source]
        path = Path(source)
        try:
            if source and path.is_dir():
                inside = (p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
                found = sorted(p for p in inside if not _of_a_run(p))
            elif source and path.exists():
                return [source]
            elif glob.has_magic(source):
                matches = map(Path, glob.glob(source, recursive=True))
                found = sorted(p for p in matches if p.is_file() and not _of_a_run(p))
            else:
                shown = source or "an empty name"
                raise CorpusError(f"{shown}: no such file or folder: check the path")
        except (OSError, ValueError) as error:
            raise CorpusError(f"{source}: {_reason(error)}: check the path") from None
        # an encoding that is not made of ASCII bytes has zero bytes in its text
        ascii_based = "a".encode(self.config.encoding) == b"a"
        binary = {p for p in found if ascii_based and _is_binary(p)}
        self.skipped += [str(p) for p in found if p in binary]
        texts = [str(p) for p in found if p not in binary]
        if not texts:
            raise CorpusError(f"{source}: no text files in it: name a file or another folder")
        return texts

    def close(self) -> None:
        """Ends the keeping of what still comes."""
        if self._spool is not None:
            self._spool.close()

    def stamps(self) -> list[list[int]] | None:
        """Returns each file's size and time of change; None where one is no local file."""
        try:
            found = [Path(file).stat() for file in self.files if not file.startswith(HUB_PREFIX)]
        except (OSError, ValueError):
            return None  # reading it names the reason
        stamps = [[status.st_size, status.st_mtime_ns] for status in found]
        return stamps if len(stamps) == len(self.files) else None

    def pieces(self, start: Place = Place()) -> Iterator[Piece]:  # noqa: B008
        """Yields the text from a place on, in pieces that are never empty.

        Raises:
            EncodingError: Bytes are not valid in the encoding.
            CorpusError: A source cannot be read.
        """
        return (piece for piece, _ in self.pieces_and_places(start))

    def pieces_and_places(
        self,
        start: Place = Place(),  # noqa: B008
    ) -> Iterator[tuple[Piece, Place | None]]:
        """Yields pieces and, where reading can start behind one, that place."""
        chars = start.chars
        for number, file in enumerate(self.files[start.file :], start=start.file):
            for piece, after in self._read(file, start.byte if number == start.file else 0):
                chars += len(piece)
                if piece:
                    yield piece, None if after is None else Place(chars, number, after)

    def _read(self, file: str, start: int) -> Iterator[tuple[Piece, int | None]]:
        """Yields a file's pieces from a byte on, and the bytes of the file before the next one."""
        if file.startswith(HUB_PREFIX) or _structured(file):
            rows = self._read_rows(file)
            if self.config.unit == "char":
                yield from ((piece, None) for piece in codecs.iterdecode(rows, "utf-8"))
            else:
                yield from ((piece, None) for piece in rows)
            return
        spool = self._spool
        whole = Path(file).suffix.lower() in COMPRESSED or file == STDIN
        blocks = _byte_blocks(file, start) if spool is None else spool.blocks(start)
        if self.config.unit == "byte":
            for block in blocks:
                start += len(block)
                yield block, None if whole else start
            return
        for text, after in self._decode(file, blocks, start):
            yield text, None if whole else after

    def _decode(
        self, file: str, blocks: Iterator[bytes], start: int
    ) -> Iterator[tuple[str, int | None]]:
        """Decodes blocks of bytes; a character may straddle two of them."""
        config = self.config
        decoder = codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
        offset = start  # bytes of the file before this block
        block = b""
        at_start = start == 0
        # a byte order that is read at the start must be read again
        ordered = "aa".encode(config.encoding) != 2 * "a".encode(config.encoding)
        while True:
            last = (block := next(blocks, b"")) == b""
            pending = decoder.getstate()[0]
            bad_at: int | None = None  # bytes from the start of what is pending
            try:
                text = decoder.decode(block, final=last)
            except UnicodeError as error:
                bad_at, text = getattr(error, "start", 0), ""
                with contextlib.suppress(UnicodeError):
                    # what stands before it is text still
                    text = decoder.decode(block[: max(bad_at - len(pending), 0)])
            if at_start and text:
                if text.startswith("\ufeff"):
                    text = text[1:]
                    if file not in self.marked:
                        self.marked.append(file)
                at_start = False
            left, memory = decoder.getstate()
            # nor can a decoder begin between two shifts
            yield text, None if memory or ordered else offset + len(block) - len(left)
            if bad_at is not None:
                raise EncodingError(
                    f"{_shown(file)}: not valid {config.encoding} at byte "
                    f"{offset - len(pending) + bad_at}: name its encoding with --encoding "
                    "(latin-1, utf-16 ...), take --encoding-errors replace, or train with "
                    "--unit byte"
                )
            offset += len(block)
            if last:
                return

    def _read_rows(self, file: str) -> Iterator[bytes]:
        import pyarrow as pa
        import pyarrow.compute as pc

        config = self.config
        ends = [pa.scalar(text, pa.large_string()) for text in (config.separator, "")]
        try:
            column = config.column or _only_text_column(file, _open_rows(file, config.split))
            for table in _open_rows(file, config.split, column).iter(batch_size=4096):
                if column not in table.column_names:
                    names = table.column_names
                    raise CorpusError(f"{file}: no column {column!r}: choose --column from {names}")
                rows = pc.fill_null(table.column(column).cast(pa.large_string()), "")
                # every row ends in the separator
                ended = pc.binary_join_element_wise(rows, *ends)
                for chunk in ended.chunks:
                    # the rows of a chunk stand end to end in its last buffer
                    offsets = chunk.buffers()[1]
                    first, end = (
                        int.from_bytes(offsets[8 * i : 8 * i + 8].to_pybytes(), sys.byteorder)
                        for i in (chunk.offset, chunk.offset + len(chunk))
                    )
                    data = memoryview(chunk.buffers()[2])[first:end]
                    for at in range(0, end - first, READ_BYTES):
                        yield bytes(data[at : at + READ_BYTES])
        except CorpusError:
            raise
        except Exception as error:
            # datasets lets through the errors of every format's own reader
            raise CorpusError(f"{file}: cannot be read: {_reason(error)}: mend the file") from None
