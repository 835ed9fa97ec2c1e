"""The network in NumPy, a character at a time.

Shapes: B samples side by side, V vocabulary, L layers, H hidden.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import Nonlinearity
from charrnn.model.network import CharRNN

Array = npt.NDArray[np.float32]
F_OF_ARRAYS: dict[Nonlinearity, Callable[..., Array]] = {
    "tanh": np.tanh,
    "relu": functools.partial(np.maximum, np.float32(0)),
}


class Stepper:
    """Steps B samples side by side, in NumPy: its calls cost less than torch's.

    A layer above the first needs W_x h_below + W_h h, with h_below of this step and its own h of
    the step before. It takes both in one product, [W_x W_h] with [h_below h]: the two stand side by
    side in one array, its input. Weights and state, (L, B, H), are copied: later training does not
    change a sample.
    """

    def __init__(self, model: CharRNN, state: Tensor) -> None:
        (W_x, W_h, b), *upper = ([_copy(p) for p in layer.parameters()] for layer in model.layers)
        self._columns = np.ascontiguousarray(W_x.T + b)  # (V, H): W_x x_t + b of each id
        self._Ws = [W_h, *(np.concatenate([W_x, W_h], axis=1) for W_x, W_h, _ in upper)]
        self._bs = [b for _, _, b in upper]
        W_y, self._b_y = (_copy(p) for p in model.output.parameters())
        self._W_yT = np.ascontiguousarray(W_y.T)  # (H, V)
        self._f = F_OF_ARRAYS[model.config.nonlinearity]
        # one sample alone is a vector: W @ input is faster than input @ W.T with one row
        self._alone = state.shape[1] == 1
        if not self._alone:
            self._Ws = [np.ascontiguousarray(W.T) for W in self._Ws]
        self._lay_out(_copy(state))

    def _lay_out(self, state: Array) -> None:
        """Makes the inputs, which hold the state, (L, B, H), and the views that a step writes."""
        H = state.shape[2]
        # layer 1's input is its h, (B, H); those above read [h_below h], (B, 2 H)
        pairs = (np.concatenate(layers, axis=1) for layers in itertools.pairwise(state))
        inputs = [state[0].copy(), *pairs]
        self._hs = [array[:, -H:] for array in inputs]  # views, (B, H): each layer's h
        a = np.empty_like(state[0])  # (B, H), before f
        if self._alone:  # views without B: (H,) or (2 H,), of the same numbers
            inputs, a = [array[0] for array in inputs], a[0]
        self._a = a
        hs = [array[..., -H:] for array in inputs]  # views: where f writes h
        # views of the input above, its h_below: h is copied there for the layer above to read
        above = [*(array[..., :H] for array in inputs[1:]), None]
        self._layers = list(zip(self._Ws, inputs, hs, above, [None, *self._bs], strict=True))

    @property
    def state(self) -> Tensor:
        """A copy of the state of all layers, (L, B, H)."""
        return torch.from_numpy(np.stack(self._hs))

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other samples."""
        self._lay_out(np.stack([h[rows] for h in self._hs]))

    def logits(self) -> npt.NDArray[np.float64]:
        """Returns the logits of the next character, (B, V)."""
        logits: Array = np.dot(self._hs[-1], self._W_yT)
        logits += self._b_y
        return logits.astype(np.float64)

    def read(self, ids: Sequence[int]) -> None:
        """Reads one character in each sample, B ids."""
        a, f, alone = self._a, self._f, self._alone
        column = self._columns[ids[0] if alone else ids]  # (H,) or (B, H)
        for W, layer_input, h, above, b in self._layers:
            if alone:
                np.dot(W, layer_input, out=a)  # (H, 2 H) @ (2 H,)
            else:
                np.dot(layer_input, W, out=a)  # (B, 2 H) @ (2 H, H)
            a += column if b is None else b  # layer 1's b is in the column
            f(a, out=h)  # the input's own half is h_t now: next step's h_{t-1}
            if above is not None:
                above[...] = h


def _copy(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy())
