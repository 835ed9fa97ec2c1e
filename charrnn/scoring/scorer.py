"""How surprised a model is by each character of a text.

The surprise of a character is -ln of the probability that the model gave it after reading all
characters before it, the first one included; a text's figure is the mean.

A long text runs as parallel streams, each warmed up on the :data:`WARM_UP` characters before it. To
check the warm-up, each stream then rescores the first :data:`RESCORED` characters of the next one
from its own exact state. The new figures replace the old; if they differ too much, the text runs
again, in one pass. Lines that are texts of their own run side by side, padded.

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
RESCORED = 64
TOLERANCE = 0.00025 * math.log(2)
"""Largest change in nats/char by rescoring: half of the 0.0005 bits/char that eval promises."""
MAX_STREAMS = 128
MAX_SIDE_BY_SIDE = 256
MAX_PADDED = 2**16
"""Characters of lines that run side by side, with the padding of the shorter ones."""

Nats = npt.NDArray[np.float32]
Measure = Callable[[Tensor, Tensor], list[Tensor]]
"""Of logits, (S, K, V), and the ids that came, (S, K): some figures of each id, (S, K)."""


class _Stopped(Exception):
    """The caller does not want the score any more."""


def surprise(logits: Tensor, x: Tensor) -> list[Tensor]:
    """Measures -ln of each symbol's probability."""
    nats = nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none")
    return [nats.view(x.shape)]


def surprise_and_rank(logits: Tensor, x: Tensor) -> list[Tensor]:
    """Measures the surprise, the rank from 1 up, and which symbol was the most probable."""
    rank = 1 + (logits > logits.gather(2, x[..., None])).sum(2)
    return [*surprise(logits, x), rank, logits.argmax(2)]


class Scorer:
    """Scores the characters of texts with one model.

    Args:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        exact: never run a text as parallel streams.
        stop: called several times a second; once true, scoring ends with an exception.

    Attributes:
        start: the state in which every text starts, (L, 1, H).
        one_pass: whether everything scored so far ran in one pass.
    """

    def __init__(
        self,
        model: CharRNN,
        vocabulary: Vocabulary,
        *,
        exact: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.vocabulary, self.exact = vocabulary, exact
        self._model, self._stop = model, stop
        self.start = model.start_state(1, vocabulary.newline_id)
        self.one_pass = True

    def nats(self, ids: Ids, state: Tensor) -> tuple[Nats, Tensor]:
        """Returns the surprise of each character, (n,), and the state after the last one."""
        if not len(ids):
            return np.zeros(0, dtype=np.float32), state
        (nats,), state = self.read(ids, state, surprise)
        return nats, state

    def read(
        self, ids: Ids, state: Tensor, measure: Measure
    ) -> tuple[list[npt.NDArray[Any]], Tensor]:
        """Measures each character.

        Args:
            ids: (n,), n > 0.
            state: before the first of them, (L, 1, H).
            measure: what to measure; its first figure is the surprise.

        Returns:
            Each figure of each character, (n,), and the state after the last one.
        """
        streams = 1 if self.exact else min(MAX_STREAMS, len(ids) // (4 * WARM_UP))  # K
        with torch.inference_mode():
            x = torch.from_numpy(ids.astype(np.int64)).to(state.device)
            result = self._in_streams(x, state, streams, measure) if streams > 1 else None
            if result is None:
                result = self._in_one_pass(x, state, measure)
            else:
                self.one_pass = False
            figures, state = result
            return [figure.cpu().numpy() for figure in figures], state

    def _in_one_pass(
        self, x: Tensor, state: Tensor, measure: Measure
    ) -> tuple[list[Tensor], Tensor]:
        figures, state = self._run(x[:, None], state, measure)
        return [figure[:, 0] for figure in figures], state

    def _in_streams(
        self, x: Tensor, state: Tensor, streams: int, measure: Measure
    ) -> tuple[list[Tensor], Tensor] | None:
        """Returns what `read` does; None if it would not agree with one pass."""
        length = len(x) // streams  # S
        warm_up = torch.stack([x[k * length - WARM_UP : k * length] for k in range(1, streams)], 1)
        zero = self._model.zero_state(streams - 1)
        states = torch.cat([state, self._model.hidden(warm_up, zero)[1]], dim=1)  # (L, K, H)
        main = x[: streams * length].view(streams, length).T  # (S, K)
        figures, states = self._run(main, states, measure)
        # the starts of streams 2 ... K, each from the exact state: the end of the stream before it
        exact, _ = self._run(main[:RESCORED, 1:], states[:, :-1].contiguous(), measure)
        change = exact[0] - figures[0][:RESCORED, 1:]  # nats
        # per character of the text; and late: a change that lasts would go on after RESCORED
        changes = change.sum().item() / len(x), change[RESCORED // 2 :].mean().item()
        if not all(abs(nats) <= TOLERANCE for nats in changes):
            return None
        for figure, better in zip(figures, exact, strict=True):
            figure[:RESCORED, 1:] = better
        flat = [figure.T.reshape(-1) for figure in figures]  # (S K,), in the order of the text
        state, rest = states[:, -1:], x[streams * length :]
        if len(rest):  # n - S K characters continue the last stream
            last, state = self._in_one_pass(rest, state, measure)
            flat = [torch.cat(parts) for parts in zip(flat, last, strict=True)]
        return flat, state

    def means(self, lines: Sequence[Ids]) -> Nats:
        """Returns the mean surprise of each line, a text of its own, (lines,); NaN if empty."""
        means = np.full(len(lines), np.nan, dtype=np.float32)
        by_length = sorted(
            (i for i in range(len(lines)) if len(lines[i])), key=lambda i: len(lines[i])
        )
        while by_length:
            longest = len(lines[by_length[-1]])
            count = max(1, min(MAX_SIDE_BY_SIDE, MAX_PADDED // longest))  # K
            group, by_length = by_length[-count:], by_length[:-count]
            if len(group) == 1:
                nats, _ = self.nats(lines[group[0]], self.start)
                means[group[0]] = nats.mean(dtype=np.float64)
            else:
                means[group] = self._means_side_by_side([lines[i] for i in group])
        return means

    def _means_side_by_side(self, lines: Sequence[Ids]) -> npt.NDArray[np.float64]:
        lengths = np.array([len(line) for line in lines])
        ids = np.zeros((lengths.max(), len(lines)), dtype=np.int64)  # (S, K)
        for k, line in enumerate(lines):
            ids[: len(line), k] = line
        with torch.inference_mode():
            x = torch.from_numpy(ids).to(self.start.device)
            start = self.start.expand(-1, len(lines), -1).contiguous()
            (nats,), _ = self._run(x, start, surprise)
        is_text = np.arange(len(ids))[:, None] < lengths  # (S, K), false for the padding
        sums = np.where(is_text, nats.cpu().numpy(), 0.0).sum(0, dtype=np.float64)
        means: npt.NDArray[np.float64] = sums / lengths
        return means

    def carried_means(
        self, lines: Sequence[Ids], state: Tensor
    ) -> tuple[npt.NDArray[np.float64], Tensor]:
        """Returns each line's mean surprise after the lines before it, and the state after all.

        The newline after each line is read, but not scored. The mean of an empty line is NaN.
        """
        newline = self.vocabulary.newline_id
        end = np.array([] if newline is None else [newline], dtype=self.vocabulary.dtype)
        nats, state = self.nats(
            np.concatenate([part for line in lines for part in (line, end)]), state
        )
        sums = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
        lengths = np.array([len(line) for line in lines])
        ends = np.cumsum(lengths + len(end)) - len(end)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            means: npt.NDArray[np.float64] = (sums[ends] - sums[ends - lengths]) / lengths
        return means, state

    def _run(self, x: Tensor, state: Tensor, measure: Measure) -> tuple[list[Tensor], Tensor]:
        """Returns each symbol's figures, (S, K), and the state after the last one, (L, K, H)."""
        # the largest array, logits or hidden states, has at most 2^20 numbers
        widest = max(self._model.config.vocab_size, self._model.config.hidden_size)
        steps = min(4096, max(1, 2**20 // (x.shape[1] * widest)))
        figures: list[Tensor] = []
        for start in range(0, len(x), steps):
            if self._stop():
                raise _Stopped
            part = x[start : start + steps]
            logits, state = self._logits(part, state)
            part_figures = measure(logits, part)
            # allocated once: small arrays that live until the end would fragment the memory
            figures = figures or [figure.new_empty(x.shape) for figure in part_figures]
            for whole, figure in zip(figures, part_figures, strict=True):
                whole[start : start + len(part)] = figure
        return figures, state

    def _logits(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns each symbol's logits, (S, K, V), before it is read, and the state after all."""
        h, after = self._model.hidden(x, state)
        # x_1 is predicted from the state before it, the others from the h before them
        return self._model.output(torch.cat([state[-1:], h[:-1]])), after


def nats_per_char(
    model: CharRNN, vocabulary: Vocabulary, ids: Ids, stop: Callable[[], bool] = lambda: False
) -> float | None:
    """Returns the mean surprise of ids, scored as a text of their own; None if stopped."""
    scorer = Scorer(model, vocabulary, stop=stop)
    with contextlib.suppress(_Stopped):
        return float(scorer.nats(ids, scorer.start)[0].mean(dtype=np.float64))
    return None
