"""The charts of a training: what it learnt, its learning rate, its speed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.report.charts import Line, clock, line_chart
from charrnn.report.curves import Curves, thinned
from charrnn.report.facts import Subject, unit_name

MOST_POINTS, POINTS = 3000, 300  # of all runs' curves of a chart; of one of them


@dataclass(frozen=True)
class Chart:
    """A picture with its title, and what it shows in words."""

    title: str
    svg: str
    summary: str = ""


def learning_charts(subjects: Sequence[Subject]) -> Iterator[Chart]:
    """Yields the charts of some runs; none if no history tells anything."""
    if not any(len(column) for s in subjects for column in _columns(s.curves)):
        return
    unit = " or ".join(dict.fromkeys(unit_name(s.run) for s in subjects))
    units = " or ".join(dict.fromkeys(unit_name(s.run) + "s" for s in subjects))
    longest_s = max(float(np.max(c, initial=0)) for s in subjects for c in _columns(s.curves))
    time = "time trained (h:mm)" if longest_s > 3600 else "time trained (m:ss)"
    read, bits = f"{units} read", f"bits per {unit}"
    summary = _summary(subjects[0]) if len(subjects) == 1 else ""
    chart = line_chart("chars", _losses(subjects, "chars"), read, bits)
    yield Chart(f"Surprise by {units} read", chart, summary)
    chart = line_chart("seconds", _losses(subjects, "elapsed_s"), time, bits)
    yield Chart("Surprise by time", chart)
    rates = _lines(subjects, "chars", "learning_rate")
    yield Chart("Learning rate", line_chart("rate", rates, read, "learning rate", from_zero=True))
    speeds, label = _lines(subjects, "elapsed_s", "chars_per_second"), f"{units} per second"
    yield Chart("Speed", line_chart("speed", speeds, time, label, from_zero=True))


def _columns(curves: Curves) -> list[np.ndarray]:
    """Returns the seconds of all that a history tells."""
    tables = (curves.steps, curves.evaluations)
    return [table["elapsed_s"][np.isfinite(table["elapsed_s"])] for table in tables if table]


def _points(subjects: Sequence[Subject]) -> int:
    return max(40, min(POINTS, MOST_POINTS // len(subjects)))


def _lines(subjects: Sequence[Subject], x: str, y: str) -> list[Line]:
    """Returns a line of the updates' entries for each run."""
    return [
        Line(*thinned(s.curves.steps[x], s.curves.steps[y], _points(subjects)), number)
        for number, s in enumerate(subjects)
        if s.curves.steps
    ]


def _losses(subjects: Sequence[Subject], x: str) -> list[Line]:
    """Returns the training and the validation of each run."""
    lines = []
    for number, subject in enumerate(subjects):
        steps, evaluations = subject.curves.steps, subject.curves.evaluations
        if steps:
            xs, ys = thinned(steps[x], steps["train_bits"], _points(subjects))
            lines.append(Line(xs, ys, number, "training"))
        if evaluations and (best := subject.curves.best()) is not None:
            mark = (float(evaluations[x][best]), float(evaluations["val_bits"][best]))
            xs, ys = thinned(evaluations[x], evaluations["val_bits"], _points(subjects))
            lines.append(Line(xs, ys, number, best=mark if math.isfinite(mark[0]) else None))
    return lines


def _summary(subject: Subject) -> str:
    """Returns in words how validation went."""
    best, evaluations = subject.curves.best(), subject.curves.evaluations
    if best is None:
        return ""
    bits, seconds = evaluations["val_bits"], evaluations["elapsed_s"]
    known = bits[np.isfinite(bits)]
    after = f" after {clock(seconds[best], seconds[best])}" if np.isfinite(seconds[best]) else ""
    return (
        f"Validation: {known[0]:.3f} at first, {bits[best]:.3f} at best{after}, "
        f"{known[-1]:.3f} in the end."
    )
