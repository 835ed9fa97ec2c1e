"""Pipes that are non-blocking: the other end moves only when this one waits for it."""

import os
import selectors
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def when_waited_for(monkeypatch: pytest.MonkeyPatch, move: Callable[[], object]) -> None:
    """Lets every wait for a stream call a function first."""

    class Moving(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            move()
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Moving)


def fed_pipe(monkeypatch: pytest.MonkeyPatch, pieces: Iterable[bytes]) -> int:
    """Returns the end of a non-blocking pipe: a wait for it gives a piece, at last its end."""
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    rest = iter(pieces)

    def feed() -> None:
        if piece := next(rest, None):
            os.write(sender, piece)
        else:
            os.close(sender)

    when_waited_for(monkeypatch, feed)
    return receiver
