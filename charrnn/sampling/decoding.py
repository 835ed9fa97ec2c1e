"""Logits to ids.

Shapes: B samples side by side, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config import SamplingConfig
from charrnn.model.forward import overflow_allowed, overflowed
from charrnn.text.vocabulary import Ids

Floats = npt.NDArray[np.float64]
BLOCK = 256  # random numbers that each stream draws at once
SEEDS = 2**63


@overflow_allowed
def weights(logits: Floats, config: SamplingConfig) -> Floats:
    """Returns what the symbols' probabilities are proportional to, (B, V) or (V,), as the logits.

    They are NaN or 0 if the logits have no finite maximum.

    The options apply in the field's usual order: temperature, top-k, top-p, min-p; each sees what
    the ones before it left, renormalised.
    Source: Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p).
    """
    if config.temperature == 0 or config.top_k == 1:
        one_hot = np.zeros_like(logits)
        best = logits.argmax(-1, keepdims=True)
        highest = np.take_along_axis(logits, best, axis=-1)
        np.put_along_axis(one_hot, best, np.where(np.isfinite(highest), 1.0, 0.0), axis=-1)
        return one_hot
    p = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    p /= config.temperature  # if it is tiny, all but the best become -inf
    np.exp(p, out=p)
    if not (config.top_k or config.top_p < 1 or config.min_p):
        return p
    order = np.argsort(-p, axis=-1, kind="stable")  # (B, V), the most probable first
    if config.top_k:
        np.put_along_axis(p, order[..., config.top_k :], 0.0, axis=-1)
    p /= p.sum(-1, keepdims=True)
    if config.top_p < 1:
        descending = np.take_along_axis(p, order, axis=-1)
        before = descending.cumsum(-1) - descending  # mass of the more probable ones
        np.put_along_axis(p, order, np.where(before < config.top_p, descending, 0.0), axis=-1)
    p[p < config.min_p * p.max(-1, keepdims=True)] = 0.0
    return p


def draw(logits: npt.NDArray[Any], config: SamplingConfig, points: Floats) -> Ids:
    """Draws an id for each of B samples, (B,), by logits, (B, V), and numbers of [0, 1), (B,).

    Raises:
        OverflowedError: A sample's logits are NaN or infinite.
    """
    cumulative = weights(logits.astype(np.float64), config).cumsum(-1)
    if not (cumulative[:, -1] > 0).all():
        raise overflowed()
    drawn = (cumulative <= points[:, None] * cumulative[:, -1:]).sum(-1)
    symbols: Ids = np.minimum(drawn, cumulative.shape[-1] - 1)
    return symbols


def draw_one(logits: npt.NDArray[Any], config: SamplingConfig, point: float) -> int:
    """Draws what `draw` does for one sample, by logits, (V,), but faster."""
    cumulative = weights(logits.astype(np.float64), config).cumsum()
    if not cumulative[-1] > 0:
        raise overflowed()
    drawn = int(cumulative.searchsorted(point * cumulative[-1], side="right"))
    return min(drawn, len(cumulative) - 1)


class Points:
    """Random numbers of [0, 1), a stream from each of B seeds."""

    def __init__(self, seeds: Iterable[int]) -> None:
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        self._blocks = np.zeros((len(self._streams), 0))  # (B, BLOCK), numbers drawn ahead
        self._column = 0

    def next(self) -> Floats:
        """Returns the next number of each stream, (B,)."""
        if self._column == self._blocks.shape[1]:
            self._blocks = np.stack([stream.random(BLOCK) for stream in self._streams])
            self._column = 0
        self._column += 1
        return self._blocks[:, self._column - 1]

    def keep(self, rows: Sequence[int]) -> None:
        """Drops the streams of all other rows."""
        self._streams = [self._streams[row] for row in rows]
        self._blocks = self._blocks[rows]


def sample_seeds(config: SamplingConfig, count: int) -> list[int]:
    """Returns the seeds of the first ``count`` samples; each makes its sample alone, too."""
    assert config.seed is not None, "the caller draws the seed, so that it can report it"
    return [(config.seed + i) % SEEDS for i in range(count)]
