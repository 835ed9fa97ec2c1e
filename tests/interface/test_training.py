"""A training in Python: what the command line does, as a function."""

import logging
import os
import re
import signal
import sys
import threading
from dataclasses import fields
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from calls import succeed

import charrnn
from charrnn.config import DataConfig, ModelConfig, TrainingConfig
from charrnn.errors import CorpusError, OptionError
from charrnn.interface.training import Settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SMALL: dict[str, Any] = {"hidden_size": 8, "num_layers": 1, "steps": 5}


def test_a_training_makes_the_command_lines_model(story: Path, tmp_path: Path) -> None:
    options = ("--hidden-size", "8", "--num-layers", "1", "--steps", "5", "--seed", "3")
    printed = succeed("train", story, "--runs", tmp_path / "a", *options).stdout.strip()
    run = charrnn.train(str(story), runs=tmp_path / "b", seed=3, **SMALL)
    assert (run.path / "model.safetensors").read_bytes() == Path(printed).read_bytes()
    assert (run.name, run.state) == ("story", "finished")
    assert (run.command or "").replace("/b --", "/a --") == charrnn.runs(tmp_path / "a")[0].command


def test_events_come_as_they_happen(story: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    run = charrnn.train(story, runs=tmp_path, on_event=events.append, eval_every=2, **SMALL)
    assert [e.step for e in events if isinstance(e, charrnn.Evaluated)] == [2, 4, 5]
    finished = events[-1]
    assert isinstance(finished, charrnn.Finished)
    assert finished.val_nats_per_char == run.best_nats
    figures = [e["val_nats_per_char"] for e in run.history() if e["event"] == "eval"]
    assert figures == [e.val_nats_per_char for e in events if isinstance(e, charrnn.Evaluated)]


def test_it_stops_when_it_is_asked_to_and_resumes(story: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 3

    run = charrnn.train(story, runs=tmp_path, stop=stop, **SMALL)
    assert (run.state, run.number("step")) == ("resumable", 3)
    again = charrnn.train(story, runs=tmp_path, name="story", resume=True)
    assert (again.state, again.number("step")) == ("finished", 5)
    undisturbed = charrnn.train(story, runs=tmp_path / "one", **SMALL)
    assert (again.path / "model.safetensors").read_bytes() == (
        undisturbed.path / "model.safetensors"
    ).read_bytes()


def test_a_callback_that_raises_leaves_the_run_to_others(story: Path, tmp_path: Path) -> None:
    """Even while somebody keeps the traceback, as a notebook does."""

    def fail(event: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:
        charrnn.train(story, runs=tmp_path, name="x", on_event=fail, **SMALL)
    (run,) = charrnn.runs(tmp_path)
    assert run.state == "resumable" and kept.tb is not None
    assert charrnn.train(run, resume=True).state == "finished"


def test_ctrl_c_saves_and_interrupts(story: Path, tmp_path: Path) -> None:
    def press(event: object) -> None:
        if isinstance(event, charrnn.Evaluated):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        charrnn.train(story, runs=tmp_path, on_event=press, eval_every=2, **SMALL)
    assert signal.getsignal(signal.SIGINT) is before
    (run,) = charrnn.runs(tmp_path)
    assert (run.state, run.number("step")) == ("resumable", 3)


def test_ctrl_c_while_libraries_are_loaded_interrupts_once_they_are(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Presses(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "charrnn.training.begin":
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.delitem(sys.modules, "charrnn.training.begin", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Presses(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        charrnn.train(story, runs=tmp_path / "runs", **SMALL)
    assert "charrnn.training.begin" in sys.modules, "it was loaded whole"
    assert charrnn.runs(tmp_path / "runs") == []


def test_a_thread_trains_too(story: Path, tmp_path: Path) -> None:
    runs: list[charrnn.Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(charrnn.train(story, runs=tmp_path, **SMALL))
    )
    thread.start()
    thread.join()
    assert runs[0].state == "finished"


def test_notes_are_logged(story: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    story.write_bytes(story.read_bytes().replace(b"\n", b"\r\n"))
    with caplog.at_level(logging.WARNING, logger="charrnn"):
        charrnn.train(story, runs=tmp_path, **SMALL)
    assert any("Windows line ends" in message for message in caplog.messages)


def test_torch_is_left_as_it_was(story: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    charrnn.train(story, runs=tmp_path, **SMALL)
    assert torch.get_num_threads() == 2
    assert (torch.rand(3) == wanted).all()


def test_errors_are_those_of_the_command_line(story: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nope.txt: no such file"):
        charrnn.train("nope.txt", runs=tmp_path)
    with pytest.raises(OptionError, match="--hidden-size: 0 is out of range"):
        charrnn.train(story, runs=tmp_path, hidden_size=0)
    with pytest.raises(OptionError, match="--steps and --max-time: give one"):
        charrnn.train(story, runs=tmp_path, steps=1, max_time=1)
    with pytest.raises(OptionError, match="no SOURCE"):
        charrnn.train(runs=tmp_path)
    with pytest.raises(TypeError, match="no setting 'hiden_size': did you mean hidden_size"):
        charrnn.train(story, runs=tmp_path, hiden_size=3)  # type: ignore[call-arg]
    assert charrnn.runs(tmp_path) == []


def test_settings_of_any_type_make_the_same_run(story: Path, tmp_path: Path) -> None:
    """NumPy's numbers, floats that are whole, None for what is not set; and it can be resumed."""
    plain = charrnn.train(story, runs=tmp_path / "a", seed=3, learning_rate=0.5, **SMALL)
    odd: dict[str, Any] = {
        "hidden_size": np.int32(8),
        "num_layers": 1.0,
        "steps": 5.0,
        "seed": np.int64(3),
        "learning_rate": np.float32(0.5),
    }
    names = Settings.__annotations__.keys() - odd.keys() - {"runs"}
    run = charrnn.train(story, runs=tmp_path / "b", **odd, **dict.fromkeys(names))
    assert run.settings == plain.settings
    again = charrnn.train(run, resume=True, steps=np.int16(7))
    assert (again.path, again.number("step")) == (run.path, 7)
    for wrong in (2.5, True, "5"):
        with pytest.raises(OptionError, match=r"--steps: .* is not a whole number"):
            charrnn.train(story, runs=tmp_path, steps=wrong)  # type: ignore[arg-type]


def test_a_run_is_itself_whatever_has_its_name(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    charrnn.train(story, name="w", runs="runs", **SMALL)
    other = charrnn.train(story, name="w", runs=".", unit="byte", **SMALL)
    assert charrnn.load(other).config.unit == "byte"
    assert charrnn.load("w").config.unit == "char"
    assert str(tmp_path / "w") in (other.resume_command or "")
    more = charrnn.train(other, resume=True, steps=9)
    assert more.path.samefile(other.path)
    assert len({other, more}) == 2


def test_the_folder_of_runs_is_the_command_lines(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_RUNS", str(tmp_path / "mine"))
    run = charrnn.train(story, **SMALL)
    assert run.path == tmp_path / "mine/story"
    assert charrnn.load().path.parent == run.path
    assert [one.path for one in charrnn.runs()] == [run.path]


def test_weights_and_texts_are_named_by_any_path(story: Path, tmp_path: Path) -> None:
    first = charrnn.train(story, runs=tmp_path, val_source=story, **SMALL)
    second = charrnn.train(story, runs=tmp_path, name="x", steps=5, init_from=first)
    charrnn.train(story, runs=tmp_path, name="y", steps=5, init_from=charrnn.load(second))
    assert second.settings["hidden_size"] == 8


def test_every_setting_of_a_training_can_be_given() -> None:
    inner = {"vocab_size", "block_chars", "final_learning_rate", "warmup", "max_val_chars"}
    inner |= {"average_every"}  # of ranks, which torchrun starts
    names = {f.name for kind in (DataConfig, ModelConfig, TrainingConfig) for f in fields(kind)}
    of_a_run = {"name", "runs", "val_source", "init_from", "keep_characters"}
    assert set(Settings.__annotations__) == (names - inner) | of_a_run


# --- the README


@pytest.mark.parametrize("members", [1, 2])
def test_the_readmes_lines_work(
    story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], members: int
) -> None:
    """Of one model, and of several, as a long training has by default."""
    block, history = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert "max_time=60" in block
    monkeypatch.chdir(story.parent)
    story.rename("corpus.txt")
    names: dict[str, Any] = {}
    small = f"steps=20, hidden_size=16, num_layers=2, members={members}"
    exec(block.replace("max_time=60", small), names)
    assert len(names["text"]) == 200
    assert names["bits"].shape == (13,)
    assert names["h"].shape == (13, 2, 16)
    assert sum(names["p"].values()) == pytest.approx(1)
    assert names["curve"] == sorted(names["curve"], reverse=True)
    assert capsys.readouterr().out.endswith("\n")

    calls: list[tuple[Any, ...]] = []
    trackio = SimpleNamespace(
        init=lambda **of_run: calls.append(("init", of_run)),
        log=lambda figures, step: calls.append((step, figures)),
        finish=lambda: calls.append(("finish",)),
    )
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    exec(history, {})
    (_, of_run), *logged, finish = calls
    assert of_run["name"] == "corpus" and of_run["config"]["hidden_size"] == 16
    assert logged and all("elapsed_s" in figures for _, figures in logged)
    assert finish == ("finish",)


def test_the_readme_names_the_whole_interface() -> None:
    section = README.partition("\n## In Python\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:charrnn\.)?(\w+)`", section))
    named |= set(re.findall(r"charrnn\.(\w+)", section))
    assert set(charrnn.__all__) - named == set()
    assert all(hasattr(charrnn, name) for name in charrnn.__all__)
    assert set(re.findall(r"charrnn\.(\w+)", section)) - {"__all__"} <= set(charrnn.__all__)
    assert set(charrnn.__all__) <= set(dir(charrnn))


def test_a_name_that_is_none_of_it_is_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        charrnn.lode  # noqa: B018
