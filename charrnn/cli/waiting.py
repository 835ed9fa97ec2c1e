"""What people see while the program waits or works: that it reads what they type, or a bar."""

import os
import stat
import sys
from collections.abc import Sequence

from charrnn.display.console import note
from charrnn.display.progress import AtOutput, Bar


def types(sources: Sequence[str]) -> bool:
    """Returns whether somebody types one of some sources: standard input is a terminal."""
    return "-" in sources and sys.stdin is not None and sys.stdin.isatty()


def tell_who_types(sources: Sequence[str] = ("-",)) -> None:
    """Notes that standard input is read, if it is one of some sources, and a terminal."""
    if types(sources):
        key = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        note(f"reading standard input; end it with {key}")


def output_bar(sources: Sequence[str], *, by_lines: bool) -> Bar:
    """Returns a bar that does not get into the way of the output, nor of whoever types a source.

    Arguments as for :func:`at_output`.
    """
    return Bar(shown=not types(sources), at_output=at_output(1, sources, by_lines=by_lines))


def at_output(output: int, sources: Sequence[str], *, by_lines: bool) -> AtOutput:
    """Returns what a bar does before output is written.

    What a pipe gets may be shown on the same terminal. So a bar is drawn again only between lines,
    and not if the next line may be long in coming.

    Args:
        output: descriptor of what is written to.
        sources: what is read.
        by_lines: whether only whole lines are written.
    """
    try:
        mode = os.fstat(output).st_mode
    except OSError:
        return "end"
    if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(output)):  # like /dev/null
        return "stay"
    return "vanish" if stat.S_ISFIFO(mode) and by_lines and "-" not in sources else "end"
