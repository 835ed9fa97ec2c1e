"""How far a model remembers: its surprise by how much of the text before it has read.

What an RNN knows of a character long past was relayed through every step since. So the same
characters are predicted again and again, each time from more of what stands before them, and where
more no longer helps, the memory ends.

Shapes: n characters, P positions, k characters of context.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from charrnn.config import OnUnknown
from charrnn.errors import CorpusError
from charrnn.model.network import CharRNN
from charrnn.text.chunks import Piece, Reader
from charrnn.text.vocabulary import Ids, Vocabulary

CONTEXTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MAX_POSITIONS = 2000
MAX_CHARS = 2**24
"""Characters of a text that are looked at, from its start."""


@dataclass(frozen=True)
class ContextScore:
    """How surprised the model is when it has seen only so much.

    Attributes:
        context: characters that it has seen.
        bits_per_char: mean surprise of the next character.
        standard_error: of that mean.
    """

    context: int
    bits_per_char: float
    standard_error: float


def context_curve(model: CharRNN, ids: Ids, positions: int = MAX_POSITIONS) -> list[ContextScore]:
    """Measures the surprise by the length of what was read.

    The same characters of the text, evenly spread, are predicted from the last k before them, read
    from the zero state: of nothing before those k does it know, not even that a text started.

    Args:
        model: the network, in evaluation mode.
        ids: the text, (n,).
        positions: P, characters to predict, at most.

    Raises:
        CorpusError: The text is too short for any but the shortest context.
    """
    contexts = [k for k in CONTEXTS if 2 * k < len(ids)]
    if len(contexts) < 2:
        raise CorpusError(f"{len(ids)} characters: a context curve needs at least 3")
    first = contexts[-1]
    count = min(positions, len(ids) - first)
    at = np.unique(np.linspace(first, len(ids) - 1, count).astype(np.int64))
    targets = torch.from_numpy(ids[at].astype(np.int64))
    curve = []
    with torch.inference_mode():
        for k in contexts:
            state = model.zero_state(len(at))
            h = state[-1]
            if k:
                windows = ids[at[None, :] + np.arange(-k, 0)[:, None]]  # (k, P)
                x = torch.from_numpy(windows.astype(np.int64))
                for part in torch.split(x, 64):
                    hs, state = model.hidden(part, state)
                h = hs[-1]
            bits = nn.functional.cross_entropy(model.output(h), targets, reduction="none")
            bits = bits / math.log(2)
            error = float(bits.std()) / math.sqrt(len(at)) if len(at) > 1 else 0.0
            curve.append(ContextScore(k, float(bits.mean()), error))
    return curve


def enough_context(curve: Sequence[ContextScore]) -> int:
    """Returns the shortest context whose mean is within 1 % of the curve's best."""
    best = min(point.bits_per_char for point in curve)
    return next(point.context for point in curve if point.bits_per_char <= 1.01 * best)


def read_ids(
    vocabulary: Vocabulary, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> Ids:
    """Returns the ids of a text's first :data:`MAX_CHARS` characters.

    Raises:
        UnknownCharacterError: The text holds unknown characters, and they are not to be skipped.
    """
    return Reader(vocabulary.encode(piece, on_unknown) for piece in pieces).read(MAX_CHARS)
