"""Notes, printable text, durations."""

import contextlib
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    pass

LN_2 = math.log(2)
BLOCKS = "▁▂▃▄▅▆▇█"


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


def has_colours() -> bool:
    """Tells whether standard output shows colours."""
    console = Console()
    return console.color_system is not None and not console.no_color


def _escaped(symbol: str | int) -> str:
    if isinstance(symbol, int):
        symbol = chr(symbol) if symbol < 128 else f"\\x{symbol:02x}"
        if len(symbol) > 1:
            return symbol
    return symbol if symbol.isprintable() and symbol != "\\" else repr(symbol)[1:-1]
