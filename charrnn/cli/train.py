"""``charrnn train``: starts or resumes a run, and shows it."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charrnn.cli import options, training_options
from charrnn.cli.ranks import check_ranks, team
from charrnn.cli.report import training_page
from charrnn.cli.shell import (
    AS_IT_WAS,
    NO_RUN_LEFT,
    Signals,
    named_errors,
    write,
)
from charrnn.cli.threads import set_threads
from charrnn.cli.values import set_options
from charrnn.cli.waiting import tell_who_types, types
from charrnn.config import RUNS, SamplingConfig
from charrnn.display.console import exact_bytes, note
from charrnn.display.progress import Bar
from charrnn.errors import CharrnnError, OverflowedError
from charrnn.store.commands import exact, resume_command
from charrnn.system import stopwatch
from charrnn.training.asked import Asked
from charrnn.training.launch import Launch, launch

if TYPE_CHECKING:
    from charrnn.training.events import Evaluated, Finished
    from charrnn.training.trainer import Trainer


@named_errors("use a smaller --hidden-size or --batch-size")
def train(
    context: typer.Context,
    sources: options.TrainSources = None,
    name: training_options.Name = None,
    resume: training_options.Resume = False,
    runs: options.Runs = RUNS,
    quiet: training_options.Quiet = False,
    report: training_options.Report = False,
    save_every: training_options.SaveEvery = None,
    keep_every: training_options.KeepEvery = None,
    threads: options.TrainThreads = None,
    max_time: training_options.MaxTime = None,
    steps: training_options.Steps = None,
    epochs: training_options.Epochs = None,
    patience: training_options.Patience = None,
    unit: options.Unit = None,
    val_source: options.ValSource = None,
    val_fraction: options.ValFraction = None,
    format: options.Format = None,
    column: options.Column = None,
    separator: options.RowSeparator = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    quotes: options.Quotes = None,
    split: options.TrainSplit = None,
    encoding: options.Encoding = None,
    encoding_errors: options.InvalidBytes = None,
    newlines: options.Newlines = None,
    skip_damaged: options.SkipDamaged = False,
    min_count: options.MinCount = None,
    vocabulary_from: options.VocabularyFrom = None,
    hidden_size: training_options.HiddenSize = None,
    num_layers: training_options.NumLayers = None,
    dropout: training_options.Dropout = None,
    cell: training_options.Cell = None,
    members: training_options.Members = None,
    nonlinearity: training_options.Nonlinearity = None,
    init_from: training_options.InitFrom = None,
    keep_characters: training_options.KeepCharacters = False,
    learning_rate: training_options.LearningRate = None,
    batch_size: training_options.BatchSize = None,
    seq_len: training_options.SeqLen = None,
    seed: training_options.TrainingSeed = None,
    optimizer: training_options.Optimizer = None,
    weight_decay: training_options.WeightDecay = None,
    grad_clip: training_options.GradClip = None,
    eval_every: training_options.EvalEvery = None,
    workers: training_options.Workers = None,
    average_every: training_options.AverageEvery = None,
    device: training_options.Device = None,
    precision: training_options.Precision = None,
) -> None:
    """Train on a text; print where the best model is. Ctrl-C saves, and names what resumes it.

    Examples: charrnn train corpus.txt; cat *.log | charrnn train - --max-time 5m
    """
    clock = context.obj or stopwatch()
    data = set_options(unit=unit, encoding=encoding, encoding_errors=encoding_errors)
    data |= set_options(column=column, separator=separator, min_count=min_count)
    data |= {"hold_out": "lines"} if split == "lines" else set_options(split=split)
    data |= set_options(format=format, newlines=newlines, delimiter=delimiter, quotes=quotes)
    data |= set_options(no_header=no_header, skip_damaged=skip_damaged)
    data |= set_options(vocabulary_from=vocabulary_from, val_fraction=val_fraction)
    model = set_options(hidden_size=hidden_size, num_layers=num_layers)
    model |= set_options(cell=cell, nonlinearity=nonlinearity, dropout=dropout)
    training = set_options(epochs=epochs, steps=steps, max_time=max_time, patience=patience)
    training |= set_options(batch_size=batch_size, seq_len=seq_len, learning_rate=learning_rate)
    training |= set_options(grad_clip=grad_clip, weight_decay=weight_decay, seed=seed)
    training |= set_options(optimizer=optimizer)
    training |= set_options(eval_every=eval_every, save_every=save_every)
    training |= set_options(device=device, workers=workers, threads=threads, precision=precision)
    training |= set_options(average_every=average_every, keep_every=keep_every, members=members)
    if isinstance(save_every, float):  # a time, which replaces a number of steps
        training |= {"save_every": None, "save_every_s": save_every}
    asked = Asked(sources or [], runs, name, resume, data, model, training)
    asked = replace(asked, val_source=val_source, init_from=init_from)
    asked = replace(asked, keep_characters=keep_characters)
    check_ranks(started := launch(), training)
    set_threads(threads)
    path = asked.training_file()
    tell_who_types([] if quiet else sources or [])
    signals = _early_signals(path, started)
    with team(started, model, training, resumed=path) as workers_or_ranks:
        with Bar(shown=not quiet) as bar:
            bar.stage("loading PyTorch")
            from charrnn.training.begin import begin
            from charrnn.training.meeting import begun, remember

        with signals:
            with Bar(shown=not quiet and not types(sources or []), lines=True) as bar:
                watch = partial(_show_reading, bar)
                measuring = partial(bar.stage, "measuring this machine")
                path = path or begun(started)  # the latter with the same command
                trainer = begin(asked, path, watch, workers_or_ranks, clock, measuring)
                signals.saving = True
            set_threads(trainer.config.threads)
            remember(started, trainer.folder)
            finished = _show(trainer, signals, quiet, report)
    _write_path(finished, trainer.folder, signals)


def _write_path(finished: "Finished", folder: Path, signals: Signals) -> None:
    """Prints where the model is; or ends as a signal wanted it, with the command that resumes."""
    if finished.reason == "interrupted":
        note(f"resume with: {resume_command(folder)}")
        raise typer.Exit(128 + signals.received)
    try:
        write(os.fsencode(finished.model_path), "\n")
    except CharrnnError as error:
        raise CharrnnError(f"{error}; the model is {finished.model_path}") from None


def _early_signals(path: Path | None, started: Launch) -> Signals:
    """Returns what catches signals; until then, Ctrl-C tells what it leaves of a run."""
    signals = Signals(AS_IT_WAS if path else NO_RUN_LEFT, twice_ends=not started.elastic)
    signals.tell_while_loading()
    return signals


def _show_reading(bar: Bar, name: str, size: int, size_bytes: Callable[[], int | None]) -> None:
    bar.show(f"reading {name}", size, size_bytes, f"{size / 1e6:,.0f} MB")


def _show(trainer: "Trainer", signals: Signals, quiet: bool, report: bool) -> "Finished":
    """Trains with signals and screen attached; returns the end."""
    from charrnn.display.live import TrainingDisplay
    from charrnn.training.events import Finished

    if not quiet:
        for line in trainer.notes:
            note(line)
    write_sample = partial(_short_sample, trainer)
    with (
        TrainingDisplay(trainer.summary, write_sample, quiet=quiet) as screen,
        training_page(trainer, screen.show, wanted=report) as show_page,
    ):
        for event in trainer.events(lambda: signals.received != 0):
            screen.show(event)
            show_page(event)
    for line in trainer.late_notes if not quiet else ():
        note(line)
    assert isinstance(event, Finished)
    if event.reason != "interrupted" and not quiet:
        note(f"try: {'; '.join(_next_commands(trainer.folder))}")
    return event


def _next_commands(folder: Path) -> list[str]:
    """Returns what to try with a new model, as commands that can be copied."""
    model = exact(folder)
    return [
        f"charrnn sample --model {model}",
        f"charrnn report {model} --output report.html",
    ]


def _short_sample(trainer: "Trainer", event: "Evaluated") -> str:
    from charrnn.sampling.generate import generate

    config = SamplingConfig(length=240, seed=event.step)
    pieces = generate(event.model, trainer.vocabulary, "", config)
    try:
        return b"".join(map(exact_bytes, pieces)).decode("utf-8", "replace").strip("\n")
    except OverflowedError:  # the next evaluations show whether it learns after all
        return ""
