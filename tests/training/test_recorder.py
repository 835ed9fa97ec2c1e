"""What is written of a training, and a disk that refuses it."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clocks import Clock
from numpy_model import NumpyModel
from small_runs import (
    COFFEE,
    after,
    history,
    resume,
    run,
    same,
    saved_tensors,
    scores,
    start,
    twice,
)

from charrnn import system
from charrnn.errors import CheckpointError, RunRemovedError, TrainingError
from charrnn.store import checkpoint
from charrnn.store.opened import RunFolder
from charrnn.training.events import Evaluated, Finished, RolledBack, SaveFailed
from charrnn.training.optimizer import AdamW

# --- history and files


def test_the_history_is_on_the_disk_before_the_moment_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path)
    run(trainer)
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_replace(*args: Any, **options: Any) -> None:
        done.append("renamed")
        replace(*args, **options)

    def noted_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    trainer.save()
    assert done[0] == "history.jsonl"
    assert done[2] == "renamed"


def test_a_training_file_is_everything(tmp_path: Path) -> None:
    """Weights, their averages, both moments of the optimiser, hidden state and random state."""
    run(start(tmp_path))
    names = {name for name in saved_tensors(tmp_path) if name.startswith(("layers.", "output."))}
    further = {f"average.{name}" for name in names}
    further |= {"state", "random_state", "optimizer.column_rates"}
    for key in ("exp_avg", "exp_avg_sq"):
        further |= {f"optimizer.{name}.{key}" for name in names}
    assert saved_tensors(tmp_path).keys() == names | further
    assert saved_tensors(tmp_path)["state"].shape == (3, 4, 12)
    assert np.abs(saved_tensors(tmp_path)["state"]).min() > 0


def test_a_line_of_history_is_of_all_steps_since_the_last_one(tmp_path: Path) -> None:
    """Also if training was stopped between them."""
    one, cut = twice(tmp_path, (15, 23), steps=40, eval_every=20)
    sums, steps = [], []
    for folder in (one, cut):
        lines = history(folder, "step")
        before = [{"step": 0, "chars": 0}, *lines]
        sums.append(
            sum(
                line["train_nats_per_char"] * (line["chars"] - last["chars"])
                for line, last in zip(lines, before, strict=False)
            )
        )
        steps.append([line["step"] for line in lines])
    assert steps == [[10, 20, 30, 40], [10, 15, 20, 23, 30, 40]]
    assert sums[0] == pytest.approx(sums[1])


def test_a_stop_before_the_first_evaluation_keeps_what_was_learnt(tmp_path: Path) -> None:
    run(start(tmp_path, steps=100, eval_every=50), after(20))
    saved = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert saved.provenance["step"] == 20


def test_history_has_the_documented_keys(tmp_path: Path) -> None:
    events = run(start(tmp_path, steps=45, eval_every=20))
    step_keys = {"train_nats_per_char", "learning_rate", "chars_per_second"}
    both = {"event", "step", "chars", "elapsed_s"}
    for entry in history(tmp_path):
        further = step_keys if entry["event"] == "step" else {"val_nats_per_char", "best"}
        assert entry.keys() == both | further
    assert [entry["step"] for entry in history(tmp_path, "step")] == [10, 20, 30, 40, 45]
    assert [entry["step"] for entry in history(tmp_path, "eval")] == [20, 40, 45]
    for event, entry in zip(events, history(tmp_path), strict=False):
        assert {k: v for k, v in entry.items() if k != "event"}.items() <= vars(event).items()


def test_the_figures_of_history_are_of_the_text_since_the_last_line(tmp_path: Path) -> None:
    """Mean of ten logged alone equals the ten logged together."""
    run(start(tmp_path, steps=10))
    (together,) = history(tmp_path, "step")
    run(start(tmp_path / "alone", steps=10), after(1))
    for _ in range(9):
        run(resume(tmp_path / "alone"), after(1))
    alone = history(tmp_path / "alone", "step")
    assert [entry["step"] for entry in alone] == list(range(1, 11))
    chars = np.diff([0, *(entry["chars"] for entry in alone)])
    mean = np.average([entry["train_nats_per_char"] for entry in alone], weights=chars)
    assert together["train_nats_per_char"] == pytest.approx(mean)
    assert together["chars"] == chars.sum()


def test_what_is_reported_of_the_best_model_is_true_of_its_file(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=60, eval_every=20)
    path = tmp_path / "runs" / "text" / "model.safetensors"
    validation = COFFEE[int(0.9 * len(COFFEE)) :]
    for event in trainer.events():
        if isinstance(event, Evaluated):
            assert event.best and event.val_nats_per_char is not None
            model = NumpyModel.read(path)
            assert model.nats(validation).mean() == pytest.approx(event.val_nats_per_char, abs=1e-5)
            provenance = json.loads(model.metadata["provenance"])
            assert provenance["val_nats_per_char"] == event.val_nats_per_char
            assert (provenance["step"], provenance["chars"]) == (event.step, len(COFFEE))
            assert provenance["sources"] == [str(tmp_path / "text.txt")]
    assert isinstance(event, Finished)
    assert (event.model_path, event.reason) == (path, "done")
    assert event.val_nats_per_char == provenance["val_nats_per_char"]


def test_without_validation_the_newest_model_is_kept(tmp_path: Path) -> None:
    events = run(start(tmp_path, val_fraction=0.0, eval_every=10))
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.val_nats_per_char, event.best) for event in evaluated] == [(None, True)] * 2
    training_file, model = saved_tensors(tmp_path), saved_tensors(tmp_path, "model")
    assert all(np.array_equal(model[name], training_file[f"average.{name}"]) for name in model)


@pytest.mark.parametrize("limit", ["max_time", "steps", "more steps"])
def test_a_better_model_kept_after_the_last_save_is_still_kept(tmp_path: Path, limit: str) -> None:
    """A kill comes after it; the steps that follow are others, unless nothing has changed."""
    options: dict[str, Any] = {"eval_every": 10, "save_every": 15, "steps": 40}
    if limit == "max_time":
        options |= {"steps": None, "max_time": 1000.0}
    events = start(tmp_path, score=scores(2.0, 1.0), **options).events()
    for event in events:
        if event.step == 20 and isinstance(event, Evaluated):
            break
    events.close()
    changes = {"steps": 50} if limit == "more steps" else {}
    trainer = resume(tmp_path, score=scores(1.5, 1.5, 1.5, 1.5), **changes)
    run(trainer, after(10))
    path = tmp_path / "runs" / "text" / "model.safetensors"
    saved_nats = checkpoint.load(path).provenance["val_nats_per_char"]
    assert saved_nats == (1.5 if limit == "steps" else 1.0)


# --- what goes wrong


class Disk:
    """A disk that is full at some saves; the first three are the history, all, the model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full: Callable[[int, str], bool]) -> None:
        self.saves: list[str] = []
        write = RunFolder.write_whole

        def write_whole(folder: RunFolder, name: str, data: bytes) -> None:
            self.saves.append(name)
            if full(len(self.saves), name):
                raise CheckpointError(f"{name}: cannot be written: No space left on device")
            write(folder, name, data)

        monkeypatch.setattr(RunFolder, "write_whole", write_whole)


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors"])
def test_a_full_disk_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    options: dict[str, Any] = {"steps": 40, "eval_every": 20, "save_every": 10}
    run(start(tmp_path / "one", **options))
    Disk(monkeypatch, lambda number, name: name == file and number in range(4, 7))
    events = run(start(tmp_path, **options))
    failed = [event for event in events if isinstance(event, SaveFailed)]
    assert failed and all(f"{file}: cannot be written" in event.reason for event in failed)
    assert events[-1].step == 40
    assert same(saved_tensors(tmp_path), saved_tensors(tmp_path / "one"))
    assert same(saved_tensors(tmp_path, "model"), saved_tensors(tmp_path / "one", "model"))


def test_the_best_model_is_kept_for_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best is that of step 10; what is written later is still that one."""
    score = scores(1.0, 2.0, 3.0)
    # untrained; best; best at the first save; then written; with what is usual of its lines
    full = iter([False, True, True, False, False])
    Disk(monkeypatch, lambda _, name: name == "model.safetensors" and next(full))
    options: dict[str, Any] = {"steps": 30, "eval_every": 10, "save_every": 12}
    events = run(start(tmp_path, score=score, **options))
    assert [event.step for event in events if isinstance(event, SaveFailed)] == [10, 12]
    metadata = NumpyModel.read(tmp_path / "runs" / "text" / "model.safetensors").metadata
    assert json.loads(metadata["provenance"])["step"] == 10
    assert json.loads(metadata["provenance"])["val_nats_per_char"] == 1.0


def test_a_disk_that_stays_full_is_a_named_error_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, lambda number, _: number > 3)
    trainer = start(tmp_path, eval_every=10)
    with pytest.raises(CheckpointError, match=r"No space left on device; .*--resume"):
        run(trainer)
    monkeypatch.undo()
    assert run(resume(tmp_path))[-1].step == 20


def test_a_disk_that_is_full_from_the_start_is_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, lambda *_: True)
    with pytest.raises(CheckpointError, match=r"No space left on device$"):
        start(tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("file", ["history.jsonl", "training.safetensors", "model.safetensors"])
def test_a_first_save_that_fails_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (tmp_path / "runs").mkdir()
    Disk(monkeypatch, lambda _, name: name == file)
    with pytest.raises(CheckpointError, match=r"No space left on device$"):
        start(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []
    monkeypatch.undo()
    assert start(tmp_path).folder == tmp_path / "runs" / "text"


def test_a_full_disk_at_an_interrupt_is_an_error_that_tells_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path)
    Disk(monkeypatch, lambda *_: True)
    with pytest.raises(CheckpointError, match=r"No space left on device; .*--resume"):
        run(trainer, after(5))
    monkeypatch.undo()
    assert run(resume(tmp_path))[-1].step == 20


# --- a folder that is moved or removed while training runs


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def begin_another(tmp_path: Path) -> dict[str, bytes]:
    """Lets another training take the run's name, and end; returns what its folder holds."""
    with torch.random.fork_rng():
        run(start(tmp_path, "Another text. " * 400, seed=7))
    return contents(tmp_path / "runs" / "text")


@pytest.mark.parametrize("replaced", [False, True])
def test_training_goes_on_in_a_folder_that_is_moved(tmp_path: Path, replaced: bool) -> None:
    options: dict[str, Any] = {"steps": 40, "eval_every": 10, "save_every": 5}
    run(start(tmp_path / "one", **options))
    folder, away = tmp_path / "runs" / "text", tmp_path / "other" / "runs" / "text"
    away.parent.mkdir(parents=True)
    another: dict[str, bytes] = {}
    trainer = start(tmp_path, **options)
    for event in trainer.events():
        assert not isinstance(event, SaveFailed)
        if event.step == 20 and isinstance(event, Evaluated):
            folder.rename(away)
            another = begin_another(tmp_path) if replaced else {}
    assert isinstance(event, Finished)
    assert event.model_path == away / "model.safetensors"
    assert trainer.folder == away
    assert trainer.late_notes == [f"{folder}: the run's folder was moved: it is now {away}"]
    for file in ("training", "model"):
        moved = saved_tensors(tmp_path / "other", file)
        assert same(moved, saved_tensors(tmp_path / "one", file))
    assert [e["step"] for e in history(tmp_path / "other", "step")] == [10, 20, 30, 40]
    assert (contents(folder) if folder.exists() else {}) == another


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_removed_ends_training_by_name(tmp_path: Path, replaced: bool) -> None:
    folder = tmp_path / "runs" / "text"
    another: dict[str, bytes] = {}
    failed: list[SaveFailed] = []
    message = rf"^{folder}: the run's folder was removed .*nothing of it is left: start a new run$"
    with pytest.raises(RunRemovedError, match=message):
        for event in start(tmp_path, steps=4000, eval_every=10, save_every=5).events():
            if isinstance(event, SaveFailed):
                failed.append(event)
            elif event.step == 20 and isinstance(event, Evaluated):
                shutil.rmtree(folder)
                another = begin_another(tmp_path) if replaced else {}
            assert event.step < 30
    assert [(event.step, event.final) for event in failed] == [(20, True)]
    assert (contents(folder) if folder.exists() else {}) == another


def test_a_rollback_returns_to_the_save_of_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, away = tmp_path / "runs" / "text", tmp_path / "away"
    events = start(tmp_path, steps=40, eval_every=10, save_every=5).events()
    for event in events:
        if event.step == 20 and isinstance(event, Evaluated):
            folder.rename(away)
            begin_another(tmp_path)
            monkeypatch.setattr(AdamW, "update", spoil_once(monkeypatch))
        if isinstance(event, RolledBack):
            assert event.step == 20
            break
    events.close()


def spoil_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[AdamW, object, float], None]:
    """Returns an update that leaves weights that are NaN, and is undone by being made."""

    def spoil(optimizer: AdamW, _: object, lr: float) -> None:
        optimizer.weights.fill_(math.nan)
        monkeypatch.undo()

    return spoil


def test_a_model_that_is_removed_is_saved_again(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=20, eval_every=10, score=scores(1.0, 2.0))
    path = trainer.folder / "model.safetensors"
    for event in trainer.events():
        if event.step == 10 and isinstance(event, Evaluated):
            path.unlink()
    assert isinstance(event, Finished)
    assert checkpoint.load(event.model_path).provenance["step"] == 20


def no_file(path: Path, kind: str) -> None:
    """Puts something in a file's place that cannot be read as one."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(path.name)
    else:
        path.write_bytes(b"damaged")


@pytest.mark.parametrize("kind", ["folder", "link", "damaged"])
def test_a_training_that_ends_without_a_model_is_an_error(tmp_path: Path, kind: str) -> None:
    """Its words are true: the model is written again once the thing in its place is gone."""
    trainer = start(tmp_path, steps=20, eval_every=10, score=scores(1.0, 2.0))
    path = trainer.folder / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*move.* away.*--resume"):
        for event in trainer.events():
            if event.step == 10 and isinstance(event, Evaluated):
                no_file(path, kind)
    path.rename(tmp_path / "away")
    assert checkpoint.load(run(resume(tmp_path))[-1].model_path).provenance["step"] == 20


def test_a_named_pipe_in_a_model_s_place_gives_way_to_a_model(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=20, eval_every=10, score=scores(1.0, 2.0))
    for event in trainer.events():
        if event.step == 10 and isinstance(event, Evaluated):
            no_file(trainer.folder / "model.safetensors", "pipe")
    assert isinstance(event, Finished)
    assert checkpoint.load(event.model_path).provenance["step"] == 20


def test_what_was_saved_is_called_whole_only_if_it_is_there(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=20)
    no_file(trainer.folder / "training.safetensors", "folder")
    with pytest.raises(CheckpointError, match=r"training\.safetensors: .*: move it away$"):
        run(trainer)


def test_a_folder_that_nobody_finds_again_is_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a system that does not tell the place of an open folder."""
    trainer = start(tmp_path)
    trainer.folder.rename(tmp_path / "away")
    monkeypatch.setattr(system, "_names", lambda _: [])
    with pytest.raises(CheckpointError, match=r"moved, and the system does not tell where: "):
        run(trainer)
    assert checkpoint.load(tmp_path / "away" / "model.safetensors").provenance["step"] == 20


def test_a_better_model_than_the_untrained_training_file_stays(tmp_path: Path) -> None:
    """A kill came after the first evaluation, and before the second save."""
    options: dict[str, Any] = {"eval_every": 10, "steps": None, "max_time": 1000.0}
    events = start(tmp_path, score=scores(1.0), **options).events()
    for event in events:
        if isinstance(event, Evaluated):
            break
    events.close()
    run(resume(tmp_path, score=scores(1.5, 1.5)), after(20))
    path = tmp_path / "runs" / "text" / "model.safetensors"
    assert checkpoint.load(path).provenance["val_nats_per_char"] == 1.0


@pytest.fixture
def ruined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update leaves weights that are NaN; the loss before it is finite."""
    monkeypatch.setattr(AdamW, "update", lambda self, *_: self.weights.fill_(math.nan))


@pytest.mark.usefixtures("ruined")
@pytest.mark.parametrize("val_fraction", [0.0, 0.1])
def test_weights_that_are_nan_are_never_kept(tmp_path: Path, val_fraction: float) -> None:
    with pytest.raises(TrainingError, match=r"weights are NaN or infinite, .*, after 5 rollbacks"):
        run(start(tmp_path, val_fraction=val_fraction, steps=1))
    for file in ("model", "training"):
        checkpoint.load(tmp_path / "runs" / "text" / f"{file}.safetensors")


@pytest.mark.usefixtures("ruined")
def test_history_is_json_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run(start(tmp_path, steps=1))
    history(tmp_path)


def test_before_the_first_update_there_is_something_to_use(tmp_path: Path) -> None:
    """Stopped at once, a run can be sampled from and resumed."""
    events = start(tmp_path).events()
    next(events)
    events.close()
    checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert run(resume(tmp_path))[-1].step == 20


def test_nothing_in_a_model_depends_on_the_clock(tmp_path: Path) -> None:
    """Two seeded runs of steps write the same bytes, however long they take."""
    models = []
    for tick_s in (0.01, 7.0):
        trainer = start(tmp_path, clock=Clock(tick_s), eval_every=7, val_fraction=0.3)
        run(trainer)
        models.append((trainer.folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]
