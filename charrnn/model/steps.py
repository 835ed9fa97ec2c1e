"""One time step of the gated cells in NumPy; the equations are in `gated.py`.

Shapes: ... of the samples side by side, if there are several; H hidden, G gates, S of the state.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config import Cell

Array = npt.NDArray[Any]


def _sigmoid(a: Array) -> None:
    """Puts 1 / (1 + e^-a) where a stands."""
    a *= -1  # np.negative in place is wrong for some strides (NumPy 2.4.6)
    np.exp(a, out=a)
    a += 1
    np.reciprocal(a, out=a)


def by_gate(stacked: Array, gates: int) -> Array:
    """Returns a view, (G, H) or (G, B, H), of what stands gate by gate in (G H,) or (B, G H)."""
    if stacked.ndim == 1:
        return stacked.reshape(gates, -1)
    return stacked.reshape(len(stacked), gates, -1).swapaxes(0, 1)


def gru_step(a: Array, u: Array, s: Array, out: Array) -> None:
    """Computes a step of the GRU.

    Args:
        a: W_x x_t + b, (G, ..., H).
        u: W_h h_{t-1}, (G, ..., H); its memory is used.
        s: the state before, (..., S).
        out: room for the state after, (..., S).
    """
    r_z, n = u[:2], u[2]
    r_z += a[:2]
    _sigmoid(r_z)
    n *= r_z[0]
    n += a[2]
    np.tanh(n, out=n)
    # (1 - z) n + z h
    np.subtract(s, n, out=out)
    out *= r_z[1]
    out += n


def lstm_step(a: Array, u: Array, s: Array, out: Array) -> None:
    """Computes a step of the LSTM; arguments are those of :func:`gru_step`."""
    H = u.shape[-1]
    u += a
    i_f, g, o = u[:2], u[2], u[3]
    _sigmoid(i_f)
    np.tanh(g, out=g)
    _sigmoid(o)
    c = i_f[1]
    c *= s[..., H:]
    g *= i_f[0]
    c += g
    out[..., H:] = c
    np.tanh(c, out=c)
    np.multiply(o, c, out=out[..., :H])


STEPS: dict[Cell, Callable[[Array, Array, Array, Array], None]] = {
    "gru": gru_step,
    "lstm": lstm_step,
}


def shown(cell: Cell, state: Array) -> Array:
    """Returns what a state, (..., S), shows of itself in h: an LSTM's c by tanh(c)."""
    if cell != "lstm":
        return state
    h, c = np.split(state, 2, axis=-1)
    return np.concatenate([h, np.tanh(c)], axis=-1)
