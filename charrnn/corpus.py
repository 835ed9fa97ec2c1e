"""Where text comes from: files, folders, compressed files, standard input, `datasets`.

A :class:`Corpus` is a list of sources read in order as pieces of text, each at most about a million
characters, in constant memory. Its first pass counts the text and collects its vocabulary; it knows
nothing of ids, batches or models.

Plain text is read as it is: line ends are kept, and files are joined by nothing. Where the unit is
the character, a leading byte-order mark is dropped. Structured files and the Hub go through
`datasets`, streamed as Arrow tables, and every row ends in a newline.
"""

import bz2
import codecs
import contextlib
import functools
import glob
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charrnn.config import MODEL_FILE, DataConfig, check_corpus_size
from charrnn.errors import CorpusError, EncodingError
from charrnn.vocabulary import CharacterSet, Vocabulary

if TYPE_CHECKING:
    from datasets import IterableDataset

Piece = str | bytes
"""Some consecutive text: characters, or bytes where the unit is the byte."""

STDIN = "-"
HUB_PREFIX = "hf:"
READ_BYTES = 2**20
STRUCTURED = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def _open_zstd(path: Path) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _open_zstd,
}


@dataclass(frozen=True)
class Survey:
    """What the first pass over a corpus found.

    Attributes:
        chars: characters of the corpus (bytes where the unit is the byte).
        vocabulary: its symbols.
        sha256: hash of the whole text, as UTF-8; tells whether a corpus changed.
        text: the pieces themselves where the corpus fits in one block, else None.
    """

    chars: int
    vocabulary: Vocabulary
    sha256: str
    text: tuple[Piece, ...] | None


class Corpus:
    """Sources of text, read in order.

    Attributes:
        sources: what the user named, in order.
        files: each source's files (standard input and Hub names stand for themselves).
        skipped: binary files of folders and globs that were left out.
    """

    def __init__(self, sources: Sequence[str | Path], config: DataConfig | None = None) -> None:
        """Finds every file; looks into those of folders and globs, to leave binary ones out.

        Args:
            sources: files, folders, globs, ``-`` for standard input, ``hf:NAME``.
            config: unit, encoding and column.

        Raises:
            CorpusError: A source does not exist or holds no text.
        """
        self.config = config or DataConfig()
        self.sources = [str(source) for source in sources]
        if not self.sources:
            raise CorpusError("no source of text: name a file, a folder or - for standard input")
        self.files: list[str] = []
        self.skipped: list[str] = []
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

    def pieces(self) -> Iterator[Piece]:
        """Yields the text from its start, in pieces that are never empty.

        Raises:
            EncodingError: Bytes are not valid in the encoding.
            CorpusError: A source cannot be read.
        """
        for file in self.files:
            yield from (piece for piece in self._read(file) if piece)

    def survey(self) -> Survey:
        """Reads the whole corpus once: counts it, hashes it and collects its vocabulary.

        Raises:
            CorpusError: It is empty, too small, or has only one distinct character.
        """
        chars, digest, characters = 0, hashlib.sha256(), CharacterSet()
        kept: list[Piece] | None = []
        first: Any = None
        uniform = True  # so far all symbols are the first one
        for piece in self.pieces():
            chars += len(piece)
            first = first or piece[:1]
            uniform = uniform and not piece.strip(first)
            if isinstance(piece, str):
                characters.add(piece)
            digest.update(piece.encode("utf-8", "replace") if isinstance(piece, str) else piece)
            if kept is not None:
                kept.append(piece)
                if chars > self.config.block_chars:
                    kept = None
        if chars == 0:
            raise CorpusError(f"{self.name}: it is empty: name a source that holds text")
        check_corpus_size(self.name, chars)
        if uniform:
            raise CorpusError(
                f"{self.name}: its {chars} characters are all {first!r}: "
                "there is nothing to learn; use a text of at least two distinct characters"
            )
        byte = self.config.unit == "byte"
        vocabulary = Vocabulary.of_bytes() if byte else characters.vocabulary()
        return Survey(chars, vocabulary, digest.hexdigest(), None if kept is None else tuple(kept))

    def _read(self, file: str) -> Iterator[Piece]:
        if file.startswith(HUB_PREFIX) or _structured(file):
            return self._read_rows(file)
        return self._read_plain(file)

    def _read_plain(self, file: str) -> Iterator[Piece]:
        blocks = _byte_blocks(file)
        return blocks if self.config.unit == "byte" else _decode(file, blocks, self.config)

    def _read_rows(self, file: str) -> Iterator[Piece]:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            column = self.config.column or _only_text_column(file, _open_rows(file))
            for table in _open_rows(file, column).iter(batch_size=4096):
                if column not in table.column_names:
                    names = table.column_names
                    raise CorpusError(f"{file}: no column {column!r}: choose --column from {names}")
                rows = pc.fill_null(table.column(column).cast(pa.large_string()), "").to_pylist()
                text = "\n".join([*rows, ""])  # every row ends in a newline
                for start in range(0, len(text), READ_BYTES):
                    piece = text[start : start + READ_BYTES]
                    yield piece.encode() if self.config.unit == "byte" else piece
        except CorpusError:
            raise
        except Exception as error:
            # datasets lets through the errors of every format's own reader
            raise CorpusError(f"{file}: cannot be read: {_reason(error)}: mend the file") from None


def is_stream(source: str) -> bool:
    """Tells whether a source can be read only once: standard input, a named pipe, a device."""
    try:
        path = Path(source)
        return source == STDIN or (path.exists() and not path.is_file() and not path.is_dir())
    except (OSError, ValueError):
        return False


def keep_stream(source: str, path: Path) -> None:
    """Copies what can be read only once to a file, whole.

    Raises:
        CorpusError: It cannot be read or written.
    """
    try:
        with (
            path.open("wb") as kept,
            _stdin() if source == STDIN else Path(source).open("rb") as given,
        ):
            shutil.copyfileobj(given, kept)
            kept.flush()
            os.fsync(kept.fileno())
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot keep {_shown(source)}: {error.strerror}: choose another --runs"
        ) from None


def run_name(sources: Sequence[str]) -> str:
    """Returns a run's name for its sources: the first one's, without folder and suffixes."""
    first = sources[0]
    if is_stream(first):
        return "stdin"
    stem = Path(first.removeprefix(HUB_PREFIX)).resolve().name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "corpus"


def _byte_blocks(file: str) -> Iterator[bytes]:
    opener = COMPRESSED.get(Path(file).suffix.lower())
    try:
        if file == STDIN:
            # read1 returns what has come; read would wait for a whole block
            yield from iter(functools.partial(_stdin().read1, READ_BYTES), b"")
            return
        with opener(Path(file)) if opener else Path(file).open("rb") as stream:
            yield from iter(functools.partial(stream.read, READ_BYTES), b"")
    except _DAMAGED as error:
        raise CorpusError(f"{file}: damaged or cut short ({error}): get a whole copy") from None
    except (OSError, ValueError) as error:
        # a system error has a number; the others come from decompressors
        if opener and getattr(error, "errno", None) is None:
            raise CorpusError(f"{file}: damaged or cut short ({error}): get a whole copy") from None
        raise CorpusError(f"{_shown(file)}: cannot be read: {_reason(error)}") from None


def _stdin() -> "io.BufferedReader":
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: name a file or pipe a text in")
    return cast("io.BufferedReader", sys.stdin.buffer)


def _decode(file: str, blocks: Iterator[bytes], config: DataConfig) -> Iterator[str]:
    """Decodes blocks of bytes; a character may straddle two of them."""
    decoder = codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
    offset, first = 0, True  # bytes of the file before this block
    block = b""
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
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield text
        if bad_at is not None:
            raise EncodingError(
                f"{_shown(file)}: not valid {config.encoding} at byte "
                f"{offset - len(pending) + bad_at}: name its encoding with --encoding (latin-1, "
                "utf-16 ...), take --encoding-errors replace, or train with --unit byte"
            )
        offset += len(block)
        if last:
            return


def _structured(file: str) -> str | None:
    """Returns the format of a structured file, also of a compressed one; None for plain text."""
    suffixes = [suffix.lower() for suffix in Path(file).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return STRUCTURED.get(suffixes[-1]) if suffixes else None


def _open_rows(file: str, column: str | None = None) -> "IterableDataset":
    """Opens rows as a stream of Arrow tables; a known column is read as text, whatever it holds."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are ours to print
    try:
        if file.startswith(HUB_PREFIX):
            name, _, config = file.removeprefix(HUB_PREFIX).partition(":")
            rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
        else:
            options: dict[str, Any] = {}
            if _structured(file) == "csv":
                options = {"keep_default_na": False}
                options |= {"delimiter": "\t"} if ".tsv" in file.lower() else {}
                options |= {"converters": {column: str}} if column else {}
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


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__
