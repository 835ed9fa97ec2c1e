"""Where torch computes."""

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
