"""Which library multiplies large matrices: the faster one, where it is as exact.

torch leaves float32 products to MKL, which does without AVX-512 on processors other than Intel's;
oneDNN, which torch has too, uses it. torch hands products over to it only where they may be rounded
to bfloat16, and oneDNN rounds them only on processors with tiles for that (AMX). So it is tried
once, and where a product comes out rounded, or torch is too old, MKL keeps them all.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORTH_IT = 2**22
"""oneDNN is faster at products of more multiplications; measured in ``tests/bench/README.md``."""


@contextmanager
def fast_products(multiplications: int) -> Iterator[None]:
    """Lets the faster library multiply float32 matrices; what it gives is as exact as ever.

    Args:
        multiplications: of the smallest product to come that matters, n m k.
    """
    if multiplications > WORTH_IT and one_dnn_is_exact():
        with _one_dnn():
            yield
    else:
        yield


@contextmanager
def _one_dnn() -> Iterator[None]:
    matmul = _setting()
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _setting() -> Any:
    return getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9 on


@functools.cache
def one_dnn_is_exact() -> bool:
    """Tells whether oneDNN multiplies with AVX-512, and without rounding to bfloat16."""
    if _setting() is None or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    # 1 + 2^-12 is no bfloat16
    a, one = torch.full((64, 256), 1 + 2.0**-12), torch.eye(256)
    with _one_dnn():
        return torch.equal(a @ one, a)
