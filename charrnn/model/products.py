"""Which library multiplies large matrices: the faster one, if it is as exact.

torch leaves float32 products to MKL, which does without AVX-512 on processors other than Intel's;
oneDNN, which torch has too, uses it. torch hands products over to it only if they may be rounded
to bfloat16, and oneDNN rounds them only on processors with tiles for that (AMX). So it is tried
once, and if a product comes out rounded, or torch is too old, MKL keeps them all.
"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

# oneDNN is faster at products of more multiplications; measured in tests/bench/README.md
WORTH_IT = 2**22


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
