"""Workers for many trainings, one after another: to start them takes seconds each time."""

from typing import Any

from charrnn.training.workers import Workers


class Lent(Workers):
    """Workers that wait for the next training when one ends, if none of them has died."""

    _aside: tuple[Any, ...] = ()  # those that are not needed now

    def set_count(self, count: int) -> None:
        self._helpers += self._aside
        self._aside, self.count = (), len(self._helpers) + 1
        super().set_count(max(count, self.count))
        self._aside = tuple(self._helpers[count - 1 :])
        del self._helpers[count - 1 :]
        self.count = count

    def close(self) -> None:
        if any(helper.poll() is not None for helper in self._helpers):
            self.give_back()

    def give_back(self) -> None:
        """Ends them all."""
        self.set_count(1 + len(self._helpers) + len(self._aside))
        self._aside = ()
        super().close()
