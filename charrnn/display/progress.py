"""One bar."""

import contextlib
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charrnn.display.console import printable

if TYPE_CHECKING:
    from charrnn.scoring.reports import Score
REFRESH_S = 0.25


def _live(console: Console, *, transient: bool = False) -> Live:
    """Starts a drawing; all else is said before or after it, so nothing need be redirected."""
    live = Live(
        console=console,
        auto_refresh=False,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with contextlib.suppress(OSError):
        live.start()
    return live


class _ProgressLine:
    """A line on a terminal that is drawn anew and wiped off in the end; a context manager."""

    def __init__(self, *, wanted: bool = True) -> None:
        self._console = Console(stderr=True)
        self._wanted = wanted and self._console.is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._drawn_s = -math.inf

    def __enter__(self) -> Self:
        """Starts to draw where there is a terminal."""
        if self._wanted:
            self._live = _live(self._console, transient=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipes it off again."""
        self.close()

    def close(self) -> None:
        """Wipes it off for good."""
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()
            self._live = None

    def is_due(self) -> bool:
        """Tells whether it should be drawn anew; that is so a few times a second."""
        return self._live is not None and time.monotonic() - self._drawn_s >= REFRESH_S

    def _draw(self, cells: Callable[[], Sequence[str]], share: float | None) -> None:
        """Draws a bar, where the share that is done is known, and cells, if it is due."""
        if self._live is None or not self.is_due():
            return
        self._drawn_s = time.monotonic()
        first, *others = cells()
        row: list[RenderableType] = [Text(printable(first))]
        if share is not None:
            done = min(share, 1.0)
            row += [ProgressBar(total=1.0, completed=done, width=30), f"{done:4.0%}"]
        grid = Table.grid(padding=(0, 2))
        grid.add_row(*row, *others)
        try:
            self._live.update(grid, refresh=True)
        except OSError:
            self._live = None  # the terminal is gone; the work goes on


class ReadingProgress(_ProgressLine):
    """Shows on a terminal how much of a text was read for the first time; a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Draws nothing yet.

        Args:
            quiet: nor later.
        """
        super().__init__(wanted=not quiet)

    def read(self, name: str, done_bytes: int, size_bytes: Callable[[], int | None]) -> None:
        """Draws anew.

        Args:
            name: of the text.
            done_bytes: how much of it was read.
            size_bytes: tells how much it is; None where nobody knows.
        """
        if not self.is_due():
            return
        size = size_bytes()
        self._draw(
            lambda: [f"reading {name}", f"{done_bytes / 1e6:,.0f} MB"],
            done_bytes / size if size else None,
        )


class ScoringProgress(_ProgressLine):
    """Shows on a terminal how much of a text was scored; a context manager."""

    def __init__(self, name: str, size_bytes: int | None) -> None:
        """Draws nothing yet.

        Args:
            name: of the text.
            size_bytes: its size; None where nobody knows.
        """
        super().__init__()
        self._name, self._size_bytes = name, size_bytes

    def scored(self, score: "Score") -> None:
        """Draws anew what was scored so far."""

        def cells() -> list[str]:
            bits = f"{score.bits_per_char:.3f} bits/char" if score.chars else ""
            speed = f"{score.chars_per_second:,.0f} chars/s"
            return [self._name, f"{score.chars:,} characters", speed, bits]

        self._draw(cells, score.bytes / self._size_bytes if self._size_bytes else None)


class SamplingProgress(_ProgressLine):
    """Shows on a terminal how much of a long sample went into a file; a context manager."""

    LONG = 20_000
    """Characters from which on a sample is long."""

    def __init__(self, length: int) -> None:
        """Draws nothing yet.

        Args:
            length: characters that will be written; 0 is without end.
        """
        super().__init__(wanted=(length == 0 or length >= self.LONG) and _goes_into_a_file())
        self._length, self._chars, self._start_s = length, 0, time.monotonic()

    def written(self, chars: int) -> None:
        """Draws anew after some more characters."""
        self._chars += chars

        def cells() -> list[str]:
            speed = self._chars / max(time.monotonic() - self._start_s, 1e-9)
            return ["writing", f"{self._chars:,} characters", f"{speed:,.0f} chars/s"]

        self._draw(cells, self._chars / self._length if self._length else None)


def _goes_into_a_file() -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    return False
