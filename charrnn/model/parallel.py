"""Work divided over the cores.

Each part runs in one thread. NumPy releases Python's lock (the GIL) while it computes. Its products
must not start threads of their own: ``OPENBLAS_NUM_THREADS=1``, set before NumPy is loaded. A
product divided over two threads waits for the slower one at every step; parts do not wait for each
other, which matters once another program is running.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

from charrnn.system import core_count

T = TypeVar("T")
R = TypeVar("R")
Ended = Callable[[], bool]  # whether nobody waits for the work any more

_threads: int | None = None


def set_threads(threads: int | None) -> None:
    """Sets how many threads work; None is one for each core that this process may use."""
    global _threads
    _threads = threads


def thread_count() -> int:
    """Returns how many threads work."""
    return core_count() if _threads is None else _threads


def divide(rows: int, fewest: int, most: int) -> list[slice]:
    """Divides rows into parts of equal size.

    No part has more than ``most`` rows. As long as each has at least ``fewest``, there are as many
    parts as threads, or a multiple.
    """
    threads = thread_count()
    count = max(-(-rows // most), 1)
    for_all = -(-count // threads) * threads
    count = max(count, min(for_all, rows // fewest))
    bounds = [rows * part // count for part in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]


def in_threads(work: Callable[[T, Ended], R], parts: Sequence[T]) -> list[R]:
    """Returns the work's result for each part, in order.

    If one fails, or this thread is interrupted, the others learn it from ``Ended``.
    """
    threads = min(thread_count(), len(parts))
    if threads <= 1:
        return [work(part, lambda: False) for part in parts]
    # loaded here: a short text, which needs no threads, should not wait for them
    import threading
    from concurrent.futures import ThreadPoolExecutor, as_completed

    ended = threading.Event()
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work, part, ended.is_set) for part in parts]
        try:
            for future in as_completed(futures):
                future.result()  # raises the first error, whichever part has it
        finally:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]
