"""What all displays share: notes, printable and exact text, durations.

Notes, progress and errors go to standard error. A terminal that goes away ends the drawing, never
the work.
"""

import contextlib
import math
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from charrnn.system import wait_until_writable

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.25  # seconds between two drawings of the same thing, at least
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LN_2 = math.log(2)  # nats per bit


def duration(seconds: float) -> str:
    """Returns seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def exact_bytes(text: str | bytes) -> bytes:
    """Returns a text's bytes, as UTF-8; a lone surrogate stands for an invalid byte."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Replaces all control characters but newlines by ``·``, so that none reaches a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def without_control(text: str) -> str:
    r"""Returns a text that cannot drive a terminal: control characters but \n and \t escaped."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def escaped(symbol: str | int) -> str:
    """Returns a character, or a byte, as printable text without backslashes of its own."""
    if isinstance(symbol, int):
        if symbol >= 128:
            return f"\\x{symbol:02x}"
        symbol = chr(symbol)
    return symbol if symbol.isprintable() and symbol != "\\" else repr(symbol)[1:-1]


# called before a note is printed, or output is written: what is drawn in its place vanishes
on_note: list[Callable[[], None]] = []
on_output: list[Callable[[], None]] = []


def note(message: str) -> None:
    """Prints one line for the user on standard error."""
    for vanish in on_note:
        vanish()
    line = printable(message).replace("\n", " ")
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            try:
                print(line, file=sys.stderr, flush=True)
            except BlockingIOError:  # the line is in the buffer
                wait_until_writable(sys.stderr)
                sys.stderr.flush()


def write_waiting(stream: Any, data: bytes) -> None:
    """Writes bytes to a stream without a buffer; waits if it is non-blocking and takes no more.

    Raises:
        OSError: They cannot be written.
    """
    rest = memoryview(data)
    while rest:
        count = stream.write(rest)
        if count is None:
            wait_until_writable(stream)
        else:
            rest = rest[count:]


def is_terminal() -> bool:
    """Returns whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def drawing_console() -> "Console | None":
    """Returns rich's console if standard error is a terminal that can redraw a line, else None.

    rich is loaded only if there is a terminal: it takes a fifth of a short command's time.
    """
    if not is_terminal():
        return None
    from rich.console import Console

    class CursorShown(Console):
        """Never hides the cursor: a signal that ends the program at once would leave it so."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    console = CursorShown(stderr=True)
    return None if console.is_dumb_terminal else console
