"""A text, its lines, its characters."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from charrnn.config import OnUnknown
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.scoring.scorer import Scorer, surprise_and_rank
from charrnn.text.chunks import Piece, segments
from charrnn.text.vocabulary import Ids, Vocabulary

SEGMENT, SEGMENT_OF_ONE_PASS = 2**19, 2**14
"""Characters that :func:`score` scores in one go."""
MAX_LINES = 1024
"""Lines that :func:`score_lines` scores in one go, and so holds back at most."""
ROWS = 4096
"""Characters whose scores :func:`score_chars` holds at once."""


@dataclass(frozen=True)
class Score:
    """A text's surprise.

    Attributes:
        chars: symbols scored (bytes where the model's unit is the byte).
        bytes: their size as UTF-8.
        nats: their surprise in all.
        unknown_chars: characters that the model does not know, left out or scored as one symbol.
        seconds: how long scoring took.
    """

    chars: int
    bytes: int
    nats: float
    unknown_chars: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        """Returns the score of both texts."""
        return Score(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def chars_per_second(self) -> float:
        """How fast it was scored."""
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
        """Of how many equally probable characters the model was in doubt, on average."""
        return math.exp(min(self.nats_per_char, 700.0))


def score(
    scorer: Scorer,
    pieces: Iterable[Piece],
    on_unknown: OnUnknown = "error",
    watch: Callable[[Score], None] = lambda score: None,
) -> Score:
    """Scores a text in constant memory.

    Args:
        scorer: of the model; reads on from its state.
        pieces: the text, in order.
        on_unknown: ``"error"`` raises; ``"skip"`` leaves unknown characters out and counts them.
        watch: told again and again of what was scored so far.

    Raises:
        UnknownCharacterError: The text holds unknown characters.
        CorpusError: The text has no character that the model knows.
    """
    vocabulary, start_s = scorer.vocabulary, time.perf_counter()
    total = Score(0, 0, 0.0)
    for text in segments(pieces, SEGMENT_OF_ONE_PASS if scorer.exact else SEGMENT):
        ids = vocabulary.encode(text, on_unknown)
        missing = vocabulary.count_unknown(text)
        known = vocabulary.decode(ids) if len(ids) < len(text) else text
        size = len(known) if isinstance(known, bytes) else len(known.encode("utf-8", "replace"))
        nats = float(scorer.nats(ids).sum(dtype=np.float64)) if len(ids) else 0.0
        total += Score(len(ids), size, nats, missing, time.perf_counter() - start_s - total.seconds)
        watch(total)
    _check_scored(total.chars)
    return total


@dataclass(frozen=True)
class CharScore:
    """One symbol's surprise.

    Attributes:
        offset: symbols of the text before it.
        symbol: the character (or byte) itself.
        nats: its surprise.
        rank: 1 where it was the most probable, 2 where one was more probable ...
        most_probable: what the model would have written.
    """

    offset: int
    symbol: str | int
    nats: float
    rank: int
    most_probable: str | int


def score_chars(
    scorer: Scorer, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Iterator[list[CharScore]]:
    """Yields each character's score, in order, those that come together as one list.

    Arguments and errors are those of :func:`score`.
    """
    vocabulary, scored, offset = scorer.vocabulary, 0, 0
    symbols = vocabulary.symbols
    for text in pieces:
        ids = vocabulary.encode(text, on_unknown)
        places = _places_of_known(vocabulary, text, ids)
        figures = scorer.read(ids, surprise_and_rank) if len(ids) else []
        for start in range(0, len(ids), ROWS):
            rows = slice(start, start + ROWS)
            columns = [ids[rows].tolist(), *(figure[rows].tolist() for figure in figures)]
            yield [
                CharScore(offset + place, symbols[symbol], nats, rank, symbols[likely])
                for place, symbol, nats, rank, likely in zip(places[rows], *columns, strict=True)
            ]
        scored += len(ids)
        offset += len(ids) if vocabulary.unit == "byte" else len(text)
    _check_scored(scored)


def _places_of_known(vocabulary: Vocabulary, text: Piece, ids: Ids) -> Sequence[int]:
    """Returns where in a text the symbols are that became ids."""
    if len(ids) == len(text) or vocabulary.unit == "byte":
        return range(len(ids))
    known = set(vocabulary.symbols)
    return [place for place, symbol in enumerate(text) if symbol in known]


def _check_scored(chars: int) -> None:
    if chars == 0:
        raise CorpusError("nothing to score: the text is empty or wholly unknown to the model")


def score_lines(
    scorer: Scorer,
    groups: Iterable[Sequence[Piece]],
    on_unknown: OnUnknown = "error",
    *,
    carry: bool = False,
) -> Iterator[list[tuple[float, Piece]]]:
    """Yields each line's bits per character and the line, those that come together as one list.

    Args:
        scorer: of the model.
        groups: lines without their ends, those that come together as one group; an empty line
            scores 0, a wholly unknown one NaN.
        on_unknown: as in :func:`score`.
        carry: read on from line to line; else each is a text of its own.

    Raises:
        UnknownCharacterError: A line holds unknown characters; says which. All before it was
            yielded.
    """
    number = 0
    for group in groups:
        for at in range(0, len(group), MAX_LINES):
            lines, ids = group[at : at + MAX_LINES], []
            unknown = None
            for line in lines:
                try:
                    ids.append(scorer.vocabulary.encode(line, on_unknown))
                except UnknownCharacterError as error:
                    unknown = UnknownCharacterError(f"line {number + len(ids) + 1}: {error}")
                    break
            if ids:
                means = scorer.carried_means(ids) if carry else scorer.means(ids)
                known = zip(lines, means.tolist(), strict=False)
                yield [(nats / math.log(2) if line else 0.0, line) for line, nats in known]
            if unknown is not None:
                raise unknown
            number += len(lines)
