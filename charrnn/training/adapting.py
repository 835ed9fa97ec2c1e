"""Scores a text while it learns from it: dynamic evaluation.

A segment of the text is scored, then the weights make a step down its gradient, then the next
segment is scored: no character is ever scored by a model that has seen it. Beside it, the model as
it was is scored, and both predict together, each as much as it has predicted so far (Bayes' rule):

    p(x_t) = w p_adapted(x_t) + (1 - w) p_as_it_was(x_t),    w / (1 - w) = the ratio so far

So a text costs at most ln 2 nats more than without adapting, and as much again for each time that
the adapted model falls far behind: then it begins again as it was, with half the rate.

Sources: Mikolov et al., "Recurrent neural network based language model", 2010; Krause, Kahembwe,
Murray, Renals, "Dynamic evaluation of neural sequence models", 2018.

Shapes: n characters, T of a segment, V vocabulary, L layers, H hidden.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from charrnn.model.forward import Array, Forward, overflow_allowed
from charrnn.model.network import CharRNN
from charrnn.scoring.scorer import Nats, Scorer
from charrnn.text.vocabulary import Ids, Vocabulary

RATE = 0.1  # of the steps, at first
SEGMENT = 64  # characters between two of them
FAR = math.log(1000)  # nats: no model counts less than a thousandth, so that it can catch up
BEHIND = 30.0  # nats: the adapted model starts again then
WORST = 1e6  # nats for a character that a model cannot predict, as its numbers overflowed
LEAST_RATE = 1e-4  # below, it is not worth its time


class AdaptingScorer(Scorer):
    """Scores texts with a model that learns from them, each text from the model as it was.

    Attributes:
        rate: of the steps, now; halved whenever it turns out too high.
    """

    nats_as_it_was: float
    most_at_once = 2**13

    def __init__(
        self, network: Forward, vocabulary: Vocabulary, *, rate: float = RATE, **options: Any
    ) -> None:
        """Prepares to score; ``options`` are those of :class:`Scorer`."""
        super().__init__(network, vocabulary, **options)
        self._as_it_was, self._first_rate = network, rate
        self.nats_as_it_was = 0.0
        torch.set_num_threads(1)  # of its small products
        self._restart()

    def _restart(self) -> None:
        """Begins a text with the model as it was."""
        self._model = CharRNN.of(self._as_it_was)
        self._adapted = self._model.in_numpy()  # of the same memory
        self._state = self._before = self.start  # after all that was read; before the segment
        self._segment: Ids = np.zeros(0, self.vocabulary.dtype)  # what was read of it
        self.rate = self._first_rate
        self._lead = 0.0  # nats that the adapted model is ahead, or FAR at the end of a segment

    def adapted(self) -> Forward:
        """Returns the model as it is now."""
        return self._adapted

    def nats(self, ids: Ids, state: Array) -> tuple[Nats, Array]:
        """Returns the surprise of each character, (n,), and the state after the last one.

        It continues the text of the call before, unless it begins one, with :attr:`start`.

        Raises:
            OverflowedError: The surprise of the model as it was is NaN or infinite.
        """
        if state is self.start:
            self._restart()
        as_it_was, state = super().nats(ids, state)
        self.nats_as_it_was += float(as_it_was.sum(dtype=np.float64))
        mixed = np.empty(len(ids), as_it_was.dtype)
        start = 0
        while start < len(ids):
            end = start + SEGMENT - len(self._segment)
            mixed[start:end] = self._score(ids[start:end], as_it_was[start:end])
            start = end
        return mixed, state

    @overflow_allowed
    def _score(self, ids: Ids, as_it_was: Array) -> Array:
        """Returns the surprise of the next characters of a segment; learns from it at its end."""
        figures, self._state = self._adapted.nats(ids[:, None], self._state)
        adapted = np.nan_to_num(figures[0][:, 0].astype(np.float64), nan=WORST, posinf=WORST)
        gains = np.cumsum(as_it_was - adapted)
        lead = self._lead + gains - (as_it_was - adapted)  # before each character
        # in logarithms: w = 1 / (1 + e^-lead), and 1 - w
        w, rest = -np.logaddexp(0, -lead), -np.logaddexp(0, lead)
        mixed: Array = -np.logaddexp(w - adapted, rest - as_it_was)
        self._lead += float(gains[-1])
        self._segment = np.concatenate([self._segment, ids])
        if len(self._segment) == SEGMENT:
            self._learn()
            self._segment, self._before = self._segment[:0], self._state
        return mixed

    def _learn(self) -> None:
        """Makes a step down the segment's gradient; or a new beginning, if the last ones failed."""
        self._lead = min(self._lead, FAR)
        if self._lead < -BEHIND:
            self.rate, self._lead = self.rate / 2, 0.0
            self._model.load_state_dict(CharRNN.of(self._as_it_was).state_dict())
            if not np.isfinite(self._state).all():
                self._state = self.start
            return
        if self.rate < LEAST_RATE:
            return
        x = torch.from_numpy(self._segment.astype(np.int64))[:, None]  # (T, 1)
        before = torch.from_numpy(self._before)
        hs, _ = self._model.hidden(x, before)
        logits = self._model.output(
            torch.cat([self._model.top(before)[None], hs[:-1]])
        )  # (T, 1, V)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten())
        parameters = list(self._model.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=self.rate)
