"""How the ranks of a training meet, and what torchrun's next try must know of this one.

They find each other by a store of torch's, which torchrun or the first rank keeps; then they are
connected by gloo.
"""

import contextlib
import os
import secrets
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed

from charrnn.config import TRAINING_FILE
from charrnn.errors import TrainingError, reason
from charrnn.training.launch import Launch
from charrnn.training.machines import Machines

dist: Any = torch.distributed  # whose types do not name all that is in it

JOIN_S = 300.0  # for all ranks to come
_POLL_S = 0.02
# a follower waits while the first rank reads the text, however large; who ends is noticed at once
_TIMEOUT = timedelta(days=365)
_RUN = "charrnn/run"  # the store's key of this launch's run


def join(launch: Launch, patience_s: float = JOIN_S) -> Machines:
    """Waits for all ranks, and connects them.

    Raises:
        TrainingError: They have not come in time, or cannot be connected.
    """
    until_s = time.monotonic() + patience_s
    if not (dist.is_available() and dist.is_gloo_available()):
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
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "").partition(",")[0]
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
            _store(launch).set(_RUN, os.fsencode(folder.resolve()))
