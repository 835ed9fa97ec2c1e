"""Resumes a run: from its training file to a trainer in exactly that state."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from charrnn.config import DEFAULT_EPOCHS, LIMITS, MODEL_FILE, TrainingConfig, option_name
from charrnn.errors import CheckpointError, OptionError
from charrnn.fields import typed
from charrnn.model.network import CharRNN
from charrnn.model.precision import lacks_bfloat16
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.commands import larger_limit, shell_line, train_command
from charrnn.store.opened import RunFolder
from charrnn.system import core_count, quoted, stopwatch
from charrnn.text.dataset import Dataset, Watch, ignore
from charrnn.text.origin import Origin, is_copy
from charrnn.training.learner import Learner
from charrnn.training.moments import not_whole, others_of, restore, take_mark
from charrnn.training.planning import check_memory, fewer_workers, fit_to_machine
from charrnn.training.progress import Progress
from charrnn.training.recorder import Recorder
from charrnn.training.schedule import Clock, Schedule
from charrnn.training.trainer import Trainer
from charrnn.training.workers import Workers, may_have_helpers

# settings that a resumed run may change
RESUMABLE = {*LIMITS, "patience", "eval_every", "save_every", "save_every_s", "keep_every"}
RESUMABLE |= {"workers", "average_every", "threads", "device", "precision"}
# what runs of earlier versions had, where they had no choice
OF_EARLIER_VERSIONS = {"precision": "fp32", "optimizer": "adamw"}
MADE = ("asked", "began", "command")  # what a training file tells of the run's beginning
MOST_WORKERS_A_CORE = 4  # of those that a file asks for, which may be of another machine


def resume(
    path: Path,
    changes: Mapping[str, Any],
    watch: Watch = ignore,
    workers: Workers | None = None,
    clock: Clock | None = None,
    sources: Sequence[str] = (),
    val_source: str | None = None,
) -> Trainer:
    """Continues a run exactly where its training file says.

    Args:
        path: the training file.
        changes: settings that the user set anew; all but :data:`RESUMABLE` must be as saved.
        watch: called while the text is read.
        workers: what trains, if they were started before; closed with the trainer.
        clock: returns the seconds since the command began; None: since now.
        sources: where the same text is now, if the user names it.
        val_source: where the same text to validate on is now.

    Raises:
        CheckpointError: The file cannot be used, or a setting differs.
        CorpusError: The text has changed, or is gone.
    """
    clock = clock or stopwatch()
    with contextlib.ExitStack() as on_error:
        # before reading: what another training saves meanwhile would be lost
        folder = on_error.enter_context(RunFolder(path.parent))
        folder.lock()
        saved = checkpoint.load(path, folder)
        config, began = _settings(saved)
        origin = began.moved(sources, val_source, path.parent)
        _check_changes(saved, {**asdict(origin.data_config), **asdict(config)}, changes)
        workers = on_error.enter_context(workers or Workers())
        as_before, config = config, _changed(saved, config, changes, workers)
        # before reading: of a file that cannot be used, not even the text is looked at
        learner = _learner(saved, config, workers)
        mark = take_mark(saved)  # restored, too, as a check of the file
        moments = [restore(moment, learner) for moment in (mark, saved) if moment is not None]
        progress = moments[-1]
        dataset = Dataset.reopen(origin, saved.vocabulary, path.parent, watch)
        on_error.callback(dataset.close)
        # a replay of the same steps finds the same best model again; other steps may not
        replayed = config == as_before and config.max_time is None
        newer_nats = None if replayed else _newer_nats(progress, folder)
        progress.best_nats = progress.best_nats if newer_nats is None else newer_nats
        names = _names(saved, sources if origin.sources != began.sources else (), val_source)
        recorder = _recorder(saved, folder, dataset, config, names)
        trainer = Trainer(learner, dataset, recorder, config, progress, clock)
        for moment in moments:
            if not trainer.batches.holds(moment.position):
                raise not_whole(path, f"there is no {moment.position}")
        recorder.mark = mark
        trainer.begin()
        trainer.notes += [*_other_places(origin, began, sources)]
        trainer.notes += fewer_workers(changes.get("workers"), config)
        trainer.notes += _other_rounding(as_before, config)
        trainer.notes += [f"resumed at step {progress.step:,}", *_reached(trainer.schedule)]
        on_error.pop_all()
        return trainer


def _recorder(
    saved: Checkpoint,
    folder: RunFolder,
    dataset: Dataset,
    config: TrainingConfig,
    names: Mapping[str, Any],
) -> Recorder:
    """Returns what saves a run further; ``names`` are what the user calls its texts."""
    kept = {key: saved.training_state[key] for key in MADE if key in saved.training_state}
    return Recorder(
        folder,
        dataset.vocabulary,
        config,
        origin={**asdict(dataset.origin), **kept},
        provenance={**dataset.origin.provenance, **names},
    )


def _names(saved: Checkpoint, moved: Sequence[str], val_source: str | None) -> dict[str, Any]:
    """Returns what the user calls the texts, now or as the run began."""
    before = saved.provenance.get("val_source")
    return {"sources": list(moved or saved.sources), "val_source": val_source or before}


def _other_places(origin: Origin, began: Origin, sources: Sequence[str]) -> list[str]:
    """Returns where the texts are read from, if the user might think otherwise."""
    pairs = zip(
        ("text", "validation text"),
        (" ".join(origin.sources), origin.val_source),
        (" ".join(began.sources), began.val_source),
        strict=True,
    )
    notes = [f"the same {what}, now read from {now}" for what, now, then in pairs if now != then]
    if any(map(is_copy, origin.sources[: len(sources)])):
        notes.append("standard input is not read: the run has a copy of its text")
    return notes


def _reached(schedule: Schedule) -> list[str]:
    """Returns what to give a run that is resumed, but has nothing left to do."""
    config, progress = schedule.config, schedule.progress
    if schedule.out_of_patience():
        count = progress.evaluations_since_best
        return [f"no new best in {count} evaluations has ended it: --patience 0 trains on"]
    if not schedule.is_done():
        return []
    limit = next((name for name in LIMITS if getattr(config, name) is not None), "epochs")
    value = getattr(config, limit) or DEFAULT_EPOCHS
    reached = {"steps": progress.step, "max_time": progress.elapsed_s}
    if schedule.steps:  # of so many epochs
        reached["epochs"] = progress.step * value / schedule.steps
    shown = shell_line(train_command([], {limit: value})[2:])
    return [
        f"{shown} counts from the run's beginning, and is reached: "
        f"to train on, give more, such as {larger_limit(limit, value, reached.get(limit, 0))}"
    ]


def _settings(saved: Checkpoint) -> tuple[TrainingConfig, Origin]:
    """Returns a training's settings and where its text is."""
    state = saved.training_state
    if not state:
        raise CheckpointError(f"{saved.path}: a model, not a saved training: name the run's folder")
    try:
        config = typed(TrainingConfig, {**OF_EARLIER_VERSIONS, **state["training_config"]})
        if not isinstance(state.get("asked", {}), dict):
            raise TypeError("asked is no JSON object")
        origin = Origin.read(state)
        if origin.data_config.unit != saved.vocabulary.unit:
            raise ValueError(f"its text is of another unit than its model: {saved.vocabulary.unit}")
        return config, origin
    except (KeyError, TypeError, ValueError, OptionError) as error:
        raise not_whole(saved.path, error) from None


def _check_changes(
    saved: Checkpoint,
    settings: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> None:
    """Raises CheckpointError if a setting is changed that a resumed run must keep."""
    asked = saved.training_state.get("asked", {})
    fixed = {**asdict(saved.model.config), **settings}
    for key, value in changes.items():
        free = key not in fixed or key in RESUMABLE
        advice = f"; --init-from {quoted(saved.path.parent)} takes the weights"
        if key in asdict(saved.model.config) or key == "members":
            advice = ""  # of another shape
        # a small text may have shrunk what was asked for
        if not free and value not in (fixed[key], asked.get(key)):
            option = option_name(key)
            raise CheckpointError(
                f"{saved.path}: trained with {option} {fixed[key]}, not {value}: "
                f"leave {option} out, or start a new run{advice}"
            )


def _changed(
    saved: Checkpoint, config: TrainingConfig, changes: Mapping[str, Any], workers: Workers
) -> TrainingConfig:
    """Returns the settings with a user's changes, and with what this machine can have."""
    new = {key: changes[key] for key in RESUMABLE if key in changes}
    if new.keys() & set(LIMITS):
        new = dict.fromkeys(LIMITS) | new
    config = replace(config, **new)
    too_many = (config.workers or 1) > MOST_WORKERS_A_CORE * core_count()
    if "workers" not in new and (too_many or not may_have_helpers(config)):
        config = replace(config, workers=None)
    if "precision" not in new and lacks_bfloat16(config):
        config = replace(config, precision="fp32")
    return fit_to_machine(saved.model.config, config, workers)


def _other_rounding(before: TrainingConfig, config: TrainingConfig) -> list[str]:
    changes = (
        (name, getattr(config, name), getattr(before, name)) for name in ("workers", "precision")
    )
    return [
        f"{name}: {new}, and {old} before: the same but for rounding"
        for name, new, old in changes
        if old not in (None, new)
    ]


def _learner(saved: Checkpoint, config: TrainingConfig, workers: Workers) -> Learner:
    """Returns what learns; its state is still to be restored.

    Raises:
        TooLargeError: It needs more memory than there is.
        TrainingError: The workers cannot be started.
    """
    check_memory(saved.model.config, config, workers, "close other programs")
    workers.threads = config.threads or 1
    workers.set_count(config.workers or 1)
    others = others_of(saved, config.members)
    return Learner(CharRNN.of(saved.model), config, workers, others)


def _newer_nats(progress: Progress, folder: RunFolder) -> float | None:
    """Returns what the best model scores, if it is newer than the training file and better.

    A training that was killed may have saved a model after its last save of all.
    """
    try:
        best = checkpoint.load(folder.path / MODEL_FILE, folder)
    except CheckpointError:
        return None  # there is none
    nats = best.run_val_nats_per_char
    lowest = math.inf if progress.best_nats is None else progress.best_nats
    newer = best.step > progress.step and nats is not None and nats < lowest
    return nats if newer else None
