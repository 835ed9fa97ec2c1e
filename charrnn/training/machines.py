"""The ranks of a training on several machines, and how numbers travel between them, by gloo.

The first rank is the whole program; the others follow it (:mod:`charrnn.training.follower`). A rank
that ends closes its connections: no other waits for it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import OptionError, reason
from charrnn.training.workers import WorkerDied, Workers

KINDS = ("prepare", "restore", "update", "average", "end")
_HEADER = torch.Size([4])  # float64: the kind, and three numbers


@dataclass(frozen=True)
class Order:
    """What the first rank tells another to do."""

    kind: str  # one of KINDS
    numbers: tuple[float, float, float]
    content: Tensor  # bytes, (n,)


class Machines(Workers):
    """All ranks, each a worker; to be used by ``with``, whose end without an error ends the others.

    Attributes:
        rank: which of them this process is.
        count: how many they are.
    """

    def __init__(self, group: Any, rank: int, count: int) -> None:
        """Takes a group of gloo's, which connects ``count`` ranks."""
        super().__init__()
        self.rank, self.count, self.on_machines = rank, count, True
        self._group = group
        self._content_bytes = 0
        self._sent: list[tuple[Any, Tensor]] = []  # what is not known to have arrived

    def count_for(self, model: ModelConfig, config: TrainingConfig) -> int:
        """Returns the number of ranks, which is that of the workers.

        Raises:
            OptionError: They cannot train so.
        """
        if config.members > 1:
            raise OptionError(
                f"--members: {self.count} ranks train one model, not {config.members} members: "
                "start it without torchrun; or a new run from one member's file, by --init-from"
            )
        if config.device != "cpu":
            raise OptionError(
                f"--device: {self.count} ranks train on the CPU, not on {config.device}: "
                "leave --device out, or start one rank"
            )
        if config.batch_size < self.count:
            raise OptionError(
                f"{self.count} ranks have only {config.batch_size} streams of text: start fewer "
                "ranks, or use a larger --batch-size or a longer text"
            )
        return self.count

    def set_count(self, count: int) -> None:
        """Does nothing: torchrun decides how many ranks there are."""

    def agree(self, content_bytes: int) -> None:
        """Sets how many bytes each order has from the next one on; to be called by every rank."""
        self._content_bytes = content_bytes

    def command(self, kind: str, *numbers: float, contents: list[Tensor] | None = None) -> None:
        """Tells all others what to do, and waits for none of them.

        Args:
            kind: one of :data:`KINDS`.
            numbers: at most three.
            contents: bytes for each, (n,), if there are any.

        Raises:
            WorkerDied: One has ended.
        """
        header = torch.zeros(_HEADER, dtype=torch.float64)
        header[: 1 + len(numbers)] = torch.tensor([KINDS.index(kind), *numbers], dtype=header.dtype)
        empty = torch.zeros(self._content_bytes, dtype=torch.uint8)
        for rank in range(1, self.count):
            content = contents[rank - 1] if contents else empty
            self._send(torch.cat([header.view(torch.uint8), content]), rank)

    def command_bytes(self, data: bytes) -> None:
        """Sends bytes to all others, whose number an order has told them."""
        for rank in range(1, self.count):
            self._send(torch.frombuffer(bytearray(data), dtype=torch.uint8), rank)

    def _send(self, message: Tensor, rank: int) -> None:
        with self._named():
            self._sent.append((self._group.send([message], rank, 0), message))

    def order(self) -> Order:
        """Waits for the first rank's next order.

        Raises:
            WorkerDied: The first rank has ended.
        """
        data = self.receive(_HEADER.numel() * 8 + self._content_bytes)
        kind, *numbers = data[: _HEADER.numel() * 8].view(torch.float64).tolist()
        return Order(KINDS[int(kind)], tuple(numbers), data[_HEADER.numel() * 8 :])

    def receive(self, size: int) -> Tensor:
        """Waits for bytes of the first rank, (size,).

        Raises:
            WorkerDied: It has ended.
        """
        data = torch.empty(size, dtype=torch.uint8)
        with self._named():
            self._group.recv([data], 0, 0).wait()
        return data

    def add_up(self, numbers: Tensor) -> None:
        """Replaces numbers by their sum over all ranks: by the same bits at each, and every time.

        Raises:
            WorkerDied: A rank has ended.
        """
        with self._named():
            self._arrived()
            self._group.allreduce([numbers]).wait()

    def copy_first(self, numbers: Tensor) -> None:
        """Replaces numbers by those of the first rank.

        Raises:
            WorkerDied: A rank has ended.
        """
        with self._named():
            self._arrived()
            self._group.broadcast(numbers, 0).wait()

    def _arrived(self) -> None:
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo has no class of its own
            why = reason(error).rpartition(".cc:")[2].partition("] ")[2] or reason(error)
            why = why.partition(". ")[0]
            raise WorkerDied(f"one of {self.count} ranks has ended ({why})") from None

    def close(self) -> None:
        """Leaves the group; those that still wait for this rank end with an error."""
        self._group, self._sent = None, []

    def finish(self) -> None:
        """Tells the others that this is the end, if this is the first rank."""
        if self.rank == 0 and self._group is not None:
            with contextlib.suppress(WorkerDied), self._named():
                self.command("end")
                self._arrived()
