"""How surprised a model is by a text.

The surprise of a character is -ln of the probability that the model gave it, having read all before
it; a text's figure is the mean. Every character is scored exactly once, the first one too.

A long text runs as parallel streams. Each starts from the state after the :data:`WARM_UP`
characters before it: what a trained RNN remembers of anything older is too little to move a mean.

Shapes: n characters, K streams, S characters of one stream, V vocabulary, L layers, H hidden.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.config import OnUnknown
from charrnn.corpus import Piece
from charrnn.errors import CorpusError
from charrnn.model import CharRNN
from charrnn.vocabulary import Ids, Vocabulary

WARM_UP = 256
MAX_STREAMS = 64
SEGMENT = 2**18
"""Characters that :func:`score` scores in one go."""
CONTEXTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

Nats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """A text's surprise.

    Attributes:
        chars: symbols scored (bytes where the model's unit is the byte).
        bytes: their size as UTF-8.
        nats: their surprise in all.
        unknown_chars: characters that the model does not know, left out.
    """

    chars: int
    bytes: int
    nats: float
    unknown_chars: int = 0

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


class Scorer:
    """Scores a text that comes in pieces; the state is carried from piece to piece."""

    def __init__(
        self, model: CharRNN, vocabulary: Vocabulary, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Starts where every text starts.

        Args:
            model: the network, in evaluation mode.
            vocabulary: its symbols.
            stop: asked several times a second; once true, scoring ends with an exception.
        """
        self._model, self._stop = model, stop
        self._start = model.start_state(1, vocabulary.newline_id)
        self.state = self._start

    def restart(self) -> None:
        """Forgets what was read: a new text begins."""
        self.state = self._start

    def nats(self, ids: Ids) -> Nats:
        """Returns the surprise of each of the next characters, (n,), and reads them; n > 0."""
        n = len(ids)
        streams = max(1, min(MAX_STREAMS, n // (4 * WARM_UP)))  # K
        length = n // streams  # S
        with torch.inference_mode():
            x = torch.from_numpy(ids.astype(np.int64)).to(self.state.device)
            state = self.state
            if streams > 1:
                starts = [k * length for k in range(1, streams)]
                warm_up = torch.stack([x[s - WARM_UP : s] for s in starts], dim=1)
                zero = self._model.zero_state(streams - 1)
                state = torch.cat([state, self._model.hidden(warm_up, zero)[1]], dim=1)
            main = x[: streams * length].view(streams, length).T  # (S, K)
            surprise, state = self._run(main, state)
            parts = [surprise.T.reshape(-1)]
            # the last n - S K characters go on from the last stream
            self.state = state[:, -1:]
            if streams * length < n:
                rest, self.state = self._run(x[streams * length :, None], self.state)
                parts.append(rest[:, 0])
            return np.asarray(torch.cat(parts).cpu().numpy())

    def _run(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns each symbol's surprise, (S, K), and the state after the last one."""
        streams = x.shape[1]
        # bounds the largest array, logits or hidden states: 2^22 numbers
        widest = max(self._model.config.vocab_size, self._model.config.hidden_size)
        steps = max(1, 2**22 // (streams * widest))
        parts = []
        for part in torch.split(x, min(steps, 4096)):
            if self._stop():
                raise _Stopped
            logits, state = self.logits(part, state)
            parts.append(
                nn.functional.cross_entropy(
                    logits.flatten(0, 1), part.flatten(), reduction="none"
                ).view(part.shape)
            )
        return torch.cat(parts), state

    def logits(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
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
    model: CharRNN, vocabulary: Vocabulary, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Score:
    """Scores a text in constant memory.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        pieces: the text, in order.
        on_unknown: ``"error"`` raises; ``"skip"`` leaves unknown characters out and counts them.

    Raises:
        UnknownCharacterError: The text holds unknown characters.
        CorpusError: The text has no character that the model knows.
    """
    scorer = Scorer(model, vocabulary)
    chars, size, nats, unknown = 0, 0, 0.0, 0
    for text in _segments(pieces):
        ids = vocabulary.encode(text, on_unknown)
        missing = len(text) - len(ids) if vocabulary.unit == "char" else 0
        chars += len(ids)
        unknown += missing
        known = vocabulary.decode(ids) if missing else text
        size += len(known) if isinstance(known, bytes) else len(known.encode("utf-8", "replace"))
        if len(ids):
            nats += float(scorer.nats(ids).sum(dtype=np.float64))
    _check_scored(chars)
    return Score(chars, size, nats, unknown)


def _segments(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Regroups pieces into segments of :data:`SEGMENT` symbols; the last may be shorter."""
    held: list[Any] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= SEGMENT:
            joined = held[0][:0].join(held)
            whole = size - size % SEGMENT
            for start in range(0, whole, SEGMENT):
                yield joined[start : start + SEGMENT]
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
    model: CharRNN, vocabulary: Vocabulary, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Iterator[CharScore]:
    """Yields each character's surprise, in order; arguments and errors as :func:`score`."""
    scorer = Scorer(model, vocabulary)
    state, offset = scorer.state, 0
    for text in pieces:
        ids = vocabulary.encode(text, on_unknown)
        for start in range(0, len(ids), 1024):
            x = torch.from_numpy(ids[start : start + 1024].astype(np.int64))[:, None]
            with torch.inference_mode():
                logits, state = scorer.logits(x, state)
                logits = logits[:, 0]  # (S, V)
                surprise = nn.functional.cross_entropy(logits, x[:, 0], reduction="none")
                rank = 1 + (logits > logits.gather(1, x)).sum(1)
                best = logits.argmax(1)
            columns = (x[:, 0].tolist(), surprise.tolist(), rank.tolist(), best.tolist())
            for symbol, nats, place, likely in zip(*columns, strict=True):
                symbols = vocabulary.symbols
                yield CharScore(offset, symbols[symbol], nats, place, symbols[likely])
                offset += 1
    _check_scored(offset)


def _check_scored(chars: int) -> None:
    if chars == 0:
        raise CorpusError("nothing to score: the text is empty or wholly unknown to the model")


def score_lines(
    model: CharRNN, vocabulary: Vocabulary, lines: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Iterator[tuple[float, Piece]]:
    """Yields each line's bits per character and the line, each scored as a text of its own.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        lines: the lines without their ends; an empty one scores 0, an unknown one NaN.
        on_unknown: as in :func:`score`.
    """
    scorer = Scorer(model, vocabulary)
    for line in lines:
        scorer.restart()
        ids = vocabulary.encode(line, on_unknown)
        nats = math.nan if line else 0.0
        if len(ids):
            nats = float(scorer.nats(ids).mean(dtype=np.float64))
        yield nats / math.log(2), line


@dataclass(frozen=True)
class ContextScore:
    """How surprised the model is when it has seen only so much.

    Attributes:
        context: characters that it has seen.
        bits_per_char: mean surprise of the next character.
        standard_error: of that mean.
    """

    context: int
    bits_per_char: float
    standard_error: float


def context_curve(
    model: CharRNN, vocabulary: Vocabulary, ids: Ids, positions: int = 1000
) -> list[ContextScore]:
    """Measures how far the model remembers: its surprise by the length of what it has read.

    The same characters of the text, evenly spread, are predicted from the last k before them, each
    such piece read as a text of its own.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        ids: the text, (n,).
        positions: characters to predict, at most.

    Raises:
        CorpusError: The text is too short for any but the shortest context.
    """
    contexts = [k for k in CONTEXTS if 2 * k < len(ids)]
    if len(contexts) < 2:
        raise CorpusError(f"{len(ids)} characters: a context curve needs at least 3")
    first = contexts[-1]
    count = min(positions, len(ids) - first)
    at = np.unique(np.linspace(first, len(ids) - 1, count).astype(np.int64))
    targets = torch.from_numpy(ids[at].astype(np.int64))
    curve = []
    with torch.inference_mode():
        for k in contexts:
            state = model.start_state(len(at), vocabulary.newline_id)
            h = state[-1]
            if k:
                windows = ids[at[None, :] + np.arange(-k, 0)[:, None]]  # (k, positions)
                x = torch.from_numpy(windows.astype(np.int64))
                for part in torch.split(x, 64):
                    hs, state = model.hidden(part, state)
                h = hs[-1]
            bits = nn.functional.cross_entropy(model.output(h), targets, reduction="none")
            bits = bits / math.log(2)
            error = float(bits.std()) / math.sqrt(len(at)) if len(at) > 1 else 0.0
            curve.append(ContextScore(k, float(bits.mean()), error))
    return curve


def read_ids(
    vocabulary: Vocabulary, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Ids:
    """Returns a whole text's ids; arguments as :func:`score`, which see for unknown characters."""
    parts = [vocabulary.encode(piece, on_unknown) for piece in pieces]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=vocabulary.dtype)


def split_lines(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yields a text's lines without their ends, each as soon as it is complete.

    Only a line feed ends a line; a carriage return before it goes with it.
    """
    held: list[Any] = []
    for piece in pieces:
        line_end: Any = b"\n" if isinstance(piece, bytes) else "\n"
        first, *others = piece.split(line_end)
        held.append(first)
        for line in others:
            yield _without_return(held[0][:0].join(held))
            held = [line]
    if held and (last := held[0][:0].join(held)):
        yield last


def _without_return(line: Any) -> Piece:
    text: Piece = line.removesuffix(b"\r" if isinstance(line, bytes) else "\r")
    return text
