"""The gradient in shares that ranks compute, on several machines: what travels between them.

Each rank has all weights and the optimiser's moments, and makes every update itself. In each update
one sum goes around: the gradient, the surprise, and each rank's hidden states among zeros, so that
every rank, and what the first one saves, has them all. With ``average_every`` N above 1, a rank
makes N updates by the gradient of its own streams; then weights and moments are averaged.

The first rank sends text and masks of dropout, which are small: no other reads a text, or draws.

Shapes: T time, B batch, b streams of one rank, L layers, H hidden, P parameters in all.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from charrnn.config import TrainingConfig
from charrnn.model.network import CharRNN
from charrnn.text.batches import Batch, Position
from charrnn.training.machines import Machines, Order
from charrnn.training.shares import Shares, Tensors


class RankShares(Shares):
    """The gradient by all ranks, of which this process is one."""

    def __init__(
        self, model: CharRNN, config: TrainingConfig, machines: Machines, *, bf16: bool = False
    ) -> None:
        """Tells the others what to prepare, if this is the first rank.

        Raises:
            WorkerDied: A rank has ended.
        """
        self._machines, self._alone = machines, config.average_every > 1
        if machines.rank == 0:
            data = json.dumps({"model": asdict(model.config), "training": asdict(config)}).encode()
            machines.command("prepare", len(data))
            machines.command_bytes(data)
        super().__init__(model, config.batch_size, config.seq_len, machines, bf16=bf16)
        streams = [self._shape.streams(rank) for rank in range(machines.count)]
        self._streams = [slice_.stop - slice_.start for slice_ in streams]  # b of each rank
        self._slices, self._ours = streams, streams[machines.rank]
        T, (L, _, H) = config.seq_len, self._tensors.masks.shape
        self._most_streams = max(self._streams)
        masks = L * H if model.config.dropout else 0
        machines.agree(self._most_streams * (2 * T * 4 + masks))

    def _placed(self, device: torch.device) -> Tensors:
        """Places gradient, surprise and states side by side, to be summed at once."""
        tensors = replace(self._shape, workers=1).allocated(device)
        (P,), state, W = tensors.weights.shape, tensors.states[0], self._shape.workers
        self._sum = tensors.weights.new_zeros(P + 1 + state.numel())
        self._after = self._sum[P + 1 :].view(state.shape)
        # rows that are one: this rank's
        gradients, nats = self._sum[:P].expand(W, P), self._sum[P : P + 1].expand(W, 1)
        return replace(tensors, gradients=gradients, nats=nats)

    def _draw_masks(self) -> None:
        if self._machines.rank == 0:  # others have them from the order
            super()._draw_masks()

    def _compute(self, batch: Batch, lr: float) -> tuple[float, Tensor]:
        length, P = len(batch.x), len(self.weights)
        if self._machines.rank == 0:
            contents = [self._content(rank, length) for rank in range(1, self._machines.count)]
            self._machines.command("update", length, batch.starts_block, lr, contents=contents)
        self._own.compute(length, self._turn)
        if self._alone:
            # of the mean of its own streams, not of all
            self._sum[: P + 1] *= self._shape.batch_size / self._streams[self._machines.rank]
        else:
            self._gather(self._tensors.states[1 - self._turn], self._sum)
        return float(self._sum[P]), self._sum[:P]

    def _gather(self, state: Tensor, numbers: Tensor) -> None:
        """Sums numbers over all ranks, whose end is this rank's share of a state: then, of all."""
        after = numbers[len(numbers) - state.numel() :].view(state.shape)
        after.zero_()
        after[:, self._ours] = state[:, self._ours]
        self._machines.add_up(numbers)
        state.copy_(after)

    def _content(self, rank: int, length: int) -> Tensor:
        """Returns what a rank must know of a batch: its streams' text and masks, as bytes."""
        streams, T = self._slices[rank], self._shape.seq_len
        text = torch.zeros(2, T, self._most_streams, dtype=torch.int32)
        b = streams.stop - streams.start
        text[:, :length, :b] = self._tensors.text[:, :length, streams]
        parts = [text]
        if self._shape.model.dropout:
            L, _, H = self._tensors.masks.shape
            masks = torch.zeros(L, self._most_streams, H, dtype=torch.uint8)
            masks[:, :b] = self._tensors.masks[:, streams] != 0
            parts.append(masks)
        return torch.cat([part.view(torch.uint8).flatten() for part in parts])

    def batch(self, order: Order) -> Batch:
        """Returns the batch of an order, zeros in the other ranks' streams; sets the masks."""
        length, T, b = (
            int(order.numbers[0]),
            self._shape.seq_len,
            self._streams[self._machines.rank],
        )
        size = 2 * T * self._most_streams * 4
        text = order.content[:size].view(torch.int32).view(2, T, -1)
        if dropout := self._shape.model.dropout:
            L, _, H = self._tensors.masks.shape
            masks = order.content[size:].view(L, -1, H)[:, :b].to(self.state.dtype)
            self._tensors.masks[:, self._ours] = masks.div_(1 - dropout)
        x, y = np.zeros((2, length, self._shape.batch_size), np.int64)
        x[:, self._ours], y[:, self._ours] = text[:, :length, :b].numpy()
        return Batch(x, y, bool(order.numbers[1]), Position())

    def spread(self, numbers: Sequence[Tensor], updates: int) -> None:
        """Gives all ranks the first one's numbers, and the hidden state.

        Args:
            numbers: of one dimension each, such as (P,).
            updates: that were made so far.

        Raises:
            WorkerDied: A rank has ended.
        """
        if self._machines.rank == 0:
            self._machines.command("restore", updates)
        targets = [*numbers, self.state.view(-1)]
        together = torch.cat(targets)
        self._machines.copy_first(together)
        self._take(targets, together)

    def average(self, numbers: Sequence[Tensor]) -> None:
        """Averages numbers over the ranks, each of as much weight as it has streams.

        Args:
            numbers: each (P,).

        Raises:
            WorkerDied: A rank has ended; nothing has changed.
        """
        if not self._alone:
            return
        if self._machines.rank == 0:
            self._machines.command("average")
        together = torch.cat([*numbers]) * (
            self._streams[self._machines.rank] / self._shape.batch_size
        )
        together = torch.cat([together, self.state.reshape(-1)])
        self._gather(self.state, together)
        self._take(numbers, together)

    @staticmethod
    def _take(targets: Sequence[Tensor], together: Tensor) -> None:
        start = 0
        for target in targets:
            target.copy_(together[start : start + len(target)])
            start += len(target)

    def close(self) -> None:
        """Leaves the group to whoever joined it: training may be planned before it begins."""
