"""Which library multiplies matrices: the faster one, if it is as exact.

The processor and the shapes decide, never a timing, so that a run can be repeated to the bit; the
figures are in tests/bench/README.md.

The small products of the loop over time can be NumPy's, which has OpenBLAS. torch leaves float32
products to MKL, which does without AVX-512 on processors other than Intel's; oneDNN, which torch
has too, uses it. torch hands products over to it only if they may be rounded to bfloat16, and
oneDNN rounds them only on processors with tiles for that (AMX). So it is tried once, and if a
product comes out rounded, or torch is too old, MKL keeps them all.
"""

import contextlib
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from charrnn.system import PROC

# oneDNN is faster at products of more multiplications
WORTH_IT = 2**22
# up to this hidden size NumPy is faster on every processor: it has less to do around a product
NUMPY_HIDDEN_SIZE = 128


def numpy_is_faster(h: Tensor, gates: int = 1) -> bool:
    """Returns whether NumPy multiplies states, (..., B, H), faster by W_h, and as exactly."""
    B, H = h.shape[-2:]
    if h.device.type != "cpu" or h.dtype not in (torch.float32, torch.float64):
        return False
    # NumPy's library has a thread for each core if nobody asked for one before it was loaded
    if torch.get_num_threads() > 1 or os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        return False
    if B * H * H * gates > WORTH_IT and one_dnn_is_exact():
        return False
    return H <= NUMPY_HIDDEN_SIZE or _is_amd()


def lstm_kernel_is_faster(x: Tensor) -> bool:
    """Returns whether torch's LSTM, which is oneDNN's on a CPU, is faster for inputs x than ours.

    It was with AVX2, and not with AVX-512; of ids, it would multiply one-hot vectors.
    """
    if x.ndim == 2 or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and torch.backends.cpu.get_cpu_capability() == "AVX2"


@functools.cache
def _is_amd() -> bool:
    """Returns whether the processor is AMD's, which MKL gives no AVX-512."""
    description = platform.processor()  # says so on Windows
    with contextlib.suppress(OSError):
        description = (PROC / "cpuinfo").read_text(errors="replace")[:1000]
    return "AuthenticAMD" in description


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
