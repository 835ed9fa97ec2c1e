"""One file's bytes, decompressed if its name says so."""

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from charrnn.errors import CorpusError, DamagedError, reason, refusal
from charrnn.likely import did_you_mean, likely_paths
from charrnn.system import wait_until_readable
from charrnn.text.formats import compression

READ_BYTES = 2**20  # at once, at most


class Decompressor(Protocol):
    """What reads one compressed stream: those of the standard library, and :class:`_Gzip`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to return without more data."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Takes more data, and returns at most ``max_length`` bytes."""


class _Gzip:
    """zlib's object with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)  # a gzip header, and its checksum
        self._filled = False  # the last result was as long as it might be: there may be more

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._filled and not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._filled = len(block) == max_length
        return block


def _zstd() -> Decompressor:
    zstd = _zstd_library()
    # frames of `zstd --long` need more memory than is allowed by default
    largest = zstd.DecompressionParameter.window_log_max.bounds()[1]
    decompressor: Decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: largest}
    )
    return decompressor


def _zstd_library() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


_DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    ".gz": _Gzip,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": _zstd,
}


def byte_blocks(file: str, name: str, size: int | None = None) -> Generator[bytes, None, None]:
    """Yields a file's bytes, decompressed, in blocks that are never empty.

    Args:
        file: its path.
        name: what to call it in a message.
        size: bytes to read at once, at most; :data:`READ_BYTES` by default.

    Raises:
        DamagedError: It cannot be read, or is damaged; all before the damage was yielded.
    """
    ending, size = compression(file), size or READ_BYTES
    try:
        with open(file, "rb", 0) as stream:
            if ending:
                yield from _decompressed(stream, ending, size)
            else:
                yield from iter(lambda: next_block(stream, size), b"")
    except MemoryError:
        raise
    except Exception as error:  # each library has its own
        # an error of the system has a number; the others come from decompressors
        if ending and getattr(error, "errno", None) is None:
            raise DamagedError(
                f"{name}: damaged or cut short ({reason(error)}): get a whole copy, or go on "
                "without the rest of it with --skip-damaged"
            ) from None
        raise unreadable(name, error) from None


def next_block(stream: io.RawIOBase, size: int) -> bytes:
    """Returns what has come through a pipe or stands next in a file; nothing at the end only.

    Waits for it, also if the stream is non-blocking: whoever shares a pipe with this program may
    have made it so.
    """
    while (block := stream.read(size)) is None:
        wait_until_readable(stream)
    return block


def plain_blocks(file: str) -> Iterator[bytes]:
    """Yields a file's bytes as they stand.

    Raises:
        CorpusError: It cannot be read.
    """
    try:
        with open(file, "rb", 0) as stream:
            yield from iter(lambda: next_block(stream, READ_BYTES), b"")
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        remedy = did_you_mean(likely_paths(file) if missing else [], "check the path")
        raise CorpusError(refusal(file, "read", error, remedy)) from None


def unreadable(name: str, error: Exception) -> DamagedError:
    """Returns the error of a file or folder that the system cannot read."""
    skipped = ", or leave it out with --skip-damaged" if isinstance(error, PermissionError) else ""
    return DamagedError(refusal(name, "read", error, "check the path and the disk") + skipped)


def _decompressed(stream: io.RawIOBase, ending: str, size: int) -> Iterator[bytes]:
    """Yields what the compressed streams of a file hold, one after the other.

    Zero bytes after a stream are padding. ``size``: bytes to read and to yield at once, at most.

    Raises:
        EOFError: A stream does not end.
        OSError, zlib.error, lzma.LZMAError, zstd.ZstdError: It is damaged.
    """
    data = next_block(stream, size)  # that no decompressor has taken yet
    while True:
        decompressor = _DECOMPRESSORS[ending]()
        while not decompressor.eof:
            if decompressor.needs_input and not (data := data or next_block(stream, size)):
                raise EOFError("it ends too early")
            if block := decompressor.decompress(data, size):
                yield block
            data = b""
        data = decompressor.unused_data
        while not (data := data.lstrip(b"\0")):
            if not (data := next_block(stream, size)):
                return


def decompress_start(head: bytes, ending: str) -> bytes:
    """Returns what the first bytes of compressed data hold; nothing if they are damaged."""
    try:
        return _DECOMPRESSORS[ending]().decompress(head, READ_BYTES)
    except Exception:  # of any library
        return b""
