"""How much memory is left, and an error by name for what surely needs more.

A system that runs out of memory ends a process without a word.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from charrnn import system
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import TooLargeError
from charrnn.system import control_groups

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

FLOAT_BYTES = 4  # of float32
HELPER_BYTES = 140 * 10**6  # of a process that has loaded torch, shared pages aside
# files of a group, by what the groups of version 2 and 1 are called
_LIMIT_AND_USAGE = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def available_bytes() -> float:
    """Returns how much memory this process can still get, at most; infinity if nobody knows."""
    return min([_of_the_system(), _of_addresses(), *_of_groups()])


def check_room(needed: float, what: str, advice: str) -> None:
    """Raises an error if something needs more memory than there is.

    Args:
        needed: bytes, at the very least.
        what: what needs them.
        advice: what to do.

    Raises:
        TooLargeError: There is less.
    """
    if needed > (available := available_bytes()):
        raise TooLargeError(
            f"{what} needs at least {_gigabytes(needed)} of memory, and {_gigabytes(available)} "
            f"are available: {advice}"
        )


def training_bytes(model: ModelConfig, config: TrainingConfig) -> int:
    """Returns what a training surely needs, bytes.

    That is the weights, their moving average, gradients and both moments of the optimiser; a copy
    to roll back to, of all but the gradients, unless time limits the training; all of this for each
    member; the gradients of other workers; each layer's states and gates for a batch, its logits,
    and their gradient, for each member that is computed at the same time.
    """
    members, workers = config.members, config.workers or 1
    copies = members * (4 + (0 if config.max_time is not None else 4)) + max(members, workers)
    symbols = min(members, workers) * config.batch_size * config.seq_len  # of a batch, T B
    # of a layer: its states, and its gates if it has any
    gates = model.gates * model.hidden_size if model.gates > 1 else 0
    states = symbols * model.num_layers * (model.state_size + gates)
    state_bytes = 2 if config.precision == "bf16" else FLOAT_BYTES
    numbers = copies * model.parameter_count() + symbols * 2 * model.vocab_size
    return FLOAT_BYTES * numbers + state_bytes * states


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size < 10e9 else f"{size / 1e9:,.0f} GB"


def _of_the_system() -> float:
    """Returns what the system says is available, swap space included."""
    sizes = _sizes(system.PROC / "meminfo")
    if "MemAvailable:" not in sizes:
        return math.inf
    return 1024 * (sizes["MemAvailable:"] + sizes.get("SwapFree:", 0))


def _sizes(path: Path) -> dict[str, int]:
    """Returns the lines of a file of the system: a name, a number; nothing if there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = map(str.split, path.read_text().splitlines())
        return {line[0]: int(line[1]) for line in lines}
    return {}


def _of_groups() -> Iterator[float]:
    """Yields what the control groups of this process leave it, those of version 2 and 1.

    A group's memory also holds pages of files, which make room for others; and it may swap.
    """
    swap = 1024 * _sizes(system.PROC / "meminfo").get("SwapFree:", 0)
    for controllers, group in control_groups():
        if controllers not in _LIMIT_AND_USAGE:
            continue
        limit_file, usage_file = _LIMIT_AND_USAGE[controllers]
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file
            limit = int((group / limit_file).read_text())
            usage = int((group / usage_file).read_text())
            stat = _sizes(group / "memory.stat")
            total = "total_" if controllers else ""  # of this group and all below, as in usage
            pages = sum(stat.get(f"{total}{kind}_file", 0) for kind in ("active", "inactive"))
            yield limit - usage + pages + swap


def _of_addresses() -> float:
    """Returns how many bytes of addresses the process may still take (``ulimit -v``)."""
    if resource is None:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    with contextlib.suppress(OSError, ValueError):
        pages = int((system.PROC / "self" / "statm").read_text().split()[0])
        return limit - pages * resource.getpagesize()
    return math.inf
