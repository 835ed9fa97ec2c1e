"""A new run: from the user's settings and sources to a trainer."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from charrnn.config import RUNS, DataConfig, ModelConfig, TrainingConfig, option_name
from charrnn.errors import OptionError
from charrnn.model.precision import precision_for
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.commands import train_command
from charrnn.store.folder import NewRun
from charrnn.store.opened import RunFolder
from charrnn.store.transfer import transfer
from charrnn.system import quoted, stopwatch
from charrnn.text.dataset import Dataset, Watch, ignore, run_name
from charrnn.training.learner import Learner
from charrnn.training.members import drawn
from charrnn.training.planning import plan
from charrnn.training.progress import Progress
from charrnn.training.recorder import Recorder
from charrnn.training.schedule import Clock
from charrnn.training.trainer import Trainer
from charrnn.training.workers import Workers

FITTED = ("batch_size", "seq_len")  # settings that a small text may shrink
SHAPE = ("cell", "hidden_size", "num_layers", "nonlinearity")  # which another model's weights need


@dataclass(frozen=True)
class Request:
    """What a user asks for when a run starts."""

    sources: Sequence[str]  # files, folders, globs, "-" for standard input, "hf:NAME"
    runs: Path  # the folder of all runs
    name: str | None = None  # of the run; None takes the first source's
    data: DataConfig = field(default_factory=DataConfig)
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of TrainingConfig, if set
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of ModelConfig, if set
    val_source: str | None = None  # another text to validate on, instead of the tail of this one
    init_from: Sequence[Checkpoint] = ()  # a model to take the weights from, or all its members
    keep_characters: bool = False  # also those of its characters that the text does not have
    numbered: bool = True  # whether a name that another run has gets a number


def start(
    request: Request,
    watch: Watch = ignore,
    workers: Workers | None = None,
    clock: Clock | None = None,
    measuring: Callable[[], None] = lambda: None,
) -> Trainer:
    """Reads the text once, fits the settings to it, builds the model.

    Args:
        request: what the user asks for.
        watch: called while the text is read.
        workers: what trains, if they were started before; closed with the trainer.
        clock: returns the seconds since the command began; None: since now.
        measuring: called before it is measured how fast this machine trains.

    Raises:
        CharrnnError: The text, a setting or the disk forbids it; no run is left behind.
    """
    others, data = request.init_from, request.data
    model_options, training = {"unit": data.unit, **request.model}, dict(request.training)
    for other in others:
        model_options |= _shape_of(other.model.config, model_options)
    if others:
        training["members"] = _members_of(others, training)
    # before reading: it may be refused
    precision_for(TrainingConfig(**training))
    name = run_name(request.sources) if request.name is None else request.name
    clock = clock or stopwatch()
    workers = workers or Workers(threads=request.training.get("threads") or 1)
    with contextlib.ExitStack() as on_error:
        on_error.callback(workers.close)
        run = on_error.enter_context(NewRun(request.runs, name, numbered=request.numbered))
        dataset = Dataset.open(
            request.sources,
            data,
            lambda: run.folder().path,
            val_source=request.val_source,
            extra=others[0].vocabulary if others and request.keep_characters else None,
            watch=watch,
        )
        on_error.callback(dataset.close)
        model_options["vocab_size"] = len(dataset.vocabulary)
        if request.training.get("max_time") is not None:
            measuring()
        planned = plan(model_options, training, dataset.train_chars, workers, clock)
        config, notes = planned.training, [*dataset.notes, *planned.notes]
        torch.set_num_threads(workers.threads)  # what is drawn would depend on how many there are
        members = drawn(planned.model, config)
        for member in members:
            member.model.expect(dataset.shares)
        for other, member in zip(others, members, strict=False):
            notes.append(transfer(other, member.model.in_numpy(), dataset.vocabulary))
        learner = Learner(members[0].model, config, workers, members[1:], dataset.shares)
        recorder = _recorder(request, run.folder(), dataset, config)
        trainer = Trainer(learner, dataset, recorder, config, Progress(), clock)
        trainer.notes += [*_other_name(request, run.folder().path), *notes]
        trainer.begin()
        on_error.pop_all()
        return trainer


def _other_name(request: Request, folder: Path) -> list[str]:
    """Returns what the run is called if there is another one of the name that the user gave."""
    if request.name in (None, folder.name):
        return []
    taken = quoted(folder.with_name(request.name or ""))
    return [f"{taken} exists: this run is {folder.name}; charrnn train --resume {taken} resumes it"]


def _recorder(
    request: Request, folder: RunFolder, dataset: Dataset, config: TrainingConfig
) -> Recorder:
    asked = {key: request.training[key] for key in FITTED if key in request.training}
    made = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "command": _command(request)}
    return Recorder(
        folder,
        dataset.vocabulary,
        config,
        origin={**asdict(dataset.origin), "asked": asked, **made},
        provenance=dataset.origin.provenance
        | {"sources": list(request.sources), "val_source": request.val_source},
    )


def _command(request: Request) -> list[str]:
    """Returns the words of the command that asks for this run."""
    data, default = asdict(request.data), asdict(DataConfig())
    settings: dict[str, Any] = {
        "name": request.name,
        "runs": None if request.runs == RUNS else request.runs,
        "val_source": request.val_source,
        "init_from": _init_path(request.init_from),
        "keep_characters": request.keep_characters,
        **{name: value for name, value in data.items() if value != default[name]},
        **request.model,
        **request.training,
    }
    return train_command(request.sources, settings)


def _init_path(members: Sequence[Checkpoint]) -> Path | None:
    """Returns where weights are taken from: a file, or the folder of a run with several members."""
    if not members:
        return None
    return members[0].path.parent if members[1:] else members[0].path


def _members_of(others: Sequence[Checkpoint], options: Mapping[str, Any]) -> int:
    """Returns how many members take over the weights of others, each from its own.

    Raises:
        OptionError: The user asks for another number.
    """
    count = len(others)
    if options.get("members", count) != count:
        has = f"run has {count} members" if count > 1 else "model is one"
        raise OptionError(f"--members: --init-from's {has}: leave --members out")
    return count


def _shape_of(other: ModelConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the shape of a model that takes over another's weights.

    Raises:
        OptionError: The user asks for another shape.
    """
    if other.unit != options["unit"]:
        raise OptionError(f"--unit: --init-from's model has {other.unit}: add --unit {other.unit}")
    shape = {key: getattr(other, key) for key in SHAPE}
    for key, value in shape.items():
        if options.get(key, value) != value:
            option = option_name(key)
            raise OptionError(f"{option}: --init-from's model has {value}: leave {option} out")
    return shape
