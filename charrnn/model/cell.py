"""The equation over a sequence: the readable reference and the fast pass.

    h_t = f(W_x x_t + W_h h_{t-1} + b)

Three functions compute it for T time steps and B streams at once, and give the same numbers:

* :func:`rnn_reference`, the equation as it is written, differentiated by autograd;
* :func:`rnn`, the fast one, with back-propagation through time written by hand;
* :func:`rnn_cudnn`, by the kernels of `torch.nn.RNN`, which `rnn` leaves a CUDA device to.

Shapes: T time, B batch, D input, H hidden. The input ``x`` is either (T, B, D) numbers, or (T, B)
ids: then x_t is a one-hot vector, and W_x x_t is just the id's column of W_x.

States and products have the type of ``h_0``. What is only added, b and the columns that ids look
up, may have a wider one: then the sums that are their gradients have it, too.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charrnn.config import Nonlinearity
from charrnn.model import loops
from charrnn.model.products import fast_products

F = {"tanh": torch.tanh, "relu": torch.relu}
KERNELS = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


def rnn_reference(
    x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, nonlinearity: Nonlinearity = "tanh"
) -> Tensor:
    """Computes the equation step by step, as plainly as it can be written.

    Args:
        x: inputs, (T, B, D) floats or (T, B) int64 ids below D.
        h_0: state before the first step, (B, H).
        W_x: (H, D).
        W_h: (H, H).
        b: (H,).
        nonlinearity: which f.

    Returns:
        h_1 ... h_T, (T, B, H).
    """
    f = F[nonlinearity]
    h = h_0
    hs = []
    for x_t in x:
        W_x_x_t = W_x[:, x_t].T if x_t.ndim == 1 else x_t @ W_x.T  # (B, H)
        h = f(W_x_x_t + h @ W_h.T + b)
        hs.append(h)
    return torch.stack(hs)


def rnn(
    x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, nonlinearity: Nonlinearity = "tanh"
) -> Tensor:
    """Computes the equation fast; arguments and result are those of :func:`rnn_reference`."""
    if h_0.is_cuda:
        return rnn_cudnn(x, h_0, W_x, W_h, b, nonlinearity)
    if torch.is_grad_enabled():
        result: Tensor = _Rnn.apply(x, h_0, W_x, W_h, b, nonlinearity)  # type: ignore[no-untyped-call]
        return result
    return _forward(x, h_0, W_x, W_h, b, nonlinearity)[1:]


def _forward(
    x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, nonlinearity: Nonlinearity
) -> Tensor:
    """Returns h_0, h_1 ... h_T in one buffer, (T + 1, B, H)."""
    T, B = x.shape[:2]
    H = len(b)
    hs = h_0.new_empty(T + 1, B, H)
    hs[0] = h_0
    with fast_products(B * H * H):
        write_inputs(x, W_x, b, hs[1:])  # where h_t will stand
        loops.run(hs, W_h, nonlinearity)
    return hs


def write_inputs(x: Tensor, W_x: Tensor, b: Tensor, out: Tensor) -> None:
    """Writes W_x x_t + b of all steps at once, for x, (T, B) ids or (T, B, D), into (T, B, H)."""
    inputs = out.flatten(0, 1)  # a view
    if x.ndim == 2:
        torch.index_select((W_x.T + b).to(out.dtype), 0, x.reshape(-1), out=inputs)
    else:
        torch.addmm(b.to(out.dtype), x.reshape(len(inputs), -1), W_x.T, out=inputs)


def input_gradients(
    das: Tensor, x: Tensor, W_x: Tensor, sum_dtype: torch.dtype, needs_x: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Returns dE/dx (None if it is not needed), dE/dW_x and dE/db, by dE/da of all steps.

    Args:
        das: the gradient of W_x x_t + b, (T B, H).
        x: (T, B) ids or (T, B, D).
        W_x: (H, D).
        sum_dtype: the type of what is only added up.
        needs_x: whether dE/dx is needed.
    """
    addends = das.to(sum_dtype)
    if x.ndim == 2:
        # one-hot inputs: add each step's gradient to its character's column
        dW_x = torch.zeros_like(W_x.T).index_add_(0, x.reshape(-1), addends).T
        return None, dW_x, addends.sum(0)
    # in memory like W_x: autograd need not copy
    dW_x = (x.reshape(len(das), -1).T @ das).T
    return (das @ W_x).view(x.shape) if needs_x else None, dW_x, addends.sum(0)


class _Rnn(torch.autograd.Function):
    """The equation's fast pass and its gradients.

    With a_t = W_x x_t + W_h h_{t-1} + b and the loss E, back-propagation through time is

        dE/da_t = f'(a_t) * (dE/dh_t + W_h^T dE/da_{t+1})

    from the last step to the first; every other gradient is a sum over time of products with
    dE/da_t, made in one product after the loop.
    Source: Werbos, Backpropagation through time, Proceedings of the IEEE 78 (10), 1990.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h_0: Tensor,
        W_x: Tensor,
        W_h: Tensor,
        b: Tensor,
        nonlinearity: Nonlinearity,
    ) -> Tensor:
        hs = _forward(x, h_0, W_x, W_h, b, nonlinearity)
        ctx.save_for_backward(x, W_x, W_h, hs)
        ctx.sum_dtype = b.dtype
        ctx.nonlinearity = nonlinearity
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        x, W_x, W_h, hs = ctx.saved_tensors
        needs_x, needs_h_0, *_ = ctx.needs_input_grad
        T, B, H = dhs.shape
        with fast_products(B * H * H):
            das = loops.run_back(dhs, hs[1:], W_h, ctx.nonlinearity)
            flat = das.view(T * B, H)
            dW_h = flat.T @ hs[:-1].view(T * B, H)
            dx, dW_x, db = input_gradients(flat, x, W_x, ctx.sum_dtype, needs_x)
            dh_0 = das[0] @ W_h if needs_h_0 else None
        return dx, dh_0, dW_x, dW_h, db, None


def rnn_cudnn(
    x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, nonlinearity: Nonlinearity = "tanh"
) -> Tensor:
    """Computes the equation by torch's kernels; arguments and result as :func:`rnn_reference`.

    On a CUDA device these are cuDNN's, which compute the whole sequence in one call; anywhere else
    they are slower than :func:`rnn`. They take two biases: b is one, the other is zero. cuDNN takes
    bfloat16 from version 9.13 on; before, torch makes the steps one by one.
    """
    x, weights = for_kernels(x, W_x, W_h, b, h_0.dtype)
    training = torch.is_grad_enabled()
    hs, _ = KERNELS[nonlinearity](
        x, h_0[None].contiguous(), weights, True, 1, 0.0, training, False, False
    )
    return hs


def for_kernels(
    x: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor]]:
    """Returns inputs, one-hot for ids, and weights as torch's kernels want them."""
    if x.ndim == 2:
        x = nn.functional.one_hot(x, W_x.shape[1]).to(dtype)
    weights = [w.to(dtype) for w in (W_x, W_h, b, torch.zeros_like(b))]
    # one stretch of memory, as cuDNN wants it: else it would copy, and warn
    together = torch.cat([w.reshape(-1) for w in weights])
    parts = torch.split(together, [w.numel() for w in weights])
    return x, [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
