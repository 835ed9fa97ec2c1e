"""The ranks of a training on several machines: how they meet, and how numbers travel.

The first rank is the whole program; the others follow it (:mod:`charrnn.training.follower`). They
find each other by a store of torch's, which torchrun or the first rank keeps; then they are
connected by gloo. A rank that ends closes its connections: no other waits for it.
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from charrnn.config import TRAINING_FILE, ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TrainingError, reason
from charrnn.training.launch import Launch
from charrnn.training.workers import WorkerDied, Workers

dist: Any = torch.distributed  # whose types do not name all that is in it

JOIN_S = 300.0  # for all ranks to come
_POLL_S = 0.02
# a follower waits while the first rank reads the text, however large; who ends is noticed at once
_TIMEOUT = timedelta(days=365)
_RUN = "charrnn/run"  # the store's key of this launch's run

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
        self.rank, self.count = rank, count
        self._group = group
        self._content_bytes = 0
        self._sent: list[tuple[Any, Tensor]] = []  # what is not known to have arrived

    def count_for(self, model: ModelConfig, config: TrainingConfig) -> int:
        """Returns the number of ranks, which is that of the workers.

        Raises:
            OptionError: They cannot train so.
        """
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self.rank == 0 and self._group is not None:
            with contextlib.suppress(WorkerDied), self._named():
                self.command("end")
                self._arrived()
        self.close()


# --- how they meet


def join(launch: Launch, patience_s: float = JOIN_S) -> Machines:
    """Waits for all ranks, and connects them.

    Raises:
        TrainingError: They have not come in time, or cannot be connected.
    """
    until_s = time.monotonic() + patience_s
    if not dist.is_gloo_available():
        raise TrainingError("this PyTorch has no gloo: train on this machine alone, without ranks")
    try:
        store = _store(launch, patience_s)
        token, peer = _meet(store, launch, until_s)
        return Machines(
            connected(dist.PrefixStore(f"charrnn/{token}", store), launch, peer),
            launch.rank,
            launch.size,
        )
    except (RuntimeError, OSError) as error:
        raise TrainingError(
            f"rank {launch.rank} of {launch.size}: it cannot join the others by "
            f"{launch.host}:{launch.port} (MASTER_ADDR, MASTER_PORT): {reason(error)}: check that "
            "all have started, and that no firewall is between them"
        ) from None


def _store(launch: Launch, patience_s: float = 10.0) -> Any:
    """Returns the place where each rank can leave words for the others."""
    return dist.TCPStore(
        launch.host,
        launch.port,
        is_master=launch.rank == 0 and not launch.elastic,
        wait_for_workers=False,
        timeout=timedelta(seconds=patience_s),
    )


def _meet(store: Any, launch: Launch, until_s: float) -> tuple[str, str]:
    """Returns a word that only the ranks of now know, and the address of one of them.

    torchrun's store may still hold words of ranks that have ended: so each follower leaves one that
    nobody knows, and the first rank answers it, until all have had an answer.
    """

    def wait_for(keys: list[str]) -> None:
        while not store.check(keys):
            if time.monotonic() > until_s:
                raise TimeoutError("not all ranks have come in time")
            time.sleep(_POLL_S)

    if launch.rank:
        word = f"charrnn/{secrets.token_hex(8)}"
        store.set(f"charrnn/rank {launch.rank}", f"{word} {_own_address(launch)}")
        wait_for([word])
        token, _, peer = store.get(word).decode().partition(" ")
        store.set(f"charrnn/{token}/{launch.rank}", "")
        return token, peer
    token, peer = secrets.token_hex(8), launch.host
    missing = set(range(1, launch.size))
    while missing:
        for rank in sorted(missing):
            if store.check([f"charrnn/{token}/{rank}"]):
                missing.discard(rank)
            elif store.check([f"charrnn/rank {rank}"]):
                word, _, address = store.get(f"charrnn/rank {rank}").decode().partition(" ")
                peer = peer if _is_here(address) else address
                store.set(word, f"{token} {peer}")
        if missing and time.monotonic() > until_s:
            raise TimeoutError(f"{launch.size - len(missing)} of {launch.size} ranks have come")
        time.sleep(_POLL_S)
    return token, peer


def connected(store: Any, launch: Launch, peer: str) -> Any:
    """Returns a group of gloo's, which connects all ranks; ``peer`` is the address of one."""
    options: Any = dist.ProcessGroupGloo._Options()
    interface = os.environ.get("GLOO_SOCKET_IFNAME")
    address = _own_address(launch)
    if _is_here(address) and not _is_here(peer):
        address = _own_address(launch, peer)  # many machines call themselves 127.0.1.1
    options._devices = [
        dist.ProcessGroupGloo.create_device(interface=interface)
        if interface
        else dist.ProcessGroupGloo.create_device(hostname=address)
    ]
    options._timeout = _TIMEOUT
    return dist.ProcessGroupGloo(store, launch.rank, launch.size, options)


def _own_address(launch: Launch, peer: str = "") -> str:
    """Returns this machine's address on the way to another one."""
    family, kind, _, _, place = socket.getaddrinfo(
        peer or launch.host, launch.port or 1, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind) as way:  # sends nothing
        way.connect(place)
        return str(way.getsockname()[0])


def _is_here(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost")


# --- what a launch remembers, while torchrun starts failed ranks again


def begun(launch: Launch) -> Path | None:
    """Returns the training file of the run that this launch has begun before, if it has."""
    if launch.elastic:
        with contextlib.suppress(RuntimeError):
            store = _store(launch)
            if store.check([_RUN]):
                path = Path(os.fsdecode(store.get(_RUN))) / TRAINING_FILE
                return path if path.exists() else None
    return None


def remember(launch: Launch, folder: Path) -> None:
    """Lets :func:`begun` return this folder if torchrun starts the same launch again."""
    if launch.elastic:
        with contextlib.suppress(RuntimeError):
            _store(launch).set(_RUN, os.fsdecode(folder.resolve()))
