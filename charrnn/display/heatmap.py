"""The text, coloured by its surprise."""

import codecs
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from charrnn.display.console import LN_2, _escaped

if TYPE_CHECKING:
    from charrnn.scoring.reports import CharScore


HEAT = (
    (1.0, ""),
    (2.0, "black on cyan"),
    (4.0, "black on green"),
    (8.0, "black on yellow"),
    (math.inf, "white on red"),
)
"""Below so many bits, this style: both its colours are set, so that any terminal shows it."""


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
