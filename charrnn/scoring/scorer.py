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

WARM_UP = 256  # characters
RESCORED = 64  # characters
# largest change in nats/char by rescoring: half of the 0.0005 bits/char that eval promises
TOLERANCE = 0.00025 * math.log(2)
MAX_STREAMS = 128
MAX_SIDE_BY_SIDE = 256  # lines
MAX_PADDED = 2**16  # characters of lines that run side by side, padding included

Stop = Callable[[], bool]  # called several times a second; once it is true, scoring ends
Nats = npt.NDArray[np.float32]
# of logits, (S, K, V), and the ids that came, (S, K): some figures of each id, (S, K)
Measure = Callable[[Tensor, Tensor], list[Tensor]]


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
    """Scores texts with one model, in evaluation mode; if ``exact``, never as parallel streams.

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
        stop: Stop = lambda: False,
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
        """Returns each figure of n > 0 characters, (n,), and the state after the last one.

        The state before the first is (L, 1, H); the first figure measured must be the surprise.
        """
        streams = 1 if self.exact else min(MAX_STREAMS, len(ids) // (4 * WARM_UP))  # K
        with torch.inference_mode():
            x = torch.from_numpy(ids.astype(np.int64)).to(state.device)
            result = self._in_streams(x, state, streams, measure) if streams > 1 else None
            self.one_pass &= result is None
            figures, state = result or self._run(x[:, None], state, measure)
            return [figure.flatten().cpu().numpy() for figure in figures], state

    def _in_streams(
        self, x: Tensor, state: Tensor, streams: int, measure: Measure
    ) -> tuple[list[Tensor], Tensor] | None:
        """Returns each figure, (n,), and the state after; None if one pass would not agree."""
        length = len(x) // streams  # S
        warm_up = torch.stack([x[k * length - WARM_UP : k * length] for k in range(1, streams)], 1)
        zero = self._model.zero_state(streams - 1)
        states = torch.cat([state, self._model.hidden(warm_up, zero)[1]], dim=1)  # (L, K, H)
        main = x[: streams * length].view(streams, length).T  # (S, K)
        figures, states = self._run(main, states, measure)
        # the starts of streams 2 ... K once more, each from where the stream before it ended
        exact, _ = self._run(main[:RESCORED, 1:], states[:, :-1].contiguous(), measure)
        change = exact[0] - figures[0][:RESCORED, 1:]  # nats
        # per character of the text; and late in what was rescored: a change that is still there
        # continues beyond it
        changes = change.sum().item() / len(x), change[RESCORED // 2 :].mean().item()
        if not all(abs(nats) <= TOLERANCE for nats in changes):
            return None
        for figure, better in zip(figures, exact, strict=True):
            figure[:RESCORED, 1:] = better
        flat = [figure.T.flatten() for figure in figures]  # (S K,), in the order of the text
        state, rest = states[:, -1:], x[streams * length :]
        if len(rest):  # n - S K characters continue the last stream
            last, state = self._run(rest[:, None], state, measure)
            flat = [torch.cat([whole, part[:, 0]]) for whole, part in zip(flat, last, strict=True)]
        return flat, state

    def means(self, lines: Sequence[Ids]) -> Nats:
        """Returns the mean surprise of each line, a text of its own, (lines,); NaN if empty."""
        means = np.full(len(lines), np.nan, dtype=np.float32)
        not_empty = (i for i, line in enumerate(lines) if len(line))
        by_length = sorted(not_empty, key=lambda i: len(lines[i]))
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
        x = nn.utils.rnn.pad_sequence([torch.from_numpy(line.astype(np.int64)) for line in lines])
        with torch.inference_mode():
            start = self.start.expand(-1, len(lines), -1).contiguous()
            (nats,), _ = self._run(x.to(start.device), start, surprise)  # (S, K)
        lengths = np.array([len(line) for line in lines])
        is_text = np.arange(len(x))[:, None] < lengths  # (S, K), false for the padding
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
        ids = np.concatenate([part for line in lines for part in (line, end)])
        nats, state = self.nats(ids, state)
        sums = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
        lengths = np.array([len(line) for line in lines])
        ends = np.cumsum(lengths + len(end)) - len(end)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            return (sums[ends] - sums[ends - lengths]) / lengths, state

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
            h, state_after = self._model.hidden(part, state)
            # x_1 is predicted from the state before it, the others from the h before them
            logits = self._model.output(torch.cat([state[-1:], h[:-1]]))
            part_figures, state = measure(logits, part), state_after
            # allocated once: small arrays that live until the end would fragment the memory
            figures = figures or [figure.new_empty(x.shape) for figure in part_figures]
            for whole, figure in zip(figures, part_figures, strict=True):
                whole[start : start + len(part)] = figure
        return figures, state


def nats_per_char(
    model: CharRNN, vocabulary: Vocabulary, ids: Ids, stop: Stop = lambda: False
) -> float | None:
    """Returns the mean surprise of ids, scored as a text of their own; None if stopped."""
    scorer = Scorer(model, vocabulary, stop=stop)
    with contextlib.suppress(_Stopped):
        return float(scorer.nats(ids, scorer.start)[0].mean(dtype=np.float64))
    return None
