"""What the user should know of how a text was read: what was changed or left out, counted."""

from collections.abc import Callable


class Notes:
    """Counts by kind, each with the place of the first."""

    def __init__(self) -> None:
        # the count and the first place, by what was counted, and advice
        self._kinds: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, what: str, count: int, place: str, advice: str = "") -> None:
        """Counts something.

        Args:
            what: what happened, in words that a number can follow.
            count: how often; 0 adds nothing.
            place: where, a file or a row of it.
            advice: how to avoid it.
        """
        if count:
            before, first = self._kinds.get((what, advice), (0, place))
            self._kinds[what, advice] = (before + count, first)

    def counting(self, what: str, place: str, advice: str = "") -> Callable[[int], None]:
        """Returns what adds a count; other arguments as :meth:`add`."""
        return lambda count: self.add(what, count, place, advice)

    def lines(self) -> list[str]:
        """Returns a line for each kind, in the order in which they came up."""
        return [
            f"{what}: {count:,} ({'first in ' if count > 1 else ''}{first})"
            + (f"; {advice}" if advice else "")
            for (what, advice), (count, first) in self._kinds.items()
        ]
