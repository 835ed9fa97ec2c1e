"""A network in torch, read as the one in NumPy is: NumPy goes in and comes out."""

import torch
from torch import Tensor, nn

from charrnn.model.forward import Array
from charrnn.model.network import CharRNN
from charrnn.model.steps import shown
from charrnn.text.vocabulary import Ids


class OnDevice:
    """A network on a device; what it computes is what `Forward` computes."""

    # the device reads all streams at once, in long blocks, and shares them with no other thread
    fewest_streams = most_streams = 2**16
    block_numbers = 2**24

    def __init__(self, model: CharRNN) -> None:
        """The model must be in evaluation mode."""
        self.config, self._model = model.config, model

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, S)."""
        return _array(self._model.zero_state(batch_size))

    def shown(self, state: Array) -> Array:
        """Returns what a state, (L, B, S), shows of itself in h: an LSTM's c by tanh(c)."""
        return shown(self.config.cell, state)

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after."""
        with torch.inference_mode():
            return [], _array(self._model.hidden(*self._tensors(x, state))[1])

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, -ln of the probability of each of x, (T, B), and the state after."""
        with torch.inference_mode():
            ids, logits, after = self._predictions(x, state)
            nats = nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
            return [_array(nats)], _array(after)

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""
        with torch.inference_mode():
            _, logits, after = self._predictions(x, state)
            return _array(logits), _array(after)

    def _predictions(self, x: Ids, state: Array) -> tuple[Tensor, Tensor, Tensor]:
        ids, before = self._tensors(x, state)
        h, after = self._model.hidden(ids, before)
        return ids, self._model.output(torch.cat([self._model.top(before)[None], h[:-1]])), after

    def _tensors(self, x: Ids, state: Array) -> tuple[Tensor, Tensor]:
        device = self._model.output.b_y.device
        return torch.tensor(x, dtype=torch.int64, device=device), torch.tensor(state, device=device)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array
