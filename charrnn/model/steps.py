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
    a *= -1  # np.negative is wrong in place for columns (NumPy 2.4.6)
    np.exp(a, out=a)
    a += 1
    np.reciprocal(a, out=a)


def gru_step(a: Array, u: Array, s: Array, out: Array) -> None:
    """Computes a step of the GRU.

    Args:
        a: W_x x_t + b, (..., G H); its memory is used.
        u: W_h h_{t-1}, (..., G H); its memory is used.
        s: the state before, (..., S).
        out: room for the state after, (..., S).
    """
    H = s.shape[-1]
    r_z, n, u_n = a[..., : 2 * H], a[..., 2 * H :], u[..., 2 * H :]
    r_z += u[..., : 2 * H]
    _sigmoid(r_z)
    u_n *= r_z[..., :H]
    n += u_n
    np.tanh(n, out=n)
    # (1 - z) n + z h
    np.subtract(s, n, out=out)
    out *= r_z[..., H:]
    out += n


def lstm_step(a: Array, u: Array, s: Array, out: Array) -> None:
    """Computes a step of the LSTM; arguments are those of :func:`gru_step`."""
    H = s.shape[-1] // 2
    a += u
    i_f, g, o = a[..., : 2 * H], a[..., 2 * H : 3 * H], a[..., 3 * H :]
    _sigmoid(i_f)
    np.tanh(g, out=g)
    _sigmoid(o)
    h, c = out[..., :H], out[..., H:]
    np.multiply(i_f[..., H:], s[..., H:], out=c)
    g *= i_f[..., :H]
    c += g
    np.tanh(c, out=h)
    h *= o


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
