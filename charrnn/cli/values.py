"""What the user typed, as values: counts, durations, text, names of runs."""

import contextlib
import math
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer

from charrnn.config import MOST, RUNS
from charrnn.errors import RunNotFoundError
from charrnn.store.folder import run_names


def count(text: str) -> int:
    """Reads ``5000``, ``5k`` or ``1.5M``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKM]?)", text.strip())
    units = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}
    number = Decimal(match[1]) * units[match[2]] if match else None
    if number is None or number != number.to_integral_value():
        raise typer.BadParameter(f"{text!r} is not a count; write 5000, 5k or 1.5M")
    if number > MOST:  # longer ones could not even be printed
        raise typer.BadParameter(f"{text[:20]!r}... is too large; counts end at 1e15")
    return int(number)


def seconds(text: str) -> float:
    """Reads ``90``, ``90s``, ``5m``, ``1h`` or ``1h30m``."""
    units = {"h": 3600, "m": 60, "s": 1, "": 1}
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+|\d+(\.\d+)?", text.strip()):
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m")
    return sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)([hms]?)", text))


def steps_or_seconds(text: str) -> int | float:
    """Reads ``200`` or ``5k`` as steps (int), ``30s`` or ``2m`` as seconds (float)."""
    return seconds(text) if text.strip()[-1:] in ("h", "m", "s") else count(text)


def bits_or_auto(text: str) -> float | str:
    """Reads ``3.5`` as bits per character, or ``auto``."""
    if text == "auto":
        return text
    with contextlib.suppress(ValueError):
        if 0 <= (bits := float(text)) < math.inf:
            return bits
    raise typer.BadParameter(f"{text!r} is no threshold; write bits per character, or auto")


def text(typed: str) -> str:
    """Reads an argument as UTF-8, whatever the locale; invalid bytes become lone surrogates."""
    return os.fsencode(typed).decode("utf-8", "surrogateescape")


def delimiter(typed: str) -> str:
    r"""Reads one character; ``\t`` and ``tab`` are a tab."""
    return {"\\t": "\t", "tab": "\t"}.get(typed, text(typed))


def set_options(**options: Any) -> dict[str, Any]:
    """Returns the options that the user set; a flag that is not set is False."""
    return {
        name: value for name, value in options.items() if value is not None and value is not False
    }


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of the runs that complete a word."""
    with contextlib.suppress(OSError, RunNotFoundError):
        names = run_names(Path(ctx.params.get("runs") or RUNS))
        return [name for name in names if name.startswith(incomplete)]
    return []
