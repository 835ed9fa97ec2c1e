"""Where torch computes: the device, and how many threads."""

import torch
from torch import Tensor, nn

from charrnn.errors import OptionError
from charrnn.model.forward import Array
from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Ids


def find_device(name: str) -> torch.device:
    """Returns torch's device of that name.

    Raises:
        OptionError: torch or this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise OptionError(
            f"--device: {name!r} is not a device that torch finds here; try cpu"
        ) from None
    return device


def set_torch_threads(threads: int) -> None:
    """Sets the number of threads that torch computes with."""
    torch.set_num_threads(threads)


class OnDevice:
    """A network on another device than the CPU, read as `Forward` is: NumPy in, NumPy out."""

    rows = 1024  # streams that are read at once: all of them

    def __init__(self, model: CharRNN) -> None:
        """The model must be in evaluation mode."""
        self.config, self._model = model.config, model

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (L, B, H)."""
        return _array(self._model.zero_state(batch_size))

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
        return ids, self._model.output(torch.cat([before[-1:], h[:-1]])), after

    def _tensors(self, x: Ids, state: Array) -> tuple[Tensor, Tensor]:
        device = self._model.output.b_y.device
        return torch.tensor(x, dtype=torch.int64, device=device), torch.tensor(state, device=device)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array
