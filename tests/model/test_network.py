"""Laws of the stack: it is torch's RNN and Linear, and the contract names its tensors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charrnn.config import GATES, STATE_PARTS, Cell, ModelConfig, Nonlinearity
from charrnn.model.network import CharRNN, drawn

V, H, T, B = 11, 16, 12, 3

both = pytest.mark.parametrize("f", ["tanh", "relu"])
gated = pytest.mark.parametrize("cell", ["gru", "lstm"])
depths = pytest.mark.parametrize("L", [1, 2, 3])


def make_model(**changes: Any) -> CharRNN:
    """Returns a model with random biases too, so that each parameter matters."""
    config = ModelConfig(**{"vocab_size": V, "hidden_size": H, **changes})
    model = CharRNN(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    return model


def make_input(model: CharRNN, batch_size: int = B) -> tuple[Tensor, Tensor]:
    """Returns random ids, (T, B), and a random state, (L, B, H)."""
    return torch.randint(V, (T, batch_size)), torch.randn_like(model.zero_state(batch_size))


def stack_of(config: ModelConfig) -> nn.Module:
    """Returns torch's module of these layers."""
    if config.cell == "rnn":
        return nn.RNN(V, H, config.num_layers, nonlinearity=config.nonlinearity).double()
    return {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell](V, H, config.num_layers).double()


def by_torch(model: CharRNN, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Computes logits and state with torch's layers and `torch.nn.Linear`, tensors the same."""
    config, tensors = model.config, model.state_dict()
    stack = stack_of(config)
    linear = nn.Linear(H, V).double()
    linear.load_state_dict({"weight": tensors["output.W_y"], "bias": tensors["output.b_y"]})
    weights = {}
    for i in range(config.num_layers):
        weights[f"weight_ih_l{i}"] = tensors[f"layers.{i}.W_x"]
        weights[f"weight_hh_l{i}"] = tensors[f"layers.{i}.W_h"]
        weights[f"bias_ih_l{i}"] = tensors[f"layers.{i}.b"]
        weights[f"bias_hh_l{i}"] = torch.zeros(config.gates * H)
    stack.load_state_dict(weights)
    before = state if config.cell != "lstm" else tuple(s.contiguous() for s in state.split(H, 2))
    h, after = stack(nn.functional.one_hot(x, V).double(), before)
    return linear(h), after if config.cell != "lstm" else torch.cat(after, dim=2)


@gated
@depths
def test_with_gates_logits_and_state_are_those_of_torch(cell: Cell, L: int) -> None:
    model = make_model(cell=cell, num_layers=L)
    x, state = make_input(model)
    assert state.shape == (L, B, STATE_PARTS[cell] * H)
    torch.testing.assert_close(model(x, state), by_torch(model, x, state))


@both
@depths
def test_logits_and_state_are_those_of_torch(f: Nonlinearity, L: int) -> None:
    model = make_model(nonlinearity=f, num_layers=L)
    x, state = make_input(model)
    torch.testing.assert_close(model(x, state), by_torch(model, x, state))


def test_the_contract_and_numpy_are_enough_to_compute_the_logits() -> None:
    model = make_model(num_layers=2)
    x, _ = make_input(model, batch_size=1)
    p = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    h = np.zeros((2, H))
    wanted = []
    for x_t in x[:, 0]:
        for i, W_x_x_t in ((0, p["layers.0.W_x"][:, x_t]), (1, None)):
            if W_x_x_t is None:
                W_x_x_t = p["layers.1.W_x"] @ h[0]
            h[i] = np.tanh(W_x_x_t + p[f"layers.{i}.W_h"] @ h[i] + p[f"layers.{i}.b"])
        wanted.append(p["output.W_y"] @ h[1] + p["output.b_y"])
    logits, _ = model(x, model.zero_state(1))
    np.testing.assert_allclose(logits[:, 0].detach().numpy(), wanted)


@depths
def test_parameters_have_the_names_and_shapes_of_the_contract(L: int) -> None:
    wanted: dict[str, tuple[int, ...]] = {"output.W_y": (V, H), "output.b_y": (V,)}
    for i in range(L):
        wanted[f"layers.{i}.W_x"] = (H, H if i else V)
        wanted[f"layers.{i}.W_h"] = (H, H)
        wanted[f"layers.{i}.b"] = (H,)
    model = make_model(num_layers=L)
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == wanted
    assert model.config.parameter_count() == sum(p.numel() for p in model.parameters())


@gated
@depths
def test_gates_are_stacked_along_the_first_axis(cell: Cell, L: int) -> None:
    model, G = make_model(cell=cell, num_layers=L), GATES[cell]
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    assert shapes == model.config.parameter_shapes()
    for i in range(L):
        wanted = [(G * H, H if i else V), (G * H, H), (G * H,)]
        assert [shapes[f"layers.{i}.{name}"] for name in ("W_x", "W_h", "b")] == wanted
    assert model.config.parameter_count() == sum(p.numel() for p in model.parameters())


@gated
def test_at_the_start_each_gates_w_h_keeps_the_length_of_the_state(cell: Cell) -> None:
    for layer in CharRNN(ModelConfig(V, hidden_size=H, cell=cell)).layers:
        for W_h in layer.W_h.split(H):
            torch.testing.assert_close(W_h @ W_h.T, torch.eye(H), rtol=0, atol=1e-5)


def test_at_the_start_an_lstms_forget_gate_is_open() -> None:
    b = CharRNN(ModelConfig(V, hidden_size=H, cell="lstm")).layers[1].b
    assert b.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    assert not CharRNN(ModelConfig(V, hidden_size=H, cell="gru")).layers[1].b.any()


@both
@pytest.mark.parametrize("vocab_size", [2, 27, 65, 256, 3000])
def test_at_the_start_all_characters_are_about_equally_probable(
    vocab_size: int, f: Nonlinearity
) -> None:
    model = CharRNN(ModelConfig(vocab_size, nonlinearity=f))
    x, y = torch.randint(vocab_size, (2, 64, 16))
    with torch.inference_mode():
        logits, _ = model(x, model.zero_state(16))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten()).item()
    assert loss == pytest.approx(math.log(vocab_size), rel=0.03)


@both
def test_a_model_can_expect_what_occurs_often(f: Nonlinearity) -> None:
    """With nothing read, exactly so; after any text, nearly."""
    model, shares = CharRNN(ModelConfig(V, hidden_size=H, nonlinearity=f)), np.arange(1, V + 1.0)
    shares /= shares.sum()
    model.expect(shares)
    x, state = torch.randint(V, (T, B)), model.zero_state(B)
    assert model.output(state[-1, 0]).softmax(0).tolist() == pytest.approx(shares.tolist())
    predicted = model(x, state)[0].log_softmax(-1)
    assert (predicted - torch.log(torch.tensor(shares))).abs().mean() < 0.5


@both
def test_at_the_start_the_hidden_state_is_passed_on_at_its_length(f: Nonlinearity) -> None:
    for layer in CharRNN(ModelConfig(V, hidden_size=H, nonlinearity=f, num_layers=3)).layers:
        torch.testing.assert_close(layer.W_h @ layer.W_h.T, torch.eye(H), rtol=0, atol=1e-5)


def test_the_seed_alone_decides_the_weights() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = CharRNN(ModelConfig(V, hidden_size=H))
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@both
@depths
@pytest.mark.parametrize("cut", [1, 5, T - 1])
def test_two_halves_are_the_whole_when_the_state_is_passed_on(
    f: Nonlinearity, L: int, cut: int
) -> None:
    model = make_model(nonlinearity=f, num_layers=L)
    x, state = make_input(model)
    before = state.clone()
    whole, end = model(x, state)
    first, middle = model(x[:cut], state)
    second, other_end = model(x[cut:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(other_end, end)
    assert torch.equal(state, before)


def test_the_model_keeps_no_state() -> None:
    model = make_model()
    x, state = make_input(model)
    assert torch.equal(model(x, state)[0], model(x, state)[0])
    assert not list(model.buffers())


@depths
def test_the_first_gradient_reaches_every_parameter(L: int) -> None:
    model = make_model(num_layers=L, dropout=0.2)
    logits, _ = model(*make_input(model))
    logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# Dropout.


def masks_of(model: CharRNN, *silent: int) -> Tensor:
    """Returns masks that let all pass, but silence some layers; 0 is the first."""
    masks = model.zero_state(B) + 1
    masks[list(silent)] = 0
    return masks


def test_dropout_multiplies_each_layers_outputs_at_every_step() -> None:
    model = make_model(num_layers=1)
    x, state = make_input(model)
    masks = torch.rand_like(state)
    whole, dropped = model.hidden(x, state)[0], model.hidden(x, state, masks)[0]
    torch.testing.assert_close(dropped, whole * masks[0])


@depths
def test_dropout_does_not_touch_the_state_of_its_layer(L: int) -> None:
    model = make_model(num_layers=L)
    x, state = make_input(model)
    _, whole = model(x, state)
    logits, dropped = model(x, state, masks_of(model, L - 1))
    torch.testing.assert_close(dropped, whole)
    torch.testing.assert_close(logits, model.output.b_y.expand_as(logits))


def test_dropout_also_stands_between_layers() -> None:
    model = make_model(num_layers=2)
    x, state = make_input(model)
    _, (first, second) = model(x, state, masks_of(model, 0))
    _, (first_whole, second_whole) = model(x, state)
    torch.testing.assert_close(first, first_whole)
    assert not torch.allclose(second, second_whole)
    assert (second != 0).all()  # its input was silenced, it was not


# In NumPy and back.


def test_a_network_goes_to_numpy_and_back() -> None:
    model = CharRNN(ModelConfig(V, hidden_size=H, num_layers=2, dropout=0.5))
    before = torch.get_rng_state()
    back = CharRNN.of(model.in_numpy())
    assert torch.equal(torch.get_rng_state(), before), "reading draws no random numbers"
    assert back.config == model.config
    for name, parameter in back.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name))


def test_a_network_takes_weights_as_they_are_and_draws_none() -> None:
    config = ModelConfig(V, hidden_size=H, num_layers=2)
    before = torch.get_rng_state()
    weights = drawn(config)
    assert not torch.equal(torch.get_rng_state(), before)
    before = torch.get_rng_state()
    placed = CharRNN(config, weights)
    for name, parameter in placed.named_parameters():
        assert parameter.data_ptr() == weights[name].data_ptr()
    copied = CharRNN.of(placed.in_numpy())
    assert torch.equal(torch.get_rng_state(), before)
    for layer in (*placed.layers, *copied.layers):
        assert layer.W_x.T.is_contiguous(), "a look-up of a character reads one row"


def test_in_numpy_the_memory_is_the_same() -> None:
    """So that a training scores its weights as they are, without a copy."""
    model = CharRNN(ModelConfig(V, hidden_size=H, num_layers=2))
    network, x = model.in_numpy(), np.arange(V)[:, None]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
        wanted, _ = model(torch.from_numpy(x), model.zero_state(1))
    logits, _ = network.predictions(np.append(x, [[0]], axis=0), network.zero_state(1))
    np.testing.assert_allclose(logits[1:], wanted, atol=1e-5)
