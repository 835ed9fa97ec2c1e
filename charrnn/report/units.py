"""Hidden units: what each follows of a text, and a picture of what they do in a passage.

A unit follows a trait of the text if its h_t goes up and down with it: r, the correlation, is 1 or
-1 then, and 0 if they have nothing to do with each other. Source of the idea: Karpathy, Johnson,
Fei-Fei, "Visualizing and Understanding Recurrent Networks", 2015.

Shapes: m characters of a text, n of the passage, R traits, T time, B streams, L layers, H hidden.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from charrnn.model.forward import Array, Forward, Predictor, overflow_allowed
from charrnn.text.vocabulary import Ids, Piece

LEVELS = 15  # of a unit's activity, from the lowest to the highest; the middle one is 0
LOW, MIDDLE, HIGH = (33, 102, 172), (247, 247, 247), (178, 24, 43)  # their colours, RGB
MOST_UNITS = 1024  # of a layer that are shown
MOST_LAYERS = 4  # that are shown
MOST_NUMBERS = 2**23  # of hidden states that are held at once
LEAST = 0.005  # of r, as a size: below, it is shown as 0
STREAMS, SHORTEST = 16, 256  # a text is read as streams of so many characters at least
TRAITS = (
    "inside quotes",
    "inside brackets",
    "position in the line",
    "position in the word",
    "after a space",
    "first letter of a word",
    "capital letter",
    "newline comes next",
)


def traits(text: str) -> Array:
    """Returns what a reader knows of each character, once it is read, (R, m)."""
    rows = np.zeros((len(TRAITS), len(text)), np.float32)
    quoted, brackets, column, letters = False, 0, 0, 0
    for place, character in enumerate(text):
        if character == "\n" and text[place - 1 : place] == "\n":
            quoted, brackets = False, 0  # a new paragraph: whatever was left open
        if character in '"“”„«»':
            # “ opens in English and closes in German
            quoted = not quoted if character in '"“' else character in "„«"
        brackets = max(brackets + (character in "([{") - (character in ")]}"), 0)
        letters = letters + 1 if character.isalnum() else 0
        rows[:, place] = (
            quoted,
            brackets > 0,
            column,
            letters,
            character == " ",
            letters == 1,
            character.isupper(),
            text[place + 1 : place + 2] == "\n",
        )
        column = 0 if character == "\n" else column + 1
    return rows


def text_length(network: Predictor) -> int:
    """Returns how many characters are read to see what units follow, m."""
    config = network.config
    return max(512, min(8192, MOST_NUMBERS // (config.num_layers * config.hidden_size)))


@overflow_allowed
def correlations(network: Forward, ids: Ids, text: Piece) -> Array:
    """Returns how each unit follows each trait of a text, r, (R, L, H); 0 if one never changes.

    The text is read as streams side by side, each from the zero state; their starts do not count.
    """
    layers, size = network.config.num_layers, network.config.hidden_size
    count = max(1, min(STREAMS, len(ids) // SHORTEST))  # B
    length = len(ids) // count  # T
    warm = min(32, length // 8)
    x = ids[: count * length].reshape(count, length).T  # (T, B)
    states = network.states(x, network.zero_state(count))[0][..., :size]  # (T, L, B, H)
    h = np.moveaxis(states[warm:], 2, 0).reshape(-1, layers * size)
    characters = text if isinstance(text, str) else text.decode("latin-1")
    known = traits(characters)[:, : count * length].reshape(len(TRAITS), count, length)[:, :, warm:]
    r = _standard(known.reshape(len(TRAITS), -1).T).T @ _standard(h) / max(len(h), 1)
    return np.nan_to_num(r, posinf=0, neginf=0).reshape(len(TRAITS), layers, size)


def _standard(columns: Array) -> Array:
    """Returns columns with mean 0 and variance 1; what never changes becomes 0."""
    columns = columns - columns.mean(axis=0)
    deviation = columns.std(axis=0)
    return np.asarray(columns / np.where(deviation > 1e-6, deviation, np.inf))


@dataclass(frozen=True)
class Unit:
    """What a unit follows most."""

    number: int  # of its layer, from 0 up
    trait: int  # of TRAITS
    r: float


@dataclass(frozen=True)
class LayerUnits:
    """The units of a layer, and what they do in the passage."""

    layer: int  # from 1 up, as they are read
    units: Sequence[Unit]  # those that follow something most come first
    best: Sequence[Unit | None]  # which unit follows each trait most, if any does
    picture: str  # a data URI: a row for each of the units, a column for each character
    scale: float  # the activity that the highest level stands for


def shown_layers(layers: int) -> list[int]:
    """Returns which layers are shown, from 0 up: all, or some from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, layers - 1, min(layers, MOST_LAYERS))})


def layer_units(states: Array, r: Array, layer: int) -> LayerUnits:
    """Returns a layer's units.

    Args:
        states: of the passage, (n, L, H).
        r: of :func:`correlations`, (R, L, H).
        layer: from 0 up.
    """
    of_layer = r[:, layer]  # (R, H)
    most = np.abs(of_layer).argmax(axis=0)
    figures = np.take_along_axis(of_layer, most[None], axis=0)[0]
    order = np.argsort(-np.abs(figures), kind="stable")[:MOST_UNITS]
    h = np.nan_to_num(states[:, layer, order])  # (n, units)
    # of relu, which has no bound, some outliers may be cut
    scale = 1.0 if h.min(initial=0) < 0 else float(np.quantile(h, 0.999)) if h.size else 1.0
    half = LEVELS // 2
    levels = np.clip(np.round(h / max(scale, 1e-6) * half) + half, 0, LEVELS - 1)
    units = [Unit(int(i), int(most[i]), round(float(figures[i]), 2)) for i in order]
    shown = of_layer[:, order]
    bests = [
        Unit(int(order[i]), trait, round(float(row[i]), 2)) if abs(row[i]) >= LEAST else None
        for trait, row in enumerate(shown)
        for i in [np.abs(row).argmax()]
    ]
    return LayerUnits(layer + 1, units, bests, _picture(levels.T.astype(np.uint8)), scale)


def palette() -> list[tuple[int, int, int]]:
    """Returns the colour of each level, RGB."""
    half = LEVELS // 2
    return [
        _mixed(MIDDLE, LOW if level < half else HIGH, abs(level - half) / half)
        for level in range(LEVELS)
    ]


def _mixed(
    one: tuple[int, int, int], other: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    a, b, c = (round(x + (y - x) * share) for x, y in zip(one, other, strict=True))
    return a, b, c


def _picture(levels: Array) -> str:
    """Returns a data URI of a PNG with four bits for each level, (rows, columns)."""
    image = Image.fromarray(levels, "P")
    image.putpalette([channel for colour in palette() for channel in colour])
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=4, optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
