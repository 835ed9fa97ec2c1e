"""Ids to batches (x, y) of B parallel streams; the position in the text.

The training text is read in blocks of at most ``block_chars`` characters. A block is cut into B
contiguous streams, and all streams are read side by side, at most T characters at a time:

    block    a b c d e f g h i j k l m ...                          B = 2 streams
    stream 0 a b c d e f     x = a b c | d e f     y = b c d | e f g
    stream 1 g h i j k l     x = g h i | j k l     y = h i j | k l m

so the x of a batch continues the last one in every stream, and the hidden state can be carried. It
is zero at a block's start only. Every target is the character that follows in the text; none wraps
around. Blocks overlap by one character, the last target of one being the first input of the next.
The last characters of the training text are left out, fewer than B.

Shapes: T time, B batch, S characters of one stream in a block. Arrays are time-major, (T, B).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config import UNIT_NAMES
from charrnn.errors import CorpusError
from charrnn.text.chunks import Reader
from charrnn.text.dataset import Dataset
from charrnn.text.vocabulary import Ids

# a block of a text that has not ended: training begins when it has arrived
OPEN_ENDED_BLOCK_CHARS = 2**20


@dataclass(frozen=True)
class Position:
    """Where in the text the next batch starts."""

    epoch: int = 0
    block: int = 0
    batch: int = 0


class Batch(NamedTuple):
    """One training step's text."""

    x: npt.NDArray[np.int64]  # ids read, (T, B)
    y: npt.NDArray[np.int64]  # for each of them the id that follows, (T, B)
    starts_block: bool  # the hidden state must be zero before it
    after: Position  # of the next batch


def stream_batches(
    block: Ids, batch_size: int, seq_len: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Cuts one block, (n,), into B streams and yields x and y, each (T, B).

    ``(n - 1) % B`` ids at its end are left out. The streams' length S is rarely a multiple of T;
    instead of one short batch at the end, the batches differ in length by at most one.
    """
    length = max(len(block) - 1, 0) // batch_size  # S
    step = block.strides[0]
    # (B, S + 1), a view: row b is stream b and, as its last target, the first id of stream b + 1
    streams = np.lib.stride_tricks.as_strided(
        block, (batch_size, length + 1), (length * step, step), writeable=False
    )
    for start, stop in itertools.pairwise(_edges(length, seq_len)):
        both = np.ascontiguousarray(streams[:, start : stop + 1].T, dtype=np.int64)  # (T + 1, B)
        yield both[:-1], both[1:]  # two views of one copy


def _edges(length: int, seq_len: int) -> list[int]:
    """Returns where batches of at most T characters start and end in streams of length S."""
    count = -(-length // seq_len)
    return [length * i // count for i in range(count + 1)] if count else [0]


class Batches:
    """A training text as batches, epoch after epoch.

    Attributes:
        batch_size: B.
        seq_len: the largest T.
        steps_per_epoch: batches in one pass over the text; infinite if it has not ended.
    """

    steps_per_epoch: float

    def __init__(self, dataset: Dataset, batch_size: int, seq_len: int) -> None:
        """Lays out blocks and streams; a text without an end wants :class:`OpenEnded`."""
        self.batch_size, self.seq_len, self._dataset = batch_size, seq_len, dataset
        stride = self._stride(dataset.config.block_chars)
        full, rest = divmod(int(dataset.train_chars) - 1, stride)
        # targets of each block; the first input of a block is the last target of the one before
        self._targets = [stride] * full + ([rest] if rest >= batch_size else [])
        self.steps_per_epoch = sum(map(self._batches_in, self._targets))

    def _stride(self, block_chars: int) -> int:
        """Returns the targets of a full block, S B."""
        return max(block_chars // self.batch_size, 1) * self.batch_size

    def _batches_in(self, targets: int) -> int:
        return len(_edges(targets // self.batch_size, self.seq_len)) - 1

    def holds(self, position: Position) -> bool:
        """Returns whether there is a batch at a position."""
        targets = self._targets[position.block : position.block + 1]
        return bool(targets) and position.batch < self._batches_in(targets[0])

    def batches(self, start: Position = Position()) -> Iterator[Batch]:
        """Yields batches without end, from a position on.

        Raises:
            CorpusError: A source cannot be read.
        """
        epoch, first, skipped = start.epoch, start.block, start.batch
        while True:
            for number, block in enumerate(self._blocks(first), start=first):
                count = self._batches_in(len(block) - 1)
                streams = stream_batches(block, self.batch_size, self.seq_len)
                for index, (x, y) in itertools.islice(enumerate(streams), skipped, None):
                    if index + 1 < count:
                        after = Position(epoch, number, index + 1)
                    elif self._is_last(number):
                        after = Position(epoch + 1)
                    else:
                        after = Position(epoch, number + 1)
                    yield Batch(x, y, index == 0, after)
                skipped = 0
            epoch, first = epoch + 1, 0

    def _is_last(self, number: int) -> bool:
        """Returns whether a block is known to be the last of an epoch."""
        return number + 1 == len(self._targets)

    def _blocks(self, first: int) -> Iterator[Ids]:
        """Yields each block's ids from a block on: the first input, then all targets."""
        ids = Reader(self._dataset.read(sum(self._targets[:first])))
        block: Ids | None = None
        for targets in self._targets[first:]:
            block = _next_block(ids, targets, block)
            if len(block) < targets + 1:
                raise CorpusError(
                    f"{self._dataset.name}: the text has changed, it is shorter than when training "
                    "began: restore it, then --resume"
                )
            yield block


class OpenEnded(Batches):
    """A text that has not ended: read block after block as it arrives, and has no last one.

    If it does end, what was kept of it is read again.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seq_len: int) -> None:
        self.batch_size, self.seq_len, self._dataset = batch_size, seq_len, dataset
        self._block_targets = self._stride(OPEN_ENDED_BLOCK_CHARS)
        self.steps_per_epoch = math.inf

    def holds(self, position: Position) -> bool:
        """Returns whether there may be a batch at a position."""
        before = position.block * self._block_targets
        is_batch = position.batch < self._batches_in(self._block_targets)
        return is_batch and self._dataset.holds(before)

    def _is_last(self, number: int) -> bool:
        return False  # only reading on will tell

    def _blocks(self, first: int) -> Iterator[Ids]:
        targets = self._block_targets
        ids = Reader(self._dataset.read(first * targets))
        block: Ids | None = None
        for number in itertools.count(first):
            block = _next_block(ids, targets, block)
            if len(block) > self.batch_size:
                yield block
            elif number == 0:
                unit = UNIT_NAMES[self._dataset.config.unit]
                raise CorpusError(
                    f"{self._dataset.name}: {len(block)} {unit}s; a batch needs more than "
                    f"{self.batch_size}: use a longer text or a smaller --batch-size"
                )
            if len(block) < targets + 1:
                return


def _next_block(ids: Reader, targets: int, last: Ids | None) -> Ids:
    """Returns a block's first input, which is the last target of the block before, and targets."""
    if last is None:
        return ids.read(targets + 1)
    return np.concatenate([last[-1:], ids.read(targets)])


def batches_of(dataset: Dataset, batch_size: int, seq_len: int) -> Batches:
    """Returns a text's batches, whether it has ended or not."""
    kind = OpenEnded if math.isinf(dataset.train_chars) else Batches
    return kind(dataset, batch_size, seq_len)
