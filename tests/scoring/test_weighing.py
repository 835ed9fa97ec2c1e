"""Two predictions as one: fair odds, never much worse than the better one, often better."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.model.forward import Array
from charrnn.scoring.weighing import Weighing
from charrnn.text.vocabulary import Ids

V = 5
PART = 10  # symbols between two steps of the weights


def logits_of(p: Array) -> Array:
    return np.log(p).astype(np.float32)


def predictions(seed: int, n: int, scale: float = 2.0) -> Array:
    """Returns two predictions of each symbol, logits, (2, n, V)."""
    return np.random.default_rng(seed).normal(scale=scale, size=(2, n, V)).astype(np.float32)


def weighed(logits: Array, ids: Ids, weighing: Weighing | None = None) -> tuple[Array, Array]:
    """Returns the surprise of each symbol by both, (n,), and by each alone, (2, n)."""
    weighing = weighing or Weighing()
    parts = []
    for start in range(0, len(ids), PART):
        part = slice(start, start + PART)
        parts.append(weighing.nats(logits[0, part], logits[1, part], ids[part]))
        weighing.learn()
    both, alone = zip(*parts, strict=True)
    return np.concatenate(both), np.concatenate(alone, axis=1)


def drawn(logits: Array, seed: int = 0) -> Ids:
    """Draws a symbol from each of n predictions, (n, V)."""
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    return (logits + noise).argmax(axis=1)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 45), scale=st.floats(0.1, 300))
def test_the_probabilities_of_all_next_symbols_add_up_to_1(seed: int, n: int, scale: float) -> None:
    logits = predictions(seed, n + 1, scale)
    before = drawn(logits[1, :n], seed)
    p = [math.exp(-weighed(logits, np.append(before, x))[0][-1]) for x in range(V)]
    assert sum(p) == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400), scale=st.floats(0.1, 300))
def test_a_text_costs_at_most_ln_3_more_than_by_the_better_one(
    seed: int, n: int, scale: float
) -> None:
    ids = np.random.default_rng(seed).integers(V, size=n)
    both, alone = weighed(predictions(seed, n, scale), ids)
    # besides, 1/1000 is kept for each that is behind, at each step
    assert both.sum() <= alone.sum(axis=1).min() + math.log(3) + 2e-3 * (1 + n / PART)


def test_each_alone_is_scored_by_its_own_probabilities() -> None:
    logits, ids = predictions(1, 30), np.arange(30) % V
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    _, alone = weighed(logits, ids)
    assert alone == pytest.approx(-np.log(p[:, np.arange(30), ids]), abs=1e-5)


def test_the_first_symbol_is_scored_by_both_and_their_geometric_mean() -> None:
    p, q = np.array([0.6, 0.2, 0.1, 0.05, 0.05]), np.array([0.1, 0.1, 0.6, 0.1, 0.1])
    mean = np.sqrt(p * q) / np.sqrt(p * q).sum()
    (nats,), _ = weighed(np.stack([logits_of(p), logits_of(q)])[:, None], np.array([2]))
    assert math.exp(-nats) == pytest.approx((p[2] + q[2] + mean[2]) / 3, abs=1e-6)


def test_the_credit_follows_bayes_rule() -> None:
    """Before any step of the weights: v is what each gave to the text so far."""
    logits, ids = predictions(3, 8), np.arange(8) % V
    log_p = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    joined = log_p.mean(0)
    joined -= np.logaddexp.reduce(joined, axis=1, keepdims=True)
    came = np.stack([*log_p, joined])[:, np.arange(8), ids]
    text = np.exp(came.sum(1)).mean()
    assert math.exp(-weighed(logits, ids)[0].sum()) == pytest.approx(text, rel=1e-4)


def test_two_that_err_in_different_places_are_better_together() -> None:
    """Each sees the truth through noise of its own: their sum sees it better than either."""
    truth = np.random.default_rng(1).normal(scale=2, size=(4000, V))
    noisy = truth + np.random.default_rng(2).normal(size=(2, 4000, V))
    weighing = Weighing()
    both, alone = weighed(noisy.astype(np.float32), drawn(truth), weighing)
    assert both[1000:].mean() < alone[:, 1000:].mean(axis=1).min() - 0.03
    assert weighing.weights == pytest.approx([0.45, 0.45], abs=0.15)


def test_one_that_knows_nothing_loses_its_weight() -> None:
    truth = np.random.default_rng(1).normal(scale=2, size=(4000, V))
    guess = np.random.default_rng(2).normal(scale=2, size=(4000, V))
    weighing = Weighing()
    weighed(np.stack([guess, truth]).astype(np.float32), drawn(truth), weighing)
    assert weighing.weights == pytest.approx([0, 1], abs=0.15)


def test_the_first_steps_are_the_largest() -> None:
    """So that a short text gains, too."""
    logits = np.zeros((2, PART, V), np.float32)
    logits[1, :, 0], weighing = 1.0, Weighing()
    after = []
    for _ in range(200):
        weighing.nats(logits[0], logits[1], np.zeros(PART, np.int64))
        weighing.learn()
        after.append(float(weighing.weights[1]))
    assert after[0] - 0.5 > 10 * (after[-1] - after[-2]) > 0


def test_the_weights_step_up_the_gradient_of_what_came() -> None:
    logits, ids = predictions(4, PART, scale=0.3), np.arange(PART) % V
    weighing = Weighing()

    def nats_by(weights: Array) -> float:
        joined = np.tensordot(weights, logits, 1)
        joined -= np.logaddexp.reduce(joined, axis=1, keepdims=True)
        return -float(joined[np.arange(PART), ids].sum())

    steps = np.eye(2) * 1e-3
    half = np.array([0.5, 0.5])
    slope = [(nats_by(half - step) - nats_by(half + step)) / 2e-3 for step in steps]
    weighed(logits, ids, weighing)
    change = weighing.weights - half
    assert abs(change).max() < 0.1, "as it is, not at its bound"
    assert change[0] / change[1] == pytest.approx(slope[0] / slope[1], rel=1e-2)
    assert change[0] * slope[0] > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_where_the_second_prediction_overflowed_the_sure_one_counts(bad: float) -> None:
    logits, ids = predictions(5, 30), np.arange(30) % V
    logits[1, 10:20, 2] = bad
    both, alone = weighed(logits, ids)
    same = logits.copy()
    same[1, 10:20] = same[0, 10:20]
    assert (both == weighed(same, ids)[0]).all()
    assert (alone[0] == alone[1]).tolist() == [10 <= i < 20 for i in range(30)]


def test_what_was_behind_for_long_catches_up_soon() -> None:
    """The source changes: what was wrong is now right."""
    p, q = np.array([0.9, 0.05, 0.02, 0.02, 0.01]), np.array([0.01, 0.02, 0.02, 0.05, 0.9])
    logits = np.tile(np.stack([logits_of(p), logits_of(q)])[:, None], (1, 2000, 1))
    for first, then in ((0, 4), (4, 0)):
        ids = np.repeat([first, then], 1000)
        both, _ = weighed(logits, ids)
        assert both[1000 : 1000 + PART].sum() < 25, "e.g. ln 1000, then next to nothing"
        assert both[1000 + 2 * PART :].mean() < 0.12


def test_the_weights_stay_in_their_bounds_and_change_little_at_once() -> None:
    """Of a prediction that is wrong each time, and then right each time: by a large power, sure."""
    logits = np.zeros((2, PART, V), np.float32)
    logits[1, :, 0], weighing = 1.0, Weighing()
    for symbol, bound in ((1, 0.0), (0, 2.0)):
        for _ in range(3000):
            before = weighing.weights
            weighing.nats(30 * logits[0], logits[1] * (30 if symbol else 1), np.full(PART, symbol))
            weighing.learn()
            assert abs(weighing.weights - before).max() <= 0.1 + 1e-12
            assert (weighing.weights >= 0).all() and (weighing.weights <= 2).all()
        assert weighing.weights[1] == bound
