"""What learns: the model, its moving average and the optimiser; one update.

One update reads B streams T characters further, predicts each next character, and follows the
gradient of the mean surprise (the cross-entropy). The hidden state is carried from batch to batch,
and gradients stop there: truncated back-propagation through time.

Several models, the members of a mixture, learn from the same batches, each by itself.

Shapes: B batch, L layers, S of a layer's state, K members, P parameters of a member,
V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import TrainingConfig
from charrnn.errors import TrainingError
from charrnn.model.device import find_device
from charrnn.model.forward import LARGEST_WEIGHT, Array, Network, Predictor
from charrnn.model.mixture import as_one
from charrnn.model.network import CharRNN
from charrnn.model.on_device import OnDevice
from charrnn.model.precision import precision_for
from charrnn.text.batches import Batch
from charrnn.training.machines import Machines
from charrnn.training.members import Member, prefix
from charrnn.training.optimizer import (
    HIGHEST_COLUMN_RATE,
    LOWEST_COLUMN_RATE,
    MOMENTUM_SHARES,
    W_Y_RATE,
    AdamW,
    column_rates,
    update_average,
)
from charrnn.training.ranks import RankShares
from charrnn.training.shares import Shares
from charrnn.training.workers import Workers


class Diverged(TrainingError):
    """The loss, its gradient or the weights are NaN or infinite."""


class Learner:
    """The weights in training, and all that an update needs besides the batch.

    Attributes:
        models: the networks that are updated: one, or the members of a mixture.
        averages: the same networks with the moving average (EMA) of the weights: what is evaluated
            and kept.
        optimizer: of the models' weights.
        shares: what computes gradients, and holds the hidden state, (K L, B, S).
    """

    def __init__(
        self,
        model: CharRNN,
        config: TrainingConfig,
        workers: Workers,
        others: Sequence[Member] = (),
        frequencies: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Moves the model, and further members, to their device, or where all workers see them.

        Args:
            model: the first member.
            config: the settings.
            workers: what computes gradients.
            others: the other members.
            frequencies: of each symbol in the text, (V,), none 0; None: all alike, unless restored.

        Raises:
            OptionError: There is no such device, or it has no bfloat16.
            TrainingError: The workers cannot share it.
        """
        for each in (model, *(member.model for member in others)):
            each.to(find_device(config.device))
        bf16 = precision_for(config) == "bf16"
        self.shares = shares = (
            RankShares(model, config, workers, bf16=bf16)
            if isinstance(workers, Machines)
            else Shares(model, config.batch_size, config.seq_len, workers, others, bf16=bf16)
        )
        self.models = shares.models
        self._average = shares.weights.clone()
        self.averages = [CharRNN(model.config, p) for p in shares.by_member(self._average)]

        weight_decay = torch.zeros_like(shares.weights)
        for parts in shares.by_member(weight_decay):
            for part in parts.values():
                part.fill_(config.weight_decay if part.ndim > 1 else 0)  # only matrices decay
        self.optimizer = AdamW(shares.weights, weight_decay, MOMENTUM_SHARES[config.optimizer])
        self._rates = shares.weights.new_ones(model.config.vocab_size)
        self._has_rates = config.optimizer == "qhadamw"
        if frequencies is not None:
            self._rates.copy_(column_rates(frequencies))
        self._max_norm = config.grad_clip or math.inf
        if workers.rank == 0:
            self.spread(updates=0)

    @property
    def model(self) -> CharRNN:
        """The first of the models."""
        return self.models[0]

    def update(self, batch: Batch, lr: float) -> float:
        """Makes one update at a learning rate.

        Returns:
            The batch's mean surprise before the update, nats/char; of several members the mean.

        Raises:
            Diverged: It, or its gradient, is NaN or infinite; the weights are as they were.
            WorkerDied: A helper has ended; nothing has changed.
        """
        nats, gradient = self.shares.gradient(batch, lr)
        if not math.isfinite(nats):
            raise Diverged(f"the loss is {nats}")
        for part in gradient.chunk(len(self.models)):
            norm = float(torch.linalg.vector_norm(part))
            if not math.isfinite(norm):
                raise Diverged(f"the gradient's norm is {norm}")
            if norm > self._max_norm:
                part *= self._max_norm / norm
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
        self.shares.spread([*self._numbers(), self._rates], updates)
        if self._has_rates:
            for parts in self.shares.by_member(self.optimizer.rates):
                parts["layers.0.W_x"].copy_(self._rates)  # of each column
                parts["output.W_y"].fill_(W_Y_RATE)

    def _numbers(self) -> list[Tensor]:
        """Returns what is the same at each rank, or is averaged over them, (K P,) each.

        The moving average is linear: its mean is the moving average of the weights' mean.
        """
        optimizer = self.optimizer
        return [self.shares.weights, self._average, optimizer.exp_avg, optimizer.exp_avg_sq]

    def close(self) -> None:
        """Ends the helpers; the weights stay."""
        self.shares.close()

    def averaged(self) -> Network:
        """Returns what :meth:`in_numpy` does, to be scored; a single one on its device."""
        if len(self.averages) > 1 or self.shares.state.device.type == "cpu":
            return self.in_numpy()
        return OnDevice(self.averages[0])

    def in_numpy(self) -> Predictor:
        """Returns the averaged network, or the mixture of several; on the CPU, the same memory."""
        return as_one([average.in_numpy() for average in self.averages])

    def check_finite(self) -> None:
        """Raises :class:`Diverged` if a weight is NaN, infinite or too large for a model's file."""
        for weights in (self.shares.weights, self._average):
            lowest, highest = (bound.item() for bound in weights.aminmax())
            if not -LARGEST_WEIGHT <= lowest <= highest <= LARGEST_WEIGHT:  # never so for NaN
                raise Diverged(f"the weights are NaN or infinite, or beyond {LARGEST_WEIGHT:g}")

    def tensors(self) -> dict[str, Array]:
        """Returns what a training file keeps, by its name there: weights, averages, moments ..."""
        return {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        kinds = {
            "{}": self.shares.weights,
            "average.{}": self._average,
            "optimizer.{}.exp_avg": self.optimizer.exp_avg,
            "optimizer.{}.exp_avg_sq": self.optimizer.exp_avg_sq,
        }
        states = enumerate(self.shares.state.chunk(len(self.models)))
        tensors = {f"{prefix(member)}state": state for member, state in states}
        if self._has_rates:
            tensors["optimizer.column_rates"] = self._rates
        for kind, numbers in kinds.items():
            for member, parts in enumerate(self.shares.by_member(numbers)):
                before = prefix(member)
                tensors |= {before + kind.format(name): part for name, part in parts.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Array], step: int) -> None:
        """Takes over what a training file kept, by name, and the updates so far.

        Raises:
            KeyError: A tensor is missing.
            ValueError: One has another shape or type, or values that no training makes.
        """
        for name, tensor in self._tensors().items():
            saved = torch.tensor(tensors[name])
            if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
                wanted = f"{tensor.dtype} {tuple(tensor.shape)}"
                raise ValueError(f"tensor {name}: {saved.dtype} {tuple(saved.shape)}, not {wanted}")
            tensor.copy_(saved)
        if bool((self.optimizer.exp_avg_sq < 0).any()):
            raise ValueError("a mean of squares is negative")
        lowest, highest = (bound.item() for bound in self._rates.aminmax())
        if not LOWEST_COLUMN_RATE <= lowest <= highest <= HIGHEST_COLUMN_RATE:
            raise ValueError("a learning rate is out of range")
        try:
            self.check_finite()
        except Diverged as error:
            raise ValueError(str(error)) from None
        self.spread(updates=step)
