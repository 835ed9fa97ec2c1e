"""Laws of the equation: the fast pass is the reference, which is torch's own RNN."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from charrnn.config import Nonlinearity
from charrnn.model.cell import rnn, rnn_cudnn, rnn_reference

# x, h_0, W_x, W_h, b
Inputs = tuple[Tensor, ...]
NAMES = ("x", "h_0", "W_x", "W_h", "b")

both = pytest.mark.parametrize("f", ["tanh", "relu"])
ids_and_floats = pytest.mark.parametrize("ids", [True, False], ids=["ids", "floats"])
sizes = pytest.mark.parametrize(
    ("T", "B", "D", "H"),
    [(7, 3, 5, 4), (1, 3, 5, 4), (7, 1, 5, 4), (7, 3, 5, 1), (1, 1, 1, 1), (70, 2, 9, 17)],
    ids=["usual", "T=1", "B=1", "H=1", "all 1", "long"],
)


def make_inputs(
    T: int = 7, B: int = 3, D: int = 5, H: int = 4, ids: bool = False, double: bool = True
) -> Inputs:
    """Returns random inputs, all leaves; W_h neither fades nor explodes."""
    dtype = torch.float64 if double else torch.float32
    x = torch.randint(D, (T, B)) if ids else torch.randn(T, B, D, dtype=dtype)
    weights = torch.randn(B, H), torch.randn(H, D), torch.randn(H, H) * H**-0.5, torch.randn(H)
    return tuple(
        t.requires_grad_(t.is_floating_point()) for t in (x, *(w.to(dtype) for w in weights))
    )


def gradients(hs: Tensor, inputs: Inputs, dhs: Tensor) -> list[Tensor]:
    """Returns dE/d(input) of each floating-point input for a given dE/dh."""
    return list(torch.autograd.grad(hs, [t for t in inputs if t.is_floating_point()], dhs))


def assert_same(got: list[Tensor], wanted: list[Tensor], double: bool = True) -> None:
    """Compares tensors as closely as their precision allows."""
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if double else {"rtol": 1e-3, "atol": 1e-4}
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def by_torch(inputs: Inputs, f: Nonlinearity, dhs: Tensor) -> list[Tensor]:
    """Returns the values and all gradients of `torch.nn.RNN` with these weights, one bias zero."""
    x, h_0, W_x, W_h, b = inputs
    H, D = W_x.shape
    module = nn.RNN(D, H, nonlinearity=f, dtype=W_x.dtype)
    with torch.no_grad():
        for parameter, value in zip(
            module.parameters(), (W_x, W_h, b, torch.zeros_like(b)), strict=True
        ):
            parameter.copy_(value)
    one_hot = x if x.ndim == 3 else nn.functional.one_hot(x, D).to(W_x.dtype)
    hs, _ = module(one_hot, h_0[None])
    W_x_, W_h_, b_, _ = module.parameters()
    inputs = (x, h_0, W_x_, W_h_, b_)
    return [hs, *gradients(hs, inputs, dhs)]


@both
@ids_and_floats
@sizes
@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_values_and_gradients_are_those_of_the_reference_and_of_torch(
    T: int, B: int, D: int, H: int, ids: bool, f: Nonlinearity, double: bool
) -> None:
    inputs = make_inputs(T, B, D, H, ids, double)
    dhs = torch.randn(T, B, H, dtype=inputs[1].dtype)
    fast, reference = rnn(*inputs, f), rnn_reference(*inputs, f)
    got = [fast, *gradients(fast, inputs, dhs)]
    assert_same(got, [reference, *gradients(reference, inputs, dhs)], double)
    assert_same(got, by_torch(inputs, f, dhs), double)


@both
@ids_and_floats
def test_gradients_are_those_of_small_differences(f: Nonlinearity, ids: bool) -> None:
    x, *weights = make_inputs(T=4, B=2, D=3, H=3, ids=ids)
    if ids:
        assert torch.autograd.gradcheck(lambda *w: rnn(x, *w, f), weights)
    else:
        assert torch.autograd.gradcheck(lambda *i: rnn(*i, f), (x, *weights))


@both
@pytest.mark.parametrize("function", [rnn, rnn_reference])
def test_two_halves_are_the_whole_when_the_state_is_passed_on(
    function: Callable[..., Tensor], f: Nonlinearity
) -> None:
    inputs = make_inputs(T=9)
    x, h_0, *weights = inputs
    first = function(x[:4], h_0, *weights, f)
    halves = torch.cat([first, function(x[4:], first[-1], *weights, f)])
    whole = function(*inputs, f)
    dhs = torch.randn_like(whole)
    assert_same([halves, *gradients(halves, inputs, dhs)], [whole, *gradients(whole, inputs, dhs)])


@both
@ids_and_floats
@pytest.mark.parametrize(
    "loss",
    [Tensor.sum, lambda hs: hs[-1].sum(), lambda hs: (hs.transpose(0, 2) * 3).sum(), Tensor.norm],
    ids=["expanded", "last step only", "transposed", "norm"],
)
def test_gradients_do_not_depend_on_how_the_incoming_gradient_is_stored(
    loss: Callable[[Tensor], Tensor], f: Nonlinearity, ids: bool
) -> None:
    inputs = make_inputs(ids=ids)
    wanted = [t for t in inputs if t.is_floating_point()]
    got, reference = (
        list(torch.autograd.grad(loss(function(*inputs, f)), wanted))
        for function in (rnn, rnn_reference)
    )
    assert_same(got, reference)


@both
@ids_and_floats
def test_how_the_inputs_are_stored_does_not_matter(f: Nonlinearity, ids: bool) -> None:
    inputs = make_inputs(ids=ids)
    stored_otherwise = tuple(
        (t.mT.contiguous().mT if t.ndim > 1 else t).detach().requires_grad_(t.requires_grad)
        for t in inputs
    )
    assert not stored_otherwise[2].is_contiguous()
    dhs = torch.randn(7, 3, 4, dtype=torch.float64)
    a, b = rnn(*inputs, f), rnn(*stored_otherwise, f)
    assert_same([a, *gradients(a, inputs, dhs)], [b, *gradients(b, stored_otherwise, dhs)])


@both
@ids_and_floats
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_values_are_the_same(
    mode: Callable[..., torch.no_grad], f: Nonlinearity, ids: bool
) -> None:
    inputs = make_inputs(ids=ids)
    with mode():
        values = rnn(*inputs, f)
    assert not values.requires_grad
    assert torch.equal(values, rnn(*inputs, f).detach())


@both
@pytest.mark.parametrize("alone", range(5), ids=NAMES)
def test_each_input_may_be_the_only_one_with_a_gradient(alone: int, f: Nonlinearity) -> None:
    inputs = make_inputs()
    dhs = torch.randn(7, 3, 4, dtype=torch.float64)
    wanted = gradients(rnn_reference(*inputs, f), inputs, dhs)[alone]
    frozen = [t.detach().requires_grad_(i == alone) for i, t in enumerate(inputs)]
    rnn(*frozen, f).backward(dhs)
    assert [t.grad is not None for t in frozen] == [i == alone for i in range(5)]
    grad = frozen[alone].grad
    assert grad is not None
    assert_same([grad], [wanted])


def test_no_input_is_changed() -> None:
    inputs = make_inputs()
    before = [t.detach().clone() for t in inputs]
    dhs = torch.ones(7, 3, 4, dtype=torch.float64)
    rnn(*inputs).backward(dhs)
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))
    assert torch.equal(dhs, torch.ones_like(dhs))


@both
@ids_and_floats
@sizes
def test_what_a_cuda_device_computes_is_the_same_on_a_cpu(
    T: int, B: int, D: int, H: int, ids: bool, f: Nonlinearity
) -> None:
    """The same kernels serve both devices; here they run on the CPU."""
    inputs = make_inputs(T, B, D, H, ids)
    dhs = torch.randn(T, B, H, dtype=torch.float64)
    kernels, reference = rnn_cudnn(*inputs, f), rnn_reference(*inputs, f)
    assert_same([kernels], [reference])
    assert_same(gradients(kernels, inputs, dhs), gradients(reference, inputs, dhs))
    with torch.inference_mode():
        assert_same([rnn_cudnn(*inputs, f)], [reference.detach()])


def test_a_cuda_device_is_left_to_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs()
    wanted = rnn_cudnn(*inputs)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    assert torch.equal(rnn(*inputs), wanted)
    assert "Rnn" not in type(rnn(*inputs).grad_fn).__name__


@both
def test_threads_change_nothing(f: Nonlinearity) -> None:
    torch.set_num_threads(2)
    inputs = make_inputs(T=6, B=18, H=6)
    dhs = torch.randn(6, 18, 6, dtype=torch.float64)
    fast, plain = rnn(*inputs, f), rnn_reference(*inputs, f)
    assert_same([fast], [plain])
    assert_same(gradients(fast, inputs, dhs), gradients(plain, inputs, dhs))


def test_the_gradient_given_to_the_fast_pass_is_left_as_it_was() -> None:
    """Back-propagation works in a buffer of its own: autograd may hand the same one to others."""
    inputs = make_inputs()
    dhs = torch.randn(7, 3, 4, dtype=torch.float64)
    before = dhs.clone()
    gradients(rnn(*inputs), inputs, dhs)
    assert torch.equal(dhs, before)
