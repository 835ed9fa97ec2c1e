"""The gradient in shares: the sum of all is the whole, for any number of workers."""

import platform
import resource

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from processes import posix

from charrnn.config import GATES, Cell, ModelConfig, Nonlinearity
from charrnn.model.network import CharRNN
from charrnn.text.batches import Batch, Position
from charrnn.training.shares import Shape, Shares, Tensors, Worker, parameters_in
from charrnn.training.workers import Workers

V, H, L, T = 7, 5, 2, 6


def shape_of(batch_size: int, workers: int = 1, dropout: float = 0.0, cell: Cell = "rnn") -> Shape:
    config = ModelConfig(V, hidden_size=H, num_layers=L, dropout=dropout, cell=cell)
    return Shape(config, batch_size, T, workers, "float64")


def filled(shape: Shape) -> Tensors:
    """Returns tensors that depend on the seed, not on the number of workers."""
    tensors = shape.placed(bytearray(shape.offsets()[-1]))
    generator = torch.Generator().manual_seed(1)
    tensors.weights.normal_(generator=generator).mul_(0.3)
    tensors.states.normal_(generator=generator)
    tensors.masks.bernoulli_(0.5, generator=generator)
    tensors.text.random_(V, generator=generator)
    return tensors


@given(
    batch_size=st.integers(1, 9),
    workers=st.integers(1, 9),
    length=st.integers(1, T),
    turn=st.integers(0, 1),
    dropout=st.sampled_from([0.0, 0.5]),
    cell=st.sampled_from([*GATES]),
)
@settings(max_examples=60, deadline=None)
def test_the_shares_of_any_number_of_workers_add_up(
    batch_size: int, workers: int, length: int, turn: int, dropout: float, cell: Cell
) -> None:
    results = []
    for W in (1, min(workers, batch_size)):
        shape = shape_of(batch_size, W, dropout, cell)
        tensors = filled(shape)
        for rank in range(W):
            Worker(shape, rank, tensors).compute(length, turn)
        results.append((tensors.gradients.sum(0), tensors.nats.sum(), tensors.states))
    for one, several in zip(*results, strict=True):
        torch.testing.assert_close(several, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", GATES)
def test_the_gradient_is_that_of_the_mean_surprise(cell: Cell) -> None:
    shape = shape_of(3, cell=cell)
    tensors = filled(shape)
    Worker(shape, 0, tensors).compute(T, 0)
    weights = tensors.weights.clone().requires_grad_()
    model = CharRNN(shape.model).double()
    logits, after = torch.func.functional_call(
        model, parameters_in(shape.model, weights), (tensors.text[0], tensors.states[0])
    )
    surprise = -logits.log_softmax(-1).gather(-1, tensors.text[1][..., None]).mean()
    surprise.backward()
    torch.testing.assert_close(tensors.gradients[0], weights.grad)
    torch.testing.assert_close(tensors.nats[0, 0], surprise.detach())
    torch.testing.assert_close(tensors.states[1], after.detach())


@pytest.mark.parametrize("f", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 3])
def test_in_bfloat16_it_is_the_same_but_for_rounding(layers: int, f: Nonlinearity) -> None:
    config = ModelConfig(V, hidden_size=32, num_layers=layers, nonlinearity=f, dropout=0.5)
    results = []
    for bf16 in (False, True):
        shape = Shape(config, 8, T, 1, "float32", bf16)
        tensors = filled(shape)
        if f == "relu":  # no sum is near zero, where rounding would change f'
            tensors.weights.abs_().mul_(0.15)
            tensors.states.abs_()
            for name, part in parameters_in(config, tensors.weights).items():
                if name.endswith(".b"):
                    part[::2] -= 100
        tensors.states.copy_(tensors.states.bfloat16())
        Worker(shape, 0, tensors).compute(T, 0)
        gradients = parameters_in(config, tensors.gradients[0])
        results.append({**gradients, "nats": tensors.nats, "states": tensors.states[1]})
    for name, exact in results[0].items():
        rounded = results[1][name]
        error = (rounded - exact).norm() / exact.norm()
        assert 0 < error < 0.08, name
    assert torch.equal(rounded, rounded.bfloat16()), "states are carried as they are"


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 3])
def test_in_bfloat16_gates_are_the_same_but_for_rounding(layers: int, cell: Cell) -> None:
    config = ModelConfig(V, hidden_size=32, num_layers=layers, cell=cell, dropout=0.5)
    results = []
    for bf16 in (False, True):
        shape = Shape(config, 8, T, 1, "float32", bf16)
        tensors = filled(shape)
        tensors.states.copy_(tensors.states.bfloat16())
        Worker(shape, 0, tensors).compute(T, 0)
        gradients = parameters_in(config, tensors.gradients[0])
        results.append({**gradients, "nats": tensors.nats, "states": tensors.states[1]})
    for name, exact in results[0].items():
        error = (results[1][name] - exact).norm() / exact.norm()
        assert 0 < error < 0.08, name


@posix
def test_helpers_compute_in_bfloat16_too() -> None:
    with Workers(2) as team:
        shares = Shares(CharRNN(shape_of(4).model), 4, T, team, bf16=True)
        shares.gradient(batch())
        product = shares.by_member(shares._tensors.gradients[1])[0]["layers.0.W_h"]
    assert torch.equal(product, product.bfloat16()) and bool(product.any())


def batch(starts_block: bool = False) -> Batch:
    x = np.random.default_rng(0).integers(V, size=(T, 4))
    return Batch(x, x[::-1].copy(), starts_block, Position())


def test_the_state_is_carried_and_is_zero_where_a_block_starts() -> None:
    model = CharRNN(shape_of(4).model)
    shares = Shares(model, 4, T, Workers())
    states = []
    for starts_block in (False, False, True):
        shares.gradient(batch(starts_block))
        states.append(shares.state.clone())
    first, second, third = states
    assert torch.equal(first, third) and not torch.equal(first, second)
    assert torch.equal(second, model(torch.from_numpy(batch().x), first)[1])


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_silences_its_share_and_preserves_the_mean(dropout: float) -> None:
    shares = Shares(CharRNN(shape_of(4, dropout=dropout).model), 4, T, Workers())
    drawn = []
    for _ in range(800):  # of 40 draws each
        shares._draw_masks()
        drawn.append(shares._tensors.masks.clone())
    masks = torch.stack(drawn)  # 32,000 draws
    silent = (masks == 0).double().mean().item()
    assert silent == pytest.approx(dropout, abs=0.015)
    torch.testing.assert_close(masks[masks != 0].unique(), torch.tensor([1 / (1 - dropout)]))
    assert drawn[0].unique(dim=1).shape[1] > 1, "each stream has its own"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_an_update_finds_its_memory_where_the_last_one_left_it() -> None:
    config = ModelConfig(V, hidden_size=256, num_layers=2)
    shares = Shares(CharRNN(config), 16, 64, Workers())
    ids = np.zeros((64, 16), np.int64)
    batch = Batch(ids, ids, starts_block=False, after=Position())

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    before = [(shares.gradient(batch), faults())[1] for _ in range(20)]
    assert before[-1] - before[9] < 10 * 100  # it was 10 * 700


def test_training_without_dropout_draws_nothing() -> None:
    shares = Shares(CharRNN(shape_of(4).model), 4, T, Workers())
    before = torch.get_rng_state()
    shares.gradient(batch())
    assert torch.equal(torch.get_rng_state(), before)
