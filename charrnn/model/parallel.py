"""Work divided over the cores.

A part of the work is one thread's alone: NumPy lets go of Python while it computes, and its
products must have no threads of their own (``OPENBLAS_NUM_THREADS=1``, set before NumPy is loaded).
A product of two threads waits for the slower one, at every step; a part waits for nobody, which
shows as soon as another program runs.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Ended = Callable[[], bool]  # whether nobody waits for the work any more

FEWEST = 16  # rows that are worth a thread of their own

_threads: int | None = None


def set_threads(threads: int | None) -> None:
    """Sets how many threads work; None is one for each core that this process may use."""
    global _threads
    _threads = threads


def thread_count() -> int:
    """Returns how many threads work."""
    if _threads is not None:
        return _threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def divide(rows: int, largest: int, fewest: int = FEWEST) -> list[slice]:
    """Divides rows into parts of equal size for all threads.

    None is larger than ``largest``; there are no more than needed if they had less than ``fewest``.
    """
    count = max(-(-rows // largest), min(thread_count(), rows // fewest), 1)
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
    from concurrent.futures import ThreadPoolExecutor

    ended = threading.Event()
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(lambda part: work(part, ended.is_set), parts))
        finally:
            ended.set()
