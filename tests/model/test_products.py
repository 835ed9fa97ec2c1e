"""Laws of the choice between two libraries: never less exact, and nothing is left changed."""

from pathlib import Path

import pytest
import torch

from charrnn.config import Nonlinearity
from charrnn.model import products
from charrnn.model.cell import rnn, rnn_reference
from charrnn.model.products import fast_products

MANY = products.WORTH_IT + 1
here = pytest.mark.skipif(
    not products.one_dnn_is_exact(), reason="oneDNN has nothing to offer here"
)


def precision() -> str:
    setting = products._setting()
    return "none" if setting is None else str(setting.fp32_precision)


@pytest.mark.parametrize("multiplications", [1, MANY])
@pytest.mark.parametrize("shape", [(64, 512, 512), (33, 401, 399), (512, 2048, 512)])
def test_products_are_exact(multiplications: int, shape: tuple[int, int, int]) -> None:
    n, m, k = shape
    a, b = torch.randn(n, m), torch.randn(m, k)
    with fast_products(multiplications):
        got = a @ b
    error = (got - a.double() @ b.double()).abs().max() / m**0.5
    assert error < 1e-5  # rounded to bfloat16 it were 1e-3 and more


@pytest.mark.parametrize("ids", [True, False])
def test_a_large_layer_is_the_reference(ids: bool) -> None:
    T, B, D, H = 3, 33, 70, 400
    assert B * H * H > products.WORTH_IT
    x = torch.randint(D, (T, B)) if ids else torch.randn(T, B, D)
    weights = torch.randn(B, H), torch.randn(H, D), torch.randn(H, H) * H**-0.5, torch.randn(H)
    inputs = [w.requires_grad_() for w in weights]
    dhs = torch.randn(T, B, H)
    results = []
    for equation in (rnn, rnn_reference):
        hs = equation(x, *inputs)
        results.append([hs, *torch.autograd.grad(hs, inputs, dhs)])
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-3, atol=1e-3)


@here
def test_torch_is_left_as_it_was() -> None:
    before = precision()
    with fast_products(1):
        assert precision() == before
    with fast_products(MANY):
        assert precision() != before
    assert precision() == before
    with pytest.raises(KeyError), fast_products(MANY):
        raise KeyError
    assert precision() == before


@pytest.mark.parametrize("rounds", [True, False])
def test_a_library_that_rounds_is_left_alone(rounds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "one_dnn_is_exact", lambda: not rounds)
    if not rounds and products._setting() is None:
        pytest.skip("this torch cannot choose")
    before = precision()
    with fast_products(MANY):
        assert (precision() == before) == rounds


SIZES = {"small": (16, 128), "large": (16, 256), "huge": (64, 512)}


@pytest.mark.parametrize(
    ("processor", "one_dnn", "faster"),
    [
        ("vendor_id\t: AuthenticAMD", False, ["small", "large", "huge"]),
        ("vendor_id\t: AuthenticAMD", True, ["small", "large"]),
        ("vendor_id\t: GenuineIntel", True, ["small"]),
    ],
)
def test_processor_and_shapes_choose_the_library(
    processor: str,
    one_dnn: bool,
    faster: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "cpuinfo").write_text(processor)
    monkeypatch.setattr(products, "PROC", tmp_path)
    monkeypatch.setattr(products, "_is_amd", products._is_amd.__wrapped__)
    monkeypatch.setattr(products, "one_dnn_is_exact", lambda: one_dnn)
    states = {name: torch.empty(size) for name, size in SIZES.items()}
    assert [name for name, h in states.items() if products.numpy_is_faster(h)] == faster
    assert not products.numpy_is_faster(states["small"].bfloat16())  # NumPy has none
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert not products.numpy_is_faster(states["small"])


@pytest.mark.parametrize("numpy", [True, False])
@pytest.mark.parametrize("f", ["tanh", "relu"])
@pytest.mark.parametrize("T", [1, 5])
def test_a_layer_by_each_library_is_the_reference(
    numpy: bool, f: Nonlinearity, T: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "numpy_is_faster", lambda h: numpy)
    x, dhs = torch.randn(T, 3, 5, dtype=torch.double), torch.randn(T, 3, 4, dtype=torch.double)
    sizes = (3, 4), (4, 5), (4, 4), (4,)
    inputs = [torch.randn(size, dtype=torch.double, requires_grad=True) for size in sizes]
    results = []
    for equation in (rnn, rnn_reference):
        hs = equation(x, *inputs, f)
        results.append([hs, *torch.autograd.grad(hs, inputs, dhs)])
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference)


def test_rounding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with tiles for bfloat16."""

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.mm(a.bfloat16(), b.bfloat16()).float()

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not products.one_dnn_is_exact.__wrapped__()


def test_a_torch_that_cannot_choose_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_setting", lambda: None)
    assert not products.one_dnn_is_exact.__wrapped__()
