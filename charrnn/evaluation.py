"""How surprised a model is by a text.

The surprise of a character is -ln of the probability that the model gave it, having read all before
it; a text's figure is the mean. Every character is scored exactly once, the first one too.

A long text runs as parallel streams. Each starts from the state after the :data:`WARM_UP`
characters before it. Whether that was enough is seen in the end: each stream has then arrived where
the next one started, and begins the next one again. What that changes is put right; where it
changes too much, the text runs once more, in one pass. Lines that are texts of their own run side
by side, too, shorter ones filled up.

Shapes: n characters, K streams, S characters of one stream, V vocabulary, L layers, H hidden.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.config import OnUnknown
from charrnn.corpus import Piece
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.model import CharRNN
from charrnn.vocabulary import Ids, Vocabulary

WARM_UP = 256
AGAIN = 64
"""Characters of each stream that are scored again, from where the one before it arrived."""
TOLERANCE = 0.00025 * math.log(2)
"""Nats per character that this may change, in all and late; half of what is promised."""
MAX_STREAMS = 128
SEGMENT, SEGMENT_OF_ONE_PASS = 2**19, 2**14
"""Characters that :func:`score` scores in one go."""
MAX_LINES = 1024
"""Lines that :func:`score_lines` scores in one go, and so holds back at most."""
MAX_SIDE_BY_SIDE = 256
MAX_FILLED = 2**16
"""Characters of lines that run side by side, with what fills the shorter ones up."""
ROWS = 4096
"""Characters whose scores :func:`score_chars` holds at once."""

Nats = npt.NDArray[np.float32]


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


class _Stopped(Exception):
    """Whoever asked for a score does not want it any more."""


Measure = Callable[[Tensor, Tensor], list[Tensor]]
"""Of logits, (S, K, V), and the ids that came, (S, K): some figures of each, (S, K)."""


def surprise(logits: Tensor, x: Tensor) -> list[Tensor]:
    """Measures -ln of each symbol's probability."""
    nats = nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none")
    return [nats.view(x.shape)]


def surprise_and_rank(logits: Tensor, x: Tensor) -> list[Tensor]:
    """Measures the surprise, the rank from 1 on, and which symbol was the most probable."""
    rank = 1 + (logits > logits.gather(2, x[..., None])).sum(2)
    return [*surprise(logits, x), rank, logits.argmax(2)]


class Scorer:
    """Scores a text that comes in pieces; the state is carried from piece to piece."""

    def __init__(
        self,
        model: CharRNN,
        vocabulary: Vocabulary,
        stop: Callable[[], bool] = lambda: False,
        *,
        exact: bool = False,
    ) -> None:
        """Starts where every text starts.

        Args:
            model: the network, in evaluation mode.
            vocabulary: its symbols.
            stop: asked several times a second; once true, scoring ends with an exception.
            exact: never run a text as parallel streams.
        """
        self.vocabulary = vocabulary
        self._model, self._stop, self.exact = model, stop, exact
        self._start = model.start_state(1, vocabulary.newline_id)
        self.state = self._start
        self.one_pass = True
        """Whether all that was scored so far ran in one pass."""

    def restart(self) -> None:
        """Forgets what was read: a new text begins."""
        self.state = self._start

    def nats(self, ids: Ids) -> Nats:
        """Returns the surprise of each of the next characters, (n,), and reads them; n > 0."""
        return self.read(ids, surprise)[0]

    def read(self, ids: Ids, measure: Measure) -> list[npt.NDArray[Any]]:
        """Measures each of the next characters, and reads them.

        Args:
            ids: (n,), n > 0.
            measure: the surprise first.

        Returns:
            Each figure of each character, (n,).
        """
        n = len(ids)
        streams = 1 if self.exact else min(MAX_STREAMS, n // (4 * WARM_UP))  # K
        with torch.inference_mode():
            x = torch.from_numpy(ids.astype(np.int64)).to(self.state.device)
            found = self._in_streams(x, streams, measure) if streams > 1 else None
            if found is None:
                found, self.state = self._in_one_pass(x, self.state, measure)
            else:
                self.one_pass = False
            return [figure.cpu().numpy() for figure in found]

    def _in_one_pass(
        self, x: Tensor, state: Tensor, measure: Measure
    ) -> tuple[list[Tensor], Tensor]:
        found, state = self._run(x[:, None], state, measure)
        return [figure[:, 0] for figure in found], state

    def _in_streams(self, x: Tensor, streams: int, measure: Measure) -> list[Tensor] | None:
        """Measures and reads side by side; None where that is not as good as one pass."""
        length = len(x) // streams  # S
        warm_up = torch.stack([x[k * length - WARM_UP : k * length] for k in range(1, streams)], 1)
        zero = self._model.zero_state(streams - 1)
        state = torch.cat([self.state, self._model.hidden(warm_up, zero)[1]], dim=1)
        main = x[: streams * length].view(streams, length).T  # (S, K)
        found, state = self._run(main, state, measure)
        again, _ = self._run(main[:AGAIN, 1:], state[:, :-1].contiguous(), measure)
        change = again[0] - found[0][:AGAIN, 1:]
        # in all, and where it lasts: what is left of it late would go on beyond
        missed = change.sum().item() / len(x), change[AGAIN // 2 :].mean().item()
        if not all(abs(nats) <= TOLERANCE for nats in missed):
            return None
        for figure, better in zip(found, again, strict=True):
            figure[:AGAIN, 1:] = better
        # the last n - S K characters go on from the last stream
        self.state, rest = state[:, -1:], x[streams * length :]
        flat = [figure.T.reshape(-1) for figure in found]
        if len(rest):
            last, self.state = self._in_one_pass(rest, self.state, measure)
            flat = [torch.cat(parts) for parts in zip(flat, last, strict=True)]
        return flat

    def means(self, lines: Sequence[Ids]) -> Nats:
        """Returns the mean surprise of each line, a text of its own, (lines,); NaN if empty."""
        means = np.full(len(lines), np.nan, dtype=np.float32)
        by_length = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        while by_length and not len(lines[by_length[0]]):
            by_length.pop(0)
        while by_length:
            longest = len(lines[by_length[-1]])
            count = max(1, min(MAX_SIDE_BY_SIDE, MAX_FILLED // longest))  # K
            group, by_length = by_length[-count:], by_length[:-count]
            if len(group) == 1:
                self.restart()
                means[group[0]] = self.nats(lines[group[0]]).mean(dtype=np.float64)
            else:
                means[group] = self._means_side_by_side([lines[i] for i in group])
        return means

    def _means_side_by_side(self, lines: Sequence[Ids]) -> Nats:
        lengths = np.array([len(line) for line in lines])
        ids = np.zeros((lengths.max(), len(lines)), dtype=np.int64)  # (S, K)
        for k, line in enumerate(lines):
            ids[: len(line), k] = line
        with torch.inference_mode():
            x = torch.from_numpy(ids).to(self.state.device)
            start = self._start.expand(-1, len(lines), -1).contiguous()
            (nats,), _ = self._run(x, start, surprise)
        there = np.arange(len(ids))[:, None] < lengths
        means: Nats = np.where(there, nats.cpu().numpy(), 0.0).sum(0, dtype=np.float64) / lengths
        return means

    def carried_means(self, lines: Sequence[Ids]) -> Nats:
        """Returns the mean surprise of each line, (lines,), read on from the lines before it.

        The newline after each line is read, but not scored.
        """
        newline = self.vocabulary.newline_id
        end = np.zeros(0 if newline is None else 1, dtype=self.vocabulary.dtype)
        end[:] = newline or 0
        whole = np.concatenate([part for line in lines for part in (line, end)])
        if not len(whole):
            return np.full(len(lines), np.nan, dtype=np.float32)
        lengths = np.array([len(line) for line in lines])
        sums = np.concatenate([[0.0], np.cumsum(self.nats(whole), dtype=np.float64)])
        ends = np.cumsum(lengths + len(end)) - len(end)
        with np.errstate(invalid="ignore"):
            means: Nats = (sums[ends] - sums[ends - lengths]) / lengths
        return means

    def _run(self, x: Tensor, state: Tensor, measure: Measure) -> tuple[list[Tensor], Tensor]:
        """Returns each symbol's figures, (S, K), and the state after the last one."""
        streams = x.shape[1]
        # bounds the largest array, logits or hidden states: 2^20 numbers
        widest = max(self._model.config.vocab_size, self._model.config.hidden_size)
        steps = max(1, 2**20 // (streams * widest))
        found: list[Tensor] = []
        for start in range(0, len(x), min(steps, 4096)):
            if self._stop():
                raise _Stopped
            part = x[start : start + min(steps, 4096)]
            logits, state = self._logits(part, state)
            figures = measure(logits, part)
            # written where they stay: kept apart, they would scatter over the memory
            found = found or [figure.new_empty(x.shape) for figure in figures]
            for whole, figure in zip(found, figures, strict=True):
                whole[start : start + len(part)] = figure
        return found, state

    def _logits(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts each symbol from all before it, then reads it.

        Args:
            x: ids, (S, K) int64, S > 0.
            state: before the first of them, (L, K, H).

        Returns:
            Logits of each, (S, K, V), and the state after the last one.
        """
        h, after = self._model.hidden(x, state)
        # x_1 is predicted from the state before it, the others from the h before them
        return self._model.output(torch.cat([state[-1:], h[:-1]])), after


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
    for text in _segments(pieces, SEGMENT_OF_ONE_PASS if scorer.exact else SEGMENT):
        ids = vocabulary.encode(text, on_unknown)
        missing = vocabulary.count_unknown(text)
        known = vocabulary.decode(ids) if len(ids) < len(text) else text
        size = len(known) if isinstance(known, bytes) else len(known.encode("utf-8", "replace"))
        nats = float(scorer.nats(ids).sum(dtype=np.float64)) if len(ids) else 0.0
        total += Score(len(ids), size, nats, missing, time.perf_counter() - start_s - total.seconds)
        watch(total)
    _check_scored(total.chars)
    return total


def _segments(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Regroups pieces into segments of so many symbols; the last may be shorter."""
    held: list[Any] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= length:
            joined = held[0][:0].join(held)
            whole = size - size % length
            for start in range(0, whole, length):
                yield joined[start : start + length]
            held, size = [joined[whole:]], size - whole
    if size:
        yield held[0][:0].join(held)


def nats_per_char(
    model: CharRNN, vocabulary: Vocabulary, ids: Ids, stop: Callable[[], bool] = lambda: False
) -> float | None:
    """Returns the mean surprise of a text that is given as ids, scored as a text of its own.

    None where it was told to stop before the end.
    """
    with contextlib.suppress(_Stopped):
        return float(Scorer(model, vocabulary, stop).nats(ids).mean(dtype=np.float64))
    return None


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


def split_lines(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yields a text's lines without their ends: all that a piece completes, as soon as it does.

    Only a line feed ends a line; a carriage return before it goes with it.
    """
    held: list[Any] = []
    for piece in pieces:
        line_end: Any = b"\n" if isinstance(piece, bytes) else "\n"
        first, *others = piece.split(line_end)
        held.append(first)
        if others:
            whole = [held[0][:0].join(held), *others[:-1]]
            held = [others[-1]]
            yield [_without_return(line) for line in whole]
    if held and (last := held[0][:0].join(held)):
        yield [last]


def _without_return(line: Any) -> Piece:
    text: Piece = line.removesuffix(b"\r" if isinstance(line, bytes) else "\r")
    return text
