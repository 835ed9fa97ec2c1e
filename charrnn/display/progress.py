"""A bar on the terminal while a text is read or scored."""

import contextlib
import math
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from charrnn.display.console import REFRESH_S, is_drawable, printable

LONGEST_LABEL = 30  # columns; a longer one would push the bar out of a narrow terminal


class Bar:
    """A progress bar, on a terminal only; erased at the end of the ``with`` block."""

    def __init__(self, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = shown and is_drawable(console)
        self._drawn_s = -math.inf
        self._progress = Progress(
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
        self._progress.add_task("", figures="")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            with contextlib.suppress(OSError):
                self._progress.stop()
        self._shown = False

    def show(
        self, label: str, done: float, total: Callable[[], float | None], figures: str
    ) -> None:
        """Draws the bar anew, but only a few times a second.

        ``total``, called only then, returns None if it is unknown; ``figures`` stand after the bar.
        """
        if not self._shown or time.monotonic() - self._drawn_s < REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        (task,) = self._progress.tasks
        label = label if len(label) <= LONGEST_LABEL else "…" + label[1 - LONGEST_LABEL :]
        task.description, task.completed, task.total = printable(label), done, total()
        task.fields["figures"] = printable(figures)
        try:
            self._progress.start()
            self._progress.refresh()
        except OSError:
            self._shown = False  # the terminal is gone; the work continues
