"""How large matrices are multiplied: by the faster library, if it is as exact; or in bfloat16.

torch leaves float32 products to MKL, which does without AVX-512 on processors other than Intel's;
oneDNN, which torch has too, uses it. torch hands products over to it only if they may be rounded
to bfloat16, and oneDNN rounds them only on processors with tiles for that (AMX). So it is tried
once, and if a product comes out rounded, or torch is too old, MKL keeps them all.

In training, matrices can be rounded to bfloat16, and their products, which some processors add up
in float32 at twice the speed; on others torch is many times slower so.
"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from charrnn.config import ModelConfig, Precision, TrainingConfig
from charrnn.errors import OptionError

# oneDNN is faster at products of more multiplications; measured in tests/bench/README.md
WORTH_IT = 2**22
# from this hidden size on, a training step in bfloat16 is 1.5 times as fast, on processors that
# have its products; see tests/bench/README.md
BF16_FROM_HIDDEN_SIZE = 384


def fast_products(multiplications: int) -> AbstractContextManager[None]:
    """Lets the faster library multiply float32 matrices; the products are as exact as ever.

    ``multiplications`` are those of the smallest product to come that matters, n m k.
    """
    exact = multiplications > WORTH_IT and one_dnn_is_exact()
    return _one_dnn() if exact else nullcontext()


@contextmanager
def _one_dnn() -> Iterator[None]:
    matmul = _setting()
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"  # allows rounding, which is what hands products to oneDNN
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _setting() -> Any:
    return getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9 on


@functools.cache
def one_dnn_is_exact() -> bool:
    """Returns whether oneDNN multiplies with AVX-512, and without rounding to bfloat16."""
    if _setting() is None or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    # 1 + 2^-12 is no bfloat16
    a, one = torch.full((64, 256), 1 + 2.0**-12), torch.eye(256)
    with _one_dnn():
        return torch.equal(a @ one, a)


def precision_for(model: ModelConfig, config: TrainingConfig) -> Precision:
    """Returns in what such a model is trained, "fp32" or "bf16": as asked for, or as it pays.

    Processor and hidden size decide, never the clock, so that a run can be repeated to the bit.

    Raises:
        OptionError: bf16 is asked for, and the processor that is to train does not have it.
    """
    if config.precision == "auto":
        large = model.hidden_size >= BF16_FROM_HIDDEN_SIZE
        return "bf16" if config.device == "cpu" and large and has_bfloat16() else "fp32"
    if lacks_bfloat16(config):
        raise OptionError(
            "--precision bf16: this processor has no bfloat16 products (AVX512-BF16 or AMX), and "
            "would be many times slower: leave --precision out"
        )
    return config.precision


def lacks_bfloat16(config: TrainingConfig) -> bool:
    """Returns whether bf16 is asked for, and the processor that is to train does not have it."""
    return config.precision == "bf16" and config.device == "cpu" and not has_bfloat16()


@functools.cache
def has_bfloat16() -> bool:
    """Returns whether the processor multiplies bfloat16 itself, and torch lets it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # from torch 2.11 on
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asks)
