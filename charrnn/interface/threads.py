"""Keeps NumPy's products from having threads of their own while charrnn computes.

Its work is divided over the cores already (:mod:`charrnn.model.parallel`); if each product waits
for a second thread, too, scoring is half as fast. The command line sets OPENBLAS_NUM_THREADS; in a
program that has loaded NumPy before, that is too late.
"""

import contextlib
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController, threadpool_limits

_lock = threading.Lock()
_users = 0  # threads of the program that compute now
_limits: threadpool_limits | None = None
_controller: ThreadpoolController | None = None  # of the libraries that are loaded


@contextlib.contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Limits products to one thread until the last of those that asked for it has ended."""
    global _users, _limits, _controller
    with _lock:
        if _users == 0:
            import numpy  # noqa: F401  what is not loaded cannot be limited

            _controller = _controller or ThreadpoolController()
            _limits = _controller.limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()
