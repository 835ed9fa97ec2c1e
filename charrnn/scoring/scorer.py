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
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Ids, Vocabulary

WARM_UP = 256
AGAIN = 64
"""Characters of each stream that are scored again, from where the one before it arrived."""
TOLERANCE = 0.00025 * math.log(2)
"""Nats per character that this may change, in all and late; half of what is promised."""
MAX_STREAMS = 128
MAX_SIDE_BY_SIDE = 256
MAX_FILLED = 2**16
"""Characters of lines that run side by side, with what fills the shorter ones up."""

Nats = npt.NDArray[np.float32]


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


def nats_per_char(
    model: CharRNN, vocabulary: Vocabulary, ids: Ids, stop: Callable[[], bool] = lambda: False
) -> float | None:
    """Returns the mean surprise of a text that is given as ids, scored as a text of its own.

    None where it was told to stop before the end.
    """
    with contextlib.suppress(_Stopped):
        return float(Scorer(model, vocabulary, stop).nats(ids).mean(dtype=np.float64))
    return None
