"""The equation's loop over time, there and back, by torch or by NumPy, as `products` decides.

Both give the same numbers but for rounding, in the tensors' own memory. NumPy has less to do
around each small product.

Shapes: T time, B batch, H hidden.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from charrnn.config import Nonlinearity
from charrnn.model import forward, products

F_IN_PLACE = {"tanh": torch.tanh_, "relu": torch.relu_}


def _relu_backward(dh: Tensor, h: Tensor, *, grad_input: Tensor) -> Tensor:
    return torch.mul(dh, h > 0, out=grad_input)


# dE/da from dE/dh and h = f(a), or the factor alone: both f' can be had from h
F_BACKWARD: dict[Nonlinearity, Callable[..., Tensor]] = {
    "tanh": torch.ops.aten.tanh_backward.grad_input,
    "relu": _relu_backward,
}
F_PRIME: dict[Nonlinearity, Callable[[forward.Array], forward.Array]] = {
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: (h > 0).astype(h.dtype),
}


def run(hs: Tensor, W_h: Tensor, nonlinearity: Nonlinearity) -> None:
    """Computes h_1 ... h_T, step by step.

    Args:
        hs: (T + 1, B, H): h_0, then W_x x_t + b of each step, which becomes h_t.
        W_h: (H, H).
        nonlinearity: which f.
    """
    # contiguous: each step's product is faster than with the transposed view
    W_hT = W_h.T.contiguous()
    if products.numpy_is_faster(hs):
        forward.run(hs.numpy(), W_hT.numpy(), forward.F[nonlinearity])
        return
    f_ = F_IN_PLACE[nonlinearity]
    h, *later = hs.unbind(0)
    for h_t in later:
        h = f_(h_t.addmm_(h, W_hT))


def run_back(dhs: Tensor, hs: Tensor, W_h: Tensor, nonlinearity: Nonlinearity) -> Tensor:
    """Returns dE/da_1 ... dE/da_T, (T, B, H), from the last step to the first.

    Args:
        dhs: dE/dh_1 ... dE/dh_T without what later steps add, (T, B, H).
        hs: h_1 ... h_T, (T, B, H).
        W_h: (H, H).
        nonlinearity: which f.
    """
    das = dhs.clone(memory_format=torch.contiguous_format)
    if products.numpy_is_faster(hs):
        _run_back_in_numpy(das.numpy(), F_PRIME[nonlinearity](hs.numpy()), W_h.numpy())
        return das
    f_backward = F_BACKWARD[nonlinearity]
    da_next = None
    for da, h in zip(das.unbind(0)[::-1], hs.unbind(0)[::-1], strict=True):
        if da_next is not None:
            da.addmm_(da_next, W_h)
        da_next = f_backward(da, h, grad_input=da)
    return das


@forward.overflow_allowed
def _run_back_in_numpy(das: forward.Array, f_prime: forward.Array, W_h: forward.Array) -> None:
    """Turns dE/dh_t into dE/da_t, (T, B, H), by f'(a_t)."""
    product = np.empty_like(das[0])
    das[-1] *= f_prime[-1]
    da_next, *earlier = das[::-1]
    for da, factor in zip(earlier, f_prime[-2::-1], strict=True):
        da += np.dot(da_next, W_h, out=product)
        da *= factor
        da_next = da
