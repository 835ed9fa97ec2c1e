"""Training in Python: what ``charrnn train`` does, as a function."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, TypedDict, Unpack

from charrnn.config import (
    DataConfig,
    Format,
    HoldOut,
    ModelConfig,
    Newlines,
    Nonlinearity,
    Precision,
    Quotes,
    TrainingConfig,
    Unit,
)
from charrnn.interface.threads import one_thread_a_product
from charrnn.likely import did_you_mean, likely
from charrnn.store.runs import Run, look_at
from charrnn.training.asked import Asked
from charrnn.training.events import Event

log = logging.getLogger("charrnn")
Place = str | os.PathLike[str]


class Settings(TypedDict, total=False):
    """The settings of a training: the options of ``charrnn train``, with its defaults.

    ``hold_out="lines"`` is ``--split lines``; ``save_every_s`` is ``--save-every`` of a time.
    """

    # of the run
    name: str
    runs: Place
    init_from: Place
    keep_characters: bool
    # of the text
    unit: Unit
    format: Format
    encoding: str
    encoding_errors: str
    newlines: Newlines
    column: str
    delimiter: str
    no_header: bool
    quotes: Quotes
    separator: str
    split: str
    skip_damaged: bool
    min_count: int
    vocabulary_from: int
    val_source: Place
    val_fraction: float
    hold_out: HoldOut
    # of the model
    hidden_size: int
    num_layers: int
    nonlinearity: Nonlinearity
    dropout: float
    # of training
    batch_size: int
    seq_len: int
    learning_rate: float
    grad_clip: float
    weight_decay: float
    epochs: float
    steps: int
    max_time: float  # seconds
    patience: int
    eval_every: int
    save_every: int
    save_every_s: float
    keep_every: int
    seed: int
    workers: int
    threads: int
    device: str
    precision: Precision


def train(
    *sources: Place,
    resume: bool = False,
    on_event: Callable[[Event], object] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Unpack[Settings],
) -> Run:
    """Trains on texts, in a run's folder, and returns the run.

    What was fitted, changed or left out is logged, as warnings of the logger ``charrnn``.

    Args:
        sources: files, folders, globs, ``-`` for standard input, ``hf:NAME``.
        resume: whether the run called ``name``, or else the newest one, is resumed; with sources
            and a name, it is started if there is none.
        on_event: called with each event of the training, as it happens.
        stop: called after each update; once it is true, training is saved and ends.
        settings: what is not left to be chosen.

    Raises:
        CharrnnError: What the command line would refuse: a text, a setting, a file.
        KeyboardInterrupt: Ctrl-C was pressed; the training is saved, and can be resumed.
    """
    asked = _asked([os.fspath(source) for source in sources], resume, dict(settings))
    path = asked.training_file()
    import torch

    from charrnn.training.begin import begin

    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]), one_thread_a_product():
            trainer = begin(asked, path)
            for note in trainer.notes:
                log.warning(note)
            with _ctrl_c() as pressed:
                for event in trainer.events(lambda: pressed() or stop()):
                    on_event(event)
            for note in trainer.late_notes:
                log.warning(note)
    finally:
        torch.set_num_threads(threads)
    if pressed():
        raise KeyboardInterrupt
    return look_at(trainer.folder)


def _asked(sources: list[str], resume: bool, settings: dict[str, Any]) -> Asked:
    """Sorts settings by what they are of.

    Raises:
        TypeError: There is no setting of that name.
        OptionError: One is out of range, or two do not go together.
    """
    if unknown := settings.keys() - Settings.__annotations__.keys():
        name = min(unknown)
        meant = did_you_mean(likely(name, Settings.__annotations__), "help(charrnn.train)")
        raise TypeError(f"train() has no setting {name!r}: {meant}")
    of = {
        kind: {f.name: settings[f.name] for f in fields(kind) if f.name in settings}
        for kind in (DataConfig, ModelConfig, TrainingConfig)
    }
    texts = {
        key: os.fspath(settings[key]) for key in ("val_source", "init_from") if key in settings
    }
    return Asked(
        sources,
        Path(settings.get("runs", "runs")),
        settings.get("name"),
        resume,
        of[DataConfig],
        {k: v for k, v in of[ModelConfig].items() if k != "unit"},
        of[TrainingConfig],
        keep_characters=settings.get("keep_characters", False),
        **texts,
    )


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether Ctrl-C was pressed, which is only noted; a second one interrupts.

    Only a program's main thread is told of it; elsewhere it is never pressed.
    """
    pressed = False

    def note(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
