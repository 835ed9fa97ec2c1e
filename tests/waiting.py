"""Pipes that are non-blocking: the other end moves only when this one waits for it."""

import selectors
from collections.abc import Callable
from typing import Any


def feeding_selector(feed: Callable[[], None]) -> type[selectors.DefaultSelector]:
    """Returns a selector that calls a function whenever it is waited for, and then waits."""

    class Feeding(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            feed()
            return super().select(timeout)

    return Feeding
