"""The scores of a text's lines, each as it comes; what is usual of them."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.errors import OverflowedError, UnknownCharacterError
from charrnn.model.forward import Array
from charrnn.scoring.reports import add_up
from charrnn.scoring.scorer import Encoded, Scorer, Sums
from charrnn.text.lines import Line, LongLine, split_lines
from charrnn.text.vocabulary import Ids, Piece

MAX_LINES = 1024  # that are scored at once, and so held back at most
USUAL = 99.9  # percent of held-out lines that are no more surprising than the figure kept of them
MAX_CHARS = 2**18  # of held-out lines that are scored for it, evenly spaced ones

Batch = Sequence[tuple[Line, int]]  # lines, and their numbers


@dataclass(frozen=True)
class LineScore:
    """A line's surprise."""

    line: Line  # without its end
    number: int  # in its text, from 1 up
    chars: int  # symbols scored, its end among them if that is
    unknown_chars: int  # outside the vocabulary: charged, left out, or scored as one symbol
    nats: float  # surprise, summed

    @property
    def bits(self) -> float:
        """The surprise, logarithm to base 2."""
        return self.nats / math.log(2)

    @property
    def bits_per_char(self) -> float:
        """Mean surprise: 0 if the line is empty, NaN if all of it is left out."""
        if self.chars:
            return self.bits / self.chars
        return math.nan if self.line else 0.0


class LineScorer:
    """Scores the lines of texts.

    If ``carry``, each line is read after the ones before it; else it is a text of its own. If
    ``end``, the surprise of its end belongs to it, too.
    """

    def __init__(self, scorer: Scorer, *, carry: bool = False, end: bool = False) -> None:
        """Prepares to score.

        Args:
            scorer: of the model; if ``end``, it must know the newline.
            carry: whether a line is read after the ones before it.
            end: whether its end is scored.
        """
        self._scorer, self._carry, self._end = scorer, carry, end
        newline = scorer.vocabulary.newline_id
        ids = [] if newline is None else [newline]
        self._newline: Ids = np.array(ids, dtype=scorer.vocabulary.dtype)
        assert not end or ids, "the end of a line, and a model that does not know it"

    def score(
        self, groups: Iterable[Sequence[Line]], state: Array
    ) -> Iterator[tuple[list[LineScore], Array]]:
        """Yields the scores of lines, in lists of at most :data:`MAX_LINES`, and the state after.

        Args:
            groups: lines without their ends, in groups that arrive together.
            state: before the first line, (L, 1, R); it stays if each line is a text of its own.

        Raises:
            UnknownCharacterError: A line holds unknown characters, and they are an error; the
                message has its number. All lines before it were yielded.
        """
        for batch in _batches(groups):
            score = self._long if isinstance(batch[0][0], LongLine) else self._short
            for scores, after in score(batch, state):
                state = after if self._carry else state
                yield scores, state

    def score_text(
        self, pieces: Iterable[Piece], state: Array
    ) -> Iterator[tuple[list[LineScore], Array]]:
        """Does what :meth:`score` does for a text that comes in pieces."""
        return self.score(split_lines(pieces), state)

    def _short(self, batch: Batch, state: Array) -> Iterator[tuple[list[LineScore], Array]]:
        encoded: list[Encoded] = []
        error: UnknownCharacterError | None = None
        try:
            for line, _ in batch:
                assert not isinstance(line, LongLine)
                encoded.append(self._scorer.encode(line))
        except UnknownCharacterError as unknown:
            error = UnknownCharacterError(f"line {batch[len(encoded)][1]}: {unknown}")
        if encoded:  # all lines before the one with unknown characters
            sums, state = self._sums([line.ids for line in encoded], state)
            scored = zip(batch, encoded, sums.tolist(), strict=False)
            yield (
                [
                    LineScore(
                        line,
                        number,
                        known.chars + self._end,
                        known.unknown_chars,
                        nats + known.unknown_nats,
                    )
                    for (line, number), known, nats in scored
                ],
                state,
            )
        if error is not None:
            raise error

    def _sums(self, lines: Sequence[Ids], state: Array) -> tuple[Sums, Array]:
        """Returns the surprise of each line, summed, and the state after all of them."""
        if not self._carry:
            if self._end:
                lines = [np.concatenate([line, self._newline]) for line in lines]
            return self._scorer.sums(lines), state
        parts = [part for line in lines for part in (line, self._newline)]
        sums, state = self._scorer.carried_sums(parts, state)
        return sums[::2] + sums[1::2] if self._end else sums[::2], state

    def _long(self, batch: Batch, state: Array) -> Iterator[tuple[list[LineScore], Array]]:
        ((line, number),) = batch
        assert isinstance(line, LongLine)
        start = state if self._carry else self._scorer.start
        try:
            score, state = add_up(self._scorer, line, start)
        except UnknownCharacterError as error:
            raise UnknownCharacterError(f"line {number}: {error}") from None
        end, state = self._scorer.nats(self._newline, state)
        nats = score.nats + (float(end.sum()) if self._end else 0.0)
        yield [LineScore(line, number, score.chars + self._end, score.unknown_chars, nats)], state


def _batches(groups: Iterable[Sequence[Line]]) -> Iterator[Batch]:
    """Yields lines that are scored at once, numbered from 1 up; a long one comes alone."""
    numbers = itertools.count(1)
    for group in groups:
        for is_long, lines in itertools.groupby(group, lambda line: isinstance(line, LongLine)):
            numbered = zip(lines, numbers)  # noqa: B905  in this order no number is lost
            while batch := list(itertools.islice(numbered, 1 if is_long else MAX_LINES)):
                yield batch


def usual_of_lines(scorer: Scorer, ids: Ids) -> dict[str, Any]:
    """Returns how surprising the lines of a held-out text, (n,), usually are, as JSON values.

    They are scored as texts of their own, without their ends. Of a text without newlines, or a
    model without them, or of a network that overflows, nothing is returned.
    """
    if scorer.vocabulary.newline_id not in ids:
        return {}
    text = scorer.vocabulary.decode(ids)
    lines = [line for group in split_lines([text]) for line in group]
    chosen = lines[:: max(1, math.ceil(len(text) / MAX_CHARS))]
    scored = LineScorer(scorer).score([chosen], scorer.start)
    try:
        bits = [line.bits_per_char for lines, _ in scored for line in lines]
    except OverflowedError:
        return {}
    usual = float(np.percentile(bits, USUAL, method="higher"))
    # rounded up as it is printed: rounding errors must not put a line above itself
    return {"lines": len(bits), "usual_bits_per_char": math.ceil(1e4 * usual) / 1e4}
