"""Small runs, for the tests of all that begins, trains and resumes one."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy_model import parse
from texts import DATA

from charrnn.config import DataConfig
from charrnn.model.network import CharRNN
from charrnn.scoring.scorer import nats_per_char
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training.events import Event, Finished
from charrnn.training.resume import resumed_trainer
from charrnn.training.start import new_trainer
from charrnn.training.trainer import Trainer


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


def same(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def history(folder: Path, event: str | None = None) -> list[dict[str, Any]]:
    def no_constant(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    lines = (folder / "runs" / "text" / "history.jsonl").read_text().splitlines()
    entries = [json.loads(line, parse_constant=no_constant) for line in lines]
    return [entry for entry in entries if event in (None, entry["event"])]


def untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("elapsed_s", "chars_per_second")
    return [{k: v for k, v in entry.items() if k not in timed} for entry in entries]


def twice(folder: Path, stops: Sequence[int], **options: Any) -> tuple[Path, Path]:
    """Trains in one go, and again with stops; returns both folders."""
    one, cut = folder / "one", folder / "cut"
    run(start(one, **options))
    trainer, before = start(cut, **options), 0
    for stop in stops:
        finished = run(trainer, after(stop - before))[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.step) == ("interrupted", stop)
        torch.manual_seed(random.Random(stop).randrange(1000))  # whatever happens in between
        trainer, before = resume(cut), stop
    finished = run(trainer)[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    return one, cut


def scores(*values: float) -> Callable[..., float]:
    """Returns a validation that says what it is told."""
    rest = iter(values)
    return lambda *_: next(rest)
