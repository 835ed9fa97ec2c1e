"""Curves and charts: what a history tells, drawn."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.report.charts import Line, clock, context_chart, line_chart
from charrnn.report.curves import LN_2, curves_of, thinned
from charrnn.scoring.context import ContextScore


def step(number: int, **fields: object) -> dict[str, object]:
    known = {"chars": 100 * number, "elapsed_s": 0.5 * number, "train_nats_per_char": 2.0}
    return {"event": "step", "step": number, **known, **fields}


def evaluation(number: int, nats: float | None) -> dict[str, object]:
    known = {"chars": 100 * number, "elapsed_s": 0.5 * number}
    return {"event": "eval", "step": number, **known, "val_nats_per_char": nats, "best": True}


def test_a_history_becomes_columns_in_bits() -> None:
    curves = curves_of([step(1), evaluation(1, 3.0), step(2), evaluation(2, 2.0)])
    assert curves.steps["chars"].tolist() == [100, 200]
    assert curves.steps["train_bits"].tolist() == pytest.approx([2 / LN_2] * 2)
    assert curves.evaluations["val_bits"].tolist() == pytest.approx([3 / LN_2, 2 / LN_2])
    assert (curves.best(), curves.left_out) == (1, 0)


@pytest.mark.parametrize(
    "foreign",
    [
        None,
        {"event": "else", "step": 1},
        step(1, chars="many"),
        step(1, elapsed_s=True),
        step(1, learning_rate=[1]),
        step(1, chars=-5),
        step(1, elapsed_s=1e300),
    ],
)
def test_foreign_entries_are_left_out_and_counted(foreign: dict[str, object] | None) -> None:
    curves = curves_of([step(1), foreign, step(2)])
    assert (len(curves.steps["chars"]), curves.left_out) == (2, 1)


def test_what_is_not_known_is_nan() -> None:
    curves = curves_of([evaluation(1, None), evaluation(2, None)])
    assert curves.best() is None
    assert np.isnan(curves.evaluations["val_bits"]).all()
    assert curves_of([]).best() is None


def test_a_long_curve_is_thinned_to_means() -> None:
    x, y = np.arange(1000.0), np.tile([1.0, 3.0], 500)
    xs, ys = thinned(x, y, 100)
    assert len(xs) == len(ys) == 100
    assert ys.tolist() == [2.0] * 100
    assert (xs[-1], bool((np.diff(xs) > 0).all())) == (999, True)
    y[:990] = np.nan
    assert len(thinned(x, y, 100)[0]) == 10


def texts(svg: str) -> list[str]:
    """Returns the texts of a chart."""
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]


def line(x: list[float], y: list[float], **more: object) -> Line:
    return Line(np.array(x), np.array(y), **{"number": 0, **more})  # type: ignore[arg-type]


def test_axes_are_labelled_with_units() -> None:
    curve = line([0, 2_500_000], [3.0, 1.5], best=(2_500_000, 1.5))
    shown = texts(line_chart("a", [curve], "characters read", "bits per character"))
    assert {"characters read", "bits per character", "best 1.500", "500k", "2M"} <= set(shown)
    shown = texts(line_chart("b", [line([0, 200], [1, 2])], "time trained (m:ss)", "y"))
    assert {"0:00", "1:00", "3:00"} <= set(shown)
    rate = line([0, 1], [0.004, 0.0008])
    assert "0.004" in texts(line_chart("c", [rate], "x", "learning rate", from_zero=True))
    speed = line([0, 1], [54_000, 55_000])
    assert "40k" in texts(line_chart("d", [speed], "x", "y", from_zero=True))


def test_the_steep_beginning_does_not_flatten_the_rest() -> None:
    x = np.linspace(0, 1000, 500)
    shown = texts(line_chart("a", [Line(x, 1.5 + 5 * np.exp(-x), 0)], "x", "y"))
    numbers = [float(text) for text in shown if re.fullmatch(r"\d\.\d+", text)]
    assert numbers and max(numbers) < 2


@pytest.mark.parametrize("y", [[], [2.0], [0.0], [2.0, 2.0]])
def test_few_points_are_drawn(y: list[float]) -> None:
    assert texts(line_chart("a", [line([0.0] * len(y), y)], "x", "y"))
    assert texts(line_chart("a", [line([0.0] * len(y), y)], "time", "y", from_zero=True))


def test_a_chart_is_the_same_each_time_and_follows_the_pages_theme() -> None:
    def draw(name: str) -> str:
        return line_chart(name, [line([0, 1], [1, 2]), line([0, 1], [2, 1], number=9)], "x", "y")

    assert draw("one") == draw("one")
    svg = draw("one")
    assert not re.search(r"#[0-9a-f]{6}\b", svg), "a colour of its own"
    assert {"var(--series-0)", "var(--series-1)", "var(--ink)", "var(--grid)"} - set(
        re.findall(r"var\(--[\w-]+\)", svg)
    ) <= {"var(--ink)"}
    assert "<style" not in svg and "<?xml" not in svg and "<!DOCTYPE" not in svg
    ids = [set(re.findall(r' id="([^"]+)"', draw(name))) for name in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert referred <= ids[0]


def test_a_context_curve_shows_its_contexts() -> None:
    curve = [ContextScore(k, 6 / (k + 1), 0.1) for k in (0, 1, 2, 4)]
    shown = texts(context_chart("context", curve, "bits per byte", "byte"))
    assert {"0", "1", "2", "4", "bits per byte", "bytes of context"} <= set(shown)


@pytest.mark.parametrize(
    ("seconds", "longest", "shown"),
    [(0, 60, "0:00"), (75, 600, "1:15"), (5400, 7200, "1:30"), (3600, 3600, "60:00")],
)
def test_times_are_written_as_on_a_clock(seconds: float, longest: float, shown: str) -> None:
    assert clock(seconds, longest) == shown
