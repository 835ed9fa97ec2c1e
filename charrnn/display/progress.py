"""A bar on the terminal while a text is read or scored, or a training starts."""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charrnn.display.console import REFRESH_S, drawing_console, note, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PLAIN_S = 10.0  # seconds between two lines without a terminal
LONGEST_LABEL, LONGEST_BAR, SHORTEST_BAR = 30, 30, 8  # columns


class Bar:
    """A progress bar on a terminal, erased at the end of the ``with`` block.

    It appears once the work has lasted a moment. Without a terminal, a line now and then says as
    much, if it is asked for.
    """

    def __init__(self, *, shown: bool = True, lines: bool = False) -> None:
        self._shown, self._lines = shown, lines
        self._drawn_s = self._line_s = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()
        self._shown = False

    def show(
        self, label: str, done: float, total: Callable[[], float | None], figures: str
    ) -> None:
        """Draws the bar anew, but only a few times a second.

        ``total``, called only then, returns None if it is unknown; ``figures`` stand after the bar.
        """
        if self._shown and time.monotonic() - self._drawn_s >= REFRESH_S:
            self._draw(label, done, total(), figures)

    def stage(self, label: str) -> None:
        """Names at once what is being done, of which nobody knows how far it is."""
        if self._shown:
            self._draw(label, 0, None, "")

    def _draw(self, label: str, done: float, total: float | None, figures: str) -> None:
        self._drawn_s = time.monotonic()
        self._live = self._live or _new_live()
        if self._live is None:
            self._shown = self._lines
            if self._lines and self._drawn_s - self._line_s >= PLAIN_S:
                self._line_s = self._drawn_s
                note(f"{label}  {figures}".rstrip())
            return
        share = None if total is None else min(done / total, 1.0) if total else 1.0
        label, figures = (printable(text).replace("\n", "·") for text in (label, figures))
        row = bar_row(self._live.console.width, share, label, figures)
        try:
            self._live.start()
            self._live.update(row, refresh=True)
        except OSError:
            self._shown = False  # the terminal is gone; the work continues


def _new_live() -> "Live | None":
    """Returns rich's display of one line; None if there is no terminal."""
    if (console := drawing_console()) is None:
        return None
    from rich.live import Live

    return Live(
        console=console,
        transient=True,
        auto_refresh=False,  # a thread that draws could not see that the terminal is gone
        redirect_stdout=False,
        redirect_stderr=False,
    )


def bar_row(width: int, share: float | None, label: str, figures: str) -> "RenderableType":
    """Returns a line of a label, a bar, the share in percent and figures, for a terminal.

    It never wraps: the bar gets what the rest leaves, figures are left out from the last on, and
    of a long label only the end is shown.

    Args:
        width: columns of the terminal.
        share: how much is done, 0 to 1; None if nobody knows.
        label: stands before the bar.
        figures: stand after it, two spaces between them.
    """
    from rich.cells import cell_len
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    words = [] if share is None else [f"{share:4.0%}"]
    longest = min(LONGEST_LABEL, width - SHORTEST_BAR - 8)
    if cell_len(label) > longest:
        while label and cell_len(label) >= longest:
            label = label[1:]
        label = "…" + label if longest > 1 else ""
    room = width - sum(2 + cell_len(text) for text in (label, *words) if text)
    for figure in figures.split("  "):
        if not figure or room - 2 - cell_len(figure) < SHORTEST_BAR:
            break
        words.append(figure)
        room -= 2 + cell_len(figure)
    bar = ProgressBar(total=None if share is None else 1.0, completed=share or 0.0)
    bar.width = min(LONGEST_BAR, max(room, 1))
    cells: list[RenderableType] = [bar, *map(Text, words)]
    row = Table.grid(padding=(0, 2))
    for _ in range(len(cells) + bool(label)):
        row.add_column(no_wrap=True)
    row.add_row(*([Text(label)] if label else []), *cells)
    return row
