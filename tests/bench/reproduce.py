"""The field's tables by one command: ``make reproduce TEXTS=DIR BUDGET=10m``.

Finds which known texts a folder holds, trains on each with the very defaults and at the sizes that
were published, and prints the figures of the test text beside what others published. Every training
is a command of its own, as a user would type it; the time that it takes is that of the budget.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import typer
from rich.console import Console
from rich.table import Table

from charrnn.cli.values import seconds
from charrnn.config import Cell, ModelConfig
from tests.bench.published import KNOWN, KnownFile, KnownText

LAYERS = 3  # as by default


@dataclass(frozen=True)
class Parts:
    """The files of a text that train, validate and test; the last two may be one."""

    train: Path
    valid: Path
    test: Path


@dataclass(frozen=True)
class Row:
    """One line of a text's table."""

    model: str
    parameters: int | None
    nats: float  # nats/char of the test text
    source: str


def find(folder: Path, known: KnownFile) -> Path | None:
    """Returns the file in a folder, or below it, that is the known one; None if there is none."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size == known.size:
            if known.md5 is None:
                return path
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
            if digest.hexdigest() == known.md5:
                return path
    return None


def cut(text: KnownText, files: Sequence[Path], folder: Path) -> Parts:
    """Writes the parts of a text into a folder, as files of their own."""
    whole = [path.read_bytes() for path in files]
    if text.leading_space:
        whole = [b"\n".join(line.removeprefix(b" ") for line in w.split(b"\n")) for w in whole]
    if text.cuts is not None:
        symbols = whole[0] if text.unit == "byte" else whole[0].decode("utf-8")
        first, second = (int(share * len(symbols)) for share in text.cuts)
        parts = symbols[:first], symbols[first : second if second > first else None]
        rest = symbols[second:] if second > first else parts[1]
        whole = [p.encode() if isinstance(p, str) else p for p in (*parts, rest)]
    paths = [folder / f"{part}.txt" for part in ("train", "valid", "test")]
    for path, data in zip(paths, whole, strict=True):
        path.write_bytes(data)
    return Parts(*paths)


def hidden_size(parameters: int, vocab_size: int, cell: Cell) -> int:
    """Returns the largest hidden size of a model of no more parameters."""
    size = 1
    while config_of(size + 1, vocab_size, cell).parameter_count() <= parameters:
        size += 1
    return size


def config_of(size: int, vocab_size: int, cell: Cell) -> ModelConfig:
    """Returns a model of three layers."""
    return ModelConfig(vocab_size, hidden_size=size, num_layers=LAYERS, cell=cell)


def measured(
    text: KnownText, parts: Parts, cells: Sequence[Cell], budget: str, runs: Path, *, adapt: bool
) -> Iterator[Row]:
    """Trains, and yields rows for each model: by default first, then at each published size."""
    symbols = parts.train.read_bytes()
    vocab_size = 256 if text.unit == "byte" else len(set(symbols.decode("utf-8")))
    for parameters in (None, *text.budgets):
        for cell in cells:
            options = ["--cell", cell]
            if parameters is not None:
                size = hidden_size(parameters, vocab_size, cell)
                options += ["--hidden-size", str(size), "--num-layers", str(LAYERS)]
            yield from trained(text, parts, [*options, "--max-time", budget], runs, adapt=adapt)


def trained(
    text: KnownText, parts: Parts, options: Sequence[str], runs: Path, *, adapt: bool
) -> Iterator[Row]:
    """Trains a model, or a mixture, and scores the test text; then also while it adapts to it."""
    texts = [str(parts.train), "--val-source", str(parts.valid), "--unit", text.unit]
    path = Path(charrnn("train", *texts, "--runs", str(runs), *options).strip())
    folder = path if path.is_dir() else path.parent
    run = json.loads(charrnn("runs", str(folder), "--json"))
    settings = run["settings"]
    model = f"{settings['cell'].upper()} {settings['hidden_size']} x {settings['num_layers']}"
    members, ours = run["members"], f"charrnn train {' '.join(options)}"
    if members > 1:
        model = f"{members} {model}"
    scoring = ("eval", str(parts.test), "--model", str(folder), "--json")

    def row(source: str, *flags: str) -> Row:
        nats = json.loads(charrnn(*scoring, *flags))["nats_per_char"]
        return Row(model, members * run["parameters"], nats, source)

    yield row(ours)
    if adapt:
        yield row(f"{ours}, then eval --adapt", "--adapt")


def charrnn(*arguments: str) -> str:
    """Runs a command; its progress is shown as it comes.

    Returns:
        What it printed.
    """
    command = [sys.executable, "-m", "charrnn", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def as_table(text: KnownText, rows: Sequence[Row]) -> Table:
    """Draws ours and the published ones, the best first."""
    table = Table(title=text.name, title_justify="left", title_style="bold", show_edge=False)
    for name in ("model", "parameters", "nats/char", "bits/char", "source"):
        table.add_column(name, justify="left" if name in ("model", "source") else "right")
    others = [Row(p.model, p.parameters, p.nats, p.source) for p in text.published]
    for row in sorted([*rows, *others], key=lambda row: row.nats):
        parameters = "" if row.parameters is None else f"{row.parameters:,}"
        bits = f"{row.nats / math.log(2):.3f}"
        table.add_row(row.model, parameters, f"{row.nats:.4f}", bits, row.source)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="the folder of the texts")
    parser.add_argument("--budget", default="10m", help="time for each training, such as 10m")
    parser.add_argument("--cell", nargs="+", choices=get_args(Cell), default=["rnn"])
    parser.add_argument("--adapt", action="store_true", help="also with `charrnn eval --adapt`")
    names = [text.name for text in KNOWN]
    parser.add_argument("--only", action="append", choices=names, help="one text, or several")
    options = parser.parse_args()
    if not options.texts.is_dir():
        parser.error(f"--texts: {options.texts} is no folder: name the one that holds the texts")
    try:
        seconds(options.budget)
    except typer.BadParameter as error:
        parser.error(f"--budget: {error.message}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    for text in KNOWN:
        if options.only and text.name not in options.only:
            continue
        files = [find(options.texts, known) for known in text.files]
        present = [path for path in files if path is not None]
        for known in (k for k, path in zip(text.files, files, strict=True) if path is None):
            print(f"{text.name}: {known.name} is not there; from {text.source}", file=sys.stderr)
        if len(present) < len(files):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            parts = cut(text, present, folder)
            rows = list(
                measured(
                    text, parts, options.cell, options.budget, folder / "runs", adapt=options.adapt
                )
            )
        console.print(as_table(text, rows))


if __name__ == "__main__":
    main()
