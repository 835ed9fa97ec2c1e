"""Laws of the gated cells: the fast passes are the references, which are torch's GRU and LSTM."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from charrnn.config import GATES, STATE_PARTS, Cell
from charrnn.model import gated, gated_loops, products

# x, s_0, W_x, W_h, b
Inputs = tuple[Tensor, ...]
Way = Callable[..., tuple[Tensor, Tensor]]
FAST: dict[Cell, Way] = {"gru": gated.gru, "lstm": gated.lstm}
REFERENCE: dict[Cell, Way] = {"gru": gated.gru_reference, "lstm": gated.lstm_reference}
KERNELS: dict[Cell, Way] = {"gru": gated.gru_by_torch, "lstm": gated.lstm_by_torch}
T, B, D, H = 7, 3, 5, 4

both = pytest.mark.parametrize("cell", ["gru", "lstm"])
ids_and_floats = pytest.mark.parametrize("ids", [True, False], ids=["ids", "floats"])
sizes = pytest.mark.parametrize(
    "shape",
    [(7, 3, 5, 4), (1, 3, 5, 4), (7, 1, 5, 4), (7, 3, 5, 1), (1, 1, 1, 1), (70, 2, 9, 17)],
    ids=["usual", "T=1", "B=1", "H=1", "all 1", "long"],
)


def make_inputs(
    cell: Cell,
    shape: tuple[int, int, int, int] = (T, B, D, H),
    *,
    ids: bool = False,
    double: bool = True,
) -> Inputs:
    """Returns random inputs, all leaves; W_h neither fades nor explodes."""
    (T, B, D, H), G = shape, GATES[cell]
    dtype = torch.float64 if double else torch.float32
    x = torch.randint(D, (T, B)) if ids else torch.randn(T, B, D, dtype=dtype)
    s_0, W_x = torch.randn(B, STATE_PARTS[cell] * H), torch.randn(G * H, D)
    weights = s_0, W_x, torch.randn(G * H, H) * H**-0.5, torch.randn(G * H)
    return tuple(
        t.requires_grad_(t.is_floating_point()) for t in (x, *(w.to(dtype) for w in weights))
    )


def results(way: Way, inputs: Inputs, seed: int = 0) -> list[Tensor]:
    """Returns h_1 ... h_T, the state after, and the gradient of each floating-point input.

    The loss is a random sum of all that comes out, the same for the same seed.
    """
    hs, state = way(*inputs)
    random = torch.Generator().manual_seed(seed)
    factors = (torch.randn(t.shape, generator=random, dtype=torch.float64) for t in (hs, state))
    loss = sum((f * t).sum() for f, t in zip(factors, (hs, state), strict=True))
    leaves = [t for t in inputs if t.requires_grad]
    return [hs, state, *torch.autograd.grad(loss, leaves)]  # type: ignore[arg-type]


def assert_same(got: list[Tensor], wanted: list[Tensor], double: bool = True) -> None:
    """Compares tensors as closely as their precision allows."""
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if double else {"rtol": 1e-3, "atol": 1e-4}
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def by_torch(cell: Cell) -> Way:
    """Returns what computes a cell by torch's module with these weights, the second bias zero."""

    def way(x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        D, H = W_x.shape[1], W_h.shape[1]
        module = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](D, H, dtype=W_x.dtype)
        weights = zip(
            ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
            (W_x, W_h, b, torch.zeros_like(b)),
            strict=True,
        )
        one_hot = x if x.ndim == 3 else nn.functional.one_hot(x, D).to(W_x.dtype)
        before = s_0[None] if cell == "gru" else tuple(s[None] for s in s_0.split(H, dim=1))
        hs, after = torch.func.functional_call(module, dict(weights), (one_hot, before))
        return hs, after[0] if cell == "gru" else torch.cat(after, dim=2)[0]

    return way


@both
@ids_and_floats
@sizes
@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_values_and_gradients_are_those_of_the_reference_and_of_torch(
    cell: Cell, shape: tuple[int, int, int, int], ids: bool, double: bool
) -> None:
    inputs = make_inputs(cell, shape, ids=ids, double=double)
    got = results(FAST[cell], inputs)
    assert_same(got, results(REFERENCE[cell], inputs), double)
    assert_same(got, results(by_torch(cell), inputs), double)


@both
@ids_and_floats
def test_gradients_are_those_of_small_differences(cell: Cell, ids: bool) -> None:
    x, *weights = make_inputs(cell, (4, 2, 3, 3), ids=ids)
    if ids:
        assert torch.autograd.gradcheck(lambda *w: FAST[cell](x, *w), weights)
    else:
        assert torch.autograd.gradcheck(FAST[cell], (x, *weights))


@both
@pytest.mark.parametrize("ways", [FAST, REFERENCE], ids=["fast", "reference"])
@pytest.mark.parametrize("cut", [1, 4, T - 1])
def test_two_parts_are_the_whole_when_the_state_is_passed_on(
    ways: dict[Cell, Way], cell: Cell, cut: int
) -> None:
    def in_parts(x: Tensor, s_0: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        first, between = ways[cell](x[:cut], s_0, *weights)
        second, after = ways[cell](x[cut:], between, *weights)
        return torch.cat([first, second]), after

    inputs = make_inputs(cell)
    assert_same(results(in_parts, inputs), results(ways[cell], inputs))


@both
@ids_and_floats
@pytest.mark.parametrize(
    "loss",
    [Tensor.sum, lambda hs: hs[-1].sum(), lambda hs: (hs.transpose(0, 2) * 3).sum(), Tensor.norm],
    ids=["expanded", "last step only", "transposed", "norm"],
)
def test_gradients_do_not_depend_on_how_the_incoming_gradient_is_stored(
    loss: Callable[[Tensor], Tensor], cell: Cell, ids: bool
) -> None:
    inputs = make_inputs(cell, ids=ids)
    leaves = [t for t in inputs if t.requires_grad]
    got, wanted = (
        list(torch.autograd.grad(loss(way(*inputs)[0]), leaves))
        for way in (FAST[cell], REFERENCE[cell])
    )
    assert_same(got, wanted)


@both
@ids_and_floats
def test_how_the_inputs_are_stored_does_not_matter(cell: Cell, ids: bool) -> None:
    inputs = make_inputs(cell, ids=ids)
    stored_otherwise = tuple(
        (t.mT.contiguous().mT if t.ndim > 1 else t).detach().requires_grad_(t.requires_grad)
        for t in inputs
    )
    assert not stored_otherwise[2].is_contiguous()
    assert_same(results(FAST[cell], stored_otherwise), results(FAST[cell], inputs))


@both
@ids_and_floats
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_values_are_the_same(
    mode: Callable[..., torch.no_grad], cell: Cell, ids: bool
) -> None:
    inputs = make_inputs(cell, ids=ids)
    with mode():
        values = FAST[cell](*inputs)
    for without, wanted in zip(values, FAST[cell](*inputs), strict=True):
        assert not without.requires_grad
        assert torch.equal(without, wanted.detach())


@both
@pytest.mark.parametrize("alone", range(5), ids=["x", "s_0", "W_x", "W_h", "b"])
def test_each_input_may_be_the_only_one_with_a_gradient(alone: int, cell: Cell) -> None:
    inputs = make_inputs(cell)
    frozen = tuple(t.detach().requires_grad_(i == alone) for i, t in enumerate(inputs))
    *_, wanted = results(REFERENCE[cell], frozen)
    *_, got = results(FAST[cell], frozen)
    assert_same([got], [wanted])


@both
def test_nothing_that_is_given_is_changed_and_gradients_can_be_had_twice(cell: Cell) -> None:
    inputs = make_inputs(cell)
    before = [t.detach().clone() for t in inputs]
    hs, _ = FAST[cell](*inputs)
    dhs = torch.randn_like(hs)
    given = dhs.clone()
    once, twice = (torch.autograd.grad(hs, inputs, dhs, retain_graph=True) for _ in range(2))
    assert_same(list(once), list(twice))
    assert torch.equal(dhs, given)
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))


@both
@ids_and_floats
@sizes
def test_what_a_cuda_device_computes_is_the_same_on_a_cpu(
    cell: Cell, shape: tuple[int, int, int, int], ids: bool
) -> None:
    """The same kernels serve both devices; here they run on the CPU."""
    inputs = make_inputs(cell, shape, ids=ids)
    assert_same(results(KERNELS[cell], inputs), results(REFERENCE[cell], inputs))
    with torch.inference_mode():
        assert_same(list(KERNELS[cell](*inputs)), [t.detach() for t in REFERENCE[cell](*inputs)])


@both
def test_a_cuda_device_is_left_to_the_kernels(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(cell)
    monkeypatch.setitem(vars(gated), f"{cell}_by_torch", lambda *_: "the kernels")
    monkeypatch.setattr(Tensor, "is_cuda", True)
    assert FAST[cell](*inputs) == "the kernels"


@both
@pytest.mark.parametrize("by_numpy", [True, False])
def test_either_library_multiplies(
    cell: Cell, by_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(products, "numpy_is_faster", lambda *args: by_numpy)
    dot = gated_loops.np.dot
    monkeypatch.setattr(gated_loops.np, "dot", lambda *a, **k: (calls.append(1), dot(*a, **k)))
    inputs = make_inputs(cell)
    assert_same(results(FAST[cell], inputs), results(REFERENCE[cell], inputs))
    assert len(calls) == (2 * T if by_numpy else 0)


@pytest.mark.parametrize("kernel", [True, False])
@ids_and_floats
def test_an_lstm_is_the_same_by_either_way_of_a_cpu(
    ids: bool, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, of which the processor decides."""
    calls = []
    by_torch = gated.lstm_by_torch
    monkeypatch.setattr(gated, "lstm_by_torch", lambda *a: (calls.append(1), by_torch(*a))[1])
    capability = "AVX2" if kernel else "AVX512"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    inputs = make_inputs("lstm", (20, 3, 5, 4), ids=ids, double=False)
    assert_same(results(gated.lstm, inputs), results(gated.lstm_reference, inputs), double=False)
    if torch.backends.mkldnn.is_available():
        assert bool(calls) == (kernel and not ids)


@both
def test_threads_change_nothing(cell: Cell) -> None:
    torch.set_num_threads(2)
    inputs = make_inputs(cell, (6, 18, 5, 6))
    assert_same(results(FAST[cell], inputs), results(REFERENCE[cell], inputs))


def test_a_gru_whose_z_is_1_keeps_its_state_and_whose_z_is_0_takes_n() -> None:
    x, h_0, W_x, W_h, b = (t.detach() for t in make_inputs("gru"))
    keep, take = b.clone(), b.clone()
    keep[H : 2 * H], take[H : 2 * H] = 1e4, -1e4
    hs, _ = gated.gru(x, h_0, W_x, W_h, keep)
    assert torch.equal(hs, h_0.expand_as(hs))
    take[:H] = -1e4  # and no r: n is of the character alone
    hs, _ = gated.gru(x, h_0, W_x, W_h, take)
    torch.testing.assert_close(hs, torch.tanh(x @ W_x[2 * H :].T + b[2 * H :]))


def test_an_lstm_counts_without_bound() -> None:
    """i, f, g at 1: each step adds 1 to c, which no function bounds."""
    x, s_0, W_x, W_h, b = (t.detach() for t in make_inputs("lstm", (500, 2, 5, 4)))
    _, after = gated.lstm(x, 0 * s_0, 0 * W_x, 0 * W_h, b.fill_(1e4))
    assert torch.equal(after, torch.tensor([[1.0] * 4 + [500.0] * 4] * 2, dtype=after.dtype))
