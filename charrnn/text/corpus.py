"""Sources of text, read in order as pieces in constant memory; knows nothing of ids or batches.

Text arrives as it stands in its sources, or there is an error that names the place. What is left
out or changed is noted and counted: a leading byte-order mark, Windows line ends, rows without
text. Between two files a newline is put if the first lacks it at its end. Bytes stay bytes.
"""

import contextlib
import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, DamagedError, EncodingError
from charrnn.text.chunks import first_of
from charrnn.text.compressed import byte_blocks
from charrnn.text.csv_rows import csv_table
from charrnn.text.formats import Kind, compression, kind_of
from charrnn.text.json_rows import is_array, json_array, json_lines
from charrnn.text.notes import Notes
from charrnn.text.plain import (
    ESCAPED,
    INVALID,
    KEEP_NEWLINES,
    NAME_ENCODING,
    WINDOWS,
    decode,
    with_newlines,
)
from charrnn.text.recognize import HEAD_BYTES, is_ascii_based, recognize, wide_encoding
from charrnn.text.rows import text_of
from charrnn.text.sources import (
    STDIN,
    find_files,
    joined_name,
    shown,
    standard_input_blocks,
)
from charrnn.text.spool import Spool
from charrnn.text.vocabulary import Piece

REPLACE = "take --encoding-errors replace"
AS_BYTES = "or train with --unit byte"


class File(NamedTuple):
    """One file of a corpus."""

    path: str  # what is read
    name: str  # what to call it in a message: what the user typed, if this is a copy
    spool: Spool | None = None  # keeps the copy


class Corpus:
    """Sources of text, read in order."""

    def __init__(
        self,
        sources: Sequence[str | Path],
        config: DataConfig | None = None,
        copies: Mapping[int, Spool] | None = None,
        advice: str = "",
        typed: Sequence[str] = (),
    ) -> None:
        """Finds every file.

        Args:
            sources: what the user typed.
            config: how to read them.
            copies: what keeps sources that can be read only once, by their number.
            advice: what helps against invalid bytes, besides naming the encoding; by default what
                helps a training.
            typed: all that the user typed, if this is not all.

        Raises:
            CorpusError: A source does not exist or holds no text.
        """
        self.config = config or DataConfig()
        self.sources = [str(source) for source in sources]
        if not self.sources:
            raise CorpusError("no source of text: name a file, a folder or - for standard input")
        self.files: list[File] = []
        self._advice, self._typed = advice, typed or self.sources
        self._skipped = Notes()  # when the files were found
        self._notes = Notes()  # when they were read last
        self._has_rows = False  # whether the file that is being read is a table
        copies = copies or {}
        copied = {Path(copy.path).parent.resolve() for copy in copies.values()}
        for i, source in enumerate(self.sources):
            if i in copies:
                self.files.append(File(str(copies[i].path), shown(source), copies[i]))
                continue
            paths = self._find(source)
            if paths != [source]:  # the run that keeps the copies may lie in the folder
                paths = [path for path in paths if Path(path).parent.resolve() not in copied]
            self.files += [File(path, shown(path)) for path in paths]

    def _find(self, source: str) -> list[str]:
        try:
            return find_files(source, self.config, self._skipped)
        except CorpusError:
            if (name := joined_name(self._typed, source)) is not None:
                raise CorpusError(f"{source}: no such file: put quotes around {name!r}") from None
            raise

    @property
    def name(self) -> str:
        """What to call the corpus in a message."""
        return shown(self.sources[0]) if len(self.sources) == 1 else f"{len(self.files)} files"

    @property
    def notes(self) -> list[str]:
        """What was skipped, left out or changed, a line each, as far as the text was read."""
        return self._skipped.lines() + self._notes.lines()

    def parts(self) -> list["Corpus"]:
        """Returns a corpus of each file; the first one has the notes of how they were found."""
        parts = [copy.copy(self) for _ in self.files]
        for i, (part, file) in enumerate(zip(parts, self.files, strict=True)):
            part.files, part.sources = [file], [file.path]
            part._skipped = self._skipped if i == 0 else Notes()
        return parts

    def size_bytes(self) -> int | None:
        """Returns the size of the text if the file system knows it: all files are plain text."""
        try:
            paths = [Path(file.path) for file in self.files]
            if all(path.is_file() and self._is_plain(str(path)) for path in paths):
                return sum(path.stat().st_size for path in paths)
        except (OSError, ValueError):
            pass  # reading it names the reason
        return None

    def _is_plain(self, path: str) -> bool:
        return kind_of(path, self.config.format) == "text" and not compression(path)

    def pieces(self) -> Iterator[Piece]:
        """Yields the text in pieces, never empty and of about a million characters at most.

        Raises:
            EncodingError: Bytes are not valid in the encoding.
            CorpusError: A source cannot be read.
        """
        self._notes = Notes()
        if self.config.unit == "char":
            yield from self._characters()
            return
        for file in self.files:
            for piece in self._undamaged(file):
                yield piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else piece

    def _characters(self) -> Iterator[str]:
        open_ended: File | None = None  # the file before, if no newline ends it
        for file in self.files:
            last = ""
            for piece in cast("Iterator[str]", self._undamaged(file)):
                if open_ended is not None:
                    what = "newlines put after files that lack one at their end"
                    self._notes.add(what, 1, open_ended.name)
                    yield "\n"
                    open_ended = None
                yield (last := piece)
            if last and not last.endswith("\n") and not self._has_rows:
                open_ended = file

    def _undamaged(self, file: File) -> Iterator[Piece]:
        """Yields a file's text; if the settings say so, only up to its damage."""
        try:
            yield from filter(None, self._read(file))
        except DamagedError:
            if not self.config.skip_damaged:
                raise
            self._notes.add("damaged files, left out from their damage on", 1, file.name)

    def _read(self, file: File) -> Iterator[Piece]:
        self._has_rows = self._kind(file) in ("parquet", "arrow", "hub")
        if self._has_rows:
            from charrnn.text.arrow_rows import arrow_table  # at need: it takes a while to load

            with arrow_table(file.path, self.config, self._notes) as table:
                yield from text_of(table, self.config, file.name, self._notes)
            return
        with contextlib.closing(self._blocks(file)) as blocks:
            yield from self._read_blocks(blocks, file)

    def _read_blocks(self, blocks: Iterator[bytes], file: File) -> Iterator[Piece]:
        kind, name, notes = self._kind(file), file.name, self._notes
        # JSON shows in its first characters whether it is an array of rows
        count, size = (16, _size_but_white_space) if kind == "json" else (1, len)
        start, blocks = first_of(blocks, count, size)
        head = b"".join(start)
        if kind == "json" and not self._is_array(head):
            if self.config.format == "json" or (self.config.column and len(self.files) == 1):
                raise CorpusError(
                    f"{name}: no array of objects: if its lines are objects, take --format jsonl; "
                    "to read it as plain text, --format text"
                )
            what = "JSON files that are no array of objects, read as plain text"
            notes.add(what, 1, name, "--format jsonl reads lines of objects")
            kind = "text"
        self._has_rows = kind != "text"
        if kind == "text" and self.config.unit == "byte":
            yield from blocks
            return
        self._refuse(head, name)
        pieces = self._decoded(blocks, name)
        if kind == "text":
            if self.config.newlines == "lf":
                pieces = with_newlines(pieces, notes.counting(WINDOWS, name, KEEP_NEWLINES))
            yield from pieces
            return
        if kind in ("csv", "tsv"):
            table = csv_table(pieces, self.config, name, notes, tabs=kind == "tsv")
        else:
            table = (json_lines if kind == "jsonl" else json_array)(pieces, name)
        yield from text_of(table, self.config, name, notes)

    def _is_array(self, start: bytes) -> bool:
        try:
            return is_array(start.decode(self.config.encoding, "ignore"))
        except UnicodeError:  # of an encoding that cannot ignore errors
            return False

    def _kind(self, file: File) -> Kind:
        return kind_of(file.path, self.config.format)

    def _blocks(self, file: File) -> Generator[bytes, None, None]:
        if file.spool is not None:
            return file.spool.blocks()
        return standard_input_blocks() if file.path == STDIN else byte_blocks(file.path, file.name)

    def _refuse(self, head: bytes, name: str) -> None:
        """Raises an error if a file's first bytes are no text, or not in the encoding."""
        if (thing := recognize(head[:HEAD_BYTES])) is not None:
            misread = thing.is_table and self.config.format is not None
            remedy = "leave --format out" if misread else thing.remedy
            raise CorpusError(f"{name}: no text, but {thing.name}: {remedy}")
        encoding = wide_encoding(head) if is_ascii_based(self.config.encoding) else None
        if encoding is not None:
            raise EncodingError(
                f"{name}: not {self.config.encoding}, but {encoding}: take --encoding {encoding}"
            )

    def _decoded(self, blocks: Iterator[bytes], name: str) -> Iterator[str]:
        advice = self._advice or (REPLACE if self._has_rows else f"{REPLACE}, {AS_BYTES}")
        if len(self.files) > 1:
            advice += ", or go on without the rest of the file with --skip-damaged"
        kept = self.config.encoding_errors == "surrogateescape"
        what = (ESCAPED, name, NAME_ENCODING) if kept else (INVALID, name)
        count = self._notes.counting(*what)
        pieces = filter(None, decode(blocks, self.config, name, count, advice))
        first = next(pieces, "")
        if first.startswith("\ufeff"):
            self._notes.add("byte-order marks left out", 1, name)
        yield first.removeprefix("\ufeff")
        yield from pieces

    def close(self) -> None:
        """Closes the sources that may still send text."""
        for file in self.files:
            if file.spool is not None:
                file.spool.close()


def _size_but_white_space(block: bytes) -> int:
    """Returns how many bytes of a block are none at its ends; of much white space, a few count."""
    return len(block.strip()) + len(block) // 2**16
