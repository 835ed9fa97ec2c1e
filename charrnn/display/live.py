"""What people see: training drawn with rich from its events; notes; scores as lines or JSON.

Notes, progress and errors go to standard error. On a terminal training is a live panel, elsewhere
one plain line per evaluation. A terminal that goes away ends the drawing, never the training.
"""

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charrnn.display.console import LN_2, duration, note, printable, sparkline
from charrnn.display.progress import REFRESH_S, _live
from charrnn.training.events import RunSummary

if TYPE_CHECKING:
    from charrnn.training.events import Evaluated, Finished, SaveFailed, Stepped, WentBack


class TrainingDisplay:
    """Shows a training's events; a context manager."""

    def __init__(self, summary: RunSummary, *, quiet: bool = False) -> None:
        """Chooses between a live panel, plain lines and silence.

        Args:
            summary: what to say first.
            quiet: say nothing but errors.
        """
        self._console = Console(stderr=True)
        self._quiet = quiet
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self.live = terminal and not quiet
        self._summary = summary
        self._stepped: Stepped | None = None
        self._val_bits: list[float] = []
        self._sample = ""
        self._drawn_s = 0.0
        self._panel: Live | None = None

    def __enter__(self) -> "TrainingDisplay":
        """Says what will be trained."""
        if not self._quiet:
            note(self._summary.line())
        if self.live:
            self._panel = _live(self._console)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the last picture on the screen."""
        self._close_panel()

    def _close_panel(self) -> None:
        self._draw(last=True)
        if self._panel is not None:
            with contextlib.suppress(OSError):
                self._panel.stop()
            self._panel = None

    def stepped(self, event: "Stepped") -> None:
        """Shows the bar, the speed and the training figure."""
        self._stepped = event
        self._draw()

    def evaluated(self, event: "Evaluated", sample: str) -> None:
        """Shows the validation figure and, on a terminal, a sample of the model."""
        if event.val_nats_per_char is not None:
            self._val_bits.append(event.val_nats_per_char / LN_2)
        self._sample = sample
        if self.live:
            self._draw(last=True)
        elif not self._quiet:
            note(self._plain_line(event))

    def went_back(self, event: "WentBack") -> None:
        """Says that training is at an earlier step again, and why."""
        if not self._quiet:
            self._say(
                f"step {event.from_step + 1:,}: {event.reason}: back to step {event.step:,} "
                f"with half the learning rate, {event.learning_rate:.3g}"
            )

    def save_failed(self, event: "SaveFailed") -> None:
        """Says that a file could not be written; this is an error, and said even if quiet."""
        self._say(f"step {event.step:,}: {event.reason}; training goes on, and will try again")

    def _say(self, line: str) -> None:
        """Prints a line, above the panel where there is one."""
        if self._panel is None:
            note(line)
            return
        try:
            self._panel.console.print(Text(printable(line)), soft_wrap=True)
        except OSError:
            self._panel = None  # the terminal is gone; training goes on

    def finished(self, event: "Finished") -> None:
        """Says how training ended."""
        self._close_panel()
        if self._quiet:
            return
        reasons = {
            "done": "done",
            "patience": "stopped: validation no longer improves",
            "interrupted": "interrupted, saved",
        }
        nats = event.val_nats_per_char
        best = "" if nats is None else f"; best validation {nats / LN_2:.3f} bits/char"
        elapsed = duration(event.elapsed_s)
        note(f"{reasons[event.reason]} after {event.step:,} steps, {elapsed}{best}")

    def _plain_line(self, event: "Evaluated") -> str:
        parts = [f"step {event.step:,}"]
        if self._stepped is not None:
            s = self._stepped
            if s.total_steps is not None:
                parts[0] += f"/{s.total_steps:,}"
            parts.append(f"train {s.train_nats_per_char / LN_2:.3f}")
        if event.val_nats_per_char is not None:
            parts.append(f"val {event.val_nats_per_char / LN_2:.3f}")
        parts[-1] += " bits/char"
        if event.val_nats_per_char is not None and event.best:
            parts[-1] += " (best)"
        if self._stepped is not None:
            parts.append(f"{self._stepped.chars_per_second:,.0f} chars/s")
            parts.append(f"{duration(event.elapsed_s)} elapsed")
            parts.append(f"{duration(_remaining_s(self._stepped))} left")
        return "  ".join(parts)

    def _draw(self, last: bool = False) -> None:
        now = time.monotonic()
        if self._panel is None or self._stepped is None:
            return
        if last or now - self._drawn_s >= REFRESH_S:
            self._drawn_s = now
            try:
                self._panel.update(self._picture(self._stepped), refresh=True)
            except OSError:
                self._panel = None  # the terminal is gone; training goes on

    def _picture(self, s: "Stepped") -> RenderableType:
        total = f"/{s.total_steps:,}" if s.total_steps is not None else ""
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=1.0, completed=s.progress, width=30),
            f"{s.progress:4.0%}",
            f"step {s.step:,}{total}",
            f"{s.chars_per_second:,.0f} chars/s",
            f"{duration(s.elapsed_s)} elapsed",
            f"{duration(_remaining_s(s))} left",
        )
        figures = Text(f"train {s.train_nats_per_char / LN_2:.3f}")
        if self._val_bits:
            best = min(self._val_bits)
            figures.append(f"   validation {self._val_bits[-1]:.3f}", style="bold")
            figures.append(f"   best {best:.3f} bits/char   ")
            if not self._console.options.ascii_only:
                figures.append(sparkline(self._val_bits), style="cyan")
        else:
            figures.append(" bits/char")
        parts: list[RenderableType] = [bar, figures]
        if self._sample:
            shown = Text(printable(self._sample))
            parts.append(Panel(shown, title="sample", title_align="left", border_style="dim"))
        return Group(*parts)


def _remaining_s(event: "Stepped") -> float:
    done = max(event.progress, 1e-9)
    return event.elapsed_s * (1 - done) / done
