"""How much context a model uses: its surprise by the number of characters read before.

What an RNN knows of an earlier character was passed on by every step since. So the same characters
are predicted again and again, each time from a longer context; once more context no longer helps,
the hidden state has forgotten what came before.

Shapes: n characters, P positions, k characters of context.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.config import UNIT_NAMES
from charrnn.errors import NothingToScoreError
from charrnn.model.forward import Predictor, overflow_allowed, require_finite, surprise
from charrnn.model.streams import Streams
from charrnn.text.chunks import Reader
from charrnn.text.vocabulary import Ids

CONTEXTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MAX_POSITIONS = 2000
MAX_CHARS = 2**24  # characters of a text that are read, from its start


@dataclass(frozen=True)
class ContextScore:
    """The surprise after one length of context."""

    context: int  # characters that the model has read
    bits_per_char: float  # mean surprise of the next character
    standard_error: float  # of that mean, bits


@overflow_allowed
def context_curve(
    model: Predictor,
    ids: Ids,
    positions: int = MAX_POSITIONS,
    watch: Callable[[int, float], None] = lambda context, share: None,
    longest: int = CONTEXTS[-1],
) -> list[ContextScore]:
    """Measures the surprise of a text, (n,), for each length of context.

    The same characters, evenly spaced and P = ``positions`` of them at most, are predicted from the
    last k before them, read from the zero state: the model knows nothing before those k, not even
    that a text started. ``watch`` is called with each context, and the share that is done before;
    contexts above ``longest`` are left out.

    Raises:
        NothingToScoreError: The text is too short for more than the shortest context.
        OverflowedError: The surprise is NaN or infinite.
    """
    contexts = [k for k in CONTEXTS if 2 * k < len(ids) and k <= longest]
    if len(contexts) < 2:
        raise NothingToScoreError(
            f"{len(ids)} {UNIT_NAMES[model.config.unit]}s: a context curve needs at least 3"
        )
    longest = contexts[-1]
    count = min(positions, len(ids) - longest)
    indices = np.unique(np.linspace(longest, len(ids) - 1, count).astype(np.int64))  # (P,)
    streams, curve = Streams(model), []
    for k in contexts:
        watch(k, sum(other for other in contexts if other < k) / sum(contexts))
        windows = ids[indices + np.arange(-k, 0)[:, None]]  # (k, P)
        zero = model.zero_state(len(indices))
        _, state = streams.side_by_side(windows, zero, model.advance)
        nats = require_finite(surprise(model.logits(state[-1]), ids[indices]))
        bits = nats.astype(np.float64) / math.log(2)  # (P,)
        error = float(bits.std(ddof=1)) / math.sqrt(len(bits)) if len(bits) > 1 else 0.0
        curve.append(ContextScore(k, float(bits.mean()), error))
    return curve


def enough_context(curve: Sequence[ContextScore]) -> int:
    """Returns the shortest context whose mean is within 1 % of the curve's best."""
    best = min(point.bits_per_char for point in curve)
    return next(point.context for point in curve if point.bits_per_char <= 1.01 * best)


def first_ids(pieces: Iterable[Ids]) -> Ids:
    """Returns the first :data:`MAX_CHARS` ids of a text that comes in pieces."""
    return Reader(iter(pieces)).read(MAX_CHARS)
