"""What the files of a run tell: of a whole one, a running one, a damaged one, a foreign one."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from small_runs import after, resume, run, saved_tensors, start

from charrnn import system
from charrnn.config import MODEL_FILE, TRAINING_FILE
from charrnn.display.card import card
from charrnn.display.runs import run_lines, runs_table
from charrnn.errors import RunBusyError, RunNotFoundError
from charrnn.store import checkpoint
from charrnn.store.folder import find_run
from charrnn.store.opened import RunFolder, is_busy
from charrnn.store.runs import STATES, all_runs, look_at

PATH = Path("runs/text")


def state_of(folder: Path) -> str:
    return STATES[look_at(folder / PATH).state]


def test_a_finished_run_tells_all_that_made_it(tmp_path: Path) -> None:
    run(start(tmp_path, steps=12, seed=7, val_fraction=0.2, eval_every=4))
    facts = look_at(tmp_path / PATH).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["name"], facts["state"], facts["step"]) == ("text", "finished", 12)
    assert facts["sources"] == [str(tmp_path / "text.txt")]
    assert facts["chars"] == 6000
    settings = facts["settings"]
    asked = {"steps": 12, "seed": 7, "val_fraction": 0.2, "hidden_size": 12, "batch_size": 4}
    assert {name: settings[name] for name in asked} == asked
    assert facts["val_nats_per_char"] == pytest.approx(facts["val_bits_per_char"] * 0.6931, 1e-3)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(facts["began"])).days) < 1
    assert {"torch", "numpy", "python", "charrnn"} <= facts["versions"].keys()


def test_the_model_alone_tells_every_setting(tmp_path: Path) -> None:
    run(start(tmp_path, steps=12, seed=7))
    of_run = look_at(tmp_path / PATH)
    alone = look_at(tmp_path / PATH / MODEL_FILE)
    assert alone.state == "model only"
    assert alone.settings == of_run.settings
    assert alone.settings["seed"] == 7
    assert (alone.facts()["step"], alone.best_nats) == (12, of_run.best_nats)


def test_the_state_of_a_run_that_is_stopped_resumed_and_finished(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=12)
    assert state_of(tmp_path) == "training now"
    run(trainer, after(5))
    assert state_of(tmp_path) == "can be resumed"
    trainer = resume(tmp_path)
    assert state_of(tmp_path) == "training now"
    run(trainer)
    assert state_of(tmp_path) == "finished"
    (tmp_path / PATH / TRAINING_FILE).unlink()
    assert state_of(tmp_path) == "model only"


def test_a_run_of_an_earlier_version_is_finished_by_its_steps(tmp_path: Path) -> None:
    run(start(tmp_path, steps=12))
    path = tmp_path / PATH / TRAINING_FILE
    saved = checkpoint.load(path)
    for kept in ("ended", "command", "began"):
        del saved.training_state[kept]
    checkpoint.save(path, saved)
    assert state_of(tmp_path) == "finished"
    saved.training_state["training_config"]["steps"] = 13
    checkpoint.save(path, saved)
    assert state_of(tmp_path) == "can be resumed"
    assert look_at(tmp_path / PATH).command is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("file", [MODEL_FILE, TRAINING_FILE])
@pytest.mark.parametrize("damage", [cut, flip_a_bit, replace_by_a_folder])
def test_a_damaged_run_says_so(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    run(start(tmp_path, steps=3))
    damage(tmp_path / PATH / file)
    found = look_at(tmp_path / PATH)
    assert found.state == "damaged"
    assert file in found.damage
    assert found.settings["hidden_size"] == 12, "the other file is whole"
    assert [one.state for one in all_runs(tmp_path / "runs")] == ["damaged"]


HOSTILE: list[dict[str, Any]] = [
    {"progress": 3},
    {"progress": {"step": "many", "elapsed_s": -1.0}},
    {"training_config": [], "data_config": "x", "command": "rm -rf /", "began": 3, "ended": []},
    {"training_config": {"steps": "x"}, "progress": {"step": None, "done_max_time": True}},
    {"command": [1, 2], "corpus_sha256": {}},
]


@pytest.mark.parametrize("state", HOSTILE)
def test_nothing_of_a_foreign_file_is_trusted(tmp_path: Path, state: dict[str, Any]) -> None:
    run(start(tmp_path, steps=3))
    path = tmp_path / PATH / TRAINING_FILE
    saved = checkpoint.load(path)
    saved.training_state = state
    saved.provenance = {"step": "x", "val_nats_per_char": "y", "settings": 3, "versions": 4}
    checkpoint.save(path, saved)
    (tmp_path / PATH / MODEL_FILE).unlink()
    found = look_at(tmp_path / PATH)
    json.dumps(found.facts())
    assert found.number("step") is None
    assert found.command is None


@pytest.mark.parametrize("wrong", ["abc", [1], {}, -5, True, 10**19, None])
def test_no_value_of_a_file_ends_what_is_shown_of_it(tmp_path: Path, wrong: Any) -> None:
    run(start(tmp_path, steps=3))
    for file in (MODEL_FILE, TRAINING_FILE):
        path = tmp_path / PATH / file
        saved = checkpoint.load(path)
        keys = (*saved.provenance, "val_source", "adapted_to")
        saved.provenance = dict.fromkeys(keys, wrong)
        if file == TRAINING_FILE:
            saved.training_state = dict.fromkeys(saved.training_state, wrong)
        checkpoint.save(path, saved)
    found = look_at(tmp_path / PATH)
    json.dumps(found.facts())
    assert run_lines(found) and card(found)
    assert runs_table([found], datetime.now(UTC))


@pytest.mark.parametrize("seconds", [-(10**11), 4 * 10**11])
def test_no_time_of_a_file_ends_the_list(tmp_path: Path, seconds: int) -> None:
    run(start(tmp_path, steps=3))
    try:
        os.utime(tmp_path / PATH / MODEL_FILE, (seconds, seconds))
    except OSError:
        pytest.skip("this file system has no such time")
    assert [one.name for one in all_runs(tmp_path / "runs")] == ["text"]


def test_the_newest_run_is_the_one_that_is_sampled_from(tmp_path: Path) -> None:
    for name, changed_s in (("b", 2e9), ("a", 1e9)):
        run(start(tmp_path, name=name, steps=1))
        os.utime(tmp_path / "runs" / name / MODEL_FILE, (changed_s, changed_s))
    os.utime(tmp_path / "runs/a" / TRAINING_FILE, (3e9, 3e9))
    assert all_runs(tmp_path / "runs")[0].path == find_run(tmp_path / "runs", None).parent


def test_what_is_no_run_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "runs/notes").mkdir(parents=True)
    (tmp_path / "runs/file").touch()
    assert all_runs(tmp_path / "runs") == all_runs(tmp_path / "none") == []
    with pytest.raises(RunNotFoundError, match="notes: there is nothing of a run"):
        look_at(tmp_path / "runs/notes")


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    for name, changed_s in (("b", 2e9), ("a", 1e9), ("c", 3e9)):
        run(start(tmp_path, name=name, steps=1))
        for file in (MODEL_FILE, TRAINING_FILE):
            os.utime(tmp_path / "runs" / name / file, (changed_s, changed_s))
    assert [one.name for one in all_runs(tmp_path / "runs")] == ["c", "b", "a"]


def test_a_glance_keeps_no_training_out(tmp_path: Path) -> None:
    """A training that starts while somebody looks waits a moment."""
    looking = os.open(tmp_path, os.O_RDONLY)
    system.lock(looking, shared=True)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            os.close(looking)

    with RunFolder(tmp_path, wait) as folder:
        folder.lock()
        assert len(waits) == 2
        assert is_busy(tmp_path)
        with RunFolder(tmp_path, waits.append) as other, pytest.raises(RunBusyError):
            other.lock()
    assert not is_busy(tmp_path)


# --- models that are kept, and files that do not depend on the clock


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / PATH).glob("model-step-*"))


def test_every_nth_model_is_kept_with_its_step(tmp_path: Path) -> None:
    run(start(tmp_path, steps=12, keep_every=5))
    assert kept(tmp_path) == ["model-step-10.safetensors", "model-step-5.safetensors"]
    fifth = checkpoint.load(tmp_path / PATH / "model-step-5.safetensors")
    assert fifth.step == 5
    run(start(tmp_path / "short", steps=12), after(5))
    newest = checkpoint.load(tmp_path / "short" / PATH / MODEL_FILE)
    assert newest.step == 5
    for name, weight in fifth.model.weights.items():
        assert (weight == newest.model.weights[name]).all(), name


@pytest.mark.parametrize("stop", [4, 5, 6, 10])
def test_a_resumed_run_keeps_the_same_models(tmp_path: Path, stop: int) -> None:
    one, cut_short = tmp_path / "one", tmp_path / "cut"
    run(start(one, steps=12, keep_every=5))
    run(start(cut_short, steps=12, keep_every=5), after(stop))
    run(resume(cut_short))
    assert kept(one) == kept(cut_short)
    for name in kept(one):
        tensors = saved_tensors(one, name.removesuffix(".safetensors"))
        again = saved_tensors(cut_short, name.removesuffix(".safetensors"))
        assert all((tensors[key] == again[key]).all() for key in tensors)
