"""How this process was started: alone, or as one of the ranks that torchrun starts. No torch."""

import os
from dataclasses import dataclass

from charrnn.errors import TrainingError


@dataclass(frozen=True)
class Launch:
    """What the environment says, in torchrun's words."""

    rank: int = 0  # which process this is; the others follow the first one
    size: int = 1  # processes that train together
    host: str = ""  # where they find each other
    port: int = 0
    elastic: bool = False  # torchrun itself listens there, and starts ranks again that failed

    @property
    def follows(self) -> bool:
        """Whether this process does what another one says."""
        return self.rank > 0


def launch() -> Launch:
    """Reads the environment.

    Raises:
        TrainingError: There are several ranks, and something is missing or wrong.
    """
    elastic = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if (size := _number("WORLD_SIZE", 1)) <= 1 and not elastic:
        return Launch()
    rank = _number("RANK")
    if not 0 <= rank < size:
        raise TrainingError(f"RANK: {rank} is not one of {size} ranks (WORLD_SIZE), from 0 on")
    host = os.environ.get("MASTER_ADDR")
    if not host:
        raise _missing("MASTER_ADDR")
    return Launch(rank, size, host, _number("MASTER_PORT"), elastic)


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name) or default
    if text is None:
        raise _missing(name)
    try:
        return int(text)
    except ValueError:
        raise TrainingError(f"{name}: {text!r} is not a number: {_REMEDY}") from None


def _missing(name: str) -> TrainingError:
    size = os.environ.get("WORLD_SIZE")
    return TrainingError(f"WORLD_SIZE is {size}, but {name} is not set: {_REMEDY}")


_REMEDY = "start with torchrun, or unset WORLD_SIZE to train on this machine alone"
