"""Children that end at the worst moments, and what they leave behind, printed as JSON.

``python killed.py storm FOLDER SEED KILLS WORKERS MEMBERS`` trains once in peace, and once killed
again and again, with `SIGKILL`: of several workers, one of the helpers; ``python killed.py deaths
FILE`` ends within a save of a model or training file, before and after each call that reaches the
system;
``python killed.py starts RUNS`` ends so within a start; ``python killed.py reads FILE COUNT`` reads
a model COUNT times while it is saved COUNT times.
torch is imported once, each child is a fork.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from faults import READING, Call, Fault, watched
from forked import fork_helpers, helpers_of
from numpy_model import parse

from charrnn.config import TRAINING_FILE
from charrnn.errors import CheckpointError, TrainingError
from charrnn.store import checkpoint
from charrnn.store.mixing import load_run
from charrnn.store.opened import HISTORY_FILE
from charrnn.training.resume import resume
from charrnn.training.start import Request, start
from charrnn.training.trainer import Trainer

MOST_STEPS = 25  # until a kill
NAMED = 3  # exit code of a training that ended with an error
TRAINING = {
    "batch_size": 4,
    "seq_len": 16,
    "steps": 300,
    "eval_every": 11,
    "save_every": 7,
    "patience": 0,
}


def trainer_in(runs: Path, **training: int) -> Trainer:
    """Returns the training of these runs: a new one, or the one that was begun."""
    path = runs / "text" / TRAINING_FILE
    if path.exists():
        return resume(path, {})
    model = {"hidden_size": 8, "num_layers": 1, "dropout": 0.2}
    text = str(runs.parent / "text.txt")
    return start(Request([text], runs, training=TRAINING | training, model=model))


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


def exit_code_of(task: Callable[[int], None]) -> int:
    """Does something in a child; returns its exit code."""
    child, pipe = in_a_child(task)
    os.close(pipe)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def train(runs: Path, training: dict[str, int], pipe: int) -> None:
    """Trains to the end; writes a byte at each step, and the error if there is one."""

    def stop() -> bool:
        os.write(pipe, b".")
        return False

    try:
        for _ in trainer_in(runs, **training).events(stop):
            pass
    except TrainingError as error:
        os.write(pipe, str(error).encode())
        os._exit(NAMED)


def storm(folder: Path, seed: int, kills: int, workers: int, members: int) -> dict[str, object]:
    """Trains in peace; kills a training again and again, then lets it end."""
    chance, steps = random.Random(seed), kills * MOST_STEPS
    steps_at_kills: list[int] = []
    errors: list[str] = []

    def begun(name: str) -> tuple[int, int]:
        training = {"workers": workers, "steps": steps, "members": members}
        return in_a_child(partial(train, folder / name, training))

    for _ in range(kills):
        child, pipe = begun("killed")
        # the steps are counted, but where within the last of them the signal comes is chance
        for _ in range(chance.randrange(1, MOST_STEPS)):
            assert os.read(pipe, 1), "it ended before it was killed"
        os.kill(child if workers == 1 else chance.choice(helpers_of(child)), signal.SIGKILL)
        said = b""
        while news := os.read(pipe, 2**16):  # until all processes that could write have ended
            said += news
        _, status = os.waitpid(child, 0)
        os.close(pipe)
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if workers == 1 else NAMED)
        errors.append(said.decode().lstrip("."))
        saved = checkpoint.load(folder / "killed" / "text" / TRAINING_FILE)
        assert len(load_run(folder / "killed" / "text").members) == members
        steps_at_kills.append(saved.training_state["progress"]["step"])
    for name in ("killed", "calm"):
        child, pipe = begun(name)
        while os.read(pipe, 2**16):
            pass
        os.close(pipe)
        assert os.waitpid(child, 0)[1] == 0
    return {"steps_at_kills": steps_at_kills, "errors": errors}


def traces(run: Path) -> dict[str, Any]:
    """Returns what must be the same, however often a run was killed."""
    lines = map(json.loads, (run / HISTORY_FILE).read_text().splitlines())
    evals = [line | {"elapsed_s": 0} for line in lines if line["event"] == "eval"]
    tensors = {
        f"{file.name}: {name}": tensor
        for file in run.glob("*.safetensors")
        for name, tensor in parse(file.read_bytes())[1].items()
    }
    return {"evals": evals, "tensors": tensors}


# --- the end at each call


def die(*_: object, **__: object) -> None:
    os._exit(9)


def before(_: Call) -> Call:
    return die


def after(call: Call) -> Call:
    return lambda *args, **options: die(call(*args, **options))


def halfway(call: Call) -> Call:
    return lambda file, data: die(call(file, data[: len(data) // 2]))


def moments(names: list[str]) -> Iterator[tuple[int, Fault]]:
    """Yields the number of a call and how it ends the process, for each moment of a task."""
    for number, name in enumerate(names):
        if name not in READING:
            yield from ((number, before), (number, after))
        if name == "write":
            yield number, halfway


def deaths(path: Path) -> list[dict[str, object]]:
    """Returns how a process ended at each moment of a save, and what was left, in order."""
    outcomes = []
    content = path.read_bytes()
    changed = checkpoint.load(path)
    changed.provenance["step"] = 77

    def save(number: int, fault: Fault, _: int) -> None:
        with watched(number, fault):
            checkpoint.save(path, changed)

    with watched() as names:
        checkpoint.save(path, changed)
    for number, fault in moments(names):
        path.write_bytes(content)
        code = exit_code_of(partial(save, number, fault))
        step = checkpoint.load(path).provenance["step"]
        outcomes.append(
            {
                "moment": f"{fault.__name__} {names[number]}",
                "status": code,
                "left": "new" if step == 77 else "old",
                "files": len(list(path.parent.iterdir())),
            }
        )
    return outcomes


def starts(runs: Path) -> list[dict[str, object]]:
    """Returns how a process ended at each moment of a start, and what the next one found."""
    outcomes = []

    def begin(number: int, fault: Fault, _: int) -> None:
        with watched(number, fault):
            trainer_in(runs)

    with watched() as names:
        trainer_in(runs)
    names = list(names)
    for number, fault in moments(names):
        shutil.rmtree(runs, ignore_errors=True)
        code = exit_code_of(partial(begin, number, fault))
        next_code = exit_code_of(lambda _: trainer_in(runs) and None)
        files = sorted(str(path.relative_to(runs)) for path in runs.rglob("*.*"))
        moment = f"{fault.__name__} {names[number]}"
        outcomes.append({"moment": moment, "status": code, "next": next_code, "files": files})
    return outcomes


# --- reads during saves


def save_forever(path: Path, pipe: int) -> None:
    """Saves a model again and again; writes a byte after each time."""
    model = checkpoint.load(path)
    while True:
        model.provenance["step"] += 1
        checkpoint.save(path, model)
        os.write(pipe, b".")


def reads(path: Path, count: int) -> dict[str, Any]:
    """Reads a model while a child saves it, until both were done so many times."""
    child, pipe = in_a_child(partial(save_forever, path))
    os.set_blocking(pipe, False)
    refused: list[str] = []
    steps: list[int] = []
    saves = 0
    while len(steps) + len(refused) < count or saves < count:
        try:
            steps.append(checkpoint.load(path).provenance["step"])
        except CheckpointError as error:
            refused.append(str(error))
        try:
            news = os.read(pipe, 2**16)
        except BlockingIOError:
            continue
        assert news, "the child ended"
        saves += len(news)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {
        "reads": len(steps) + len(refused),
        "saves": saves,
        "refused": refused,
        "in_order": steps == sorted(steps),
        "different": len(set(steps)),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    fork_helpers()
    what, name, *numbers = sys.argv[1:]
    task: Any = {"storm": storm, "deaths": deaths, "starts": starts, "reads": reads}[what]
    print(json.dumps(task(Path(name), *map(int, numbers))))
