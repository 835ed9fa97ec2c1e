"""Training in Python: what ``charrnn train`` does, as a function."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypedDict, Unpack

from charrnn.config import (
    Cell,
    DataConfig,
    Format,
    HoldOut,
    ModelConfig,
    Newlines,
    Nonlinearity,
    Optimizer,
    Precision,
    Quotes,
    TrainingConfig,
    Unit,
)
from charrnn.fields import settings_of
from charrnn.interface.model import default_runs
from charrnn.interface.threads import one_thread_a_product
from charrnn.likely import did_you_mean, likely
from charrnn.store.runs import Run, look_at
from charrnn.training.asked import Asked
from charrnn.training.events import Event

log = logging.getLogger("charrnn")
PLACES = ("runs", "name", "val_source", "init_from")
KNOWN = "charrnn.interface.training.Settings lists them"
Place = str | os.PathLike[str]


class Settings(TypedDict, total=False):
    """The settings of a training: the options of ``charrnn train``, with its defaults.

    ``hold_out="lines"`` is ``--split lines``; ``save_every_s`` is ``--save-every`` of a time.
    """

    # of the run
    name: str | None
    runs: Place | None
    init_from: Place | None
    keep_characters: bool | None
    # of the text
    unit: Unit | None
    format: Format | None
    encoding: str | None
    encoding_errors: str | None
    newlines: Newlines | None
    column: str | None
    delimiter: str | None
    no_header: bool | None
    quotes: Quotes | None
    separator: str | None
    split: str | None
    skip_damaged: bool | None
    min_count: int | None
    vocabulary_from: int | None
    val_source: Place | None
    val_fraction: float | None
    hold_out: HoldOut | None
    # of the model
    hidden_size: int | None
    num_layers: int | None
    cell: Cell | None
    nonlinearity: Nonlinearity | None
    dropout: float | None
    # of training
    batch_size: int | None
    seq_len: int | None
    learning_rate: float | None
    grad_clip: float | None
    optimizer: Optimizer | None
    weight_decay: float | None
    epochs: float | None
    steps: int | None
    max_time: float | None  # seconds
    patience: int | None
    eval_every: int | None
    save_every: int | None
    save_every_s: float | None
    keep_every: int | None
    seed: int | None
    members: int | None
    workers: int | None
    threads: int | None
    device: str | None
    precision: Precision | None


def train(
    *sources: Place,
    resume: bool = False,
    on_event: Callable[[Event], object] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Unpack[Settings],
) -> Run:
    """Trains on texts, in a run's folder, and returns the run.

    What was fitted, changed or left out is logged, as warnings of the logger ``charrnn``. Two
    trainings at once in one process draw from the same random numbers, so that neither can be
    repeated.

    Args:
        sources: files, folders, globs, ``-`` for standard input, ``hf:NAME``; or a run to resume.
        resume: whether the run called ``name``, or else the newest one, is resumed; with sources
            and a name, it is started if there is none.
        on_event: called with each event of the training, as it happens.
        stop: called after each update; once it is true, training is saved and ends.
        settings: of the training, as :class:`Settings` lists them; None: not set.

    Raises:
        CharrnnError: What the command line would refuse: a text, a setting, a file.
        KeyboardInterrupt: Ctrl-C was pressed; the training is saved, and can be resumed.
    """
    asked = _asked([os.fspath(source) for source in sources], resume, dict(settings))
    path = asked.training_file()
    with _ctrl_c() as early:  # half-loaded, some libraries do not stand it
        import torch

        from charrnn.training.begin import begin
    if early():
        raise KeyboardInterrupt
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]), one_thread_a_product():
            trainer = begin(asked, path)
            for note in trainer.notes:
                log.warning(note)
            # closed even if a callback raises, and somebody keeps the traceback
            with (
                _ctrl_c() as pressed,
                contextlib.closing(trainer.events(lambda: pressed() or stop())) as events,
            ):
                for event in events:
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
        OptionError: One is out of range or of another type, or two do not go together.
    """
    if unknown := settings.keys() - Settings.__annotations__.keys():
        name = min(unknown)
        meant = likely(name, Settings.__annotations__)
        raise TypeError(f"train() has no setting {name!r}: {did_you_mean(meant, KNOWN)}")
    places = {key: settings[key] for key in PLACES if settings.get(key) is not None}
    model = settings_of(ModelConfig, settings)
    model.pop("unit", None)  # the text's
    return Asked(
        sources,
        Path(os.fspath(places.pop("runs", default_runs()))),
        resume=resume,
        data=settings_of(DataConfig, settings),
        model=model,
        training=settings_of(TrainingConfig, settings),
        keep_characters=bool(settings.get("keep_characters")),
        **{key: os.fspath(place) for key, place in places.items()},
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
