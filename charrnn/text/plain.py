"""One file's bytes to characters."""

import functools
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import CorpusError, _reason
from charrnn.text.sources import COMPRESSED, STDIN, _shown, _stdin

if TYPE_CHECKING:
    pass
READ_BYTES = 2**20
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def _byte_blocks(file: str, start: int = 0) -> Iterator[bytes]:
    opener = COMPRESSED.get(Path(file).suffix.lower())
    try:
        if file == STDIN:
            # read1 returns what has come; read would wait for a whole block
            yield from iter(functools.partial(_stdin().read1, READ_BYTES), b"")
            return
        with opener(Path(file)) if opener else Path(file).open("rb") as stream:
            stream.seek(start) if start else None
            yield from iter(functools.partial(stream.read, READ_BYTES), b"")
    except _DAMAGED as error:
        raise CorpusError(f"{file}: damaged or cut short ({error}): get a whole copy") from None
    except (OSError, ValueError) as error:
        # a system error has a number; the others come from decompressors
        if opener and getattr(error, "errno", None) is None:
            raise CorpusError(f"{file}: damaged or cut short ({error}): get a whole copy") from None
        raise CorpusError(f"{_shown(file)}: cannot be read: {_reason(error)}") from None
