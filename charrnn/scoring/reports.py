"""The scores of a text, its lines, its characters, and of samples."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from charrnn.config import OnUnknown
from charrnn.errors import NothingToScoreError, UnknownCharacterError
from charrnn.model.forward import Array
from charrnn.scoring.scorer import Scorer
from charrnn.text.chunks import segments
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

if TYPE_CHECKING:
    from charrnn.sampling.generate import Sample

SEGMENT, SEGMENT_IN_ONE_PASS = 2**19, 2**14  # characters that :func:`score` scores at once
MAX_LINES = 1024  # lines that :func:`score_lines` scores at once, and so holds back at most
ROWS = 4096  # characters whose scores :func:`score_chars` holds at once


@dataclass(frozen=True)
class Score:
    """A text's surprise."""

    chars: int  # symbols scored (bytes if the model's unit is the byte)
    bytes: int  # their size as UTF-8
    nats: float  # their surprise, summed
    unknown_chars: int = 0  # outside the vocabulary: left out, or scored as one symbol
    seconds: float = 0.0  # how long scoring took

    def __add__(self, other: "Score") -> "Score":
        """Returns the score of both texts."""
        return Score(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def chars_per_second(self) -> float:
        """Symbols scored per second."""
        return self.chars / max(self.seconds, 1e-9)

    @property
    def nats_per_char(self) -> float:
        """Mean surprise, natural logarithm."""
        return self.nats / self.chars

    @property
    def bits_per_char(self) -> float:
        """Mean surprise, logarithm to base 2."""
        return self.nats_per_char / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Surprise per byte of UTF-8: comparable between vocabularies."""
        return self.nats / math.log(2) / self.bytes

    @property
    def perplexity(self) -> float:
        """How many equally probable characters would be as surprising, on average."""
        return math.exp(min(self.nats_per_char, 700.0))


def score(
    scorer: Scorer,
    pieces: Iterable[Piece],
    state: Array,
    on_unknown: OnUnknown = "error",
    watch: Callable[[Score], None] = lambda score: None,
) -> tuple[Score, Array]:
    """Scores a text in constant memory, from the state before it, (L, 1, H).

    ``watch`` is called with the score so far. Returns the score, and the state after the text.

    Raises:
        UnknownCharacterError: The text holds unknown characters.
        NothingToScoreError: The text has no character that the model knows.
    """
    vocabulary, start_s = scorer.vocabulary, time.perf_counter()
    total = Score(0, 0, 0.0)
    for text in segments(pieces, SEGMENT_IN_ONE_PASS if scorer.exact else SEGMENT):
        ids = vocabulary.encode(text, on_unknown)
        unknown_chars = vocabulary.count_unknown(text)
        scored = vocabulary.decode(ids) if len(ids) < len(text) else text
        size = len(scored) if isinstance(scored, bytes) else len(scored.encode("utf-8", "replace"))
        nats, state = scorer.nats(ids, state)
        seconds = time.perf_counter() - start_s - total.seconds
        total += Score(len(ids), size, float(nats.sum(dtype=np.float64)), unknown_chars, seconds)
        watch(total)
    _require_scored(total.chars)
    return total, state


@dataclass(frozen=True)
class CharScore:
    """One symbol's surprise."""

    offset: int  # symbols of the text before it
    symbol: str | int  # the character (or byte) itself
    nats: float  # its surprise
    rank: int  # 1 if it was the most probable, 2 if one was more probable ...
    most_probable: str | int  # the symbol to which the model gave the highest probability

    @property
    def bits(self) -> float:
        """The surprise, logarithm to base 2."""
        return self.nats / math.log(2)


def score_chars(
    scorer: Scorer, pieces: Iterable[Piece], state: Array, on_unknown: OnUnknown = "error"
) -> Iterator[tuple[list[CharScore], Array]]:
    """Yields each character's score, in order, in lists of at most :data:`ROWS`.

    Arguments and errors are those of :func:`score`. Each list comes with the state after its whole
    piece; a long piece gives several lists.
    """
    vocabulary, chars, offset = scorer.vocabulary, 0, 0
    symbols = vocabulary.symbols
    for text in pieces:
        ids = vocabulary.encode(text, on_unknown)
        positions = _positions(vocabulary, text, ids)
        if len(ids):
            figures, state = scorer.ranks(ids, state)
        for start in range(0, len(ids), ROWS):
            rows = slice(start, start + ROWS)
            columns = [positions[rows], *(column[rows].tolist() for column in (ids, *figures))]
            scores = [
                CharScore(offset + position, symbols[symbol], nats, rank, symbols[likely])
                for position, symbol, nats, rank, likely in zip(*columns, strict=True)
            ]
            yield scores, state
        chars += len(ids)
        offset += len(ids) if vocabulary.unit == "byte" else len(text)
    _require_scored(chars)


def _positions(vocabulary: Vocabulary, text: Piece, ids: Ids) -> Sequence[int]:
    """Returns the position in the text of each symbol that has an id."""
    if len(ids) == len(text) or vocabulary.unit == "byte":
        return range(len(ids))
    symbols = set(vocabulary.symbols)
    return [position for position, symbol in enumerate(text) if symbol in symbols]


def _require_scored(chars: int) -> None:
    if chars == 0:
        raise NothingToScoreError(
            "nothing to score: the text is empty or wholly unknown to the model"
        )


def score_lines(
    scorer: Scorer,
    groups: Iterable[Sequence[Piece]],
    state: Array,
    on_unknown: OnUnknown = "error",
    *,
    carry: bool = False,
) -> Iterator[tuple[list[tuple[float, Piece]], Array]]:
    """Yields lists of (bits per character, line), at most :data:`MAX_LINES` long, and the state.

    Lines come without their ends, in groups that arrive together. If ``carry``, each is read after
    the ones before it, from the state before the first, (L, 1, H); else each is a text of its own,
    and the state stays. An empty line scores 0, a wholly unknown one NaN.

    Raises:
        UnknownCharacterError: A line holds unknown characters; the message has its number. All
            lines before it were yielded.
    """
    first = 1  # number of the first of the lines
    for group in groups:
        for start in range(0, len(group), MAX_LINES):
            lines = group[start : start + MAX_LINES]
            ids: list[Ids] = []
            error: UnknownCharacterError | None = None
            try:
                for line in lines:
                    ids.append(scorer.vocabulary.encode(line, on_unknown))
            except UnknownCharacterError as unknown:
                error = UnknownCharacterError(f"line {first + len(ids)}: {unknown}")
            if ids:  # all lines before the one with unknown characters
                means, state = (
                    scorer.carried_means(ids, state) if carry else (scorer.means(ids), state)
                )
                scored = zip(lines, means.tolist(), strict=False)
                yield [(nats / math.log(2) if line else 0.0, line) for line, nats in scored], state
            if error is not None:
                raise error
            first += len(lines)


def continuation_bits(
    scorer: Scorer, samples: "Iterable[Sample]", on_unknown: OnUnknown = "error"
) -> "Iterator[tuple[Sample, float | None]]":
    """Yields each sample with the bits per character of its text after its prompt.

    An empty text has none. A prompt that several samples in a row share is read once.

    Raises:
        UnknownCharacterError: A prompt or text holds unknown characters that are not to be skipped.
    """
    encode = scorer.vocabulary.encode
    for prompt, group in itertools.groupby(samples, key=lambda sample: sample.prompt):
        _, state = scorer.nats(encode(prompt, on_unknown), scorer.start)
        for sample in group:
            nats, _ = scorer.nats(encode(sample.text, on_unknown), state)
            yield sample, float(nats.mean(dtype=float)) / math.log(2) if len(nats) else None
