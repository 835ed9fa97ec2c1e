"""A training as it happens: a live panel on a terminal, one plain line per evaluation elsewhere."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from charrnn.config import UNIT_NAMES, Unit
from charrnn.display.console import LN_2, REFRESH_S, drawing_console, duration, note, printable
from charrnn.display.progress import Beat, bar_row
from charrnn.training import events

BLOCKS = "▁▂▃▄▅▆▇█"
TALLEST = 4.0
WIDEST = 80  # columns of the panel: a wider terminal that shrinks to this breaks none of its lines
# why training ended, by `Finished.reason`
REASONS = {
    "done": "done",
    "patience": "stopped: validation no longer improves",
    "interrupted": "interrupted, saved",
}


def summary_line(summary: events.RunSummary) -> str:
    """Returns in one line what will be trained."""
    endless = summary.chars == math.inf
    text = "a text without end" if endless else f"{summary.chars:,} {UNIT_NAMES[summary.unit]}s"
    parameters = f"{summary.parameters:,} parameters"
    model = f"{summary.shape} model, {parameters}"
    if summary.members > 1:
        model = f"{summary.members} members of {summary.shape}, {parameters} each"
    return (
        f"{summary.folder}: {text}, {summary.symbols:,} distinct; {model}; "
        f"batch {summary.batch_size} x {summary.seq_len}"
        + (", bfloat16" if summary.precision == "bf16" else "")
    )


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Draws the last ``width`` finite numbers as a row of blocks, the largest highest.

    The scale ends at most :data:`TALLEST` times as far above the lowest number as the median is:
    what is higher, like the first score of a training, is as high as the scale, and what comes
    after it is not flat.
    """
    finite = [value for value in values if math.isfinite(value)][-width:]
    if not finite:
        return ""
    low, high, median = min(finite), max(finite), statistics.median(finite)
    if median > low:
        high = min(high, low + TALLEST * (median - low))
    scale = (len(BLOCKS) - 1) / (high - low) if high - low > 1e-9 else 0.0
    return "".join(BLOCKS[round((min(value, high) - low) * scale)] for value in finite)


class TrainingDisplay:
    """Shows a training's events on standard error; a context manager.

    Args:
        summary: printed first.
        write_sample: writes a short text with the model that was evaluated, for the panel.
        quiet: print nothing but errors.
    """

    def __init__(
        self,
        summary: events.RunSummary,
        write_sample: Callable[[events.Evaluated], str],
        *,
        quiet: bool = False,
    ) -> None:
        self._summary, self._write_sample, self._quiet = summary, write_sample, quiet
        self._console = None if quiet else drawing_console()
        self._panel: Live | None = None
        self._start_s, self._drawn_s = time.monotonic(), 0.0
        self._stepped: events.Stepped | None = None
        self._stepped_s = 0.0  # when that came
        self._beat = Beat(self._draw)
        self._val_bits: list[float] = []  # bits per character, an entry per evaluation
        self._sample = ""

    def __enter__(self) -> "TrainingDisplay":
        if not self._quiet:
            note(summary_line(self._summary))
        if self._console is not None:
            self._panel = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            with contextlib.suppress(OSError):
                self._panel.start()
            self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        """Leaves the last picture on the screen."""
        self._beat.end()
        if self._stepped is not None:
            self._draw(at_once=True)
        if self._panel is not None:
            self._panel.transient = self._stepped is None
            with contextlib.suppress(OSError):
                self._panel.stop()
            self._panel = None

    def show(self, event: events.Event) -> None:
        """Shows the next event."""
        unit = self._summary.unit
        match event:
            case events.Stepped():
                self._stepped, self._stepped_s = event, time.monotonic()
                self._draw()
            case events.Evaluated():
                if event.val_nats_per_char is not None:
                    self._val_bits.append(event.val_nats_per_char / LN_2)
                if self._console is not None:
                    self._sample = self._write_sample(event)
                    self._draw(at_once=True)
                elif not self._quiet:
                    note(_plain_line(event, self._stepped, unit))
            case events.RolledBack() if not self._quiet:
                self._print(
                    f"step {event.from_step + 1:,}: {event.reason}: rolled back to step "
                    f"{event.step:,}, with half the learning rate, {event.learning_rate:.3g}"
                )
            case events.SaveFailed() if not event.final:  # an error, printed even if quiet
                self._print(
                    f"step {event.step:,}: {event.reason}; training continues, "
                    "and the next save tries again"
                )
            case events.Finished() if not self._quiet:
                self._close()
                nats = event.val_nats_per_char
                best = "" if nats is None else f"; best validation {nats / LN_2:.3f} bits/{unit}"
                steps = f"{event.step:,} steps, {duration(event.elapsed_s)}"
                note(f"{REASONS[event.reason]} after {steps}{best}")

    def _print(self, line: str) -> None:
        """Prints a line, above the panel if there is one."""
        if self._panel is None:
            note(line)
            return
        try:
            with self._beat.lock:
                self._panel.console.print(Text(printable(line)), soft_wrap=True)
        except OSError:
            self._panel = None  # the terminal is gone; training continues

    def _draw(self, *, at_once: bool = False) -> None:
        """Draws the panel anew, if that is due."""
        with self._beat.lock:
            now_s = time.monotonic()
            if self._panel is None or (now_s - self._drawn_s < REFRESH_S and not at_once):
                return
            self._drawn_s = now_s
            width = min(self._panel.console.width, WIDEST)
            picture: RenderableType = bar_row(
                width, None, "first steps", duration(now_s - self._start_s)
            )
            if self._stepped is not None:
                picture = self._picture(self._stepped, now_s - self._stepped_s, width)
            try:
                self._panel.update(picture, refresh=True)
            except OSError:
                self._panel = None  # the terminal is gone; training continues

    def _picture(self, stepped: events.Stepped, since_s: float, width: int) -> RenderableType:
        """Returns what the panel shows ``since_s`` seconds after some steps."""
        assert self._panel is not None
        console, unit = self._panel.console, self._summary.unit
        left_s = max(stepped.left_s - since_s, 0.0)
        speed = _speed(replace(stepped, left_s=left_s), stepped.elapsed_s + since_s, unit)
        figures = [Text(f"train {stepped.train_nats_per_char / LN_2:.3f}")]
        if self._val_bits:
            figures.append(Text(f"validation {self._val_bits[-1]:.3f}", style="bold"))
            figures.append(Text(f"best {min(self._val_bits):.3f}"))
        figures[-1].append(f" bits/{unit}")
        if self._val_bits and not console.options.ascii_only:
            figures.append(Text(sparkline(self._val_bits, min(width, 40)), style="cyan"))
        parts: list[RenderableType] = [
            bar_row(width, stepped.progress, "", _step(stepped.step, stepped)),
            _flowed(list(map(Text, speed)), width),
            _flowed(figures, width),
        ]
        if self._sample:
            text = Text(printable(self._sample))
            panel = Panel(text, title="sample", title_align="left", border_style="dim", width=width)
            parts.append(panel)
        return Group(*parts)


def _flowed(parts: Sequence[Text], width: int) -> Text:
    """Returns texts side by side, in as many lines as they need; none is cut in two."""
    lines, used = Text(no_wrap=True, overflow="crop"), 0
    for part in parts:
        if used and used + 2 + part.cell_len > width:
            lines.append("\n")
            used = 0
        gap = "  " if used else ""
        lines.append(gap).append_text(part)
        used += len(gap) + part.cell_len
    return lines


def _plain_line(event: events.Evaluated, stepped: events.Stepped | None, unit: Unit) -> str:
    parts = [_step(event.step, stepped)]
    if stepped is not None:
        parts.append(f"train {stepped.train_nats_per_char / LN_2:.3f}")
    if event.val_nats_per_char is not None:
        parts.append(f"val {event.val_nats_per_char / LN_2:.3f}")
    parts[-1] += f" bits/{unit}"
    if event.val_nats_per_char is not None and event.best:
        parts[-1] += " (best)"
    return "  ".join(
        parts + (_speed(stepped, event.elapsed_s, unit) if stepped is not None else [])
    )


def _step(step: int, stepped: events.Stepped | None) -> str:
    total = None if stepped is None else stepped.total_steps
    return f"step {step:,}" if total is None else f"step {step:,}/{total:,}"


def _speed(stepped: events.Stepped, elapsed_s: float, unit: Unit) -> list[str]:
    """Returns how fast training is, how long it took, and how long it will still take."""
    return [
        f"{stepped.chars_per_second:,.0f} {unit}s/s",
        f"{duration(elapsed_s)} elapsed",
        f"{duration(stepped.left_s)} left",
    ]
