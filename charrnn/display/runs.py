"""Runs as a table, and all that is known of one as lines or as JSON."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from charrnn.config import UNIT_NAMES
from charrnn.display.console import LN_2, duration, printable
from charrnn.store.runs import STATES

if TYPE_CHECKING:
    from charrnn.store.runs import Run

HEAD = ("name", "age", "state", "steps", "time", "best validation", "model", "text")
RIGHT = {"age", "steps", "time", "best validation"}  # columns of figures
UNKNOWN = "-"
# what is shown elsewhere, or decides nothing that a user could set
INNER = {"vocab_size", "unit", "block_chars", "max_val_chars"}


def runs_table(runs: Sequence["Run"], now: datetime) -> str:
    """Returns a line for each run, below a line of heads."""
    rows = [HEAD, *(_row(run, now) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if head in RIGHT else cell.ljust(width)
            for cell, width, head in zip(row, widths, HEAD, strict=True)
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(run: "Run", now: datetime) -> tuple[str, ...]:
    facts = run.facts()
    shape = UNKNOWN if run.config is None else run.config.shape
    shape += f", {run.members} members" if run.members > 1 else ""
    return tuple(
        printable(cell).replace("\n", "·")
        for cell in (
            run.name,
            age((now - run.changed).total_seconds()),
            STATES[run.state],
            _count(facts["step"]),
            UNKNOWN if facts["elapsed_s"] is None else duration(facts["elapsed_s"]),
            _bits(run, 3),
            shape,
            " ".join(run.sources) or UNKNOWN,
        )
    )


def age(seconds: float) -> str:
    """Returns how long ago something was, in the largest unit that it fills."""
    units = (("d", 86400), ("h", 3600), ("min", 60))
    for unit, size in units:
        if seconds >= size:
            return f"{seconds // size:,.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _count(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.0f}"


def _bits(run: "Run", digits: int) -> str:
    nats = run.best_nats
    return UNKNOWN if nats is None else f"{nats / LN_2:.{digits}f} bits/{run.unit}"


def run_lines(run: "Run") -> str:
    """Returns all that is known of a run: figures, commands, every setting, versions."""
    pairs = [*_figures(run), ("", ""), *_settings(run), ("", ""), *_versions(run)]
    width = 2 + max(len(head) for head, _ in pairs)
    return "\n".join(f"{head:<{width}}{printable(text)}".rstrip() for head, text in pairs)


def _figures(run: "Run") -> Iterator[tuple[str, str]]:
    facts, unit = run.facts(), UNIT_NAMES[run.unit]
    yield "name", facts["name"]
    yield "path", facts["path"]
    yield "state", STATES[run.state]
    if run.damage:
        yield "damage", run.damage
    yield "began", facts["began"] or UNKNOWN
    yield "last saved", facts["changed"]
    yield "text", " ".join(run.sources) or UNKNOWN
    if facts["val_source"]:
        yield "validation text", facts["val_source"]
    if run.config is not None:
        symbols = f"{run.config.vocab_size:,} distinct"
        yield f"{unit}s", f"{_count(facts['chars'])}, {symbols}"
        each = f" in each of {run.members} members" if run.members > 1 else ""
        yield "parameters", f"{facts['parameters']:,}{each}"
    if run.alone and run.mixture:
        yield "member", f"{run.mixture.member} of {run.mixture.members}"
    yield "steps", _count(facts["step"])
    yield f"{unit}s read", _count(facts["train_chars_read"])
    yield "time trained", UNKNOWN if facts["elapsed_s"] is None else duration(facts["elapsed_s"])
    yield "best validation", _best(run, facts)
    yield "made by", run.command or UNKNOWN
    yield "continued by", run.resume_command or UNKNOWN


def _best(run: "Run", facts: dict[str, Any]) -> str:
    if run.best_nats is None:
        return UNKNOWN
    return f"{_bits(run, 4)} ({run.best_nats:.4f} nats), at step {_count(facts['best_step'])}"


def _settings(run: "Run") -> Iterator[tuple[str, str]]:
    for name, value in run.settings.items():
        if name not in INNER:
            yield name, setting(value)


def setting(value: Any) -> str:
    """Returns a setting's value as text; one that is not set as a dash."""
    if value is None:
        return UNKNOWN
    plain = isinstance(value, str) and value.isprintable() and value.strip() == value != ""
    return value if plain else json.dumps(value, ensure_ascii=False)


def _versions(run: "Run") -> Iterator[tuple[str, str]]:
    for name, version in (run.facts()["versions"] or {}).items():
        yield str(name), str(version)


def runs_json(runs: Sequence["Run"]) -> str:
    """Returns all that is known of runs, as a JSON array."""
    return json.dumps([run.facts() for run in runs])


def run_json(run: "Run") -> str:
    """Returns all that is known of a run, as a JSON object."""
    return json.dumps(run.facts())
