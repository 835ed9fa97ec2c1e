"""A clock for the tests of all that takes its time."""


class Clock:
    """A clock of one command that advances by a tick, seconds, each time it is read."""

    def __init__(self, tick_s: float = 0.1, now_s: float = 0.0) -> None:
        self.now, self._tick_s = now_s, tick_s

    def __call__(self) -> float:
        self.now += self._tick_s
        return self.now
