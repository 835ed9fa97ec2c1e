"""The network in NumPy: it computes what the network in torch computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_models import constant_model
from small_samples import ABC, LETTERS

from charrnn.config import Cell, ModelConfig
from charrnn.model.forward import Array, Forward, start_state, surprise
from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Ids

V, H, B = len(LETTERS), 32, 3

# the plain cell by its f, and those with gates
KINDS: dict[str, dict[str, Any]] = {
    "tanh": {"nonlinearity": "tanh"},
    "relu": {"nonlinearity": "relu"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
}
all_kinds = pytest.mark.parametrize("kind", KINDS)
depths = pytest.mark.parametrize("L", [1, 2, 3, 5])


def network_of(kind: str = "tanh", L: int = 2) -> CharRNN:
    """Returns a network that forgets, as trained ones do, with random biases too."""
    model = CharRNN(ModelConfig(V, hidden_size=H, num_layers=L, **KINDS[kind]))
    with torch.no_grad():
        for layer in model.layers:
            layer.W_h.mul_(0.7)
            layer.b.normal_(std=0.2)
        for parameter in model.output.parameters():
            parameter.normal_(std=0.5)
    return model


def text_of(model: CharRNN, T: int, batch_size: int = B) -> tuple[Ids, Array]:
    """Returns random ids, (T, B), and a random state, (L, B, S)."""
    random = np.random.default_rng(0)
    shape = model.zero_state(batch_size).shape
    dtype = model.output.b_y.detach().numpy().dtype
    x = random.integers(V, size=(T, batch_size)).astype(np.uint8)
    return x, random.random(shape).astype(dtype)


def by_torch(model: CharRNN, x: Ids, state: Array) -> tuple[Array, Array]:
    """Returns the logits after each of x, (T, B, V), and the state after."""
    with torch.no_grad():
        logits, after = model(torch.from_numpy(x.astype(np.int64)), torch.from_numpy(state))
    return logits.numpy(), after.numpy()


def step_by_step(network: Forward, x: Ids, state: Array) -> tuple[Array, Array]:
    logits, hs = [], list(state)
    for x_t in x:
        logits_t, hs = network.step(x_t, hs)
        logits.append(logits_t)
    return np.stack(logits), np.stack(hs)


def alone(network: Forward, x: Ids, state: Array) -> tuple[Array, Array]:
    """Steps each sample by itself, as a vector."""
    texts = [step_by_step(network, x[:, row], state[:, row]) for row in range(state.shape[1])]
    return np.stack([t[0] for t in texts], axis=1), np.stack([t[1] for t in texts], axis=1)


def at_once(network: Forward, x: Ids, state: Array) -> tuple[Array, Array]:
    hs, after = network.hidden(x, state)
    return np.stack([network.logits(h) for h in hs]), after


Way = Callable[[Forward, Ids, Array], tuple[Array, Array]]


def of_all_layers(network: Forward, x: Ids, state: Array) -> tuple[Array, Array]:
    hs, after = network.states(x, state)
    return np.stack([network.logits(h[-1]) for h in hs]), after


# --- the same numbers as torch's


@all_kinds
@depths
@pytest.mark.parametrize("way", [step_by_step, alone, at_once, of_all_layers])
@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-5), (True, 1e-10)])
def test_a_thousand_steps_give_the_logits_of_torch(
    kind: str, L: int, way: Way, double: bool, tolerance: float
) -> None:
    model = network_of(kind, L).to(torch.float64 if double else torch.float32)
    x, state = text_of(model, 1000)
    logits, after = way(model.in_numpy(), x, state)
    wanted, wanted_after = by_torch(model, x, state)
    assert logits.dtype == after.dtype == state.dtype
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(after, wanted_after, rtol=0, atol=tolerance)


@all_kinds
def test_each_character_is_predicted_from_those_before_it(kind: str) -> None:
    model = network_of(kind)
    network, (x, state) = model.in_numpy(), text_of(model, 9)
    logits, after = network.predictions(x, state)
    later, wanted_after = by_torch(model, x, state)
    np.testing.assert_allclose(logits[0], network.logits(state[-1]), atol=1e-6)
    np.testing.assert_allclose(logits[1:], later[:-1], atol=1e-5)
    np.testing.assert_allclose(after, wanted_after, atol=1e-5)
    (nats,), _ = network.nats(x, state)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).flatten(0, 1),
        torch.from_numpy(x.astype(np.int64)).flatten(),
        reduction="none",
    )
    np.testing.assert_allclose(nats.flatten(), wanted, atol=1e-5)


@all_kinds
@depths
def test_all_layers_states_are_those_of_the_steps(kind: str, L: int) -> None:
    network = network_of(kind, L).in_numpy()
    x, state = text_of(network_of(kind, L), T=20)
    states, after = network.states(x, state)
    assert states.shape == (20, *state.shape)
    step = list(state)
    for x_t, s_t in zip(x, states, strict=True):
        _, step = network.step(x_t, step)
        np.testing.assert_allclose(s_t, np.stack(step), atol=1e-5)
    np.testing.assert_array_equal(after, states[-1])
    nothing, same = network.states(x[:0], state)
    assert nothing.shape == (0, *state.shape)
    np.testing.assert_array_equal(same, state)


def test_the_surprise_of_extreme_logits_is_finite() -> None:
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0], [0.0, 0.0]], np.float32)
    nats = surprise(logits, np.array([1, 0, 0], np.uint8))
    np.testing.assert_allclose(nats, [1000.0, 1000.0, np.log(2)], rtol=1e-6)


# --- pure functions


@all_kinds
def test_two_parts_are_the_whole_and_what_is_given_stays(kind: str) -> None:
    model = network_of(kind)
    network, (x, state) = model.in_numpy(), text_of(model, 50)
    given = x.copy(), state.copy()
    whole, end = network.predictions(x, state)
    first, between = network.predictions(x[:20], state)
    second, other_end = network.predictions(x[20:], between)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-5)
    np.testing.assert_allclose(other_end, end, atol=1e-5)
    network.step(x[0], state)
    network.nats(x, state)
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(state, given[1])
    np.testing.assert_array_equal(network.predictions(x, state)[0], whole)


@pytest.mark.parametrize("way", [step_by_step, alone, at_once, of_all_layers])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_layers_of_few_units_are_those_of_torch(cell: Cell, size: int, way: Way) -> None:
    """Columns in memory, which libraries treat in ways of their own."""
    model = CharRNN(ModelConfig(V, hidden_size=size, num_layers=2, cell=cell))
    for B in (1, 2, 5, 17):
        x, state = text_of(model, 20, B)
        logits, after = way(model.in_numpy(), x, state)
        wanted, wanted_after = by_torch(model, x, state)
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(after, wanted_after, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_that_saturate_give_no_warning(cell: str) -> None:
    """Their functions are bounded: whatever the weights, the figures are finite."""
    model = network_of(cell)
    network, (x, state) = model.in_numpy(), text_of(model, 50)
    for name, weight in network.weights.items():
        weight *= 1e5 if name.startswith("layers") else 1
    assert np.isfinite(network.nats(x, state)[0]).all()
    logits, _ = network.step(x[0], list(state))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("size", [1e5, 1e30])
def test_a_network_that_explodes_gives_no_warning(size: float) -> None:
    """Its figures are infinite or NaN."""
    model = network_of("relu")
    network, (x, state) = model.in_numpy(), text_of(model, 50)
    for weight in network.weights.values():
        weight *= size
    _, h = network.step(x[0], list(state))
    for x_t in x:
        _, h = network.step(x_t, h)
    network.logits(h[-1])
    (nats,), _ = network.nats(x, state)
    assert not np.isfinite(nats).all()


@all_kinds
def test_after_nothing_the_state_is_the_one_before(kind: str) -> None:
    model = network_of(kind)
    network, (x, state) = model.in_numpy(), text_of(model, 0)
    np.testing.assert_array_equal(network.advance(x, state)[1], state)


@all_kinds
def test_a_row_does_not_depend_on_the_others(kind: str) -> None:
    model = network_of(kind)
    network, (x, state) = model.in_numpy(), text_of(model, 30, 5)
    together, _ = network.predictions(x, state)
    for row in range(5):
        alone, _ = network.predictions(x[:, row : row + 1], state[:, row : row + 1])
        np.testing.assert_allclose(alone[:, 0], together[:, row], atol=1e-5)


# --- where a text starts


@depths
@all_kinds
def test_a_text_starts_after_a_newline(kind: str, L: int) -> None:
    model = network_of(kind, L)
    _, wanted = by_torch(model, np.array([[LETTERS.newline_id]]), model.zero_state(1).numpy())
    start = start_state(model.in_numpy(), LETTERS.newline_id)
    assert start.shape == (L, 1, model.config.state_size)
    np.testing.assert_allclose(start, wanted, atol=1e-6)


def test_a_text_starts_from_zero_if_there_is_no_newline() -> None:
    network = constant_model(ABC, [0.1, 0.2, 0.3])
    start = start_state(network, ABC.newline_id)
    np.testing.assert_array_equal(start, np.zeros((1, 1, 1)))
    np.testing.assert_allclose(network.logits(start[-1]), [[0.1, 0.2, 0.3]], rtol=1e-6)
