"""The gated cells over a sequence: readable references and fast passes.

GRU, of the gates r, z, n, in torch's form:

    r_t = sigmoid(W_x[r] x_t + W_h[r] h_{t-1} + b[r])
    z_t = sigmoid(W_x[z] x_t + W_h[z] h_{t-1} + b[z])
    n_t = tanh(W_x[n] x_t + b[n] + r_t * (W_h[n] h_{t-1}))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

LSTM, of the gates i, f, g, o:

    i_t = sigmoid(W_x[i] x_t + W_h[i] h_{t-1} + b[i]), and so f_t and o_t; g_t = tanh(...)
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)

W_x, W_h and b stack the gates along their first axis. There is one bias, as in `cell.py`; torch's
own has two, of which the second is zero here.

Each is computed by a reference, as it is written, differentiated by autograd; by a fast pass, with
back-propagation through time written by hand; and by torch's kernels, which are left a CUDA device,
and the LSTM where `products` says that they are faster.

Shapes: T time, B batch, D input, H hidden, G gates, S of the state: H, or of an LSTM 2 H, h then c.
Inputs and types are as in `cell.py`; an LSTM's c has the type of b.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.config import Cell
from charrnn.model import gated_loops, products
from charrnn.model.cell import for_kernels, input_gradients, write_inputs
from charrnn.model.products import fast_products


def gru_reference(
    x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the GRU step by step, as plainly as it can be written.

    Args:
        x: inputs, (T, B, D) floats or (T, B) int64 ids below D.
        s_0: state before the first step, (B, S).
        W_x: (G H, D).
        W_h: (G H, H).
        b: (G H,).

    Returns:
        h_1 ... h_T, (T, B, H), and the state after the last step, (B, S).
    """
    h, hs = s_0, []
    for x_t in x:
        W_x_x_t = W_x[:, x_t].T if x_t.ndim == 1 else x_t @ W_x.T  # (B, 3 H)
        a_r, a_z, a_n = (W_x_x_t + b).chunk(3, dim=1)
        u_r, u_z, u_n = (h @ W_h.T).chunk(3, dim=1)
        r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        h = (1 - z) * n + z * h
        hs.append(h)
    return torch.stack(hs), h


def lstm_reference(
    x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the LSTM step by step; arguments and results are those of :func:`gru_reference`."""
    h, c = s_0.chunk(2, dim=1)
    hs = []
    for x_t in x:
        W_x_x_t = W_x[:, x_t].T if x_t.ndim == 1 else x_t @ W_x.T  # (B, 4 H)
        a_i, a_f, a_g, a_o = (W_x_x_t + h @ W_h.T + b).chunk(4, dim=1)
        c = torch.sigmoid(a_f) * c + torch.sigmoid(a_i) * torch.tanh(a_g)
        h = torch.sigmoid(a_o) * torch.tanh(c)
        hs.append(h)
    return torch.stack(hs), torch.cat([h, c], dim=1)


def gru(x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the GRU fast; arguments and results are those of :func:`gru_reference`."""
    if s_0.is_cuda:
        return gru_by_torch(x, s_0, W_x, W_h, b)
    hs: Tensor
    if torch.is_grad_enabled():
        hs = _Gru.apply(x, s_0, W_x, W_h, b)  # type: ignore[no-untyped-call]
    else:
        hs = _gru_forward(x, s_0, W_x, W_h, b)[0][1:]
    return hs, hs[-1]


def lstm(x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the LSTM fast; arguments and results are those of :func:`gru_reference`."""
    if s_0.is_cuda or products.lstm_kernel_is_faster(x):
        return lstm_by_torch(x, s_0, W_x, W_h, b)
    h_0, c_0 = s_0.chunk(2, dim=1)
    if torch.is_grad_enabled():
        hs, c_T = _Lstm.apply(x, h_0, c_0, W_x, W_h, b)  # type: ignore[no-untyped-call]
    else:
        hs, cs, *_ = _lstm_forward(x, h_0, c_0, W_x, W_h, b)
        hs, c_T = hs[1:], cs[-1]
    return hs, torch.cat([hs[-1], c_T.to(s_0.dtype)], dim=1)


GATED: dict[Cell, Callable[..., tuple[Tensor, Tensor]]] = {"gru": gru, "lstm": lstm}


def _prepared(x: Tensor, h_0: Tensor, W_x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns W_x x_t + b of all steps, (T, B, G H), and h_0 before room for h_1 ... h_T."""
    T, B = x.shape[:2]
    inputs, hs = h_0.new_empty(T, B, len(b)), h_0.new_empty(T + 1, *h_0.shape)
    write_inputs(x, W_x, b, inputs)
    hs[0] = h_0
    return inputs, hs


def _gru_forward(
    x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns h_0 ... h_T, (T + 1, B, H), and what the way back needs: gates and W_h[n] h_{t-1}."""
    with fast_products(h_0.shape[0] * W_h.numel()):
        gates, hs = _prepared(x, h_0, W_x, b)
        return hs, gates, gated_loops.run_gru(gates, hs, W_h)


class _Gru(torch.autograd.Function):
    """The GRU's fast pass and its gradients.

    With the loss E and the sums a_t that stand in the gates' functions,

        dE/da_n = dE/dh_t * (1 - z_t) * (1 - n_t^2)
        dE/da_z = dE/dh_t * (h_{t-1} - n_t) * z_t * (1 - z_t)
        dE/da_r = dE/da_n * (W_h[n] h_{t-1}) * r_t * (1 - r_t)

    and dE/dh_{t-1} gets dE/dh_t * z_t, and W_h^T times the gradients of W_h h_{t-1}: dE/da_r,
    dE/da_z, and dE/da_n * r_t.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor) -> Tensor:
        hs, *inner = _gru_forward(x, h_0, W_x, W_h, b)
        ctx.save_for_backward(x, W_x, W_h, hs, *inner)
        ctx.sum_dtype = b.dtype
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:
        x, W_x, W_h, hs, gates, ms = ctx.saved_tensors
        T, B, H = dhs.shape
        with fast_products(B * W_h.numel()):
            dus, dns, dh_0 = gated_loops.run_gru_back(dhs, gates, hs, ms, W_h)
            dW_h = dus.view(T * B, 3 * H).T @ hs[:-1].view(T * B, H)
            dus[..., 2 * H :] = dns  # now those of W_x x_t + b
            dx, dW_x, db = input_gradients(
                dus.view(T * B, 3 * H), x, W_x, ctx.sum_dtype, ctx.needs_input_grad[0]
            )
        return dx, dh_0, dW_x, dW_h, db


def _lstm_forward(
    x: Tensor, h_0: Tensor, c_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns h and c from 0 to T, (T + 1, B, H), and what the way back needs: gates, tanh(c_t)."""
    with fast_products(h_0.shape[0] * W_h.numel()):
        gates, hs = _prepared(x, h_0, W_x, b)
        cs = b.new_empty(hs.shape)
        cs[0] = c_0
        return hs, cs, gates, gated_loops.run_lstm(gates, hs, cs, W_h)


class _Lstm(torch.autograd.Function):
    """The LSTM's fast pass and its gradients.

    With the loss E and the sums a_t that stand in the gates' functions,

        dE/dc_t = dE/dc_{t+1} * f_{t+1} + dE/dh_t * o_t * (1 - tanh(c_t)^2)
        dE/da_i = dE/dc_t * g_t * i_t * (1 - i_t)
        dE/da_f = dE/dc_t * c_{t-1} * f_t * (1 - f_t)
        dE/da_g = dE/dc_t * i_t * (1 - g_t^2)
        dE/da_o = dE/dh_t * tanh(c_t) * o_t * (1 - o_t)

    and dE/dh_{t-1} gets W_h^T dE/da_t.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h_0: Tensor, c_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor]:
        hs, cs, *inner = _lstm_forward(x, h_0, c_0, W_x, W_h, b)
        ctx.save_for_backward(x, W_x, W_h, hs, cs, *inner)
        ctx.types = c_0.dtype, b.dtype
        return hs[1:], cs[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhs: Tensor, dc_T: Tensor) -> tuple[Tensor | None, ...]:
        x, W_x, W_h, hs, cs, gates, tanhs = ctx.saved_tensors
        T, B, H = dhs.shape
        of_c_0, of_sums = ctx.types
        with fast_products(B * W_h.numel()):
            das, dh_0, dc_0 = gated_loops.run_lstm_back(dhs, dc_T, gates, cs, tanhs, W_h)
            flat = das.view(T * B, 4 * H)
            dW_h = flat.T @ hs[:-1].view(T * B, H)
            dx, dW_x, db = input_gradients(flat, x, W_x, of_sums, ctx.needs_input_grad[0])
        return dx, dh_0, dc_0.to(of_c_0), dW_x, dW_h, db


def gru_by_torch(
    x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the GRU by torch's kernels; arguments and results as :func:`gru_reference`.

    See :func:`charrnn.model.cell.rnn_cudnn`.
    """
    x, weights = for_kernels(x, W_x, W_h, b, s_0.dtype)
    training = torch.is_grad_enabled()
    hs, h_T = torch.gru(x, s_0[None].contiguous(), weights, True, 1, 0.0, training, False, False)
    return hs, h_T[0]


def lstm_by_torch(
    x: Tensor, s_0: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the LSTM by torch's kernels; arguments and results as :func:`gru_reference`.

    See :func:`charrnn.model.cell.rnn_cudnn`.
    """
    x, weights = for_kernels(x, W_x, W_h, b, s_0.dtype)
    training = torch.is_grad_enabled()
    before = [part[None].contiguous() for part in s_0.chunk(2, dim=1)]
    hs, h_T, c_T = torch.lstm(x, before, weights, True, 1, 0.0, training, False, False)
    return hs, torch.cat([h_T[0], c_T[0]], dim=1)
