"""Hidden units: what they follow is found, and their picture says what they do."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from small_models import model_of
from texts import COFFEE

from charrnn.config import ModelConfig
from charrnn.model.forward import Array, Forward
from charrnn.report import units
from charrnn.report.units import LEVELS, TRAITS, correlations, layer_units, palette, traits
from charrnn.text.vocabulary import Vocabulary

KNOWN = Vocabulary.of_text(COFFEE)


def trait(text: str, name: str) -> list[float]:
    return traits(text)[TRAITS.index(name)].tolist()


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("inside quotes", 'a"b"c', [0, 1, 1, 0, 0]),
        ("inside quotes", "“b” «c» „d“", [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]),
        ("inside quotes", '"b\n\nc', [1, 1, 1, 0, 0]),  # left open: a new paragraph begins anew
        ("inside brackets", "a([b)])c", [0, 1, 1, 1, 1, 0, 0, 0]),
        ("inside brackets", ")a(", [0, 0, 1]),
        ("position in the line", "ab\nc", [0, 1, 2, 0]),
        ("position in the word", "ab c1", [1, 2, 0, 1, 2]),
        ("after a space", "a b", [0, 1, 0]),
        ("first letter of a word", "ab c", [1, 0, 0, 1]),
        ("capital letter", "aBÉ", [0, 1, 1]),
        ("newline comes next", "a\nb\n", [1, 0, 1, 0]),
    ],
)
def test_traits(name: str, text: str, wanted: list[float]) -> None:
    assert trait(text, name) == wanted


def follower() -> Forward:
    """Returns a model whose first unit says whether it has just read a space; others, nothing."""
    config = ModelConfig(len(KNOWN), hidden_size=6, num_layers=2)
    weights = {n: np.zeros(s, np.float32) for n, s in config.parameter_shapes().items()}
    weights["layers.0.W_x"][0, KNOWN.encode(" ")[0]] = 2
    weights["layers.1.W_x"][5, 0] = -1  # and the last one of the second layer, the other way round
    return Forward(config, weights)


@pytest.mark.parametrize("length", [40, 300, 5000])
def test_a_unit_that_follows_something_is_found(length: int) -> None:
    text = COFFEE[:length]
    r = correlations(follower(), KNOWN.encode(text), text)
    assert r.shape == (len(TRAITS), 2, 6)
    wanted = np.zeros((2, 6))
    wanted[0, 0], wanted[1, 5] = 1, -1
    np.testing.assert_allclose(r[TRAITS.index("after a space")], wanted, atol=1e-4)
    assert np.isfinite(r).all()


def test_streams_give_what_one_text_does(monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = model_of(KNOWN), COFFEE[:8192]
    for weight in model.weights.values():
        weight *= 0.5  # so that it forgets
    at_once = correlations(model, KNOWN.encode(text), text)
    monkeypatch.setattr(units, "STREAMS", 1)
    np.testing.assert_allclose(at_once, correlations(model, KNOWN.encode(text), text), atol=0.03)


def test_bytes_have_traits_too() -> None:
    vocabulary, data = Vocabulary.of_bytes(), COFFEE[:600].encode()
    model = model_of(vocabulary)
    r = correlations(model, vocabulary.encode(data), data)
    assert r[TRAITS.index("after a space")].any()


def test_a_model_that_overflows_follows_nothing() -> None:
    model = model_of(KNOWN, nonlinearity="relu")
    for weight in model.weights.values():
        weight[...] = 1e20
    r = correlations(model, KNOWN.encode(COFFEE[:300]), COFFEE[:300])
    assert np.isfinite(r).all()


def levels_of(picture: str) -> Array:
    """Returns the level of each point of a picture, by its colour."""
    data = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        colours = np.array(image.convert("RGB"))
    known = np.array(palette())
    return np.array((colours[:, :, None] == known).all(axis=3).argmax(axis=2))


def test_the_picture_holds_each_units_activity() -> None:
    random = np.random.default_rng(0)
    states = random.uniform(-1, 1, (50, 2, 6)).astype(np.float32)
    r = np.zeros((len(TRAITS), 2, 6), np.float32)
    r[3, 1] = [0.1, -0.9, 0.3, 0.0, 0.2, -0.4]
    layer = layer_units(states, r, 1)
    assert layer.layer == 2 and layer.scale == 1
    assert [unit.number for unit in layer.units] == [1, 5, 2, 4, 0, 3]
    first = layer.units[0]
    assert (first.trait, first.r) == (3, pytest.approx(-0.9))
    assert layer.best[3] == first and layer.best[0] is None
    activity = (levels_of(layer.picture) - LEVELS // 2) / (LEVELS // 2)
    wanted = states[:, 1, [1, 5, 2, 4, 0, 3]].T
    np.testing.assert_allclose(activity, wanted, atol=0.5 / (LEVELS // 2) + 1e-6)


def test_units_without_a_bound_have_a_scale_of_their_own() -> None:
    states = np.linspace(0, 80, 40, dtype=np.float32).reshape(40, 1, 1)
    layer = layer_units(states, np.zeros((len(TRAITS), 1, 1)), 0)
    assert 70 < layer.scale <= 80
    assert levels_of(layer.picture).min() == LEVELS // 2
    assert levels_of(layer.picture).max() == LEVELS - 1


@pytest.mark.parametrize(
    ("layers", "shown"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9])]
)
def test_of_many_layers_some_are_shown(layers: int, shown: list[int]) -> None:
    assert units.shown_layers(layers) == shown
