"""Scores a text while it learns from it: dynamic evaluation.

A segment of the text is scored, then the weights make a step down its gradient, then the next
segment is scored: no character is ever scored by a model that has seen it. Beside it, the model as
it was is scored, and both predict together, as `scoring/weighing.py` says: so a text costs at most
ln 3 nats more than without adapting, and 0.002 for each segment. If the adapted model falls behind
(a cumulative sum, Page 1954), it begins again as it was, with half the rate. Of a mixture, each
member learns by itself.

Sources: Mikolov et al., "Recurrent neural network based language model", 2010; Krause, Kahembwe,
Murray, Renals, "Dynamic evaluation of neural sequence models", 2018.

Shapes: n characters, t of a part of a segment, T of a segment, L layers, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from charrnn.model.forward import Array, Forward, require_finite
from charrnn.model.mixture import as_one, states_of
from charrnn.model.network import CharRNN
from charrnn.scoring.scorer import Nats, Scorer
from charrnn.scoring.weighing import Weighing
from charrnn.text.vocabulary import Ids, Vocabulary

RATE = 0.1  # of the steps, at first
SEGMENT = 64  # characters between two of them
ALLOWED = 0.1  # nats a character that the adapted model may be worse, as both are better together
BEHIND = 30.0  # nats beyond that: the adapted model starts again then
LEAST_RATE = 1e-4  # below, it is not worth its time


class AdaptingScorer(Scorer):
    """Scores texts with models that learn from them, each text from the models as they were.

    Attributes:
        rate: of the steps, now; halved whenever it turns out too high.
    """

    nats_as_it_was: float
    most_at_once = 2**13

    def __init__(
        self,
        members: Sequence[Forward],
        vocabulary: Vocabulary,
        *,
        rate: float = RATE,
        **options: Any,
    ) -> None:
        """Prepares to score with one model, or a mixture; ``options`` are those of `Scorer`."""
        self._as_it_was = as_one(members)
        super().__init__(self._as_it_was, vocabulary, **options)
        self._members, self._first_rate = members, rate
        self.nats_as_it_was = 0.0
        self._restart()

    def _restart(self) -> None:
        """Begins a text with the models as they were."""
        self.rate, self._weighing = self._first_rate, Weighing()
        self._segment: Ids = np.zeros(0, self.vocabulary.dtype)  # what was read of it
        self._begin(self.start)

    def _begin(self, state: Array) -> None:
        """Adapts the models as they were, from a state on."""
        self._models = [CharRNN.of(member) for member in self._members]
        self._adapted = as_one(self.adapted())
        self._state = self._before = state  # after all that was read; before the segment
        self._behind = 0.0  # nats

    def adapted(self) -> list[Forward]:
        """Returns the models as they are now."""
        return [model.in_numpy() for model in self._models]  # of the same memory

    def nats(self, ids: Ids, state: Array) -> tuple[Nats, Array]:
        """Returns the surprise of each character, (n,), and the state after the last one.

        It continues the text of the call before, unless it begins one, with :attr:`start`.

        Raises:
            OverflowedError: The surprise of the model as it was is NaN or infinite.
        """
        if state is self.start:
            self._restart()
        mixed = np.empty(len(ids), np.float32)
        start, threads = 0, torch.get_num_threads()
        torch.set_num_threads(1)  # of its small products
        try:
            while start < len(ids):
                end = start + SEGMENT - len(self._segment)
                mixed[start:end], state = self._score(ids[start:end], state)
                start = end
        finally:
            torch.set_num_threads(threads)
        return mixed, state

    def _score(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Scores the next t characters of a segment, and learns from it at its end.

        Returns:
            Their surprise, (t,), and the state of the models as they were.
        """
        as_it_was, state = self._as_it_was.predictions(ids[:, None], state)  # (t, 1, V)
        adapted, self._state = self._adapted.predictions(ids[:, None], self._state)
        nats, alone = self._weighing.nats(require_finite(as_it_was[:, 0]), adapted[:, 0], ids)
        self.nats_as_it_was += float(alone[0].sum())
        overflowed = not np.isfinite(adapted).all()
        self._behind += math.inf if overflowed else float((alone[1] - alone[0]).sum())
        self._segment = np.concatenate([self._segment, ids])
        if len(self._segment) == SEGMENT:
            self._weighing.learn()
            self._behind = max(self._behind - ALLOWED * SEGMENT, 0.0)
            if self._behind > BEHIND:
                self.rate /= 2
                self._begin(state)
            elif self.rate >= LEAST_RATE:
                self._learn()
            self._segment, self._before = self._segment[:0], self._state
        return nats, state

    def _learn(self) -> None:
        """Makes each model's step down its gradient of the segment's mean surprise."""
        x = torch.from_numpy(self._segment.astype(np.int64))[:, None]  # (T, 1)
        states = states_of(self._adapted, self._before)
        for model, state in zip(self._models, states, strict=True):
            before = torch.from_numpy(state)
            hs, _ = model.hidden(x, before)
            logits = model.output(torch.cat([model.top(before)[None], hs[:-1]]))  # (T, 1, V)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten())
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=self.rate)
