"""Standard input, a named pipe or a device: read as it comes, and kept in a file."""

import contextlib
import io
import math
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError, reason
from charrnn.text.compressed import READ_BYTES, byte_blocks
from charrnn.text.sources import STDIN, shown, standard_input


class Spool:
    """A source that can be read only once, and the file that keeps what was read of it.

    Attributes:
        path: the file.
        ended: whether no more will come.
    """

    def __init__(self, source: str, path: Path) -> None:
        """Opens both.

        Raises:
            CorpusError: One cannot be opened.
        """
        self._source, self.path = source, path
        self.ended = False
        self._input: Any = None
        self._copy: io.FileIO | None = None
        with self._named_errors():
            self._input = standard_input() if source == STDIN else open(source, "rb", 0)  # noqa: SIM115
            self._copy = io.FileIO(path, "wb")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise CorpusError(
                f"{self.path}: cannot keep {shown(self._source)}: {reason(error)}: "
                "choose another --runs"
            ) from None

    def fill(self, limit: float = math.inf) -> None:
        """Reads up to ``limit`` bytes, or to the end.

        Raises:
            CorpusError: It cannot be read, or not be kept.
        """
        size = 0
        while size < limit and (block := self._next()):
            size += len(block)

    def _next(self) -> bytes:
        """Returns what has come, and keeps it; nothing at the end."""
        with self._named_errors():
            # read1 returns what has come; read would wait for a whole block
            source = self._input
            block: bytes = (source.read1 if hasattr(source, "read1") else source.read)(READ_BYTES)
            assert self._copy is not None
            unwritten = memoryview(block)
            while unwritten:
                unwritten = unwritten[self._copy.write(unwritten) :]
            if not block:
                os.fsync(self._copy.fileno())
                self.close()
        return block

    def blocks(self) -> Generator[bytes, None, None]:
        """Yields what was kept, then what comes, in blocks that are never empty."""
        yield from byte_blocks(str(self.path), shown(self._source))
        while not self.ended and (block := self._next()):
            yield block

    def close(self) -> None:
        """Stops reading and keeping; may be called again."""
        self.ended = True
        if self._copy is not None:
            self._copy.close()
        if self._input is not None and self._source != STDIN:
            self._input.close()
