"""A pipe, kept while it is read."""

import contextlib
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CorpusError, _reason
from charrnn.text.plain import READ_BYTES, _byte_blocks
from charrnn.text.sources import STDIN, _shown, _stdin

if TYPE_CHECKING:
    pass


class Spool:
    """Standard input, a named pipe or a device: read as it comes, and kept in a file."""

    def __init__(self, source: str, path: Path) -> None:
        """Opens both.

        Args:
            source: what can be read only once.
            path: the file that keeps it.

        Raises:
            CorpusError: One cannot be opened.
        """
        self._source, self._shown, self.path = source, _shown(source), path
        self.ended = False
        self._given: Any = None
        self._kept: io.FileIO | None = None
        with self._naming():
            self._given = _stdin() if source == STDIN else open(source, "rb", 0)  # noqa: SIM115
            self._kept = io.FileIO(path, "wb")

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise CorpusError(
                f"{self.path}: cannot keep {self._shown}: {_reason(error)}: choose another --runs"
            ) from None

    def fill(self, limit: float = math.inf) -> None:
        """Reads up to so many bytes, or to the end."""
        size = 0
        while size < limit and (block := self._next()):
            size += len(block)

    def _next(self) -> bytes:
        """Returns what has come, and keeps it; nothing at the end."""
        with self._naming():
            given = self._given
            # read1 returns what has come; read would wait for a whole block
            block: bytes = (given.read1 if hasattr(given, "read1") else given.read)(READ_BYTES)
            assert self._kept is not None
            left = memoryview(block)
            while left:
                left = left[self._kept.write(left) :]
            if not block:
                self.ended = True
                os.fsync(self._kept.fileno())
                self.close()
        return block

    def close(self) -> None:
        """Ends the reading and the keeping; may be called again."""
        self.ended = True
        if self._kept is not None:
            self._kept.close()
        if self._given is not None and self._source != STDIN:
            self._given.close()

    def blocks(self, start: int) -> Iterator[bytes]:
        """Yields what was kept, from a byte on, then what comes."""
        for block in _byte_blocks(str(self.path), start):
            start += len(block)
            yield block
        while not self.ended and (block := self._next()):
            yield block
