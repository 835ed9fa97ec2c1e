"""Typer: parse, call, exit code.

Each command builds a configuration, calls the library and renders the answer. Text goes to
standard output, everything else to standard error. An option that is not given is ``None`` here;
the defaults live in :mod:`charrnn.config`.

Exit codes: 0 done; 1 a named error; 2 wrong usage; 128 + n after signal n (130 for Ctrl-C).
"""

import os
import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from charrnn.config import (
    DEFAULT_EPOCHS,
    DEFAULT_MIN_STEPS,
    DataConfig,
    ModelConfig,
    OnUnknown,
    SamplingConfig,
    TrainingConfig,
)
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from charrnn.store.checkpoint import Checkpoint


# --- values with units


def _count(text: str) -> int:
    """Reads ``5000``, ``5k`` or ``1.5M``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKM]?)", text.strip())
    units = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}
    number = Decimal(found[1]) * units[found[2]] if found else None
    if number is None or number != number.to_integral_value():
        raise typer.BadParameter(f"{text!r} is no count; write 5000, 5k or 1.5M")
    return int(number)


def _seconds(text: str) -> float:
    """Reads ``90``, ``90s``, ``5m``, ``1h`` or ``1h30m``."""
    units = {"h": 3600, "m": 60, "s": 1, "": 1}
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+|\d+(\.\d+)?", text.strip()):
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 5m or 1h30m")
    return sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)([hms]?)", text))


def _steps_or_seconds(text: str) -> int | float:
    """Reads ``200`` or ``5k`` as steps (int), ``30s`` or ``2m`` as seconds (float)."""
    return _seconds(text) if text.strip()[-1:] in "hms" and text.strip() else _count(text)


# --- options


def _option(name: str, text: str, panel: str, default: Any = None, **more: Any) -> Any:
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(f"--{name}", help=text + shown, rich_help_panel=panel, **more)


_TEXT, _MODEL, _TRAIN, _STOP, _RUN = "Text", "Model", "Training", "When to stop", "Run"
_DRAW, _OUT, _SCORING = "Drawing", "Output", "Scoring"
_PASSES = f"{DEFAULT_EPOCHS}, and at least {DEFAULT_MIN_STEPS} steps"
_T, _M, _D, _S = TrainingConfig, ModelConfig, DataConfig, SamplingConfig

RunsOption = Annotated[
    Path,
    _option("runs", "The folder of all runs.", _RUN, envvar="CHARRNN_RUNS", show_default=True),
]
ModelOption = Annotated[
    str | None,
    _option("model", "A model file, a run's folder or a run's name.", _RUN, "the newest run"),
]
ThreadsOption = Annotated[
    int | None, _option("threads", "Threads to compute with.", _RUN, "torch's choice")
]
OnUnknownOption = Annotated[
    str,
    _option(
        "on-unknown",
        "What to do with characters that the model does not know: error, or skip (leave them out).",
        _TEXT,
        show_default=True,
    ),
]
EncodingOption = Annotated[
    str | None, _option("encoding", "Encoding of plain text.", _TEXT, _D.encoding)
]
EncodingErrorsOption = Annotated[
    str | None,
    _option(
        "encoding-errors",
        "What to do with bytes that are none of it: strict (an error), or replace (by U+FFFD).",
        _TEXT,
        _D.encoding_errors,
    ),
]
ColumnOption = Annotated[
    str | None,
    _option("column", "Text column of a structured source.", _TEXT, "the only text column"),
]
RowSeparatorOption = Annotated[
    str | None,
    _option("separator", "Ends each row of a structured source.", _TEXT, "a newline"),
]
SplitOption = Annotated[
    str | None, _option("split", "The part of an hf: dataset to read.", _TEXT, _D.split)
]


def _argument(text: str) -> str:
    """Returns an argument as it was typed: UTF-8, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _pick(config: type, given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(config)}
    return {key: value for key, value in given.items() if key in names}


def _on_unknown(value: str) -> OnUnknown:
    if value not in get_args(OnUnknown):
        raise OptionError(f"--on-unknown: {value} is neither error nor skip")
    return cast("OnUnknown", value)


def _load(runs: Path, model: str | None) -> "Checkpoint":
    from charrnn.store import checkpoint
    from charrnn.store.folder import find_run

    return checkpoint.load(find_run(runs, model))
