"""Laws of training in bfloat16: what is rounded, what is not; who gets it."""

import pytest
import torch
from torch import nn

from charrnn.config import ModelConfig, Nonlinearity, Precision, TrainingConfig
from charrnn.errors import OptionError
from charrnn.model import precision
from charrnn.model.cell import rnn, rnn_cudnn
from charrnn.model.network import Layer, Output
from charrnn.model.precision import lacks_bfloat16, precision_for

BF16 = torch.bfloat16
T, B, D, H = 257, 17, 3, 4
MANY = T * B  # 4,369 is no bfloat16, and a sum of ones that is rounded at each step stops at 256


@pytest.fixture
def silent() -> Layer:
    """A layer whose outputs are zeros, so that each step's gradient is what comes from above."""
    return Layer(
        ModelConfig(D, hidden_size=H), torch.zeros(H, D), torch.zeros(H, H), torch.zeros(H)
    )


def test_the_gradients_of_biases_and_of_a_look_up_are_not_rounded(silent: Layer) -> None:
    ids = torch.ones(T, B, dtype=torch.int64)
    hs, _ = silent(ids, torch.zeros(B, H, dtype=BF16))
    hs.backward(torch.ones_like(hs))
    assert hs.dtype == BF16
    assert torch.equal(silent.b.grad, torch.full((H,), float(MANY)))
    assert torch.equal(silent.W_x.grad, MANY * nn.functional.one_hot(ids[0, :1], D).expand(H, D))


def test_the_gradients_of_the_output_are_those_of_float32_logits() -> None:
    output = Output(torch.randn(D, H), torch.zeros(D))
    logits = output(torch.ones(MANY, H, dtype=BF16))
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert torch.equal(output.b_y.grad, torch.full((D,), float(MANY)))


@pytest.mark.parametrize("f", ["tanh", "relu"])
@pytest.mark.parametrize("ids", [True, False])
def test_torchs_kernels_take_the_same_types(f: Nonlinearity, ids: bool) -> None:
    """The look-up's columns and the bias in float32, the others in bfloat16."""
    x = torch.randint(D, (6, 2)) if ids else torch.randn(6, 2, D).to(BF16)
    W_x, b = torch.randn(H, D).to(torch.float32 if ids else BF16), torch.randn(H)
    h_0, W_h = torch.randn(2, H).to(BF16), (torch.randn(H, H) / 2).to(BF16)
    inputs = [t.requires_grad_() for t in (h_0, W_x, W_h, b)]
    results = []
    for function in (rnn, rnn_cudnn):
        hs = function(x, *inputs, f)
        results.append([hs, *torch.autograd.grad(hs.float().sum(), inputs)])
    for ours, torchs in zip(*results, strict=True):
        assert ours.dtype == torchs.dtype
        torch.testing.assert_close(ours, torchs, rtol=0.05, atol=0.1)


# --- who gets it


@pytest.mark.parametrize(
    ("has_it", "asked", "device", "wanted"),
    [
        (True, "auto", "cpu", "fp32"),
        (True, "fp32", "cpu", "fp32"),
        (True, "bf16", "cpu", "bf16"),
        (False, "auto", "cpu", "fp32"),
        (False, "bf16", "cuda", "bf16"),
    ],
)
def test_who_asks_for_it_gets_it(
    monkeypatch: pytest.MonkeyPatch,
    has_it: bool,
    asked: Precision,
    device: str,
    wanted: Precision,
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has_it)
    config = TrainingConfig(precision=asked, device=device)
    assert not lacks_bfloat16(config)
    assert precision_for(config) == wanted


def test_a_processor_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    config = TrainingConfig(precision="bf16")
    assert lacks_bfloat16(config)
    with pytest.raises(OptionError, match=r"processor has no bfloat16 .*: use auto or fp32"):
        precision_for(config)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "avx512_f"])
def test_torch_is_asked_in_the_words_of_its_version(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True}, raising=False)
    assert precision.has_bfloat16.__wrapped__() == (name != "avx512_f")
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    for ask in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, ask, lambda: False, raising=False)
    assert not precision.has_bfloat16.__wrapped__()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert precision.has_bfloat16.__wrapped__()
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not precision.has_bfloat16.__wrapped__(), "no longer there"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert not precision.has_bfloat16.__wrapped__(), "no oneDNN"
