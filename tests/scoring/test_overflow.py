"""A network whose numbers overflow has no figures, and says so; one that tanh bounds always has."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_samples import config

from charrnn.config import ModelConfig
from charrnn.errors import OverflowedError
from charrnn.model.forward import LARGEST_WEIGHT, Forward
from charrnn.sampling.generate import generate, samples
from charrnn.scoring.context import context_curve
from charrnn.scoring.lines import LineScorer, usual_of_lines
from charrnn.scoring.reports import continuation_bits, score, score_chars
from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.text.vocabulary import Ids, Vocabulary

pytestmark = pytest.mark.filterwarnings("error")

TEXT = "I had coffee.\nI had tea.\n" * 20
VOCABULARY = Vocabulary.of_text(TEXT)


def network(nonlinearity: str, size: float, **shape: Any) -> Forward:
    """Returns a network whose weights are all as large as that, of either sign."""
    options = {"hidden_size": 8, "num_layers": 2, **shape}
    shapes = ModelConfig(len(VOCABULARY), nonlinearity=nonlinearity, **options)  # type: ignore[arg-type]
    dice = np.random.default_rng(0)
    weights = {
        name: dice.choice([-size, size], shape).astype(np.float32)
        for name, shape in shapes.parameter_shapes().items()
    }
    return Forward(shapes, weights)


def scorer_of(model: Forward) -> Scorer:
    return Scorer(model, VOCABULARY)


def ids() -> Ids:
    return VOCABULARY.encode(TEXT)


def all_of_lines(model: Forward, **options: bool) -> list[float]:
    scorer = scorer_of(model)
    groups = [TEXT.splitlines(), [TEXT.replace("\n", " ")]]
    scored = LineScorer(scorer, **options).score(groups, scorer.start)
    return [line.bits_per_char for lines, _ in scored for line in lines]


def of_chars(model: Forward) -> list[float]:
    scorer = scorer_of(model)
    return [one.bits for ones, _ in score_chars(scorer, [TEXT], scorer.start) for one in ones]


def of_whole(model: Forward) -> list[float]:
    scorer = scorer_of(model)
    total, _ = score(scorer, [TEXT], scorer.start)
    return [total.bits_per_char, total.bits_per_byte, total.perplexity]


def of_contexts(model: Forward) -> list[float]:
    curve = context_curve(model, ids())
    return [figure for point in curve for figure in (point.bits_per_char, point.standard_error)]


def of_samples(model: Forward) -> list[float]:
    drawn = samples(model, VOCABULARY, ["I"], config(length=60, count=3, seed=1))
    return [bits or 0.0 for _, bits in continuation_bits(scorer_of(model), drawn)]


def of_one_sample(model: Forward) -> list[float]:
    text = "".join(map(str, generate(model, VOCABULARY, "I", config(length=60, seed=1))))
    return [float(len(text))]


FIGURES: list[Callable[[Forward], list[float]]] = [
    all_of_lines,
    lambda model: all_of_lines(model, carry=True),
    lambda model: all_of_lines(model, end=True),
    of_chars,
    of_whole,
    of_contexts,
    of_samples,
    of_one_sample,
]


@pytest.mark.parametrize("figures", FIGURES)
@pytest.mark.parametrize("hidden_size", [1, 8, 64])
def test_the_largest_weights_of_a_file_have_finite_figures(
    figures: Callable[[Forward], list[float]], hidden_size: int
) -> None:
    model = network("tanh", LARGEST_WEIGHT, hidden_size=hidden_size)
    assert all(map(math.isfinite, figures(model)))


def test_the_largest_weights_of_the_largest_layer_stay_below_float32s_limit() -> None:
    sums = (2 * 2**16 + 1) * LARGEST_WEIGHT, 2 * (2**16 + 1) * LARGEST_WEIGHT
    assert max(sums) < np.finfo(np.float32).max


@pytest.mark.parametrize("figures", FIGURES)
def test_a_network_that_overflows_is_a_named_error(
    figures: Callable[[Forward], list[float]],
) -> None:
    with pytest.raises(OverflowedError, match="numbers grow until they overflow"):
        figures(network("relu", 1e9))


def test_in_training_it_is_nan_and_never_the_best() -> None:
    model = network("relu", 1e9)
    figure = nats_per_char(model, VOCABULARY, ids())
    assert figure is not None and math.isnan(figure)
    assert usual_of_lines(scorer_of(model), ids()) == {}
