"""Text blocks to batches (x, y) of B parallel streams; the position in the corpus.

The training text is read in blocks of at most ``block_chars`` characters. A block is cut into B
contiguous streams, and all streams are read side by side, at most T characters at a time:

    block    a b c d e f g h i j k l m ...                          B = 2 streams
    stream 0 a b c d e f     x = a b c | d e f     y = b c d | e f g
    stream 1 g h i j k l     x = g h i | j k l     y = h i j | k l m

so the x of a batch goes on where the last one stopped, in every stream, and the hidden state can be
carried. It is zero at a block's start only. Every target is the character that follows in the text;
none wraps around. Blocks overlap by one character, the last target of one being the first input of
the next. Left out are the last characters of the corpus's training part, fewer than B. A corpus
that has no end yet is read block after block, and has no validation part.

Shapes: T time, B batch, S characters of one stream in a block. Arrays are time-major, (T, B).
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text.chunks import Reader
from charrnn.text.corpus import Corpus
from charrnn.text.survey import Survey
from charrnn.text.vocabulary import Ids, Vocabulary

STREAM_BLOCK_CHARS = 2**20
"""Characters of a block where the corpus has no end yet: training begins when they have come."""


@dataclass(frozen=True)
class Position:
    """Where in the corpus the next batch starts: this epoch's block, this block's batch."""

    epoch: int = 0
    block: int = 0
    batch: int = 0


class Batch(NamedTuple):
    """One training step's text.

    Attributes:
        x: ids read, (T, B) int64.
        y: for each of them the id that follows, (T, B) int64.
        starts_block: the hidden state must be zero before it.
        after: the position of the next batch.
    """

    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    starts_block: bool
    after: Position


def stream_batches(
    block: Ids, batch_size: int, seq_len: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Cuts one block into B streams and yields them T characters at a time.

    The streams' length S is rarely a multiple of T; instead of one short batch at the end, the
    batches differ in length by at most one.

    Args:
        block: ids, (n,). ``(n - 1) % B`` ids at its end are left out.
        batch_size: B.
        seq_len: the largest T.

    Yields:
        x and y, each (T, B) int64.
    """
    length = max(len(block) - 1, 0) // batch_size  # S
    # (B, S + 1): each stream, and the first id of the next one, its last target
    step = block.strides[0]
    streams = np.lib.stride_tricks.as_strided(
        block, (batch_size, length + 1), (length * step, step), writeable=False
    )
    for start, stop in _cuts(length, seq_len):
        both = np.ascontiguousarray(streams[:, start : stop + 1].T, dtype=np.int64)
        yield both[:-1], both[1:]


def _cuts(length: int, seq_len: int) -> list[tuple[int, int]]:
    pieces = -(-length // seq_len)
    edges = [length * i // pieces for i in range(pieces + 1)] if pieces else [0]
    return list(itertools.pairwise(edges))


class Batches:
    """A corpus as training batches and a validation text.

    Attributes:
        vocabulary: the corpus's symbols.
        train_chars: characters of the training part, the corpus's start; None: it has no end yet.
        val_chars: characters of the validation part, its tail or another text.
        batch_size: B.
        seq_len: the largest T.
        steps_per_epoch: batches in one pass over the training part; None: it has no end yet.
    """

    def __init__(
        self,
        corpus: Corpus,
        survey: Survey,
        config: DataConfig,
        batch_size: int,
        seq_len: int,
        *,
        validation: Ids | None = None,
    ) -> None:
        """Lays out blocks and streams.

        Args:
            corpus: where the text comes from; read again for every epoch unless the survey kept it.
            survey: what the first pass found.
            config: block size and share of the validation tail.
            batch_size: B.
            seq_len: T.
            validation: another text to validate on: then all of the corpus trains.
        """
        self.vocabulary: Vocabulary = survey.vocabulary
        chars, whole = survey.chars, validation is not None
        self.train_chars = chars if chars is None or whole else config.train_chars(chars)
        self.batch_size, self.seq_len = batch_size, seq_len
        self._corpus, self._survey, self._validation = corpus, survey, validation
        # targets of one full block: S * B
        block_chars = config.block_chars if chars is not None else STREAM_BLOCK_CHARS
        self._stride = max(block_chars // batch_size, 1) * batch_size
        self._ids: Ids | None = None
        if survey.text is not None:
            self._ids = np.concatenate([self.vocabulary.encode(piece) for piece in survey.text])
        self.steps_per_epoch: int | None = None
        self.val_chars = 0
        if chars is not None and self.train_chars is not None:
            self.val_chars = chars - self.train_chars
            cuts = (len(_cuts(targets // batch_size, seq_len)) for targets in self._block_targets())
            self.steps_per_epoch = sum(cuts)
        if validation is not None:
            self.val_chars = len(validation)

    def _block_targets(self) -> Iterable[int]:
        if self.train_chars is None:
            return itertools.repeat(self._stride)
        full, rest = divmod(self.train_chars - 1, self._stride)
        return [self._stride] * full + ([rest] if rest >= self.batch_size else [])

    def holds(self, position: Position) -> bool:
        """Tells whether there may be a batch at a position."""
        targets = next(itertools.islice(self._block_targets(), position.block, None), 0)
        return position.batch < len(_cuts(targets // self.batch_size, self.seq_len))

    def batches(self, start: Position | None = None) -> Iterator[Batch]:
        """Yields batches without end, epoch after epoch, from a position on.

        Args:
            start: the position; None is the corpus's start.

        Raises:
            CorpusError: A source cannot be read.
        """
        position = start or Position()
        skip, first, epoch = position.batch, position.block, position.epoch
        blocks = None if self.train_chars is None else len(list(self._block_targets()))
        while True:
            for number, block in enumerate(self._blocks(first), start=first):
                cuts = len(_cuts((len(block) - 1) // self.batch_size, self.seq_len))
                for index, (x, y) in enumerate(
                    stream_batches(block, self.batch_size, self.seq_len)
                ):
                    if index < skip:
                        continue
                    if index + 1 < cuts:
                        after = Position(epoch, number, index + 1)
                    elif blocks is None or number + 1 < blocks:
                        after = Position(epoch, number + 1)
                    else:
                        after = Position(epoch + 1)
                    yield Batch(x, y, index == 0, after)
                skip = 0
            epoch, first = epoch + 1, 0

    def close(self) -> None:
        """Lets go of a text that still comes."""
        self._corpus.close()

    def _blocks(self, first: int) -> Iterator[Ids]:
        """Yields each block's ids, its targets and the one input before them, from a block on."""
        for number, targets in enumerate(self._block_targets()):
            if number < first:
                continue
            if number == first:
                ids = Reader(self._encoded(number * self._stride))
                block = ids.read(targets + 1)
            else:
                block = np.concatenate([block[-1:], ids.read(targets)])
            if len(block) < targets + 1 and self.train_chars is not None:
                raise CorpusError(
                    f"{self._corpus.name}: the text has changed, it is shorter than when training "
                    "began: restore it, then --resume"
                )
            if len(block) > self.batch_size:
                yield block
            elif number == 0:
                raise CorpusError(
                    f"{self._corpus.name}: {len(block)} characters; a batch needs more than "
                    f"{self.batch_size}: use a longer text or a smaller --batch-size"
                )
            if len(block) < targets + 1:
                return

    def validation(self, limit: int) -> Ids:
        """Returns the ids of the validation text, at most ``limit`` from its start."""
        if self._validation is not None:
            return self._validation[:limit]
        if self.train_chars is None:
            return np.zeros(0, dtype=self.vocabulary.dtype)
        return Reader(self._encoded(self.train_chars)).read(min(self.val_chars, limit))

    def _encoded(self, start: int) -> Iterator[Ids]:
        """Yields the corpus's ids from character ``start`` on."""
        if self._ids is not None:
            yield self._ids[start:]
            return
        place = self._survey.place_before(start)
        start -= place.chars
        for piece in self._corpus.pieces(place):
            if start >= len(piece):
                start -= len(piece)
                continue
            yield self.vocabulary.encode(piece[start:])
            start = 0
