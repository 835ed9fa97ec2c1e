"""Charts as SVG, to stand in a page: its colours are the page's, so that they follow its theme.

A chart holds no text but our own: what the user named stands in the page, beside it.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, MultipleLocator

from charrnn.model.forward import Array
from charrnn.scoring.context import ContextScore

SIZE = (4.6, 2.9)  # inches, of 72 units of the picture
# drawn in colours that nothing else has, and replaced by the page's own
INK, QUIET, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#05050{number}" for number in range(8))  # of as many runs; then again
_VARIABLES = {INK: "ink", QUIET: "quiet", GRID: "grid", PAPER: "paper"}
_VARIABLES |= {colour: f"series-{number}" for number, colour in enumerate(SERIES)}
# seconds between two marks of a time axis
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "charrnn",  # the same picture each time
    "font.size": 9.0,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
}

Kind = Literal["training", "validation"]


@dataclass(frozen=True)
class Line:
    """One curve of a chart."""

    x: Array
    y: Array
    number: int  # of its run, which sets the colour
    kind: Kind = "validation"
    best: tuple[float, float] | None = None  # the point to mark, if there is one


def line_chart(
    name: str, lines: Sequence[Line], x_label: str, y_label: str, *, from_zero: bool = False
) -> str:
    """Draws lines over characters, or over seconds if the label says time.

    Args:
        name: of the chart, different from all others of the page.
        lines: what is drawn.
        x_label: what x is.
        y_label: what y is.
        from_zero: whether y begins at 0; if not, the steep beginning may be cut off.
    """

    def draw(axes: Axes) -> None:
        for line in lines:
            thick, opacity = (1.8, 1.0) if line.kind == "validation" else (1.0, 0.55)
            colour = SERIES[line.number % len(SERIES)]
            axes.plot(line.x, line.y, color=colour, linewidth=thick, alpha=opacity)
            if line.best is not None:
                _mark(axes, line, colour, alone=len(lines) <= 2)
        right = max((line.x.max() for line in lines if len(line.x)), default=0.0) or 1.0
        axes.set_xlim(0, right)
        _time_axis(axes, right) if "time" in x_label else _count_axis(axes)
        low, high = _range(lines, right, from_zero)
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        if high >= 1000:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        else:
            axes.ticklabel_format(axis="y", style="plain", useOffset=False)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)

    return _svg(name, draw)


def _mark(axes: Axes, line: Line, colour: str, *, alone: bool) -> None:
    """Marks the best point; says its value if there is only one."""
    assert line.best is not None
    x, y = line.best
    axes.plot(
        [x], [y], "o", color=colour, markersize=6, markeredgecolor=PAPER, clip_on=False, zorder=5
    )
    if alone:
        right = x > 0.75 * float(line.x[-1])
        axes.annotate(
            f"best {y:.3f}",
            (x, y),
            xytext=(0 if right else 8, 9),
            textcoords="offset points",
            ha="right" if right else "left",
            color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _range(lines: Sequence[Line], right: float, from_zero: bool) -> tuple[float, float]:
    """Returns the lowest and the highest y that are drawn."""
    drawn = [line for line in lines if len(line.y)]
    if not drawn:
        return 0.0, 1.0
    if from_zero:
        return 0.0, 1.08 * max(float(line.y.max()) for line in drawn) or 1.0
    low = min(float(line.y.min()) for line in drawn)
    # a loss falls so steeply at first that the rest would look flat
    later = [line.y[line.x >= line.x[0] + 0.04 * (right - line.x[0])] for line in drawn]
    high = max((float(y.max()) for y in later if len(y)), default=low)
    margin = 0.08 * (high - low) or 0.05 * low or 1.0
    return low - margin, high + margin


def _count_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _time_axis(axes: Axes, seconds: float) -> None:
    days = _TIMES[-1] * math.ceil(seconds / 6 / _TIMES[-1])
    between = next((s for s in _TIMES if seconds / s <= 6), days)
    axes.xaxis.set_major_locator(MultipleLocator(between))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value, seconds)))


def clock(seconds: float, longest: float) -> str:
    """Returns seconds as ``m:ss``, or as ``h:mm`` if the longest of them is over an hour."""
    whole = round(seconds)
    if longest > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def context_chart(name: str, curve: Sequence[ContextScore], y_label: str, unit: str) -> str:
    """Draws the mean surprise by the length of the context, with its standard errors."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(curve))
        bits = [point.bits_per_char for point in curve]
        errors = [point.standard_error for point in curve]
        axes.errorbar(
            places,
            bits,
            yerr=errors,
            color=SERIES[0],
            ecolor=SERIES[0],
            linewidth=1.8,
            marker="o",
            markersize=4,
            capsize=3,
            elinewidth=1,
        )
        axes.set_xticks(places, [f"{point.context}" for point in curve])
        axes.set_ylim(0, 1.08 * max(bits))
        axes.set_xlabel(f"{unit}s of context")
        axes.set_ylabel(y_label)

    return _svg(name, draw)


def _svg(name: str, draw: Callable[[Axes], None]) -> str:
    """Returns what is drawn, as an element of a page."""
    backend = ("backend", "backend_fallback", "interactive")
    # whatever the user's own settings are
    settings: dict[Any, Any] = {
        k: v for k, v in matplotlib.rcParamsDefault.items() if k not in backend
    }
    with matplotlib.rc_context(settings | _STYLE):
        figure = Figure(SIZE, layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return _element(name, stream.getvalue())


def _element(name: str, document: str) -> str:
    """Returns a document's picture: no style that reaches further, ids of its own, our colours."""
    svg = document[document.index("<svg ") :]
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.S)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' id="(?:[a-z]\w*|matplotlib\.axis)_\d+"', "", svg)  # nobody refers to them
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"font-family:[^;\"]*;? ?", "", svg)
    # of places, not of what is written: a hundredth of a unit is less than any screen shows
    svg = re.sub(r'="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1).strip()
