"""How many threads compute."""

import os

from charrnn.config import check


def set_threads(threads: int | None) -> None:
    """Sets the threads of torch and NumPy; None leaves their own choice.

    To be called once all options are checked: it imports torch, which takes over a second.

    Raises:
        OptionError: The number is out of range.
    """
    check({"threads": threads})
    if threads is not None:
        # NumPy's products, in sampling, have threads of their own; it reads this when it is loaded
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        from charrnn.model.device import set_torch_threads

        set_torch_threads(threads)
