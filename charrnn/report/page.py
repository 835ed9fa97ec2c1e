"""The page: everything that is shown of runs, as one file of HTML without links to others.

All text is escaped by the template. The page's policy forbids every request and every script but
our own, which it names by its hash.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

import charrnn
from charrnn.report.cells import SURPRISES, cells, script_data
from charrnn.report.charts import SERIES, context_chart
from charrnn.report.facts import RUN_HEADS, Subject, fact_groups, key_figures, run_row, unit_name
from charrnn.report.labels import plain, readable
from charrnn.report.learning import Chart, learning_charts
from charrnn.report.measures import SAMPLE_LENGTH, SAMPLE_SEED, Measures
from charrnn.report.units import LEVELS, TRAITS
from charrnn.scoring.context import enough_context
from charrnn.store.commands import exact
from charrnn.store.runs import Run
from charrnn.text.vocabulary import Vocabulary

ENVIRONMENT = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
# what the colours of a unit's activity mean
BOUNDED, RELU = "red is 1, blue is −1", "the redder the higher; relu is never below 0"


def page(
    subjects: Sequence[Subject],
    measures: Measures,
    vocabulary: Vocabulary,
    notes: Sequence[str] = (),
    reload_s: int = 0,
) -> bytes:
    """Returns the page of one run or several.

    Args:
        subjects: the runs; all but the first one only in curves and tables.
        measures: of the first one's model.
        vocabulary: of that model.
        notes: what the reader should know first, a line each.
        reload_s: after how many seconds the page reloads itself; 0: never.
    """
    run, more = subjects[0].run, len(subjects) - 1
    unit, script = unit_name(run), _file("page.js")
    return (
        ENVIRONMENT.from_string(_file("page.html"))
        .render(
            title=plain(run.name) + f" and {more} more" * (more > 0),
            policy=_policy(script),
            script=script,
            style=_file("page.css"),
            surprises=SURPRISES,
            levels=LEVELS,
            colours=len(SERIES),
            reload_s=reload_s,
            notes=[plain(note) for note in [*notes, *measures.notes]],
            version=charrnn.__version__,
            unit=unit,
            runs=[{"name": plain(s.run.name), "row": run_row(s)} for s in subjects],
            run_heads=RUN_HEADS,
            key_figures=key_figures(subjects[0]),
            charts=list(learning_charts(subjects)),
            context=_context(measures, unit),
            passage=_passage(measures, unit),
            layers=measures.layers,
            traits=TRAITS,
            data=_data(measures, vocabulary),
            samples=list(_samples(run, measures)),
            groups=fact_groups(subjects),
        )
        .encode("utf-8")
    )


def _file(name: str) -> str:
    return files("charrnn.report").joinpath(name).read_text("utf-8")


def _policy(script: str) -> str:
    """Returns the content security policy: no request, no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _context(measures: Measures, unit: str) -> Chart | None:
    if not measures.context:
        return None
    enough = enough_context(measures.context)
    svg = context_chart("context", measures.context, f"bits per {unit}", unit)
    summary = f"it is within 1\u00a0% of its best from a context of {enough:,} {unit}s on."
    return Chart("", svg, summary)


def _passage(measures: Measures, unit: str) -> dict[str, Any] | None:
    passage = measures.passage
    if passage is None or not len(passage.text):
        return None
    first = float(np.mean(passage.ranks == 1))
    return {
        "name": plain(measures.text_name[:1].upper() + measures.text_name[1:]),
        "count": f"{len(passage.text):,}",
        "chars": len(passage.text),
        "cells": cells(passage),
        "summary": f"{float(passage.bits.mean()):.2f} bits per {unit} over {len(passage.text):,} "
        f"{unit}s; {100 * first:.0f}\u00a0% of them were what the model found most probable.",
        "colours": BOUNDED if all(layer.scale == 1 for layer in measures.layers) else RELU,
    }


def _data(measures: Measures, vocabulary: Vocabulary) -> dict[str, Any]:
    if measures.passage is None:
        return {}
    return script_data(measures.passage, vocabulary, measures.layers)


def _samples(run: Run, measures: Measures) -> Iterator[dict[str, str]]:
    """Yields the samples, each with the command that writes it again."""
    model = exact(run.path)
    for temperature, text in measures.samples:
        command = (
            f"charrnn sample --model {model} --temperature {temperature} "
            f"--length {SAMPLE_LENGTH} --seed {SAMPLE_SEED}"
        )
        shown = readable(text)
        yield {"temperature": f"{temperature}", "text": shown, "command": plain(command)}
