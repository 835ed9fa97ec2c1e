"""The network in NumPy, a character at a time."""

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import Nonlinearity
from charrnn.model.network import CharRNN
from charrnn.sampling.decoding import Floats

Array = npt.NDArray[np.float32]

F_OF_ARRAYS: dict[Nonlinearity, Callable[..., Array]] = {
    "tanh": np.tanh,
    "relu": functools.partial(np.maximum, np.float32(0)),
}


class Stepper:
    """Runs B samples side by side, one character at a time, in NumPy: its calls cost the least.

    A layer above the first reads h of the layer below and its own h_{t-1} in one product, with
    [W_x W_h]; the two stand side by side in one array for that.
    """

    def __init__(self, model: CharRNN, state: Tensor) -> None:
        """Takes the weights as they are now; later training does not change a sample.

        Args:
            model: the network.
            state: where to start, (L, B, H).
        """
        weights = [[_array(p) for p in layer.parameters()] for layer in model.layers]
        (W_x, W_h, b), *upper = weights
        self._columns = np.ascontiguousarray(W_x.T + b)  # (V, H): W_x x_t + b of each id
        self._Ws = [W_h, *(np.concatenate([W_x, W_h], axis=1) for W_x, W_h, _ in upper)]
        self._bs = [b for _, _, b in upper]
        W_y, self._b_y = (_array(p) for p in model.output.parameters())
        self._W_yT = np.ascontiguousarray(W_y.T)
        self._f = F_OF_ARRAYS[model.config.nonlinearity]
        # one alone is a product with a vector, which is faster
        self._alone = state.shape[1] == 1
        if not self._alone:
            self._Ws = [np.ascontiguousarray(W.T) for W in self._Ws]
        self._place(_array(state))

    def _place(self, state: Array) -> None:
        """Lays the state out: what each product reads, (B, H) or (B, 2 H), and where h stands."""
        H = state.shape[2]
        both = (np.concatenate(layers, axis=1) for layers in itertools.pairwise(state))
        read_by = [state[0].copy(), *both]
        self._hs = [array[:, -H:] for array in read_by]
        a = np.empty_like(state[0])
        if self._alone:
            read_by, self._a = [array[0] for array in read_by], a[0]
        else:
            self._a = a
        # by layer: W, what it reads, where its h stands, where the next layer reads it, its b
        hs = [array[..., -H:] for array in read_by]
        reads_h = [*(array[..., :H] for array in read_by[1:]), None]
        self._steps = list(zip(self._Ws, read_by, hs, reads_h, [None, *self._bs], strict=True))

    @property
    def state(self) -> Tensor:
        """The state of all layers, (L, B, H)."""
        return torch.from_numpy(np.stack(self._hs))

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with some of the samples only."""
        self._place(np.stack([h[rows] for h in self._hs]))

    def logits(self) -> Floats:
        """Returns what the state says of the next character, (B, V)."""
        logits: Array = np.dot(self._hs[-1], self._W_yT)
        logits += self._b_y
        return logits.astype(np.float64)

    def read(self, ids: Sequence[int]) -> None:
        """Reads one character in each sample."""
        a, f, alone = self._a, self._f, self._alone
        column = self._columns[ids[0] if alone else ids]
        for W, read, h, reads_h, b in self._steps:
            if alone:
                np.dot(W, read, out=a)
            else:
                np.dot(read, W, out=a)
            a += column if b is None else b
            f(a, out=h)
            if reads_h is not None:
                reads_h[...] = h


def _array(tensor: Tensor) -> Array:
    """Returns a copy of a tensor's numbers."""
    return np.array(tensor.detach().cpu().numpy())
