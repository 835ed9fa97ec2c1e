"""The gated cells' loops over time, there and back; the equations are in `gated.py`.

Every operation works in memory that is there. A step's product is NumPy's or torch's, as `products`
decides; all else is torch's, whose logistic function is three times as fast as NumPy's.

Shapes: T time, B batch, H hidden, G gates; what has G H columns holds the gates side by side.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from charrnn.model import products


def _multiplier(W: Tensor, out: Tensor) -> Callable[[Tensor], object]:
    """Returns what multiplies rows by W, into ``out``."""
    hidden_size = min(W.shape)
    if products.numpy_is_faster(out[:, :hidden_size], max(W.shape) // hidden_size):
        W_, out_ = W.numpy(), out.numpy()
        return lambda rows: np.dot(rows.numpy(), W_, out=out_)
    return lambda rows: torch.mm(rows, W, out=out)


def _gates(numbers: Tensor, count: int) -> tuple[Tensor, ...]:
    """Returns views of each gate, (T, B, H), of (T, B, G H)."""
    return numbers.view(*numbers.shape[:2], count, -1).unbind(2)


def run_gru(gates: Tensor, hs: Tensor, W_h: Tensor) -> Tensor:
    """Computes h_1 ... h_T, step by step.

    Args:
        gates: (T, B, 3 H): W_x x_t + b of each step, which becomes r, z, n.
        hs: (T + 1, B, H): h_0, then room for each h_t.
        W_h: (3 H, H).

    Returns:
        W_h[n] h_{t-1} of each step, (T, B, H).
    """
    H = hs.shape[2]
    ms = torch.empty_like(hs[1:])
    u = torch.empty_like(gates[0])
    multiply = _multiplier(W_h.T.contiguous(), u)
    u_rz, u_n = u[:, : 2 * H], u[:, 2 * H :]
    h, *later = hs.unbind(0)
    steps = (part.unbind(0) for part in (gates[..., : 2 * H], *_gates(gates, 3), ms))
    for rz, r, z, n, m, h_t in zip(*steps, later, strict=True):
        multiply(h)
        rz.add_(u_rz).sigmoid_()
        m.copy_(u_n)
        n.addcmul_(r, m).tanh_()
        h = torch.lerp(n, h, z, out=h_t)  # (1 - z) n + z h
    return ms


def run_gru_back(
    dhs: Tensor, gates: Tensor, hs: Tensor, ms: Tensor, W_h: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Goes from the last step to the first.

    Args:
        dhs: dE/dh_1 ... dE/dh_T without what later steps add, (T, B, H).
        gates: r, z, n of each step, (T, B, 3 H).
        hs: h_0 ... h_T, (T + 1, B, H).
        ms: W_h[n] h_{t-1} of each step, (T, B, H).
        W_h: (3 H, H).

    Returns:
        dE/d(W_h h_{t-1}) of each step, (T, B, 3 H); dE/dn before its tanh, (T, B, H), where the
        first two gates' gradient is that of W_h h_{t-1}, too; dE/dh_0, (B, H).
    """
    r, z, n = _gates(gates, 3)
    # each gate's gradient is dE/dh_t times a factor
    of_n = (1 - z) * (1 - n * n)
    of_z = (hs[:-1] - n) * z * (1 - z)
    of_r = of_n * ms * r * (1 - r)
    dus = torch.stack([of_r, of_z, of_n * r], dim=2)  # (T, B, 3, H)
    dhs = dhs.clone(memory_format=torch.contiguous_format)
    product = torch.empty_like(dhs[0])
    multiply = _multiplier(W_h, product)
    dh_0 = torch.empty_like(product)
    _, *before = dhs.unbind(0)[::-1]
    steps = (part.unbind(0)[::-1] for part in (dhs, dus, dus.flatten(2), z))
    for dh, du, flat, z_t, dh_before in zip(*steps, [*before, dh_0.zero_()], strict=True):
        du.mul_(dh[:, None])
        multiply(flat)
        dh_before.add_(product).addcmul_(dh, z_t)
    return dus.flatten(2), dhs.mul_(of_n), dh_0


def run_lstm(gates: Tensor, hs: Tensor, cs: Tensor, W_h: Tensor) -> Tensor:
    """Computes h_1 ... h_T and c_1 ... c_T, step by step.

    Args:
        gates: (T, B, 4 H): W_x x_t + b of each step, which becomes i, f, g, o.
        hs: (T + 1, B, H): h_0, then room for each h_t.
        cs: the same of c.
        W_h: (4 H, H).

    Returns:
        tanh(c_t) of each step, (T, B, H).
    """
    H = hs.shape[2]
    tanhs = torch.empty_like(hs[1:])
    u = torch.empty_like(gates[0])
    multiply = _multiplier(W_h.T.contiguous(), u)
    h, *later = hs.unbind(0)
    c, *later_c = cs.unbind(0)
    steps = (part.unbind(0) for part in (gates, gates[..., : 2 * H], *_gates(gates, 4), tanhs))
    for a, i_f, i, f, g, o, tanh, h_t, c_t in zip(*steps, later, later_c, strict=True):
        multiply(h)
        a.add_(u)
        i_f.sigmoid_()
        g.tanh_()
        o.sigmoid_()
        c = torch.mul(f, c, out=c_t).addcmul_(i, g)
        h = torch.mul(o, torch.tanh(c, out=tanh), out=h_t)
    return tanhs


def run_lstm_back(
    dhs: Tensor, dc_T: Tensor, gates: Tensor, cs: Tensor, tanhs: Tensor, W_h: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Goes from the last step to the first.

    Args:
        dhs: dE/dh_1 ... dE/dh_T without what later steps add, (T, B, H).
        dc_T: dE/dc_T without what h_T adds, (B, H).
        gates: i, f, g, o of each step, (T, B, 4 H).
        cs: c_0 ... c_T, (T + 1, B, H).
        tanhs: tanh(c_t) of each step, (T, B, H).
        W_h: (4 H, H).

    Returns:
        The gradient of what stands in the gates' functions, of each step, (T, B, 4 H); dE/dh_0 and
        dE/dc_0, (B, H).
    """
    i, f, g, o = _gates(gates, 4)
    # the gradients of i, f, g are dE/dc_t times a factor; of o, and a part of dE/dc_t, dE/dh_t's
    das = torch.empty_like(gates)
    of_i, of_f, of_g, of_o = _gates(das, 4)
    torch.mul(g * i, 1 - i, out=of_i)
    torch.mul(cs[:-1] * f, 1 - f, out=of_f)
    torch.mul(i, 1 - g * g, out=of_g)
    torch.mul(tanhs * o, 1 - o, out=of_o)
    to_c = o * (1 - tanhs * tanhs)
    dhs, dc = dhs.clone(memory_format=torch.contiguous_format), dc_T.clone()
    product = torch.empty_like(dhs[0])
    multiply = _multiplier(W_h, product)
    dh_0 = torch.zeros_like(product)
    _, *before = dhs.unbind(0)[::-1]
    of_c = das.view(*das.shape[:2], 4, -1)[:, :, :3]
    steps = (part.unbind(0)[::-1] for part in (dhs, das, of_c, of_o, to_c, f))
    for dh, da, di_df_dg, do, to_c_t, f_t, dh_before in zip(*steps, [*before, dh_0], strict=True):
        dc.addcmul_(dh, to_c_t)
        di_df_dg.mul_(dc[:, None])
        do.mul_(dh)
        multiply(da)
        dh_before.add_(product)
        dc.mul_(f_t)
    return das, dh_0, dc
