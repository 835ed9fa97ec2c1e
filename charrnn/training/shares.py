"""A batch's gradient, computed in shares: worker r of W has streams r B/W to (r + 1) B/W.

The gradient is that of the mean surprise of the whole batch, so that the shares add up to it, and
the number of workers changes rounding only. They add up in a fixed order: the same workers compute
the same bits.

If K members train together, each reads all streams of every batch, and nothing of the others. With
at most K workers, each has whole members; with more, N = W/K of them share a member's streams.

Shapes: T time, B batch, L layers, H hidden, S of a layer's state, W workers, K members, N parts of
a member's streams, P parameters of a member.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model.network import CharRNN
from charrnn.system import keep_freed_memory
from charrnn.text.batches import Batch
from charrnn.training.members import Member
from charrnn.training.workers import WorkerDied, Workers

_ALIGNMENT = 64  # bytes; a line of the processor's cache


@dataclass(frozen=True)
class Tensors:
    """All that an update reads and writes; in memory that the workers share, if there are more."""

    weights: Tensor  # (K P,), one parameter after another, one member after another
    gradients: Tensor  # (N, K P), of each part of the streams
    states: Tensor  # (2, K L, B, S), those before an update and after it, which take turns
    masks: Tensor  # (K L, B, H), what dropout multiplies each layer's outputs by
    text: Tensor  # (2, T, B), x and y
    nats: Tensor  # (N, K), each share of a member's mean surprise, nats/char


@dataclass(frozen=True)
class Shape:
    """What a worker must know to find the tensors in memory."""

    model: ModelConfig
    batch_size: int  # B
    seq_len: int  # T, of the longest batch
    workers: int  # W
    dtype: str  # of the weights, as torch calls it
    bf16: bool = False  # whether states and products are rounded to bfloat16
    members: int = 1  # K

    @property
    def parts(self) -> int:
        """Into how many parts each member's streams are divided, N."""
        return max(self.workers // self.members, 1)

    def shares(self, rank: int) -> list[tuple[int, int]]:
        """Returns a worker's shares: of which member, from 0 up, which part of the streams."""
        W, shares = self.workers, self.members * self.parts
        return [divmod(i, self.parts) for i in range(rank * shares // W, (rank + 1) * shares // W)]

    def streams(self, part: int) -> slice:
        """Returns the streams of a part; with one member, of a worker."""
        B, N = self.batch_size, self.parts
        return slice(part * B // N, (part + 1) * B // N)

    def sizes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Returns size and type of each tensor, by its name."""
        T, B, N, K = self.seq_len, self.batch_size, self.parts, self.members
        L, H, S = self.model.num_layers, self.model.hidden_size, self.model.state_size
        P, dtype = self.model.parameter_count(), getattr(torch, self.dtype)
        return {
            "weights": ((K * P,), dtype),
            "gradients": ((N, K * P), dtype),
            "states": ((2, K * L, B, S), dtype),
            "masks": ((K * L, B, H), dtype),
            "text": ((2, T, B), torch.int64),
            "nats": ((N, K), dtype),
        }

    def offsets(self) -> list[int]:
        """Returns where each tensor begins in memory, and where the last one ends, bytes."""
        sizes = (math.prod(size) * dtype.itemsize for size, dtype in self.sizes().values())
        return [0, *itertools.accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]

    def placed(self, memory: Any) -> Tensors:
        """Returns the tensors in memory of as many bytes as the last offset."""
        return Tensors(
            **{
                name: torch.frombuffer(
                    memory, dtype=dtype, count=math.prod(size), offset=offset
                ).view(size)
                for (name, (size, dtype)), offset in zip(
                    self.sizes().items(), self.offsets(), strict=False
                )
            }
        )

    def allocated(self, device: torch.device) -> Tensors:
        """Returns tensors of zeros for a worker that is alone."""
        return Tensors(
            **{
                name: torch.zeros(size, dtype=dtype, device=device)
                for name, (size, dtype) in self.sizes().items()
            }
        )


def parameters_in(config: ModelConfig, numbers: Tensor) -> dict[str, Tensor]:
    """Returns the parameters, by name, that stand one after another in (P,) numbers."""
    parts, start = {}, 0
    for name, shape in config.parameter_shapes().items():
        part = numbers[start : start + math.prod(shape)]
        # W_x stands transposed, as in `Layer`
        parts[name] = part.view(shape[::-1]).T if name.endswith("W_x") else part.view(shape)
        start += math.prod(shape)
    return parts


class Worker:
    """One worker's shares of every batch."""

    def __init__(self, shape: Shape, rank: int, tensors: Tensors) -> None:
        keep_freed_memory()
        self._shares = [Share(shape, *share, tensors) for share in shape.shares(rank)]

    def compute(self, length: int, turn: int) -> None:
        """Computes all of them; arguments as for :meth:`Share.compute`."""
        for share in self._shares:
            share.compute(length, turn)


class Share:
    """Some streams of every batch, read by one member."""

    def __init__(self, shape: Shape, member: int, part: int, tensors: Tensors) -> None:
        """Takes the member, from 0 up, and which part of the streams it is."""
        config, K, streams = shape.model, shape.members, shape.streams(part)
        weights, gradient = (
            parameters_in(config, numbers.chunk(K)[member])
            for numbers in (tensors.weights, tensors.gradients[part])
        )
        self._model = CharRNN(config, weights)
        self._parameters, self._gradient = list(self._model.parameters()), list(gradient.values())
        self._states = tensors.states.chunk(K, dim=1)[member][:, :, streams]
        self._masks = tensors.masks.chunk(K)[member][:, streams] if config.dropout else None
        self._text = tensors.text[:, :, streams]
        self._nats = tensors.nats[part, member]
        self._batch_size = shape.batch_size
        self._dtype = torch.bfloat16 if shape.bf16 else tensors.states.dtype  # of the products

    def compute(self, length: int, turn: int) -> None:
        """Computes a share of the gradient and of the surprise, and the streams' next state.

        Args:
            length: T, of this batch.
            turn: which of the two states is the one before.
        """
        x, y = self._text[:, :length]
        before = self._states[turn].to(self._dtype)
        logits, after = self._model(x, before, self._masks)  # (T, b, V), (L, b, S)
        surprise = nn.functional.cross_entropy(
            logits.flatten(0, 1), y.flatten(), reduction="sum"
        ) / (length * self._batch_size)
        surprise.backward()  # type: ignore[no-untyped-call]
        self._nats.copy_(surprise.detach())
        self._states[1 - turn].copy_(after.detach())  # truncated BPTT stops here
        for gradient, parameter in zip(self._gradient, self._parameters, strict=True):
            assert parameter.grad is not None
            gradient.copy_(parameter.grad)
            parameter.grad = None


class Shares:
    """The gradient by all workers, this process the first; and the hidden state of all streams.

    Attributes:
        models: the networks that are trained: one, or the members of a mixture.
        weights: all their parameters, (K P,).
        generators: each member's, which draws its masks of dropout.
    """

    def __init__(
        self,
        model: CharRNN,
        batch_size: int,
        seq_len: int,
        workers: Workers,
        others: Sequence[Member] = (),
        *,
        bf16: bool = False,
    ) -> None:
        """Copies the weights to where all workers see them; ``others`` are further members.

        Raises:
            TrainingError: The system refuses the memory, or a helper has ended.
        """
        like, members = model.output.b_y, [Member(model), *others]
        dtype, W, K = str(like.dtype).removeprefix("torch."), workers.count, len(members)
        self._shape = shape = Shape(model.config, batch_size, seq_len, W, dtype, bf16, K)
        self._workers, self._turn = workers, 0
        torch.set_num_threads(workers.threads)
        self._tensors = self._placed(like.device)
        self._own = Worker(shape, workers.rank, self._tensors)
        self.weights = self._tensors.weights
        self.models = [CharRNN(model.config, parts) for parts in self.by_member(self.weights)]
        for trained, member in zip(self.models, members, strict=True):
            trained.load_state_dict(member.model.state_dict())
        self.generators = [member.generator for member in members]
        workers.wait()

    def _placed(self, device: torch.device) -> Tensors:
        """Returns the tensors, where all workers see them; the states are zeros."""
        if self._workers.count == 1:
            return self._shape.allocated(device)
        tensors = self._shape.placed(self._workers.share(self._shape.offsets()[-1]))
        tensors.states.zero_()
        self._workers.tell(shape=asdict(self._shape))
        return tensors

    @property
    def state(self) -> Tensor:
        """The hidden state after the last batch, (K L, B, S)."""
        return self._tensors.states[self._turn]

    def gradient(self, batch: Batch, lr: float = 0.0) -> tuple[float, Tensor]:
        """Computes the gradient of a batch's mean surprise, and the next state.

        Args:
            batch: the text.
            lr: the learning rate, for whoever makes the same update.

        Returns:
            The mean surprise, nats/char, also over the members; and the gradient of each member's,
            (K P,), until the next one is computed.

        Raises:
            WorkerDied: A helper has ended, or failed; state and random numbers are as before.
        """
        random_states = [generator.get_state() for generator in self.generators]
        text = self._tensors.text[:, : len(batch.x)]
        for ids, ours in zip((batch.x, batch.y), text, strict=True):
            ours.copy_(torch.from_numpy(ids))
        if batch.starts_block:
            self.state.zero_()
        self._draw_masks()
        try:
            nats, gradient = self._compute(batch, lr)
        except WorkerDied:
            for generator, state in zip(self.generators, random_states, strict=True):
                generator.set_state(state)
            raise
        self._turn = 1 - self._turn
        return nats, gradient

    def _compute(self, batch: Batch, lr: float) -> tuple[float, Tensor]:
        self._workers.tell(length=len(batch.x), turn=self._turn)
        self._own.compute(len(batch.x), self._turn)
        self._workers.wait()
        total, *others = self._tensors.gradients
        for gradient in others:
            total += gradient
        nats = [float(member.sum()) for member in self._tensors.nats.T]
        return sum(nats) / len(nats), total

    def _draw_masks(self) -> None:
        """Draws dropout's masks: one for all time steps, scaled so that the mean stays.

        A mask per step would cost a third of the step's time. They are drawn on the CPU: its
        generator's state is what a training file keeps. Source: Gal and Ghahramani 2016.
        """
        kept = 1 - self._shape.model.dropout
        if kept < 1:
            masks = torch.empty(self._tensors.masks.shape, dtype=self.state.dtype)
            parts = masks.chunk(len(self.generators))
            for part, generator in zip(parts, self.generators, strict=True):
                part.bernoulli_(kept, generator=generator)
            self._tensors.masks.copy_(masks.div_(kept))

    def by_member(self, numbers: Tensor) -> list[dict[str, Tensor]]:
        """Returns (K P,) numbers, like weights or a gradient, as each member's parameters."""
        parts = numbers.chunk(self._shape.members)
        return [parameters_in(self._shape.model, part) for part in parts]

    def spread(self, numbers: Sequence[Tensor], updates: int) -> None:
        """Gives other machines, of which there are none, what this one has."""

    def average(self, numbers: Sequence[Tensor]) -> None:
        """Averages over machines; this is the only one."""

    def close(self) -> None:
        """Ends the helpers; the tensors stay."""
        self._workers.close()
