"""What is known of runs, as the rows of tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.config import UNIT_NAMES
from charrnn.report.curves import LN_2, Curves
from charrnn.report.labels import plain
from charrnn.store.runs import STATES, Run

UNKNOWN = "–"
RUN_HEADS = ("run", "best validation", "steps", "read", "time", "model", "text", "state")


@dataclass(frozen=True)
class Subject:
    """A run, and what its history tells."""

    run: Run
    curves: Curves

    def facts(self) -> dict[str, Any]:
        """Returns what is known of the run; its history may reach further than its last save."""
        facts, columns = self.run.facts(), {"train_chars_read": "chars"}
        for key in ("step", "train_chars_read", "elapsed_s"):
            latest = self.curves.latest(columns.get(key, key))
            if latest is not None and latest > (facts[key] or 0):
                facts[key] = latest if key == "elapsed_s" else int(latest)
        return facts


@dataclass(frozen=True)
class Fact:
    """One thing that is known of each run."""

    name: str
    texts: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.texts)) > 1


@dataclass(frozen=True)
class Group:
    """Facts that belong together."""

    name: str
    facts: Sequence[Fact]


def unit_name(run: Run) -> str:
    """Returns what a run's model predicts, a character or a byte."""
    return UNIT_NAMES["char" if run.config is None else run.config.unit]


def count(number: float | None) -> str:
    """Returns a whole number to be read."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def time(seconds: float | None) -> str:
    """Returns a duration to be read."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def best(run: Run) -> str:
    """Returns the best validation figure."""
    return UNKNOWN if run.best_nats is None else f"{run.best_nats / LN_2:.3f}"


def model(run: Run) -> str:
    """Returns a model's shape."""
    if run.config is None:
        return UNKNOWN
    members = f", {run.members} members" if run.members > 1 else ""
    return run.config.shape.replace("x", "×", 1) + members


def key_figures(subject: Subject) -> list[tuple[str, str]]:
    """Returns what one run is about, in a few figures."""
    run, facts, unit = subject.run, subject.facts(), unit_name(subject.run)
    parameters = facts["parameters"]
    return [
        ("best validation", f"{best(run)} bits per {unit}"),
        ("model", f"{model(run)}, {count(parameters)} parameters" + " each" * (run.members > 1)),
        ("text", plain(" ".join(run.sources)) or UNKNOWN),
        ("size", f"{count(_number(facts['chars']))} {unit}s"),
        ("trained", f"{count(facts['step'])} steps, {time(facts['elapsed_s'])}"),
        ("state", facts["state"]),
    ]


def run_row(subject: Subject) -> list[str]:
    """Returns a run's row of the table of all, without its name; see :data:`RUN_HEADS`."""
    run, facts = subject.run, subject.facts()
    return [
        f"{best(run)} bits/{'char' if run.config is None else run.config.unit}",
        count(facts["step"]),
        count(facts["train_chars_read"]),
        time(facts["elapsed_s"]),
        model(run),
        plain(" ".join(run.sources)) or UNKNOWN,
        facts["state"],
    ]


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def fact_groups(subjects: Sequence[Subject]) -> list[Group]:
    """Returns all that is known of runs: how they came about, every setting, versions."""
    runs = [subject.run for subject in subjects]
    settings = [run.settings for run in runs]
    versions = [run.provenance.get("versions") for run in runs]
    return [
        Group("Origin", list(_origin(subjects))),
        Group("Settings", _rows(settings)),
        Group("Versions", _rows([v if isinstance(v, dict) else {} for v in versions])),
    ]


def _origin(subjects: Sequence[Subject]) -> Iterator[Fact]:
    names = {
        "name": "name",
        "path": "path",
        "state": "state",
        "damage": "damage",
        "began": "began",
        "changed": "last saved",
        "sources": "text",
        "val_source": "validation text",
        "text_sha256": "SHA-256 of the text",
        "chars": "characters of the text",
        "parameters": "parameters",
        "step": "steps",
        "best_step": "step of the best model",
        "train_chars_read": "characters read",
        "elapsed_s": "time trained",
        "val_bits_per_char": "best validation, bits per character",
        "val_nats_per_char": "best validation, nats per character",
        "command": "made by",
        "resume_command": "continued by",
    }
    facts = [subject.facts() for subject in subjects]
    bytes_only = all(unit_name(subject.run) == "byte" for subject in subjects)
    for key, name in names.items():
        if any(fact[key] not in (None, []) for fact in facts):
            shown = name.replace("character", "byte") if bytes_only else name
            yield Fact(shown, [_origin_value(key, fact) for fact in facts])


def _origin_value(key: str, facts: dict[str, Any]) -> str:
    if type(facts[key]) is int:
        return count(facts[key])
    if key == "elapsed_s":
        return time(facts[key])
    if key == "state":
        return STATES[facts[key]]
    return value(facts[key])


def _rows(tables: Sequence[dict[str, Any]]) -> list[Fact]:
    """Returns a row for each name that any of some tables has."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [Fact(plain(name), [value(table.get(name)) for table in tables]) for name in names]


def value(kept: Any) -> str:
    """Returns a value of a file's JSON as text."""
    if kept is None:
        return UNKNOWN
    if isinstance(kept, bool):
        return "yes" if kept else "no"
    if isinstance(kept, float):
        return f"{kept:.6g}"
    if isinstance(kept, int):
        return str(kept)
    if isinstance(kept, list):
        return plain(" ".join(map(str, kept)))
    return plain(repr(kept) if isinstance(kept, str) and not kept.strip() else kept)
