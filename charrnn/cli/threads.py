"""How many threads compute."""

import os

from charrnn.config import check
from charrnn.model import parallel


def set_threads(threads: int | None) -> None:
    """Sets how many threads sample and score; None is one for each core.

    To be called before NumPy is loaded.

    Raises:
        OptionError: The number is out of range.
    """
    check({"threads": threads})
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a product has no threads of its own: `parallel`
    parallel.set_threads(threads)
