"""What the user should know of how a text was read: what was changed or left out, counted."""

from collections.abc import Callable


class Notes:
    """Counts by kind, each with the place of the first."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}  # by what was counted, and advice
        self._first: dict[tuple[str, str], str] = {}

    def add(self, what: str, count: int, place: str, advice: str = "") -> None:
        """Counts something.

        Args:
            what: what happened, in words that a number can follow.
            count: how often; 0 adds nothing.
            place: where, a file or a row of it.
            advice: how to avoid it.
        """
        if count:
            key = (what, advice)
            self._counts[key] = self._counts.get(key, 0) + count
            self._first.setdefault(key, place)

    def counting(self, what: str, place: str, advice: str = "") -> Callable[[int], None]:
        """Returns what adds a count; other arguments as :meth:`add`."""
        return lambda count: self.add(what, count, place, advice)

    def lines(self) -> list[str]:
        """Returns a line for each kind, in the order in which they came up."""
        return [
            f"{what}: {count:,} ({'first in ' if count > 1 else ''}{self._first[what, advice]})"
            + (f"; {advice}" if advice else "")
            for (what, advice), count in self._counts.items()
        ]
