"""Standard input, a named pipe or a device: read as it comes, and kept in a file."""

import contextlib
import io
import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, reason
from charrnn.text.compressed import READ_BYTES, byte_blocks
from charrnn.text.formats import compression, known_endings
from charrnn.text.sources import STDIN, is_stream, shown, standard_input

STDIN_FILE = "stdin"  # what keeps standard input in a run's folder, but for its ending

# standard input longer than this is trained on while it arrives, if its vocabulary is known
SPOOL_BYTES = 2**26


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


def keep_streams(
    sources: Sequence[str],
    config: DataConfig,
    keep_in: Callable[[], Path],
    on_error: contextlib.ExitStack,
) -> dict[int, Spool]:
    """Returns what keeps each source that can be read only once, by the source's number.

    Args:
        sources: what the user typed.
        config: how they are read.
        keep_in: returns the folder for the copies.
        on_error: closes them.

    Raises:
        CorpusError: One cannot be read, or not be kept.
    """
    copies = {}
    # training can start before the text has ended if all symbols are already known
    can_start_early = len(sources) == 1 and (config.unit == "byte" or config.vocabulary_from)
    for i, source in enumerate(sources):
        if is_stream(source):
            ending = known_endings(source)
            copies[i] = Spool(source, keep_in() / f"{i or ''}{STDIN_FILE}{ending or '.txt'}")
            on_error.callback(copies[i].close)
            early = can_start_early and not compression(source)
            copies[i].fill(SPOOL_BYTES if early else math.inf)
    return copies
