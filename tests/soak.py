"""A soak: ``python soak.py [--hours H] [--seed S] [--quick]``; prints its figures as JSON.

Trainings of many settings are killed again and again, with a reader beside them all the time and
the disk full now and then, and must end with the bits of the undisturbed one. Between them every
system call of a save fails once, and damaged models, trainings, tables and texts are read. The exit
code is 1 if anything was lost, wrongly refused, left over, or had no name.
"""

import argparse
import contextlib
import json
import lzma
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import damaged
import fuzzed
import numpy as np
import torch
from faults import each_call_failing
from forked import fork_helpers, helpers_of
from killed import in_a_child, traces

from charrnn.config import MODEL_FILE, TRAINING_FILE, DataConfig, TrainingConfig, member_file
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.model import parallel
from charrnn.store import checkpoint
from charrnn.training.learner import Diverged, Learner
from charrnn.training.resume import resume
from charrnn.training.schedule import learning_rate
from charrnn.training.start import Request, start

HERE = Path(__file__).parent
COFFEE = (HERE.parent / "data" / "coffee.txt").read_text(encoding="utf-8")[:9000]
STEPS, QUICK_STEPS = 500, 60  # of a training
FULL_AT_BYTES = 2000  # then a disk is full: no save fits
FULL, NAMED, UNNAMED = 0.1, 3, 4  # share of children with a full disk; their exit codes


@dataclass(frozen=True)
class Setting:
    """What is trained, and how."""

    name: str
    sources: tuple[str, ...] = ("text.txt",)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    diverges: bool = False
    steps: int = STEPS


SETTINGS = [
    Setting("plain", training={"save_every": 7}),
    Setting("by the clock", model={"dropout": 0.2}),
    Setting("bytes", data={"unit": "byte"}, training={"save_every": 13}),
    Setting("rows", ("rows.jsonl",), {"column": "text"}),
    Setting("folder", ("folder", "folder/*.txt"), {"hold_out": "lines"}),
    Setting("read anew", data={"block_chars": 2000}, training={"save_every": 7}),
    Setting("standard input", ("-",), model={"dropout": 0.2}),
    Setting("compressed", ("text.txt.xz",), {"min_count": 9}, model={"nonlinearity": "relu"}),
    Setting("another text", more={"val_source": "other.txt"}, model={"num_layers": 2}),
    Setting("diverges", training={"eval_every": 29}, diverges=True),
    Setting("budget", training={"steps": None, "max_time": 1.0}),
    Setting("workers", training={"workers": 3}, model={"dropout": 0.2}),
    Setting("workers, saved often", training={"workers": 2, "save_every": 7}),
    Setting("members", training={"members": 2, "save_every": 7}, model={"dropout": 0.2}),
]


def write_texts(folder: Path) -> None:
    """Writes what the settings name."""
    (folder / "text.txt").write_text(COFFEE)
    (folder / "other.txt").write_text(COFFEE[::-1])
    (folder / "text.txt.xz").write_bytes(lzma.compress(COFFEE.encode()))
    rows = (json.dumps({"text": line, "n": len(line)}) for line in COFFEE.split("\n"))
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "folder").mkdir()
    for i in range(3):
        (folder / "folder" / f"{i}.txt").write_text(COFFEE[3000 * i :][:3000])


def train(folder: Path, setting: Setting, full: bool, pipe: int) -> None:
    """Trains to the end, in a child; writes a byte at each step."""

    def stop() -> bool:
        os.write(pipe, b".")
        return False

    if full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT_BYTES, resource.RLIM_INFINITY))
    try:
        with contextlib.ExitStack() as stack:
            if setting.diverges:
                wrong = diverging(Learner.update, setting.steps)
                stack.enter_context(patch.object(Learner, "update", wrong))
            for _ in trainer_of(folder, setting).events(stop):
                pass
    except CharrnnError as error:
        os.write(pipe, f"{error}".encode())
        os._exit(NAMED)
    except BaseException:
        os.write(pipe, traceback.format_exc().encode())
        os._exit(UNNAMED)


def diverging(update: Callable[..., float], steps: int) -> Callable[..., float]:
    """Returns an update that fails a third of the way until the learning rate is lower."""
    wrong_at = steps // 3
    usual = learning_rate(TrainingConfig(steps=steps), wrong_at / steps)

    def wrong(learner: Learner, batch: Any, lr: float) -> float:
        if learner.optimizer.updates == wrong_at and lr > 0.6 * usual:
            raise Diverged("the loss is nan")
        return update(learner, batch, lr)

    return wrong


def trainer_of(folder: Path, setting: Setting) -> Any:
    """Returns the training that was begun in a folder, or a new one."""
    if (folder / "run" / TRAINING_FILE).exists():
        return resume(folder / "run" / TRAINING_FILE, {})
    texts = folder.parent
    if setting.sources == ("-",):
        os.dup2(os.open(texts / "text.txt", os.O_RDONLY), 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    named = [s if s == "-" else str(texts / s) for s in setting.sources]
    more = {key: str(texts / name) for key, name in setting.more.items()}
    training: dict[str, Any] = {"batch_size": 4, "seq_len": 16, "eval_every": 11, "patience": 0}
    training |= {"steps": setting.steps, "save_every_s": 0.05, **setting.training}
    model = {"hidden_size": 8, "num_layers": 1, **setting.model}
    data = DataConfig(**setting.data)
    return start(Request(named, folder, "run", data, training, model, **more))


class Soak:
    """What was done, and what went wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.dice = folder, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def kill_again_and_again(self, setting: Setting, number: int) -> None:
        """Trains undisturbed, and disturbed; compares them."""
        calm, disturbed = (self.folder / f"{number}-{name}" for name in ("calm", "killed"))
        self.train_to_the_end(calm, setting, often=False)
        self.train_to_the_end(disturbed, setting, often=True)
        self.counts["trainings"] += 1
        left = {path.name for path in (disturbed / "run").iterdir()}
        models = {member_file(n) for n in range(1, setting.training.get("members", 1) + 1)}
        if left - {"stdin.txt"} != models | {TRAINING_FILE, "history.jsonl"}:
            self.wrong.append(f"{setting.name}: left over: {sorted(left)}")
        if "max_time" not in setting.training:
            one, other = traces(calm / "run"), traces(disturbed / "run")
            same = one["evals"] == other["evals"] and one["tensors"].keys() == (
                other["tensors"].keys()
            )
            if not same or not all(
                np.array_equal(tensor, other["tensors"][name])
                for name, tensor in one["tensors"].items()
            ):
                self.wrong.append(f"{setting.name}: other bits ({disturbed})")
                return  # it is kept
            shutil.rmtree(disturbed)
        shutil.rmtree(calm)

    def train_to_the_end(self, folder: Path, setting: Setting, *, often: bool) -> None:
        """Trains until it is done; if ``often``, killed many times before."""
        while True:
            full = often and self.dice.random() < FULL
            child, pipe = in_a_child(partial(train, folder, setting, full))
            said = b""
            for _ in range(self.dice.randrange(1, 40) if often else 10**9):
                if not (news := os.read(pipe, 1 if often else 2**16)):
                    break
                said += news
            else:
                victim = self.victim(child, setting)
                os.kill(victim, signal.SIGKILL)
                self.counts["kills" if victim == child else "killed helpers"] += 1
            # until all processes have ended that could write, helpers too
            while news := os.read(pipe, 2**16):
                said += news
            os.close(pipe)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            self.counts["full disks"] += full
            if code == 0:
                return
            died = "killed by signal 9" in said.decode(errors="replace") and "workers" in (
                setting.training
            )
            if code != -signal.SIGKILL and not (code == NAMED and (full or died)):
                self.wrong.append(f"{setting.name}: {said.decode(errors='replace').lstrip('.')}")
                if code != NAMED:
                    return
            self.check_what_was_saved(folder / "run", setting)

    def victim(self, child: int, setting: Setting) -> int:
        """Returns the process to kill: the one that trains, or often one of its helpers."""
        if "workers" in setting.training and sys.platform == "linux" and self.dice.random() < 0.7:
            return self.dice.choice([*helpers_of(child), child])
        return child

    def check_what_was_saved(self, run: Path, setting: Setting) -> None:
        """Reads what a killed training left, as the next one would."""
        for name in (TRAINING_FILE, MODEL_FILE):
            try:
                if (run / name).exists():
                    checkpoint.load(run / name)
            except CharrnnError as error:
                self.wrong.append(f"{setting.name}: after a kill: {error}")

    def let_each_call_fail(self) -> None:
        """Saves a model, with each of the save's system calls failing once."""
        path = self.folder / "one" / MODEL_FILE
        model, files = checkpoint.load(path), sorted(path.parent.iterdir())

        def save() -> None:
            model.provenance["step"] += 1
            checkpoint.save(path, model)

        save()
        for call, error in each_call_failing(save):
            self.counts["failed calls"] += 1
            if error is not None and not isinstance(error, CheckpointError):
                self.wrong.append(f"{call}: {error!r}")
            after = checkpoint.load(path).provenance["step"]
            now = model.provenance["step"]
            lost = after != now if error is None else after not in (now, now - 1)
            if lost or sorted(path.parent.iterdir()) != files:
                self.wrong.append(f"{call}: lost or left over")
            save()

    def read_damaged(self, count: int) -> None:
        """Reads damaged models, trainings, and tables, in processes of their own."""
        for read, target, share in (
            (fuzzed.main, self.folder / "one" / MODEL_FILE, 0.25),
            (fuzzed.main, self.folder / "one" / TRAINING_FILE, 0.25),
            (damaged.main, self.folder / "damaged", 0.5),
        ):
            (self.folder / "damaged").mkdir()
            seed = self.dice.randrange(10**6)
            child, pipe = in_a_child(partial(report, read, target, seed, int(count * share)))
            with open(pipe, "rb") as stream:
                text = stream.read()
            os.waitpid(child, 0)
            result = json.loads(text or '{"other": ["it ended"], "refused": 0, "read": 0}')
            self.counts["damaged files refused"] += result["refused"]
            self.counts["damaged files read"] += result["read"]
            self.wrong += result["other"]
            for folder in (self.folder / "one").glob("fuzzed-*"):
                shutil.rmtree(folder)
            shutil.rmtree(self.folder / "damaged", ignore_errors=True)


def report(read: Callable[..., dict[str, Any]], *arguments: object) -> None:
    """Reads damaged files, in a child; writes what came of it."""
    *arguments, pipe = arguments
    try:
        result = read(*arguments)
    except BaseException:
        result = {"refused": 0, "read": 0, "other": [traceback.format_exc()]}
    with open(pipe, "w") as stream:
        json.dump(result, stream)


def read_for_ever(folder: Path, pipe: int) -> None:
    """Reads all models and trainings again and again, in a child; writes a byte for each."""
    while True:
        for path in folder.glob("*/run/*.safetensors"):
            try:
                checkpoint.load(path)
            except CheckpointError as error:
                if path.exists():  # if not, its folder was removed at the end of a training
                    with (folder / "refused.txt").open("a") as stream:
                        stream.write(f"{error}\n")
            os.write(pipe, b".")


def main(hours: float, seed: int, *, quick: bool) -> dict[str, Any]:
    """Soaks for some hours, in whole rounds; if ``quick``, one short round of few settings."""
    torch.set_num_threads(1)
    parallel.set_threads(1)
    fork_helpers()
    end_s = time.monotonic() + 3600 * hours
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak, number = Soak(folder, seed), 0
    write_texts(folder)
    soak.train_to_the_end(folder / "first", SETTINGS[0], often=False)
    shutil.copytree(folder / "first" / "run", folder / "one")
    reader, pipe = in_a_child(partial(read_for_ever, folder))
    os.set_blocking(pipe, False)
    while True:
        for setting in SETTINGS[::3] if quick else SETTINGS:
            number += 1
            steps = QUICK_STEPS if quick else STEPS
            soak.kill_again_and_again(replace(setting, steps=steps), number)
            with contextlib.suppress(BlockingIOError):
                while news := os.read(pipe, 2**16):
                    soak.counts["reads"] += len(news)
        soak.let_each_call_fail()
        soak.read_damaged(40 if quick else 2000)
        print(f"{dict(soak.counts)} {soak.wrong}", file=sys.stderr, flush=True)
        if quick or time.monotonic() > end_s:
            break
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    refused = folder / "refused.txt"
    if refused.exists():
        soak.wrong += refused.read_text().splitlines()
    if not soak.wrong:
        shutil.rmtree(folder)
    return {**soak.counts, "wrong": soak.wrong}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    result = main(**vars(parser.parse_args()))
    print(json.dumps(result))
    sys.exit(bool(result["wrong"]))
