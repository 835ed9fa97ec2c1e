"""What learns: the model, its moving average and the optimiser; one update.

One update reads B streams T characters further, predicts each next character, and follows the
gradient of the mean surprise (the cross-entropy). The hidden state is carried from batch to batch,
and gradients stop there: truncated back-propagation through time.

Shapes: B batch, L layers, S of a layer's state, P parameters in all.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from charrnn.config import TrainingConfig
from charrnn.errors import TrainingError
from charrnn.model.device import find_device
from charrnn.model.forward import LARGEST_WEIGHT, Array, Forward, Network
from charrnn.model.network import CharRNN
from charrnn.model.on_device import OnDevice
from charrnn.model.precision import precision_for
from charrnn.text.batches import Batch
from charrnn.training.machines import Machines
from charrnn.training.optimizer import AdamW, update_average
from charrnn.training.ranks import RankShares
from charrnn.training.shares import Shares
from charrnn.training.workers import Workers


class Diverged(TrainingError):
    """The loss, its gradient or the weights are NaN or infinite."""


class Learner:
    """The weights in training, and all that an update needs besides the batch.

    Attributes:
        model: the network that is updated.
        average: the same network with the moving average (EMA) of the weights: what is evaluated
            and kept.
        optimizer: of the model's weights.
        shares: what computes gradients, and holds the hidden state, (L, B, S).
    """

    def __init__(self, model: CharRNN, config: TrainingConfig, workers: Workers) -> None:
        """Moves the model to its device, or where all workers see it.

        Raises:
            OptionError: There is no such device, or it has no bfloat16.
            TrainingError: The workers cannot share it.
        """
        model.to(find_device(config.device))
        bf16 = precision_for(config) == "bf16"
        self.shares = shares = (
            RankShares(model, config, workers, bf16=bf16)
            if isinstance(workers, Machines)
            else Shares(model, config.batch_size, config.seq_len, workers, bf16=bf16)
        )
        self.model = shares.model
        self._average = shares.weights.clone()
        self.average = CharRNN(model.config, shares.by_name(self._average))
        weight_decay = torch.zeros_like(shares.weights)
        for part in shares.by_name(weight_decay).values():
            part.fill_(config.weight_decay if part.ndim > 1 else 0)  # only matrices decay
        self.optimizer = AdamW(shares.weights, weight_decay)
        self._max_norm = config.grad_clip or math.inf
        if workers.rank == 0:
            self.spread(updates=0)

    def update(self, batch: Batch, lr: float) -> float:
        """Makes one update at a learning rate.

        Returns:
            The batch's mean surprise before the update, nats/char.

        Raises:
            Diverged: It, or its gradient, is NaN or infinite; the weights are as they were.
            WorkerDied: A helper has ended; nothing has changed.
        """
        nats, gradient = self.shares.gradient(batch, lr)
        if not math.isfinite(nats):
            raise Diverged(f"the loss is {nats}")
        norm = float(torch.linalg.vector_norm(gradient))
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm}")
        if norm > self._max_norm:
            gradient *= self._max_norm / norm
        self.optimizer.update(gradient, lr)
        update_average(self._average, self.shares.weights, self.optimizer.updates - 1)
        return nats

    def average_ranks(self) -> None:
        """Averages weights, and what goes with them, over ranks that made updates alone.

        Raises:
            WorkerDied: One has ended; this one's weights are as they were.
        """
        self.shares.average(self._numbers())

    def spread(self, updates: int) -> None:
        """Gives all ranks what the first one has, after so many updates.

        Raises:
            WorkerDied: One has ended.
        """
        self.optimizer.updates = updates
        self.shares.spread(self._numbers(), updates)

    def _numbers(self) -> list[Tensor]:
        """Returns what is the same at each rank, or is averaged over them, (P,) each.

        The moving average is linear: its mean is the moving average of the weights' mean.
        """
        optimizer = self.optimizer
        return [self.shares.weights, self._average, optimizer.exp_avg, optimizer.exp_avg_sq]

    def close(self) -> None:
        """Ends the helpers; the weights stay."""
        self.shares.close()

    def averaged(self) -> Network:
        """Returns the averaged network, to be scored; in NumPy on the CPU, by the same memory."""
        if self.shares.state.device.type == "cpu":
            return self.average.in_numpy()
        return OnDevice(self.average)

    def check_finite(self) -> None:
        """Raises :class:`Diverged` if a weight is NaN, infinite or too large for a model's file."""
        for weights in (self.shares.weights, self._average):
            lowest, highest = (bound.item() for bound in weights.aminmax())
            if not -LARGEST_WEIGHT <= lowest <= highest <= LARGEST_WEIGHT:  # never so for NaN
                raise Diverged(f"the weights are NaN or infinite, or beyond {LARGEST_WEIGHT:g}")

    def tensors(self) -> dict[str, Array]:
        """Returns what a training file keeps beside the weights, by its name there."""
        return {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        kinds = {
            "average.{}": self._average,
            "optimizer.{}.exp_avg": self.optimizer.exp_avg,
            "optimizer.{}.exp_avg_sq": self.optimizer.exp_avg_sq,
        }
        tensors = {"state": self.shares.state}
        for kind, numbers in kinds.items():
            parts = self.shares.by_name(numbers)
            tensors |= {kind.format(name): part for name, part in parts.items()}
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
        if bool((self.optimizer.exp_avg_sq < 0).any()):
            raise ValueError("a mean of squares is negative")
        try:
            self.check_finite()
        except Diverged as error:
            raise ValueError(str(error)) from None
        self.spread(updates=step)
