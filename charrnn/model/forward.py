"""The network in NumPy: what `network.py` computes in torch, without gradients.

    h^1_t = f(W_x x_t + W_h h^1_{t-1} + b)          layer 1 reads characters
    h^l_t = f(W_x h^{l-1}_t + W_h h^l_{t-1} + b)    layer l reads the layer below
    logits_t = W_y h^L_t + b_y

With gates, a layer computes h_t as `steps.py` does.

Sampling and scoring need no more than this, and NumPy is there in a tenth of the time that torch
takes to load. Nothing keeps a state: it goes in and comes out.

Shapes: T time, B batch, V vocabulary, D input (V in layer 1, H above), H hidden, L layers, G gates,
S of a layer's state: H, or of an LSTM 2 H, h then c.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.config import ModelConfig, Nonlinearity
from charrnn.errors import OverflowedError
from charrnn.model.steps import STEPS, by_gate, shown
from charrnn.text.vocabulary import Ids

Array = npt.NDArray[Any]  # states and logits are float32, or float64 if the weights are
F: dict[Nonlinearity, Callable[..., Array]] = {
    "tanh": np.tanh,
    "relu": functools.partial(np.maximum, 0),
}
# of larger weights, float32 cannot hold sums over the 65,536 numbers that a layer has at most
LARGEST_WEIGHT = 1e30
# a state that explodes (of relu) becomes infinite or NaN, as in torch; see `require_finite`
overflow_allowed = np.errstate(over="ignore", invalid="ignore")


class Network(Protocol):
    """What reading a text needs: `Forward`, or a network in torch on another device.

    All arrays are NumPy's. A method that reads takes ids x, (T, B), and a state, (L, B, S); it
    returns what it is asked for and the state after the last step.

    Attributes:
        config: the shapes.
        fewest_streams: streams that are worth a thread of their own.
        most_streams: streams that one thread reads at once.
        block_numbers: of the largest array that is computed at once.
    """

    config: ModelConfig
    fewest_streams: int
    most_streams: int
    block_numbers: int

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, S)."""

    def shown(self, state: Array) -> Array:
        """Returns what a state, (L, B, S), shows of itself in h: an LSTM's c by tanh(c)."""

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after."""

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, -ln of the probability of each of x, (T, B), and the state after."""

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""


class Predictor(Network, Protocol):
    """A network that also reads one character at a time, and shows what a state predicts."""

    def step(self, x_t: Ids | int, state: Iterable[Array]) -> tuple[Array, list[Array]]:
        """Reads one character of each sample; see :meth:`Forward.step`."""

    def states(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns all states after reading each of x; see :meth:`Forward.states`."""

    def logits(self, h: Array) -> Array:
        """Returns logits, (B, V) or (V,), for the last layer of a state, (B, S) or (S,)."""


class Layer(NamedTuple):
    """One layer's parameters; the matrices transposed, as they multiply rows."""

    W_xT: Array  # (D, G H)
    W_hT: Array  # (H, G H)
    b: Array  # (G H,)


@overflow_allowed
def run(hs: Array, W_hT: Array, f: Callable[..., Array]) -> None:
    """Computes h_1 ... h_T of a layer without gates, step by step.

    Args:
        hs: (T + 1, B, H): h_0, then W_x x_t + b of each step, which becomes h_t.
        W_hT: (H, H).
        f: the non-linearity.
    """
    product = np.empty_like(hs[0])
    h, *later = hs
    for h_t in later:
        h_t += np.dot(h, W_hT, out=product)
        h = f(h_t, out=h_t)


class Forward:
    """A network's forward pass; also a :class:`Network`.

    Attributes:
        weights: the parameters by name. They are not copied, but for each W_x that does not lie
            in memory by columns; all of `CharRNN.in_numpy` do, so that what is computed changes
            with them.
    """

    fewest_streams, most_streams = 16, 64  # smaller products are slower, larger ones not faster
    block_numbers = 2**18  # they fit into a processor's cache

    def __init__(self, config: ModelConfig, weights: Mapping[str, Array]) -> None:
        self.config, self.weights = config, weights
        self._layers = [
            Layer(
                # a row for each character; a view of what `network.py` has in memory
                np.ascontiguousarray(weights[f"layers.{i}.W_x"].T),
                weights[f"layers.{i}.W_h"].T,
                weights[f"layers.{i}.b"],
            )
            for i in range(config.num_layers)
        ]
        self._W_yT, self._b_y = weights["output.W_y"].T, weights["output.b_y"]
        self._f, self._step = F[config.nonlinearity], STEPS.get(config.cell)

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, S)."""
        shape = (self.config.num_layers, batch_size, self.config.state_size)
        return np.zeros(shape, self._b_y.dtype)

    def shown(self, state: Array) -> Array:
        """Returns what a state, (L, B, S), shows of itself in h: an LSTM's c by tanh(c)."""
        return shown(self.config.cell, state)

    @overflow_allowed
    def step(self, x_t: Ids | int, state: Iterable[Array]) -> tuple[Array, list[Array]]:
        """Reads one character of each sample. A single sample, as vectors, takes half the time.

        Args:
            x_t: ids, (B,); or one id.
            state: before it, each layer's, (B, S); or of one sample (S,).

        Returns:
            The logits of the character after it, (B, V) or (V,), and the state after it.
        """
        after: list[Array] = []
        H, h = self.config.hidden_size, None
        for (W_xT, W_hT, b), s in zip(self._layers, state, strict=True):
            a = W_xT.take(x_t, axis=0) if h is None else h.dot(W_xT)
            if self._step is None:
                # f(W_x x_t + W_h h_{t-1} + b)
                a += s.dot(W_hT)
                a += b
                h = s_t = self._f(a, out=a)
            else:
                a += b
                G, u = self.config.gates, s[..., :H].dot(W_hT)
                self._step(by_gate(a, G), by_gate(u, G), s, s_t := np.empty_like(s))
                h = s_t[..., :H]
            after.append(s_t)
        assert h is not None
        return self._logits(h), after

    def hidden(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Runs the layers over ids x, (T, B), from a state, (L, B, S).

        Returns:
            The top layer's h_1 ... h_T, (T, B, H), and the state after the last step, (L, B, S).
        """
        hs, after = self._run(x, state)
        return hs[1:], after

    @overflow_allowed
    def states(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Runs the layers over ids x, (T, B), from a state, (L, B, S).

        Returns:
            The states of all layers after each step, (T, L, B, S), of which the first H numbers
            are h_1 ... h_T; and the one after the last, (L, B, S).
        """
        states = np.stack([*self._layer_by_layer(x, state)], axis=1)  # (T + 1, L, B, S)
        return states[1:], states[-1].copy()

    @overflow_allowed
    def _run(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the top layer's h_0 ... h_T, (T + 1, B, H), and the state after."""
        after = np.empty_like(state)
        for states, s_T in zip(self._layer_by_layer(x, state), after, strict=True):
            s_T[...] = states[-1]
        return states[..., : self.config.hidden_size], after

    def _layer_by_layer(self, x: Ids, state: Array) -> Iterator[Array]:
        """Yields each layer's states from before the first step on, (T + 1, B, S)."""
        (T, B), H = x.shape, self.config.hidden_size
        below = None
        for layer, s_0 in zip(self._layers, state, strict=True):
            states = np.empty((T + 1, *s_0.shape), state.dtype)
            states[0] = s_0
            # W_x x_t + b of all steps at once; without gates, where h_t will stand
            inputs = states[1:]
            if self._step is not None:
                inputs = np.empty((T, B, len(layer.b)), state.dtype)
            flat = inputs.reshape(T * B, len(layer.b))
            if below is None:
                # any mode but "raise" writes to `out` directly
                np.take(layer.W_xT, x.reshape(-1), axis=0, out=flat, mode="clip")
            else:
                np.dot(below[1:].reshape(T * B, H), layer.W_xT, out=flat)
            flat += layer.b
            if self._step is None:
                run(states, layer.W_hT, self._f)
            else:
                # gate by gate: all that a step does then reads one stretch of memory
                u = np.empty((self.config.gates, B, H), state.dtype)
                W_hT = by_gate(layer.W_hT, len(u))
                for a_t, s, s_t in zip(inputs, states[:-1], states[1:], strict=True):
                    np.matmul(s[:, :H], W_hT, out=u)
                    self._step(by_gate(a_t, len(u)), u, s, s_t)
            yield states
            below = states[..., :H]

    @overflow_allowed
    def logits(self, h: Array) -> Array:
        """Returns logits, (B, V) or (V,), for h, (B, H) or (H,); or for a state that it begins."""
        return self._logits(h[..., : self.config.hidden_size])

    def _logits(self, h: Array) -> Array:
        logits: Array = h.dot(self._W_yT)
        logits += self._b_y
        return logits

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after."""
        return [], self._run(x, state)[1]

    @overflow_allowed
    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""
        hs, after = self._run(x, state)
        # rows: of three dimensions, a product takes four times as long
        rows = hs[:-1].reshape(-1, hs.shape[2])
        return self._logits(rows).reshape(*x.shape, self.config.vocab_size), after

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, -ln of the probability of each of x, (T, B), and the state after."""
        logits, after = self.predictions(x, state)
        return [surprise(logits, x)], after


@overflow_allowed
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


def require_finite(figures: Array) -> Array:
    """Returns figures of a network, if it has any.

    Raises:
        OverflowedError: One is NaN or infinite.
    """
    if not np.isfinite(figures).all():
        raise overflowed()
    return figures


def overflowed() -> OverflowedError:
    """Returns the error for a network whose figures are NaN or infinite."""
    return OverflowedError(
        "the model's numbers grow until they overflow, so that it predicts nothing: "
        "take another model (tanh keeps them within bounds)"
    )


def start_state(network: Network, newline_id: int | None) -> Array:
    """Returns the state in which every text starts, (L, 1, S).

    It is the state after reading a newline, or the zero state if the vocabulary has none.
    """
    state = network.zero_state(1)
    if newline_id is None:
        return state
    return network.advance(np.array([[newline_id]]), state)[1]
