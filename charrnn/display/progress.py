"""A bar on the terminal while a text is read or scored, or a training starts."""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charrnn.display.console import REFRESH_S, drawing_console, note, printable

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_S = 10.0  # seconds between two lines without a terminal
LONGEST_LABEL = 30  # columns; a longer one would push the bar out of a narrow terminal


class Bar:
    """A progress bar on a terminal, erased at the end of the ``with`` block.

    It appears once the work has lasted a moment. Without a terminal, a line now and then says as
    much, if it is asked for.
    """

    def __init__(self, *, shown: bool = True, lines: bool = False) -> None:
        self._shown, self._lines = shown, lines
        self._drawn_s = self._line_s = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.stop()
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
        self._progress = self._progress or _new_progress()
        if self._progress is None:
            self._shown = self._lines
            if self._lines and self._drawn_s - self._line_s >= PLAIN_S:
                self._line_s = self._drawn_s
                note(f"{label}  {figures}".rstrip())
            return
        (task,) = self._progress.tasks
        label = label if len(label) <= LONGEST_LABEL else "…" + label[1 - LONGEST_LABEL :]
        task.description, task.completed, task.total = printable(label), done, total
        task.fields["figures"] = printable(figures)
        try:
            self._progress.start()
            self._progress.refresh()
        except OSError:
            self._shown = False  # the terminal is gone; the work continues


def _new_progress() -> "Progress | None":
    """Returns rich's bar; None if there is no terminal."""
    if (console := drawing_console()) is None:
        return None
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        transient=True,
        auto_refresh=False,  # a thread that draws could not see that the terminal is gone
        redirect_stdout=False,
        redirect_stderr=False,
    )
    progress.add_task("", figures="")
    return progress
