"""One file of plain text, compressed or not: its bytes, and its characters."""

import codecs
import contextlib
import functools
import gzip
import itertools
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, EncodingError, reason
from charrnn.text.sources import COMPRESSED, STDIN, standard_input

READ_BYTES = 2**20  # at once, at most
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def byte_blocks(file: str, name: str) -> Iterator[bytes]:
    """Yields a file's bytes, decompressed, in blocks that are never empty.

    Raises:
        CorpusError: It cannot be read, or is damaged.
    """
    opener = COMPRESSED.get(Path(file).suffix.lower())
    try:
        if file == STDIN:
            # read1 returns what has come; read would wait for a whole block
            yield from iter(functools.partial(standard_input().read1, READ_BYTES), b"")
            return
        with opener(file) if opener else Path(file).open("rb") as stream:
            yield from iter(functools.partial(stream.read, READ_BYTES), b"")
    except (OSError, ValueError, *_DAMAGED) as error:
        # an error of the system has a number; the others come from decompressors
        if isinstance(error, _DAMAGED) or (opener and getattr(error, "errno", None) is None):
            raise CorpusError(f"{name}: damaged or cut short ({error}): get a whole copy") from None
        raise CorpusError(f"{name}: cannot be read: {reason(error)}") from None


def decode(blocks: Iterator[bytes], config: DataConfig, name: str) -> Iterator[str]:
    """Yields the text of one file's bytes; a character may straddle two blocks.

    Raises:
        EncodingError: Bytes are not valid in the encoding; all text before them was yielded.
    """
    decoder = codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
    offset = 0  # bytes of the file before this block
    for block in itertools.chain(blocks, [b""]):  # the empty one is the end
        pending = len(decoder.getstate()[0])  # bytes of a character that the last block began
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            invalid = getattr(error, "start", 0)  # counted from the pending bytes on
            text = ""
            with contextlib.suppress(UnicodeError):
                text = decoder.decode(block[: max(invalid - pending, 0)])
            yield text
            raise EncodingError(
                f"{name}: not valid {config.encoding} at byte {offset - pending + invalid}: "
                "name its encoding with --encoding (latin-1, utf-16 ...), "
                "take --encoding-errors replace, or train with --unit byte"
            ) from None
        yield text
        offset += len(block)
