"""What learns: the model, its moving average, the optimiser and the hidden state; one update.

One update reads B streams T characters further, predicts each next character, and follows the
gradient of the mean surprise (the cross-entropy). The hidden state is carried from batch to batch,
and gradients stop there: truncated back-propagation through time.

Shapes: T time, B batch, V vocabulary, L layers, H hidden.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charrnn.config import TrainingConfig
from charrnn.errors import TrainingError
from charrnn.model.device import find_device
from charrnn.model.forward import LARGEST_WEIGHT, Array, Forward, Network
from charrnn.model.network import CharRNN
from charrnn.model.on_device import OnDevice
from charrnn.text.batches import Batch
from charrnn.training.optimizer import AdamW, update_average


class Diverged(TrainingError):
    """The loss, its gradient or the weights are NaN or infinite."""


class Learner:
    """The weights in training, and all that an update needs besides the batch.

    Attributes:
        model: the network that is updated.
        average: the same network with the moving average (EMA) of the weights: what is evaluated
            and kept.
        optimizer: of the model's weights.
        state: the hidden state after the last batch, (L, B, H).
    """

    def __init__(self, model: CharRNN, config: TrainingConfig) -> None:
        """Moves the model to its device, and prepares the first update.

        Raises:
            OptionError: There is no such device.
        """
        self.model = model.to(find_device(config.device)).train()
        self.average = copy.deepcopy(model).eval()
        self.optimizer = AdamW(model.parameters(), config.weight_decay)
        self.state = model.zero_state(config.batch_size)
        self._averages = [p.detach() for p in self.average.parameters()]
        self._max_norm = config.grad_clip or math.inf

    def update(self, batch: Batch, lr: float) -> float:
        """Makes one update at a learning rate.

        Returns:
            The batch's mean surprise before the update, nats/char.

        Raises:
            Diverged: It, or its gradient, is NaN or infinite; the weights are as they were.
        """
        device = self.state.device
        x = torch.from_numpy(batch.x).to(device)  # (T, B)
        y = torch.from_numpy(batch.y).to(device)
        if batch.starts_block:
            self.state.zero_()
        logits, state = self.model(x, self.state)  # (T, B, V), (L, B, H)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        nats = loss.item()
        if not math.isfinite(nats):
            raise Diverged(f"the loss is {nats}")
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.optimizer.parameters, self._max_norm).item()
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm}")
        self.optimizer.update(lr)
        update_average(self._averages, self.optimizer.parameters, self.optimizer.updates - 1)
        self.state = state.detach()  # truncated BPTT stops here
        return nats

    def averaged(self) -> Network:
        """Returns the averaged network, to be scored; in NumPy on the CPU, by the same memory."""
        if self.state.device.type == "cpu":
            return self.average.in_numpy()
        return OnDevice(self.average)

    def check_finite(self) -> None:
        """Raises :class:`Diverged` if a weight is NaN, infinite or too large for a model's file."""
        for parameter in (*self.model.parameters(), *self.average.parameters()):
            lowest, highest = (bound.item() for bound in parameter.aminmax())
            if not -LARGEST_WEIGHT <= lowest <= highest <= LARGEST_WEIGHT:  # never so for NaN
                raise Diverged(f"the weights are NaN or infinite, or beyond {LARGEST_WEIGHT:g}")

    def tensors(self) -> dict[str, Array]:
        """Returns what a training file keeps beside the weights, by its name there."""
        return {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        names = [name for name, _ in self.model.named_parameters()]
        kinds = {
            "average.{}": self._averages,
            "optimizer.{}.exp_avg": self.optimizer.exp_avg,
            "optimizer.{}.exp_avg_sq": self.optimizer.exp_avg_sq,
        }
        tensors = {"state": self.state}
        for kind, of_kind in kinds.items():
            tensors |= {kind.format(name): t for name, t in zip(names, of_kind, strict=True)}
        return tensors

    def restore(self, model: Forward, tensors: Mapping[str, Array], step: int) -> None:
        """Takes over what a training file kept: weights, the rest by name, the updates so far.

        Raises:
            KeyError: A tensor is missing.
            ValueError: One has another shape or type, or values that no training makes.
        """
        self.model.load_state_dict({name: torch.tensor(w) for name, w in model.weights.items()})
        for name, tensor in self._tensors().items():
            saved = torch.tensor(tensors[name])
            if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
                wanted = f"{tensor.dtype} {tuple(tensor.shape)}"
                raise ValueError(f"tensor {name}: {saved.dtype} {tuple(saved.shape)}, not {wanted}")
            tensor.copy_(saved)
        if any(bool((squares < 0).any()) for squares in self.optimizer.exp_avg_sq):
            raise ValueError("a mean of squares is negative")
        try:
            self.check_finite()
        except Diverged as error:
            raise ValueError(str(error)) from None
        self.optimizer.updates = step
        self.optimizer.zero_grad()
