"""Two predictions as one: each counts as much as what it has predicted so far has earned it.

First, both are joined, their logarithms weighed and added up (logistic mixing), the weights w
following the gradient of what was predicted:

    p_joined(x) = p_1(x)^w_1 p_2(x)^w_2 / the sum of the same over all symbols

Two predictions that err in different places are better so than either. But weights that follow can
be wrong at first, or for a while. So all three predict together, by Bayes' rule:

    p(x) = v_1 p_1(x) + v_2 p_2(x) + v_3 p_joined(x),    v_i ~ what p_i gave to the text so far

A text then costs at most ln 3 nats more than by the best of the three alone, and next to nothing
for each time that a v is kept from vanishing.

Sources: Mahoney, "Adaptive weighing of context models for lossless data compression", 2005, for the
weights; Bayes for the rest. Shapes: t symbols, V vocabulary.
"""

import numpy as np

from charrnn.model.forward import Array, overflow_allowed
from charrnn.text.vocabulary import Ids

STEP, FIRST_STEP = 0.0005, 0.01  # of the weights, for each symbol; more at the first steps
MOST = 0.1  # that a weight changes at once
LEAST = np.log(1e-3)  # of ln v, so that what is behind can catch up


class Weighing:
    """Joins a sure prediction and a second one; nothing is learnt from a symbol before its score.

    Attributes:
        weights: w, of the sure prediction and of the second one.
    """

    def __init__(self) -> None:
        self.weights = np.array([0.5, 0.5])
        self._slope = np.zeros(2)  # of what was predicted since the last step
        self._steps = 0  # that the weights made
        self._credit = np.log(np.full((3, 1), 1 / 3))  # ln v before the next symbol

    @overflow_allowed
    def nats(self, logits: Array, others: Array, ids: Ids) -> tuple[Array, Array]:
        """Scores symbols.

        Args:
            logits: of the sure prediction, (t, V); finite.
            others: of the second one, (t, V); where it has none, not finite, the sure one counts.
            ids: which symbols came, (t,).

        Returns:
            The surprise of each, nats, (t,), by all; and by each of the two alone, (2, t).
        """
        log_p = np.stack([log_softmax(logits), log_softmax(others)])  # (2, t, V)
        log_p[1] = np.where(np.isfinite(log_p[1]).all(axis=1, keepdims=True), log_p[1], log_p[0])
        joined = log_softmax(np.tensordot(self.weights, log_p, 1))  # (t, V)
        came = np.stack([*log_p, joined])[:, np.arange(len(ids)), ids]  # (3, t)
        self._slope += came[:2].sum(1) - np.tensordot(log_p, np.exp(joined), 2)
        credits = np.cumsum(np.concatenate([self._credit, came], axis=1), axis=1)  # (3, t + 1)
        credits -= np.logaddexp.reduce(credits, axis=0)
        self._credit = credits[:, -1:]
        nats: Array = -np.logaddexp.reduce(credits[:, :-1] + came, axis=0)
        return nats, -came[:2]

    def learn(self) -> None:
        """Makes a step of the weights, by all that was scored since the last one."""
        self._steps += 1
        step = (STEP + FIRST_STEP / self._steps) * self._slope
        self.weights = np.maximum(self.weights + np.clip(step, -MOST, MOST), 0)
        self._slope = np.zeros(2)
        credit = np.maximum(self._credit, LEAST)
        self._credit = credit - np.logaddexp.reduce(credit, axis=0)


@overflow_allowed
def log_softmax(logits: Array) -> Array:
    """Returns the logarithm of each symbol's probability, (t, V), in float64."""
    shifted: Array = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
