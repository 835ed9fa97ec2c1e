"""A bar on the terminal while a text is read or scored, or a training starts.

It lives: as long as the work lasts, it is drawn again by a thread of its own, so that a terminal is
never silent for long, whatever the program is waiting for.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from charrnn.display import console
from charrnn.display.console import REFRESH_S, drawing_console, duration, note, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PLAIN_S = 10.0  # seconds between two lines without a terminal
BEAT_S = 0.5  # seconds after which the thread draws, if nobody else has drawn
AtOutput = Literal["stay", "vanish", "end"]
LONGEST_LABEL, LONGEST_BAR, SHORTEST_BAR = 30, 30, 8  # columns


class Beat:
    """Calls a function every :data:`BEAT_S` seconds, in a thread, if standard error is a terminal.

    Attributes:
        lock: is held during a call; whoever else draws holds it, too.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self._call, self._ended = call, threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        if console.is_terminal():
            self._thread.start()

    def end(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            with self.lock:
                self._call()


class Bar:
    """A progress bar on a terminal, erased at the end of the ``with`` block.

    It appears once the work has lasted a moment. A line printed by
    :func:`~charrnn.display.console.note` makes it vanish until it is drawn again.

    Args:
        shown: whether it is drawn at all.
        lines: whether a line now and then says as much if there is no terminal.
        at_output: what it does before the program writes its output: stay, if that goes elsewhere;
            vanish until it is drawn again; or end.
    """

    def __init__(
        self, *, shown: bool = True, lines: bool = False, at_output: AtOutput = "stay"
    ) -> None:
        self.shown, self._lines, self.at_output = shown, lines, at_output
        self._start_s = self._drawn_s = self._line_s = time.monotonic()
        self._live: Live | None = None
        self._last: tuple[str, float, Callable[[], float | None], str] | None = None
        self._beat = Beat(self._draw_if_due)

    def __enter__(self) -> "Bar":
        console.on_note.append(self._erase)
        console.on_output.append(self._make_room)
        if self.shown:
            self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        console.on_note.remove(self._erase)
        console.on_output.remove(self._make_room)
        self._end()

    def _end(self) -> None:
        self.shown = False
        self._beat.end()
        self._erase()

    def _erase(self) -> None:
        """Erases the bar; it is drawn again a moment later at the earliest."""
        with self._beat.lock, contextlib.suppress(OSError):
            self._drawn_s = time.monotonic()
            if self._live is not None:
                self._live.stop()

    def _make_room(self) -> None:
        """Does what is to be done before the program writes its output."""
        if self.at_output == "end" and self.shown:
            self._end()
        elif self.at_output == "vanish" and self._live is not None:
            self._erase()

    def show(
        self, label: str, done: float, total: Callable[[], float | None], figures: str
    ) -> None:
        """Draws the bar anew, but only a few times a second.

        ``total``, called only then, returns None if it is unknown; ``figures`` stand after the bar.
        """
        self._last = label, done, total, figures
        if self.shown and time.monotonic() - self._drawn_s >= REFRESH_S:
            self._draw()

    def about(self, label: str) -> None:
        """Names what is being done, of which nobody knows how far it is; drawn if it lasts."""
        self._last = label, 0, lambda: None, ""

    def stage(self, label: str) -> None:
        """Does what :meth:`about` does, and draws at once."""
        self.about(label)
        if self.shown:
            self._draw()

    def _draw_if_due(self) -> None:
        due = self._last is not None and time.monotonic() - self._drawn_s >= BEAT_S
        if due and self.shown:
            self._draw()

    def _draw(self) -> None:
        assert self._last is not None
        label, done, total_of, figures = self._last
        with self._beat.lock:
            self._drawn_s = time.monotonic()
            self._live = self._live or _new_live()
            if self._live is None:
                self.shown = self._lines
                if self._lines and self._drawn_s - self._line_s >= PLAIN_S:
                    self._line_s = self._drawn_s
                    note(f"{label}  {figures}".rstrip())
                return
            total = total_of()
            share = None if total is None else min(done / total, 1.0) if total else 1.0
            figures = f"{figures}  {duration(self._drawn_s - self._start_s)}".lstrip()
            label, figures = (printable(text).replace("\n", "·") for text in (label, figures))
            try:
                row = bar_row(self._live.console.width, share, label, figures)
                self._live.start()
                self._live.update(row, refresh=True)
            except OSError:
                self.shown = False  # the terminal is gone; the work continues


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
