"""A passage as cells of a page, one for each character, and what the page's script knows."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from charrnn.report.labels import glyphs, label
from charrnn.report.units import TRAITS, LayerUnits, palette
from charrnn.scoring.passage import Passage
from charrnn.text.vocabulary import Vocabulary

SURPRISES = 11  # levels of surprise: of n bits or more, the last one of 10 or more


class Cell(NamedTuple):
    """A character of the passage."""

    glyph: str  # what is shown
    level: int  # of surprise
    title: str  # its bits and its rank


def cells(passage: Passage) -> Iterator[Cell]:
    """Yields the cell of each character."""
    figures = zip(passage.bits.tolist(), passage.ranks.tolist(), strict=True)
    for glyph, (bits, rank) in zip(glyphs(passage.text), figures, strict=True):
        yield Cell(glyph, min(int(bits), SURPRISES - 1), f"{bits:.2f} bits, rank {rank:,}")


def script_data(
    passage: Passage, vocabulary: Vocabulary, layers: Sequence[LayerUnits]
) -> dict[str, Any]:
    """Returns what the page's script knows of the passage and of the units, as JSON values."""
    likely = passage.likely
    ids = sorted(set(likely.ravel().tolist()))
    places = {symbol: place for place, symbol in enumerate(ids)}
    return {
        "labels": [label(symbol) for symbol in passage.text],
        "bits": [round(bits, 2) for bits in passage.bits.tolist()],
        "ranks": passage.ranks.tolist(),
        "symbols": [label(vocabulary.symbols[i]) for i in ids],
        # of each character, as many as the vocabulary has, up to five
        "each": likely.shape[1],
        "likely": [places[i] for i in likely.ravel().tolist()],
        "permille": [round(1000 * p) for p in passage.probabilities.ravel().tolist()],
        "traits": TRAITS,
        "palette": palette(),
        "layers": [
            {
                "layer": layer.layer,
                "scale": round(layer.scale, 3),
                "units": [[unit.number, unit.trait, unit.r] for unit in layer.units],
            }
            for layer in layers
        ],
    }
