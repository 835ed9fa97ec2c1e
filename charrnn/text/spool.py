"""Standard input, a named pipe or a device: read as it comes, and kept in a file."""

import hashlib
import io
import math
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

from charrnn import system
from charrnn.errors import CheckpointError, CorpusError, reason, refusal
from charrnn.text.compressed import READ_BYTES, byte_blocks, next_block
from charrnn.text.sources import STDIN, shown, standard_input, unreadable_stream

STDIN_FILE = "stdin"  # what keeps standard input in a run's folder, but for its ending

# standard input longer than this is trained on while it arrives, if its vocabulary is known
SPOOL_BYTES = 2**26
# what a copy longer than that leaves of the disk, or a twentieth of a small disk
RESERVE_BYTES = 2**30


class Spool:
    """A source that can be read only once, and the file that keeps what was read of it.

    Attributes:
        name: what to call the source in a message.
        path: the file.
        size: bytes in it.
        ended: whether no more will come.
        note: what the user should know: why the copy was cut; empty if it was not.
    """

    def __init__(self, source: str, path: Path) -> None:
        """Opens both.

        Raises:
            CorpusError: One cannot be opened.
        """
        self.name, self.path = shown(source), path
        self.size, self.ended, self.note = 0, False, ""
        self._sha256 = hashlib.sha256()
        self._unflushed = False
        self._source = source
        self._input: io.RawIOBase | None = None
        self._copy: io.FileIO | None = None
        try:
            self._input = standard_input() if source == STDIN else open(source, "rb", 0)  # noqa: SIM115
        except OSError as error:
            raise unreadable_stream(source, error) from None
        try:
            self._copy = io.FileIO(path, "wb")
        except OSError as error:
            self.close()
            raise self._unkept(error) from None

    def _unkept(self, error: OSError) -> CorpusError:
        return CorpusError(
            f"{self.path}: cannot keep {self.name}: {reason(error)}: choose another --runs"
        )

    def fill(
        self, limit: float = math.inf, watch: Callable[[int], None] = lambda size: None
    ) -> None:
        """Reads on until ``limit`` bytes are kept, or to the end.

        Args:
            limit: bytes.
            watch: called with the bytes kept so far.

        Raises:
            CorpusError: It cannot be read or not be kept, or the disk would get full.
        """
        while self.size < limit and not self.ended:
            if why := self._full():
                self.close()
                raise CorpusError(
                    f"{why}: end it with head -c, choose another --runs, or train while it "
                    "arrives: one text, not compressed, with --unit byte or --vocabulary-from N, "
                    "and with --steps or --max-time"
                )
            self._next()
            watch(self.size)

    def _next(self) -> bytes:
        """Returns what has come, and keeps it; nothing at the end.

        Raises:
            CorpusError: It cannot be read, or not be kept.
        """
        assert self._input is not None and self._copy is not None
        try:
            block = next_block(self._input, READ_BYTES)
        except (OSError, ValueError) as error:
            self.close()
            raise unreadable_stream(self._source, error) from None
        try:
            system.write_all(self._copy.fileno(), block)
        except OSError as error:
            self.close()
            raise self._unkept(error) from None
        self._sha256.update(block)
        self.size += len(block)
        self._unflushed = True
        if not block:
            self.flush()
            self.close()
        return block

    def _full(self) -> str:
        """Returns why no more should be kept, if the disk is nearly full; else nothing."""
        if self.size <= SPOOL_BYTES:
            return ""
        disk = shutil.disk_usage(self.path.parent)
        if disk.free >= min(RESERVE_BYTES, disk.total // 20):
            return ""
        return (
            f"{self.name}: it has not ended after {self.size:,} bytes, and the disk of "
            f"{self.path.parent} has only {disk.free / 1e9:,.2f} GB left"
        )

    def blocks(self) -> Generator[bytes, None, None]:
        """Yields what was kept, then what comes, in blocks that are never empty.

        If the disk gets full, the text ends there, and a note says so.
        """
        yield from byte_blocks(str(self.path), self.name)
        while not self.ended:
            if why := self._full():
                self.note = f"{why}: the rest of it is not read"
                self.flush()
                self.close()
            elif block := self._next():
                yield block

    def flush(self) -> None:
        """Flushes the copy to the disk: what is saved from now on may count on it.

        Raises:
            CheckpointError: The disk refuses.
        """
        if self._unflushed and self._copy is not None and not self._copy.closed:
            try:
                system.flush(self._copy.fileno())
            except OSError as error:
                raise CheckpointError(
                    refusal(self.path, "written", error, "free some space")
                ) from None
            self._unflushed = False

    @property
    def sha256(self) -> str:
        """The hash of all bytes in the copy."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Stops reading and keeping; may be called again."""
        self.ended = True
        if self._copy is not None:
            self._copy.close()
        if self._input is not None and self._source != STDIN:
            self._input.close()


def check_copy(path: Path, size: int, sha256: str) -> tuple[int, str]:
    """Checks that a copy begins as it did at a save; returns its size and hash.

    Args:
        path: the copy.
        size: bytes that were there.
        sha256: their hash.

    Raises:
        CorpusError: It is shorter, begins with another text, or cannot be read.
    """
    digest, now, start = hashlib.sha256(), 0, ""
    for block in byte_blocks(str(path), str(path)):
        if now < size <= now + len(block):
            until_then = digest.copy()
            until_then.update(block[: size - now])
            start = until_then.hexdigest()
        digest.update(block)
        now += len(block)
    if now < size:
        raise CorpusError(
            f"{path}: cut short: {now:,} of the {size:,} bytes that the run has read: "
            "restore it, or start a new run (--init-from takes the weights)"
        )
    if size and start != sha256:
        raise CorpusError(
            f"{path}: another text than the run has read, within its first {size:,} bytes: "
            "restore it, or start a new run (--init-from takes the weights)"
        )
    return now, digest.hexdigest()
