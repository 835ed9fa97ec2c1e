"""Where torch computes: the device, and how many threads."""

import torch

from charrnn.errors import OptionError


def find_device(name: str) -> torch.device:
    """Returns torch's device of that name.

    Raises:
        OptionError: torch or this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise OptionError(
            f"--device: {name!r} is not a device that torch finds here; try cpu"
        ) from None
    return device


def set_torch_threads(threads: int) -> None:
    """Sets the number of threads that torch computes with."""
    torch.set_num_threads(threads)
