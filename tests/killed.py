"""Children that end at the worst moments, and what they leave behind, printed as JSON.

``python killed.py storm RUNS SEED KILLS`` kills a training again and again, with `SIGKILL`;
``python killed.py deaths FILE`` ends within a save of a model or training file, at each call that
reaches the system. torch is imported once, each child is a fork.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from charrnn.config import MODEL_FILE, TRAINING_FILE
from charrnn.store import checkpoint
from charrnn.training.resume import resume
from charrnn.training.start import Request, start
from charrnn.training.trainer import Trainer

STEPS = 2400
TRAINING = {
    "batch_size": 4,
    "seq_len": 16,
    "steps": STEPS,
    "eval_every": 11,
    "save_every": 7,
    "patience": 0,
}


def trainer_in(runs: Path) -> Trainer:
    """Returns the training of these runs: a new one, or the one that was begun."""
    path = runs / "text" / TRAINING_FILE
    if path.exists():
        return resume(path, {})
    model = {"hidden_size": 8, "dropout": 0.2}
    text = str(runs.parent / "text.txt")
    return start(Request([text], runs, training=TRAINING, model=model))


def in_a_child(task: Callable[[int], None]) -> tuple[int, int]:
    """Starts a task in a child; returns its process and the pipe that it writes to."""
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        status = 1
        try:
            task(its)
            status = 0
        finally:
            os._exit(status)
    os.close(its)
    return child, mine


def train(runs: Path, pipe: int) -> None:
    """Trains to the end; writes a byte at each step."""

    def stop() -> bool:
        os.write(pipe, b".")
        return False

    for _ in trainer_in(runs).events(stop):
        pass


def storm(runs: Path, seed: int, kills: int) -> dict[str, object]:
    """Kills a training again and again, then lets it end."""
    chance = random.Random(seed)
    steps_at_kills: list[int] = []
    for _ in range(kills):
        child, pipe = in_a_child(partial(train, runs))
        # the steps are counted, but where within the last of them the signal comes is chance
        for _ in range(chance.randrange(1, 40)):
            assert os.read(pipe, 1), "it ended before it was killed"
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(pipe)
        assert os.WIFSIGNALED(status)
        saved = checkpoint.load(runs / "text" / TRAINING_FILE)
        checkpoint.load(runs / "text" / MODEL_FILE)
        steps_at_kills.append(saved.training_state["progress"]["step"])
    child, pipe = in_a_child(partial(train, runs))
    while os.read(pipe, 2**16):
        pass
    _, status = os.waitpid(child, 0)
    return {"status": status, "steps_at_kills": steps_at_kills}


class Torn:
    """A file of which half is written when the process ends."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *_: object) -> None:
        raise AssertionError("it outlived its write")

    def write(self, data: bytes) -> None:
        self._stream.write(data[: len(data) // 2])
        self._stream.flush()
        die()


def die(*_: object, **__: object) -> None:
    os._exit(9)


def torn(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: Torn(call(*args, **options))


def before(_: Callable[..., Any]) -> Callable[..., Any]:
    return die


def after(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: die(call(*args, **options))


# when it ends: the call that reaches the system, and what becomes of it
MOMENTS = {
    "before it is opened": (Path, "open", before),
    "once it is opened": (Path, "open", after),
    "half-way through the write": (Path, "open", torn),
    "before it is flushed": (os, "fsync", before),
    "once it is flushed": (os, "fsync", after),
    "before it is renamed": (Path, "replace", before),
    "once it is renamed": (Path, "replace", after),
}


def deaths(path: Path) -> dict[str, object]:
    """Returns, by moment, the status of a process that ended within a save, and what was left."""
    outcomes = {}
    content = path.read_bytes()
    changed = checkpoint.load(path)
    changed.provenance["step"] = 77

    def save(moment: str, _: int) -> None:
        owner, name, fault = MOMENTS[moment]
        with patch.object(owner, name, fault(getattr(owner, name))):
            checkpoint.save(path, changed)

    for moment in MOMENTS:
        path.write_bytes(content)
        child, pipe = in_a_child(partial(save, moment))
        os.close(pipe)
        _, status = os.waitpid(child, 0)
        step = checkpoint.load(path).provenance["step"]
        outcomes[moment] = {
            "status": os.waitstatus_to_exitcode(status),
            "left": "new" if step == 77 else "old",
            "files": len(list(path.parent.iterdir())),
        }
    return outcomes


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, name, *numbers = sys.argv[1:]
    path = Path(name)
    print(json.dumps(deaths(path) if what == "deaths" else storm(path, *map(int, numbers))))
