"""A clock for the tests of all that takes its time."""


class Clock:
    """A clock that goes on by a little each time it is read."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        self.now += 0.1
        return self.now
