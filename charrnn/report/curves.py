"""A run's history as curves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.model.forward import Array

LN_2 = math.log(2)  # nats per bit
# of an entry of the history, what must be numbers, if they are known
_NUMBERS = (
    *("step", "chars", "elapsed_s", "learning_rate", "chars_per_second"),
    *("train_nats_per_char", "val_nats_per_char"),
)


@dataclass(frozen=True)
class Curves:
    """What a history tells; NaN is what is not known."""

    steps: Mapping[str, Array] = field(default_factory=dict)  # columns of the updates' entries
    evaluations: Mapping[str, Array] = field(default_factory=dict)  # and of the evaluations'
    left_out: int = 0  # lines that no training wrote

    def latest(self, name: str) -> float | None:
        """Returns the largest figure of a column, if any is known."""
        tables = [table[name] for table in (self.steps, self.evaluations) if table]
        known = [float(column[np.isfinite(column)].max(initial=-1)) for column in tables]
        largest = max(known, default=-1)
        return None if largest < 0 else largest

    def best(self) -> int | None:
        """Returns which evaluation was the best one, from 0 up; None if there was none."""
        bits = self.evaluations.get("val_bits")
        if bits is None or not np.isfinite(bits).any():
            return None
        return int(np.nanargmin(bits))


def curves_of(entries: Iterable[Mapping[str, Any] | None]) -> Curves:
    """Returns the curves of a history's entries; None is a line that no training wrote."""
    rows: dict[str, list[list[float]]] = {"step": [], "eval": []}
    left_out = 0
    for entry in entries:
        known = entry and all(_is_number(entry.get(name)) for name in _NUMBERS)
        if not entry or not known or entry["event"] not in rows:
            left_out += 1
            continue
        figures = (entry.get(name) for name in _NUMBERS)
        rows[entry["event"]].append([math.nan if f is None else f for f in figures])
    return Curves(_columns(rows["step"]), _columns(rows["eval"]), left_out)


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < 1e18)


def _columns(rows: Sequence[Sequence[float]]) -> dict[str, Array]:
    table = np.array(rows, np.float64).reshape(-1, len(_NUMBERS))
    columns = dict(zip(_NUMBERS, table.T, strict=True))
    columns["train_bits"] = columns.pop("train_nats_per_char") / LN_2
    columns["val_bits"] = columns.pop("val_nats_per_char") / LN_2
    return columns


def thinned(x: Array, y: Array, points: int) -> tuple[Array, Array]:
    """Returns a curve of at most some points, each the mean of neighbours; what is NaN is left out.

    The last x stays.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) <= points:
        return x, y
    starts = np.linspace(0, len(x), points, endpoint=False).astype(int)
    counts = np.diff([*starts, len(x)])
    means = (np.add.reduceat(column, starts) / counts for column in (x, y))
    xs, ys = means
    xs[-1] = x[-1]
    return xs, ys
