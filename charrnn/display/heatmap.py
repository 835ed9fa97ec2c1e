"""A heat map: the text, each character coloured by its surprise."""

import codecs
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from charrnn.display.console import escaped

if TYPE_CHECKING:
    from charrnn.scoring.reports import CharScore

LONGEST_LINE = 2**12  # characters that are drawn at once; a longer line is drawn in parts

# the style for fewer bits than this; each sets both colours, so that any terminal shows it
HEAT = (
    (1.0, ""),
    (2.0, "black on cyan"),
    (4.0, "black on green"),
    (8.0, "black on yellow"),
    (math.inf, "white on red"),
)


class HeatMap:
    """Draws a text for standard output, each character coloured by its surprise."""

    def __init__(self) -> None:
        self._console = _console()
        self._line = Text()
        self._begun = False  # whether the start of the line was drawn
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._bits = 0.0  # of the bytes of a character whose last byte is still to come

    def draw(self, scores: Iterable["CharScore"]) -> str:
        """Returns the lines that the next characters (or bytes) complete."""
        lines = []
        for character, bits in self._characters(scores):
            style = next((style for below, style in HEAT if bits < below), HEAT[-1][1])
            if character == "\n":
                self._line.append("↵" if style else "", style)
                lines.append(self._drawn_line())
                continue
            self._line.append("\\" if character == "\\" else escaped(character), style)
            if len(self._line) >= LONGEST_LINE:
                lines.append(_drawn(self._console, self._line, end=""))
                self._line, self._begun = Text(), True
        return "".join(lines)

    def end(self) -> str:
        """Returns the last line if no newline ended it."""
        return self._drawn_line() if self._line or self._begun else ""

    def _drawn_line(self) -> str:
        line, self._line, self._begun = self._line, Text(), False
        return _drawn(self._console, line)

    def _characters(self, scores: Iterable["CharScore"]) -> Iterator[tuple[str, float]]:
        """Yields characters and their bits; those of a character's bytes are added up."""
        for score in scores:
            self._bits += score.bits
            symbol = score.symbol
            text = symbol if isinstance(symbol, str) else self._decoder.decode(bytes([symbol]))
            if text:
                yield from ((character, self._bits / len(text)) for character in text)
                self._bits = 0.0


def has_colours() -> bool:
    """Returns whether standard output shows colours."""
    console = Console()
    return console.color_system is not None and not console.no_color


def heat_legend() -> str:
    """Returns the line that explains the colours."""
    legend, low = Text("bits: "), 0.0
    for below, style in HEAT:
        words = f"to {below:.0f}" if below < math.inf else "or more"
        legend.append(f" {low:.0f} {words} ", style)
        low = below
    return _drawn(_console(), legend)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _drawn(console: Console, text: Text, end: str = "\n") -> str:
    with console.capture() as capture:
        console.print(text, end=end)
    return capture.get()
