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
from clocks import Clock
from numpy_model import parse
from texts import DATA

from charrnn.config import DataConfig
from charrnn.model.forward import Network
from charrnn.scoring.scorer import nats_per_char
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training import resume as resuming
from charrnn.training import start as starting
from charrnn.training.events import Event, Finished
from charrnn.training.start import Request
from charrnn.training.trainer import Trainer


def nats_unasked(model: Network, vocabulary: Vocabulary, ids: Ids, _: object) -> float | None:
    """Scores without asking whether to stop, so that a test can count who else asks."""
    return nats_per_char(model, vocabulary, ids)


COFFEE = (DATA / "coffee.txt").read_text()[:6000]
TRAINING = {"batch_size": 4, "seq_len": 16, "patience": 0, "steps": 20, "eval_every": 1000}
DATA_FIELDS = {"unit", "encoding", "val_fraction", "block_chars", "min_count", "vocabulary_from"}
DATA_FIELDS |= {"hold_out"}
MODEL_FIELDS = {"hidden_size", "num_layers", "cell", "nonlinearity", "dropout"}


def start(folder: Path, text: str = COFFEE, **options: Any) -> Trainer:
    """Returns the trainer of a new run: by default small, and by a clock of its own."""
    source = folder / "text.txt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(text.encode("utf-8"))
    score, clock = options.pop("score", nats_unasked), options.pop("clock", Clock(0.01))
    team = options.pop("team", None)
    data = {key: options.pop(key) for key in DATA_FIELDS & options.keys()}
    model = {key: options.pop(key) for key in MODEL_FIELDS & options.keys()}
    fields = {key: options.pop(key) for key in Request.__annotations__.keys() & options.keys()}
    shape = {} if "init_from" in fields else {"hidden_size": 12}
    request = Request(
        [str(source)],
        folder / "runs",
        data=DataConfig(**data),
        training={**TRAINING, **options},
        model={**shape, "dropout": 0.0, **model},
        **fields,
    )
    trainer = starting.start(request, workers=team, clock=clock)
    trainer.score = score
    return trainer


def resume(folder: Path, **changes: Any) -> Trainer:
    score, clock = changes.pop("score", nats_unasked), changes.pop("clock", Clock(0.01))
    team, path = changes.pop("team", None), folder / "runs" / "text" / "training.safetensors"
    trainer = resuming.resume(path, changes, workers=team, clock=clock)
    trainer.score = score
    return trainer


def after(steps: int) -> Callable[[], bool]:
    """Returns a function that is true from its n-th call on."""
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def run(trainer: Trainer, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    return list(trainer.events(stop))


def saved_tensors(folder: Path, file: str = "training") -> dict[str, npt.NDArray[Any]]:
    """Returns the tensors of a run's training or model file."""
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
    """Returns a validation that returns these scores, one a call."""
    rest = iter(values)
    return lambda *_: next(rest)
