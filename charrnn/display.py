"""What people see: training drawn with rich from its events; notes; scores as lines or JSON.

Notes, progress and errors go to standard error. On a terminal training is a live panel, elsewhere
one plain line per evaluation. A terminal that goes away ends the drawing, never the training.
"""

import codecs
import contextlib
import itertools
import json
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charrnn.config import SamplingConfig

if TYPE_CHECKING:
    from charrnn.corpus import Piece
    from charrnn.evaluation import CharScore, Score
    from charrnn.memory import ContextScore
    from charrnn.training import Evaluated, Finished, SaveFailed, Stepped, WentBack

LN_2 = math.log(2)
BLOCKS = "▁▂▃▄▅▆▇█"
REFRESH_S = 0.25


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Draws numbers as a row of blocks, the largest highest; keeps the last ``width`` of them."""
    shown = [v for v in values if math.isfinite(v)][-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(BLOCKS) - 1) / (high - low) if high - low > 1e-9 else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in shown)


def duration(seconds: float) -> str:
    """Returns seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def printable(text: str) -> str:
    """Returns a text that cannot upset a terminal: control characters but newlines become ``·``."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def note(message: str) -> None:
    """Prints one line for the user on standard error."""
    line = printable(message).replace("\n", " ")
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class RunSummary:
    """What is said of a training before it starts."""

    folder: Path
    chars: int | None
    symbols: int
    hidden_size: int
    num_layers: int
    parameters: int
    batch_size: int
    seq_len: int
    unit: str

    def line(self) -> str:
        """Returns it as one line."""
        text = "a text without end" if self.chars is None else f"{self.chars:,} {self.unit}s"
        return (
            f"{self.folder}: {text}, {self.symbols:,} distinct; "
            f"{self.hidden_size} x {self.num_layers} model, {self.parameters:,} parameters; "
            f"batch {self.batch_size} x {self.seq_len}"
        )


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


Scores = Sequence[tuple[str, "Score"]]
"""The name and the score of each text."""


def score_lines(scores: Scores, model: str, *, one_pass: bool) -> str:
    """Returns the score of one text as lines of name and figure, or of several as a table.

    Args:
        scores: of one text or several.
        model: where it is.
        one_pass: whether each text ran in one pass.
    """
    total = _total(scores)
    speed = f"{total.seconds:.1f} s, {total.chars_per_second:,.0f} characters/s"
    speed += ", one pass" if one_pass else ", parallel streams"
    if len(scores) > 1:
        return f"{_score_table(scores, total)}\n{speed}\nmodel {model}"
    rows = [
        ("bits per character", f"{total.bits_per_char:.4f}"),
        ("bits per byte", f"{total.bits_per_byte:.4f}"),
        ("nats per character", f"{total.nats_per_char:.4f}"),
        ("perplexity", f"{total.perplexity:.3f}"),
        ("characters", f"{total.chars:,}"),
        ("bytes", f"{total.bytes:,}"),
        ("unknown characters", f"{total.unknown_chars:,}"),
        ("time", speed),
        ("model", model),
    ]
    return "\n".join(f"{name:<20}{figure}" for name, figure in rows)


def _total(scores: Scores) -> "Score":
    first, *others = (score for _, score in scores)
    return sum(others, start=first)


def _score_table(scores: Scores, total: "Score") -> str:
    heads = ["bits/char", "bits/byte", "nats/char", "perplexity", "characters", "bytes", "unknown"]
    lines = ["  ".join(f"{head:>10}" for head in heads) + "  source"]
    for name, score in [*scores, ("total", total)]:
        figures = [score.bits_per_char, score.bits_per_byte, score.nats_per_char]
        cells = [*(f"{figure:.4f}" for figure in figures), f"{score.perplexity:.3f}"]
        cells += [f"{count:,}" for count in (score.chars, score.bytes, score.unknown_chars)]
        lines.append("  ".join(f"{cell:>10}" for cell in cells) + f"  {printable(name)}")
    return "\n".join(lines)


def score_json(scores: Scores, model: str, *, one_pass: bool) -> str:
    """Returns the score as one JSON object; of several texts the total, and each in ``sources``."""
    found = _figures(_total(scores)) | {"model": model, "one_pass": one_pass}
    if len(scores) > 1:
        found["sources"] = [{"source": name} | _figures(score) for name, score in scores]
    return json.dumps(found)


def _figures(score: "Score") -> dict[str, Any]:
    return {
        "chars": score.chars,
        "bytes": score.bytes,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "unknown_chars": score.unknown_chars,
        "seconds": round(score.seconds, 3),
        "chars_per_second": round(score.chars_per_second),
    }


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


def sample_json(
    prompt: str, text: str, bits_per_char: float | None, config: SamplingConfig, model: str
) -> str:
    """Returns a sample as a line of JSON.

    Args:
        prompt: what it goes on from.
        text: what was written.
        bits_per_char: of the text after the prompt, under the model; None where it is empty.
        config: how it was drawn; its seed makes this sample alone.
        model: where the model is.
    """
    settings = {key: value for key, value in asdict(config).items() if key != "count"}
    found = {"prompt": prompt, "text": text, "bits_per_char": bits_per_char, "model": model}
    return json.dumps(found | settings) + "\n"


def context_lines(curve: Sequence["ContextScore"], enough: int) -> str:
    """Returns a context curve as a table with bars.

    Args:
        curve: its points.
        enough: the context that comes near the best.
    """
    high = max(point.bits_per_char for point in curve) or 1.0
    lines = ["context  bits/char  std error"]
    for point in curve:
        bar = "#" * round(40 * point.bits_per_char / high)
        figures = f"{point.bits_per_char:>9.4f}  {point.standard_error:>9.4f}"
        lines.append(f"{point.context:>7}  {figures}  {bar}")
    lines.append(f"within 1 % of its best from a context of {enough} on")
    return "\n".join(lines)


def context_json(curve: Sequence["ContextScore"], enough: int) -> str:
    """Returns a context curve as one JSON object; arguments as :func:`context_lines`."""
    return json.dumps({"within_1_percent": enough, "curve": [asdict(point) for point in curve]})


HEAT = (
    (1.0, ""),
    (2.0, "black on cyan"),
    (4.0, "black on green"),
    (8.0, "black on yellow"),
    (math.inf, "white on red"),
)
"""Below so many bits, this style: both its colours are set, so that any terminal shows it."""


def has_colours() -> bool:
    """Tells whether standard output shows colours."""
    console = Console()
    return console.color_system is not None and not console.no_color


def heatmap(scores: Iterable[Sequence["CharScore"]]) -> Iterator[str]:
    """Yields a text's lines for standard output, each character coloured by its surprise.

    Args:
        scores: of its characters, in order.
    """
    console = Console(highlight=False, soft_wrap=True)
    line = Text()
    for character, bits in _characters(itertools.chain.from_iterable(scores)):
        style = _heat(bits)
        if character == "\n":
            line.append("↵" if style else "", style)
            yield _drawn(console, line)
            line = Text()
        else:
            line.append("\\" if character == "\\" else _escaped(character), style)
    if line:
        yield _drawn(console, line)


def heat_legend() -> str:
    """Returns the line that explains the colours."""
    legend, low = Text("bits: "), 0.0
    for below, style in HEAT:
        said = f" {low:.0f} to {below:.0f} " if below < math.inf else f" {low:.0f} or more "
        legend.append(said, style)
        low = below
    return _drawn(Console(highlight=False, soft_wrap=True), legend)


def _drawn(console: Console, text: Text) -> str:
    with console.capture() as capture:
        console.print(text)
    return capture.get()


def _characters(scores: Iterable["CharScore"]) -> Iterator[tuple[str, float]]:
    """Yields characters and their bits; those of a character's bytes are added up."""
    decoder, bits = codecs.getincrementaldecoder("utf-8")("replace"), 0.0
    for score in scores:
        bits += score.nats / LN_2
        symbol = score.symbol
        characters = symbol if isinstance(symbol, str) else decoder.decode(bytes([symbol]))
        if characters:
            yield from ((character, bits / len(characters)) for character in characters)
            bits = 0.0


def _heat(bits: float) -> str:
    return next((style for below, style in HEAT if bits < below), HEAT[-1][1])


def line_rows(rows: Sequence[tuple[float, "Piece"]], *, as_json: bool) -> bytes:
    """Returns lines' scores: bits per character, a tab and the line as it was; or JSON."""
    return b"".join(_line_row(bits, line, as_json) for bits, line in rows)


def _line_row(bits_per_char: float, line: "Piece", as_json: bool) -> bytes:
    if as_json:
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        bits = None if math.isnan(bits_per_char) else bits_per_char
        return json.dumps({"bits_per_char": bits, "line": text}).encode() + b"\n"
    data = line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape")
    return b"%.4f\t%s\n" % (bits_per_char, data)


def char_rows(scores: Sequence["CharScore"], *, as_json: bool) -> str:
    """Returns characters' scores as lines of tab-separated fields, escaped; or of JSON."""
    row = _char_json if as_json else _char_row
    return "".join(f"{row(score)}\n" for score in scores)


def _char_json(score: "CharScore") -> str:
    return json.dumps(
        {
            "offset": score.offset,
            "char": score.symbol,
            "bits": score.nats / LN_2,
            "rank": score.rank,
            "most_probable": score.most_probable,
        }
    )


def _char_row(score: "CharScore") -> str:
    bits = score.nats / LN_2
    symbols = (_escaped(score.symbol), _escaped(score.most_probable))
    return f"{score.offset}\t{symbols[0]}\t{bits:.4f}\t{score.rank}\t{symbols[1]}"


def _escaped(symbol: str | int) -> str:
    if isinstance(symbol, int):
        symbol = chr(symbol) if symbol < 128 else f"\\x{symbol:02x}"
        if len(symbol) > 1:
            return symbol
    return symbol if symbol.isprintable() and symbol != "\\" else repr(symbol)[1:-1]
