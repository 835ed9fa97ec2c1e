"""The network in NumPy: what `network.py` computes in torch, without gradients.

    h^1_t = f(W_x x_t + W_h h^1_{t-1} + b)          layer 1 reads characters
    h^l_t = f(W_x h^{l-1}_t + W_h h^l_{t-1} + b)    layer l reads the layer below
    logits_t = W_y h^L_t + b_y

Sampling and scoring need no more than this, and NumPy is there in a tenth of the time that torch
takes to load. All functions are pure: the state goes in and comes out.

Shapes: T time, B batch, V vocabulary, D input (V in layer 1, H above), H hidden, L layers.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.config import ModelConfig, Nonlinearity
from charrnn.text.vocabulary import Ids

Array = npt.NDArray[Any]  # of floats: float32, or float64 if the weights are
F: dict[Nonlinearity, Callable[..., Array]] = {
    "tanh": np.tanh,
    "relu": functools.partial(np.maximum, 0),
}
# a state that explodes becomes infinite or NaN, as in torch; the scores show it
explosive = np.errstate(over="ignore", invalid="ignore")


class Network(Protocol):
    """What reading a text needs: `Forward`, or a network in torch on another device.

    All arrays are NumPy's. Each method reads ids x, (T, B), from a state, (L, B, H), and returns
    what it is asked for and the state after the last step.

    Attributes:
        config: the shapes.
        rows: how many streams are best read at once.
    """

    config: ModelConfig
    rows: int

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, H)."""

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after."""

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, -ln of the probability of each of x, (T, B), and the state after."""

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""


class Layer(NamedTuple):
    """One layer's parameters."""

    W_x: Array  # (H, D)
    W_h: Array  # (H, H)
    b: Array  # (H,)


class Forward:
    """A network's forward pass; also a :class:`Network`.

    Attributes:
        weights: the parameters by name; they are not copied: if training changes them, so does
            what is computed.
    """

    rows = 64  # larger products are not faster

    def __init__(self, config: ModelConfig, weights: Mapping[str, Array]) -> None:
        self.config, self.weights = config, weights
        first, *upper = (
            Layer(*(weights[f"layers.{i}.{name}"] for name in Layer._fields))
            for i in range(config.num_layers)
        )
        # a character's column is contiguous, as `network.py` has it in memory: then it is a view
        self._layers = [first._replace(W_x=np.asfortranarray(first.W_x)), *upper]
        self._W_y, self._b_y = weights["output.W_y"], weights["output.b_y"]
        self._f = F[config.nonlinearity]

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, H)."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return np.zeros(shape, self._b_y.dtype)

    @explosive
    def step(self, ids: Sequence[int], state: Array) -> Array:
        """Returns the state after one more character of each sample, B ids."""
        after = np.empty_like(state)
        below = None
        for (W_x, W_h, b), h, h_t in zip(self._layers, state, after, strict=True):
            a = W_x.T.take(ids, axis=0) if below is None else _product(below, W_x)
            a += _product(h, W_h)
            a += b
            below = self._f(a, out=h_t)
        return after

    @explosive
    def hidden(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Runs the layers over ids x, (T, B), from a state, (L, B, H).

        Returns:
            The top layer's h_0 ... h_T, (T + 1, B, H), and the state after the last step.
        """
        (T, B), H = x.shape, self.config.hidden_size
        after = np.empty_like(state)
        below = None
        for (W_x, W_h, b), h_0, h_T in zip(self._layers, state, after, strict=True):
            hs = np.empty((T + 1, B, H), state.dtype)
            hs[0] = h_0
            # all W_x x_t + b at once, where h_t will stand
            inputs = hs[1:].reshape(T * B, H)
            if below is None:
                # any mode but "raise" writes to `out` directly
                np.take(W_x.T, x.reshape(-1), axis=0, out=inputs, mode="clip")
            else:
                np.dot(below[1:].reshape(T * B, H), W_x.T, out=inputs)
            inputs += b
            W_hT = np.ascontiguousarray(W_h.T)  # the product of each step is faster with it
            product = np.empty_like(h_0)
            h, *later = hs
            for h_t in later:
                h_t += np.dot(h, W_hT, out=product)
                h = self._f(h_t, out=h_t)
            h_T[...] = h
            below = hs
        assert below is not None
        return below, after

    @explosive
    def logits(self, h: Array) -> Array:
        """Returns logits, (..., V), for h, (..., H)."""
        logits: Array = h @ self._W_y.T
        logits += self._b_y
        return logits

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after ids x; arguments as `hidden`."""
        return [], self.hidden(x, state)[1]

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""
        hs, after = self.hidden(x, state)
        return self.logits(hs[:-1]), after

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, the surprise of each of x, (T, B), and the state after."""
        logits, after = self.predictions(x, state)
        return [surprise(logits, x)], after


def _product(h: Array, W: Array) -> Array:
    """Returns W h for each row h, (B, H); one row alone is a vector, which is faster."""
    product: Array = np.dot(W, h[0])[None] if len(h) == 1 else np.dot(h, W.T)
    return product


@explosive
def surprise(logits: Array, x: Ids) -> Array:
    """Returns -ln of the probability of each of x, (...), by logits, (..., V), which it changes."""
    target = np.take_along_axis(logits, x[..., None].astype(np.int64), axis=-1)[..., 0]
    highest = logits.max(axis=-1, keepdims=True)
    logits -= highest
    np.exp(logits, out=logits)
    nats: Array = np.log(logits.sum(axis=-1))
    nats += highest[..., 0]
    nats -= target
    return nats


def start_state(network: Network, newline_id: int | None) -> Array:
    """Returns the state in which every text starts, (L, 1, H).

    It is the state after reading a newline, or the zero state if the vocabulary has none.
    """
    state = network.zero_state(1)
    if newline_id is None:
        return state
    return network.advance(np.array([[newline_id]]), state)[1]
