"""The scores of a text, of its characters, and of samples."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from charrnn.errors import NothingToScoreError
from charrnn.model.forward import Array
from charrnn.scoring.scorer import Scorer
from charrnn.text.chunks import segments
from charrnn.text.vocabulary import Ids, Piece

if TYPE_CHECKING:
    from charrnn.sampling.generate import Sample

SEGMENT, SEGMENT_IN_ONE_PASS = 2**19, 2**14  # characters that :func:`score` scores at once
ROWS = 4096  # characters whose scores :func:`score_chars` holds at once


@dataclass(frozen=True)
class Score:
    """A text's surprise."""

    chars: int  # symbols scored (bytes if the model's unit is the byte)
    bytes: int  # their size as UTF-8
    nats: float  # their surprise, summed
    unknown_chars: int = 0  # outside the vocabulary: charged, left out, or scored as one symbol
    unknown_nats: float = 0.0  # what those are charged, in all; `nats` has it too
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
    watch: Callable[[Score], None] = lambda score: None,
) -> tuple[Score, Array]:
    """Scores a text in constant memory, from the state before it, (L, 1, R).

    ``watch`` is called with the score so far. Returns the score, and the state after the text.

    Raises:
        UnknownCharacterError: The text holds unknown characters, and they are an error.
        NothingToScoreError: It has no character, or none that is not left out.
    """
    total, state = add_up(scorer, pieces, state, watch)
    _require_scored(total.chars)
    return total, state


def add_up(
    scorer: Scorer,
    pieces: Iterable[Piece],
    state: Array,
    watch: Callable[[Score], None] = lambda score: None,
) -> tuple[Score, Array]:
    """Does what :func:`score` does; of nothing, the score is 0."""
    vocabulary, start_s = scorer.vocabulary, time.perf_counter()
    total = Score(0, 0, 0.0)
    at_once = SEGMENT_IN_ONE_PASS if scorer.exact else SEGMENT
    for text in segments(pieces, min(at_once, scorer.most_at_once)):
        ids, chars, unknown_chars, unknown_nats = scorer.encode(text)
        scored = vocabulary.decode(ids) if chars < len(text) else text
        size = len(scored) if isinstance(scored, bytes) else len(scored.encode("utf-8", "replace"))
        nats, state = scorer.nats(ids, state)
        seconds = time.perf_counter() - start_s - total.seconds
        sum_nats = float(nats.sum(dtype=np.float64)) + unknown_nats
        total += Score(chars, size, sum_nats, unknown_chars, unknown_nats, seconds)
        watch(total)
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
    scorer: Scorer, pieces: Iterable[Piece], state: Array
) -> Iterator[tuple[list[CharScore], Array]]:
    """Yields each character's score, in order, in lists of at most :data:`ROWS`.

    Arguments and errors are those of :func:`score`. Each list comes with the state after its whole
    piece; a long piece gives several lists.
    """
    vocabulary, chars, offset = scorer.vocabulary, 0, 0
    for piece in pieces:
        text = vocabulary.to_piece(piece, scorer.on_unknown)
        columns, state = _columns(scorer, text, state)
        for start in range(0, len(columns[0]), ROWS):
            rows = zip(*(column[start : start + ROWS].tolist() for column in columns), strict=True)
            scores = [
                CharScore(offset + place, text[place], nats, rank, vocabulary.symbols[likely])
                for place, nats, rank, likely in rows
            ]
            yield scores, state
        chars += len(columns[0])
        offset += len(text)
    _require_scored(chars)


def _columns(scorer: Scorer, text: Piece, state: Array) -> tuple[list[Array], Array]:
    """Returns columns of figures of a text's symbols, each (n,), and the state after them.

    They are the place in the text, surprise, rank, and which id was the most probable.
    """
    ids, chars, _, _ = scorer.encode(text)
    (nats, rank, likely), state = scorer.ranks(ids, state)
    known, places = scorer.vocabulary.known(text), np.arange(len(text))
    if chars < len(text):  # unknown ones are left out
        return [places[known], nats, rank, likely], state
    if len(ids) < len(text):
        # an unknown character leaves the state: in its place was probable what is so in the next
        next_id: Ids = np.cumsum(known) - known
        likely = np.append(likely, scorer.most_probable(state))[next_id]
        nats = np.where(known, np.append(nats, 0.0)[next_id], 0.0)
        rank = np.where(known, np.append(rank, 0)[next_id], len(scorer.vocabulary) + 1)
    return [places, nats + scorer.charge * ~known, rank, likely], state


def char_nats(scorer: Scorer, text: Piece, state: Array) -> npt.NDArray[np.float64]:
    """Returns the surprise of each symbol of a text, (n,), nats; NaN for one that is left out.

    Arguments and errors are those of :func:`score`.
    """
    text = scorer.vocabulary.to_piece(text, scorer.on_unknown)
    ids, chars, _, _ = scorer.encode(text)
    _require_scored(chars)
    nats, _ = scorer.nats(ids, state)
    known = scorer.vocabulary.known(text)
    if len(ids) == len(text):
        return nats + scorer.charge * ~known
    each = np.full(len(text), scorer.charge if chars == len(text) else math.nan)
    each[known] = nats
    return each


def _require_scored(chars: int) -> None:
    if chars == 0:
        raise NothingToScoreError(
            "nothing to score: the text is empty or wholly unknown to the model"
        )


def continuation_bits(
    scorer: Scorer, samples: "Iterable[Sample]"
) -> "Iterator[tuple[Sample, float | None]]":
    """Yields each sample with the bits per character of its text after its prompt.

    An empty text has none. A prompt that several samples in a row share is read once.

    Raises:
        UnknownCharacterError: A prompt or text holds unknown characters that are not to be skipped.
    """
    for prompt, group in itertools.groupby(samples, key=lambda sample: sample.prompt):
        _, state = scorer.nats(scorer.encode(prompt).ids, scorer.start)
        for sample in group:
            nats, _ = scorer.nats(scorer.encode(sample.text).ids, state)
            yield sample, float(nats.mean(dtype=float)) / math.log(2) if len(nats) else None
