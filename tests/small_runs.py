"""Small runs, for the tests of all that begins, trains and resumes one."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from conftest import DATA
from numpy_model import parse

from charrnn.config import DataConfig
from charrnn.evaluation import nats_per_char
from charrnn.model import CharRNN
from charrnn.runs import new_trainer, resumed_trainer
from charrnn.training import Event, Trainer
from charrnn.vocabulary import Ids, Vocabulary


def nats_unasked(model: CharRNN, vocabulary: Vocabulary, ids: Ids, _: object) -> float | None:
    """Scores without asking whether to stop, so that a test can count who else asks."""
    return nats_per_char(model, vocabulary, ids)


COFFEE = (DATA / "coffee.txt").read_text()[:6000]
TRAINING = {"batch_size": 4, "seq_len": 16, "patience": 0, "steps": 20, "eval_every": 1000}
DATA_FIELDS = {"unit", "encoding", "val_fraction", "block_chars", "min_count", "vocabulary_from"}
MODEL_FIELDS = {"hidden_size", "num_layers", "nonlinearity", "dropout"}


def start(folder: Path, text: str = COFFEE, **options: Any) -> Trainer:
    """Returns the trainer of a new run, of a small model unless told otherwise."""
    source = folder / "text.txt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(text.encode("utf-8"))
    validate = options.pop("validate", nats_unasked)
    init_from = options.pop("init_from", None)
    keep_characters = options.pop("keep_characters", False)
    val_source = options.pop("val_source", None)
    data = {key: options.pop(key) for key in DATA_FIELDS & options.keys()}
    model = {key: options.pop(key) for key in MODEL_FIELDS & options.keys()}
    return new_trainer(
        [str(source)],
        folder / "runs",
        None,
        DataConfig(**data),
        {**TRAINING, **options},
        {**({} if init_from else {"hidden_size": 12}), "dropout": 0.0, **model},
        validate=validate,
        init_from=init_from,
        keep_characters=keep_characters,
        val_source=val_source,
    )


def resume(folder: Path, **changes: Any) -> Trainer:
    validate = changes.pop("validate", nats_unasked)
    path = folder / "runs" / "text" / "training.safetensors"
    return resumed_trainer(path, changes, validate=validate)


def after(steps: int) -> Callable[[], bool]:
    """Returns a function that is true from its n-th call on."""
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def run(trainer: Trainer, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    return list(trainer.events(stop))


def kept(folder: Path, file: str = "training") -> dict[str, npt.NDArray[Any]]:
    return parse((folder / "runs" / "text" / f"{file}.safetensors").read_bytes())[1]
