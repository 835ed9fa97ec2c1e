"""Measures speed as ratios against torch's own RNN, run beside it: ``make bench``.

Every figure is a median of rounds in which all contestants take turns, so that a machine whose
speed drifts is unfair to none. ``--json`` prints the figures as JSON.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from tests.bench import figures
from tests.bench.figures import Row
from tests.bench.race import THREADS

TABLES: dict[str, Callable[[int], list[Row]]] = {
    "training": figures.training,
    "beside": figures.beside,
    "command": figures.command,
    "saving": figures.saving,
    "sampling": figures.sampling,
    "evaluation": figures.evaluation,
    "loader": figures.loader,
    "tables": figures.tables,
    "start-up": figures.start_up,
    "scaling": figures.scaling,
}
BAR_WIDTH = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="rounds per figure")
    parser.add_argument("--only", choices=TABLES, action="append", help="one table, or several")
    options = parser.parse_args()
    names = options.only or list(TABLES)
    machine = {
        "machine": platform.processor() or platform.machine(),
        "threads": THREADS,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps(machine | {name: TABLES[name](options.rounds) for name in names}))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print("  ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
    for name in names:
        console.print(as_table(name, TABLES[name](options.rounds)))


def as_table(name: str, rows: list[Row]) -> Table:
    """Draws rows; those that follow a value get a bar for each speed, longest for the fastest."""
    title = f"{name}: {TABLES[name].__doc__}"
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for key, value in rows[0].items():
        table.add_column(key.replace("_", " "), justify="left" if type(value) is str else "right")
    drawn = "value" in rows[0]
    if drawn:
        table.add_column("")
    for row in rows:
        cells = [f"{value:,}" if type(value) is int else str(value) for value in row.values()]
        if drawn:
            speeds = {r["value"]: float(r["chars_per_second"]) for r in rows if _alike(r, row)}
            share = float(row["chars_per_second"]) / max(speeds.values())
            cells.append("#" * round(BAR_WIDTH * share))
        table.add_row(*cells)
    return table


def _alike(one: Row, other: Row) -> bool:
    return one["what"] == other["what"]


if __name__ == "__main__":
    main()
