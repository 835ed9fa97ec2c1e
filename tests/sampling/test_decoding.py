"""What is drawn: with the model's probabilities, and never what is excluded."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_samples import config

from charrnn.config import SamplingConfig
from charrnn.errors import OverflowedError
from charrnn.sampling.decoding import Floats, draw, draw_one, sample_seeds, weights

few = settings(deadline=None, max_examples=100)


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> list[float]:
    powers = [math.exp(x / temperature) for x in np.asarray(logits).tolist()]
    return [power / sum(powers) for power in powers]


def probabilities(logits: Floats, options: SamplingConfig) -> Floats:
    normalised: Floats = weights(logits, options) / weights(logits, options).sum(-1, keepdims=True)
    return normalised


# --- probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_symbols_are_drawn_as_often_as_they_are_probable(temperature: float) -> None:
    logits = np.array([0.0, 1.0, -1.0, 2.0, 0.3, -2.5])
    n = 20_000
    points = np.random.default_rng(1).random(n)
    drawn = draw(np.tile(logits, (n, 1)), config(temperature=temperature), points)
    wanted = n * np.array(softmax(logits, temperature))
    chi_square = float(((np.bincount(drawn, minlength=6) - wanted) ** 2 / wanted).sum())
    assert chi_square < 5 + 4 * math.sqrt(2 * 5)  # mean and 4 deviations for 5 degrees of freedom


HALVES = np.log([0.5, 0.25, 0.125, 0.0625, 0.0625])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0.5, 0.25, 0.125, 0.0625, 0.0625]),
        ({"temperature": 0.5}, [64 / 86, 16 / 86, 4 / 86, 1 / 86, 1 / 86]),
        ({"temperature": 0.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 4}, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.49}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.51}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.8}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"min_p": 0.24}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"min_p": 0.26}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"min_p": 1.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0, 0]),
        ({"top_k": 3, "min_p": 0.5}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"temperature": 0.5, "top_p": 0.75}, [0.8, 0.2, 0, 0, 0]),
    ],
)
def test_probabilities_by_hand(options: dict[str, Any], wanted: list[float]) -> None:
    """Each option sees what the ones before it left, renormalised."""
    order = [3, 0, 4, 2, 1]  # not sorted, as in life
    other = np.arange(5.0)  # another sample beside it changes nothing
    p, _ = probabilities(np.stack([HALVES[order] + 7, other]), config(**options))
    np.testing.assert_allclose(p[np.argsort(order)], wanted, atol=1e-12)


logit_lists = st.lists(st.floats(-30, 30), min_size=2, max_size=12)


def options_with(*temperatures: float) -> st.SearchStrategy[SamplingConfig]:
    return st.builds(
        config,
        temperature=st.sampled_from(temperatures),
        top_k=st.integers(0, 14),
        top_p=st.floats(0.01, 1.0),
        min_p=st.floats(0.0, 1.0),
    )


@few
@given(
    logits=logit_lists,
    options=options_with(0.0, 0.3, 1.0, 5.0),
    seed=st.integers(0, 99),
)
def test_only_the_most_probable_are_drawn(
    logits: list[float], options: SamplingConfig, seed: int
) -> None:
    (p,) = probabilities(np.array([logits]), options)
    assert p.sum() == pytest.approx(1)
    allowed, dropped = np.flatnonzero(p), np.flatnonzero(p == 0)
    assert 1 <= len(allowed) <= (options.top_k or len(logits))
    if len(dropped):
        assert min(logits[i] for i in allowed) >= max(logits[i] for i in dropped) - 1e-9
    if options.temperature:
        whole = np.array(softmax(logits, options.temperature))
        np.testing.assert_allclose(p[allowed], whole[allowed] / whole[allowed].sum(), rtol=1e-9)
        assert p[allowed].min() >= options.min_p * p.max() * (1 - 1e-12)
    points = np.random.default_rng(seed).random(5)
    assert (p[draw(np.tile(logits, (5, 1)), options, points)] > 0).all()


@pytest.mark.parametrize("point", [0.0, math.nextafter(1.0, 0.0)])
def test_no_chance_draws_what_is_excluded(point: float) -> None:
    for logits in ([0.0, 1.0, 2.0, 0.0], [0.0, 2.0, 1.9, 0.0, -1.0]):
        alone = draw_one(np.array(logits), config(top_k=2), point)
        assert alone in (1, 2)
        both = draw(np.array([logits] * 2), config(top_k=2), np.array([point] * 2))
        assert both.tolist() == [alone, alone]


@pytest.mark.parametrize("odd", [math.nan, math.inf])
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.0}, {"top_k": 1}, {"top_k": 2}, {"top_p": 0.9}, {"min_p": 0.1}],
)
@pytest.mark.filterwarnings("error")
def test_of_logits_that_are_nan_or_infinite_nothing_is_drawn(
    odd: float, options: dict[str, Any]
) -> None:
    logits = np.array([[0.0, 1.0, 2.0], [0.0, odd, 2.0]], np.float32)
    assert draw_one(logits[0], config(**options), 0.5) in (1, 2)
    with pytest.raises(OverflowedError, match="numbers grow until they overflow"):
        draw_one(logits[1], config(**options), 0.5)
    with pytest.raises(OverflowedError):
        draw(logits, config(**options), np.array([0.0, 0.9]))


@few
@given(
    logits=logit_lists,
    options=options_with(0.0, 1e-6, 0.3, 1.0, 5.0),
    point=st.floats(0.0, 1.0, exclude_max=True),
)
def test_one_sample_alone_draws_what_it_draws_beside_others(
    logits: list[float], options: SamplingConfig, point: float
) -> None:
    rows = np.array([logits, logits[::-1]])
    together = draw(rows, options, np.array([point, 0.5]))
    assert draw_one(rows[0], options, point) == together[0]


@few
@given(logits=logit_lists, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(logits: list[float], top_p: float) -> None:
    whole = np.array(softmax(logits))
    allowed = probabilities(np.array([logits]), config(top_p=top_p))[0] > 0
    assert whole[allowed].sum() >= top_p - 1e-9
    assert whole[allowed].sum() - whole[allowed].min() < top_p + 1e-9


@few
@given(logits=logit_lists, beyond=st.integers(0, 3))
def test_options_that_keep_all_change_nothing(logits: list[float], beyond: int) -> None:
    plain = probabilities(np.array([logits]), config())
    for options in ({"top_p": 1.0}, {"min_p": 0.0}, {"top_k": 0}, {"top_k": len(logits) + beyond}):
        got = probabilities(np.array([logits]), config(**options))
        np.testing.assert_allclose(got, plain, rtol=1e-12)


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324, 1e300])
def test_extreme_temperatures(temperature: float) -> None:
    """The limits: the most probable alone, and all alike."""
    (p,) = probabilities(np.array([[-900.0, 3.0, 700.0]]), config(temperature=temperature))
    wanted = [0, 0, 1] if temperature < 1 else [1 / 3] * 3
    np.testing.assert_allclose(p, wanted, atol=1e-12)


# --- seeds


def test_the_seed_after_the_largest_is_0() -> None:
    seeds = sample_seeds(config(seed=2**63 - 2), 4)
    assert seeds == [2**63 - 2, 2**63 - 1, 0, 1]
