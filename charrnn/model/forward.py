"""The network in NumPy: what `network.py` computes in torch, without gradients.

    h^1_t = f(W_x x_t + W_h h^1_{t-1} + b)          layer 1 reads characters
    h^l_t = f(W_x h^{l-1}_t + W_h h^l_{t-1} + b)    layer l reads the layer below
    logits_t = W_y h^L_t + b_y

Sampling and scoring need no more than this, and NumPy is there in a tenth of the time that torch
takes to load. All functions are pure: the state goes in and comes out.

Shapes: T time, B batch, V vocabulary, D input (V in layer 1, H above), H hidden, L layers.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
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
    """One layer's parameters; the matrices transposed, as they multiply rows."""

    W_xT: Array  # (D, H)
    W_hT: Array  # (H, H)
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
        self._layers = [
            Layer(
                # contiguous, as `network.py` has it in memory: then it is a view
                np.ascontiguousarray(weights[f"layers.{i}.W_x"].T),
                weights[f"layers.{i}.W_h"].T,
                weights[f"layers.{i}.b"],
            )
            for i in range(config.num_layers)
        ]
        self._W_yT, self._b_y = weights["output.W_y"].T, weights["output.b_y"]
        self._f = F[config.nonlinearity]

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, H)."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return np.zeros(shape, self._b_y.dtype)

    @explosive
    def step(self, x_t: Ids | int, state: Iterable[Array]) -> tuple[Array, list[Array]]:
        """Reads one more character of each sample; of one sample alone, in half the time.

        Args:
            x_t: ids, (B,); or one id.
            state: before it, each layer's h, (B, H); or of one sample (H,).

        Returns:
            The logits of the character after it, (B, V) or (V,), and the state after it.
        """
        after: list[Array] = []
        for (W_xT, W_hT, b), h in zip(self._layers, state, strict=True):
            a = after[-1].dot(W_xT) if after else W_xT.take(x_t, axis=0)
            a += h.dot(W_hT)
            a += b
            after.append(self._f(a, out=a))
        return self._logits(after[-1]), after

    @explosive
    def hidden(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Runs the layers over ids x, (T, B), from a state, (L, B, H).

        Returns:
            The top layer's h_0 ... h_T, (T + 1, B, H), and the state after the last step.
        """
        (T, B), H = x.shape, self.config.hidden_size
        after = np.empty_like(state)
        below = None
        for (W_xT, W_hT, b), h_0, h_T in zip(self._layers, state, after, strict=True):
            hs = np.empty((T + 1, B, H), state.dtype)
            hs[0] = h_0
            # all W_x x_t + b at once, where h_t will stand
            inputs = hs[1:].reshape(T * B, H)
            if below is None:
                # any mode but "raise" writes to `out` directly
                np.take(W_xT, x.reshape(-1), axis=0, out=inputs, mode="clip")
            else:
                np.dot(below[1:].reshape(T * B, H), W_xT, out=inputs)
            inputs += b
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
        """Returns logits, (B, V) or (V,), for h, (B, H) or (H,)."""
        return self._logits(h)

    def _logits(self, h: Array) -> Array:
        logits: Array = h.dot(self._W_yT)
        logits += self._b_y
        return logits

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after ids x; arguments as `hidden`."""
        return [], self.hidden(x, state)[1]

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""
        hs, after = self.hidden(x, state)
        # rows: of three dimensions, a product takes four times as long
        rows = hs[:-1].reshape(-1, hs.shape[2])
        return self.logits(rows).reshape(*x.shape, self.config.vocab_size), after

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, the surprise of each of x, (T, B), and the state after."""
        logits, after = self.predictions(x, state)
        return [surprise(logits, x)], after


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
