"""Two predictions as one: each counts as much as what it has predicted so far has earned it.

First, both are joined, their logarithms weighed and added up (logistic mixing), the weights w
following the gradient of what was predicted:

    p_joined(x) = p_1(x)^w_1 p_2(x)^w_2 / the sum of the same over all symbols

Two predictions that err in different places are better so than either. But weights that follow can
be wrong at first, or for a while. So all three predict together, by Bayes' rule:

    p(x) = v_1 p_1(x) + v_2 p_2(x) + v_3 p_joined(x),    v_i ~ what p_i gave to the text so far

A text then costs at most ln 3 nats more than by the best of the three alone; and 0.002 for each
step, as each v is kept above 1/1000, so that what is behind can catch up.

Sources: Mahoney, "Adaptive weighing of context models for lossless data compression", 2005, for the
weights; Bayes for the rest. Shapes: t symbols, V vocabulary.
"""

import numpy as np

from charrnn.model.forward import Array, overflow_allowed
from charrnn.text.vocabulary import Ids

STEP, FIRST_STEP = 0.0005, 0.01  # of the weights, for each symbol; more at the first steps
MOST_STEP, MOST = 0.1, 2.0  # that a weight changes at once; of a weight
LEAST_LOG_V = np.log(1e-3)


class Weighing:
    """Joins a sure prediction and a second one; nothing is learnt from a symbol before its score.

    Attributes:
        weights: w, of the sure prediction and of the second one.
    """

    def __init__(self) -> None:
        self.weights = np.array([0.5, 0.5])
        self._slope = np.zeros(2)  # of what was predicted since the last step
        self._steps = 0  # that the weights made
        self._log_v = np.log(np.full((3, 1), 1 / 3))  # before the next symbol

    @overflow_allowed
    def nats(self, logits: Array, others: Array, ids: Ids) -> tuple[Array, Array]:
        """Scores symbols.

        Args:
            logits: of the sure prediction, (t, V); finite.
            others: of the second one, (t, V); if it has none, not finite, the sure one counts.
            ids: which symbols came, (t,).

        Returns:
            The surprise of each, nats, (t,), by all; and by each of the two alone, (2, t).
        """
        log_p = np.stack([log_softmax(logits), log_softmax(others)])  # (2, t, V)
        log_p[1] = np.where(np.isfinite(log_p[1]).all(axis=1, keepdims=True), log_p[1], log_p[0])
        joined = log_softmax(np.tensordot(self.weights, log_p, 1))  # (t, V)
        log_p_of_ids = np.stack([*log_p, joined])[:, np.arange(len(ids)), ids]  # (3, t)
        self._slope += log_p_of_ids[:2].sum(1) - np.tensordot(log_p, np.exp(joined), 2)
        # before each symbol, and after the last one
        log_v = np.cumsum(np.concatenate([self._log_v, log_p_of_ids], axis=1), axis=1)
        log_v -= np.logaddexp.reduce(log_v, axis=0)  # (3, t + 1)
        self._log_v = log_v[:, -1:]
        nats: Array = -np.logaddexp.reduce(log_v[:, :-1] + log_p_of_ids, axis=0)
        return nats, -log_p_of_ids[:2]

    def learn(self) -> None:
        """Makes a step of the weights, by all that was scored since the last one."""
        self._steps += 1
        step = (STEP + FIRST_STEP / self._steps) * self._slope
        self.weights = np.clip(self.weights + np.clip(step, -MOST_STEP, MOST_STEP), 0, MOST)
        self._slope = np.zeros(2)
        log_v = np.maximum(self._log_v, LEAST_LOG_V)
        self._log_v = log_v - np.logaddexp.reduce(log_v, axis=0)


@overflow_allowed
def log_softmax(logits: Array) -> Array:
    """Returns the logarithm of each symbol's probability, (t, V), in float64."""
    shifted: Array = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
