"""A run survives whatever ends its process: real processes, real signals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from killed import traces
from texts import DATA

from charrnn.config import MODEL_FILE, TRAINING_FILE
from charrnn.store import checkpoint
from charrnn.store.opened import RunFolder
from charrnn.training.resume import resume

HERE = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def run_killed(*arguments: object) -> Any:
    """Runs ``killed.py`` with some arguments; returns what it prints."""
    command = [sys.executable, str(HERE / "killed.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kills", "workers", "members"),
    [
        (30, 1, 1),
        (20, 1, 2),
        # one of the helpers of a training, as if the system had ended it for want of memory
        pytest.param(20, 3, 1, marks=pytest.mark.skipif(sys.platform != "linux", reason="/proc")),
    ],
)
def test_a_storm_of_kills_changes_nothing(
    tmp_path: Path, kills: int, workers: int, members: int
) -> None:
    (tmp_path / "text.txt").write_text((DATA / "coffee.txt").read_text()[:6000])
    result = run_killed("storm", tmp_path, 0, kills, workers, members)
    steps: list[int] = result["steps_at_kills"]
    assert steps == sorted(steps), "a save was lost"
    assert len(set(steps)) > 10, "the kills were no storm"
    if workers > 1:
        for step, error in zip(steps, result["errors"], strict=True):
            assert re.match(r"worker [23] of 3: killed by signal 9, perhaps for .* memory", error)
            assert f"all is saved up to step {step}: " in error
    calm, killed = (traces(tmp_path / name / "text") for name in ("calm", "killed"))
    assert calm["evals"] == killed["evals"]
    assert calm["tensors"].keys() == killed["tensors"].keys()
    for name, tensor in calm["tensors"].items():
        assert np.array_equal(tensor, killed["tensors"][name]), name
    names = {path.name for path in (tmp_path / "killed" / "text").iterdir()}
    models = {"model.safetensors", "model-2.safetensors"} if members > 1 else {"model.safetensors"}
    assert names == models | {"training.safetensors", "history.jsonl"}


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors"])
def test_a_death_within_a_save_leaves_the_old_file_or_the_new(
    tmp_path: Path, trained: Path, file: str
) -> None:
    """At every call that reaches the system; the next training clears the rest away."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    deaths = run_killed("deaths", folder / file)
    calls = [death["moment"] for death in deaths]
    for moment in ("after open", "halfway write", "before fsync", "after replace", "before close"):
        assert moment in calls
    renamed = calls.index("after replace")
    for number, death in enumerate(deaths):
        assert death["status"] == 9, death
        assert death["left"] == ("new" if number >= renamed else "old"), death
    assert any(death["files"] > 3 for death in deaths), "nothing was being written"
    with RunFolder(folder) as opened:
        opened.lock()
    assert len(list(folder.iterdir())) == 3


def test_a_death_within_a_start_takes_no_name_away(tmp_path: Path) -> None:
    """At every call that reaches the system; the next start has the name, or resumes the run."""
    (tmp_path / "text.txt").write_text((DATA / "coffee.txt").read_text()[:6000])
    starts = run_killed("starts", tmp_path / "runs")
    assert len([start for start in starts if start["status"] == 9]) > 40
    for start in starts:
        assert start["next"] == 0, start
        assert start["files"] == [
            f"text/{name}" for name in ("history.jsonl", MODEL_FILE, TRAINING_FILE)
        ], start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_while_standard_input_is_read_takes_no_name_away(
    number: signal.Signals, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "charrnn", "train", "-", "--name", "a", "--runs", str(runs)]
    command += ["--steps", "1", "--hidden-size", "8", "--quiet"]
    text = (DATA / "coffee.txt").read_bytes()[:6000]
    for _ in range(2):
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.flush()
            copy = runs / "a" / "stdin.txt"
            while not copy.exists() or copy.stat().st_size < len(text):
                assert process.poll() is None
                time.sleep(0.01)  # or this loop takes the processor from what it waits for
            process.send_signal(number)
        if number != signal.SIGKILL:
            assert not runs.exists()
    done = subprocess.run(command, input=text, capture_output=True, env=ENVIRONMENT)
    assert done.stdout.decode() == f"{runs}/a/model.safetensors\n", done.stderr
    assert len(list((runs / "a").iterdir())) == 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of some steps."""
    folder = tmp_path_factory.mktemp("killed") / "one"
    folder.mkdir()
    (folder / "text.txt").write_text((DATA / "coffee.txt").read_text()[:6000])
    text, runs = str(folder / "text.txt"), str(folder / "runs")
    options = ["--hidden-size", "8", "--steps", "20", "--quiet"]
    command = [sys.executable, "-m", "charrnn", "train", text, "--runs", runs, *options]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return folder / "runs" / "text"


ENDLESS = ("--steps", "100M", "--patience", "0", "--hidden-size", "8", "--num-layers", "1")


def hear_hang_ups() -> None:
    """Undoes what ``nohup`` did, if these tests run under it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def begun(text: Path, runs: Path, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """Starts an endless training, well under way; kills it at the end."""
    command = [sys.executable, "-m", "charrnn", "train", str(text), "--runs", str(runs), *ENDLESS]
    with subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=hear_hang_ups,
    ) as process:
        end = Timer(120, process.kill)
        end.start()
        try:
            assert process.stderr is not None
            assert any(line.startswith("step ") for line in process.stderr), "no progress"
            yield process
        finally:
            end.cancel()
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_long_evaluation_does_not_hold_a_signal_up(
    number: signal.Signals, story: Path, tmp_path: Path
) -> None:
    """Half the text validates after every step, so that the signal comes during an evaluation."""
    slow = ("--eval-every", "1", "--val-fraction", "0.5")
    with begun(story, tmp_path / "runs", *slow) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1].startswith("resume with: charrnn train --resume ")
    path = tmp_path / "runs" / "story" / "training.safetensors"
    assert resume(path, {})


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_breaks_nothing(
    second: signal.Signals, story: Path, tmp_path: Path
) -> None:
    """A second Ctrl-C leaves at once, unless all is saved before; SIGTERM may come twice."""
    with begun(story, tmp_path / "runs", "--eval-every", "20") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(second)
        _, err = process.communicate(timeout=60)
    if process.returncode != -signal.SIGINT or second != signal.SIGINT:
        # if both come at once, the system decides which is the first
        assert process.returncode in (130, 143)
        assert err.splitlines()[-1].startswith("resume with: charrnn train --resume ")
    assert "Traceback" not in err
    path = tmp_path / "runs" / "story" / "training.safetensors"
    assert resume(path, {})
    checkpoint.load(tmp_path / "runs" / "story" / "model.safetensors")


def test_a_second_training_of_a_run_is_refused(story: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with begun(story, runs, "--eval-every", "20"):
        command = [sys.executable, "-m", "charrnn", "train", "--resume", "--runs", str(runs)]
        other = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
        assert (other.returncode, other.stdout) == (1, "")
        assert other.stderr == (
            f"charrnn: {runs}/story: another training is running there: "
            "wait for it, or start a new run\n"
        )
    # a killed training locks nothing
    again = subprocess.run(
        [*command, "--steps", "1"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert again.returncode == 0, again.stderr


def test_no_read_is_refused_while_a_model_is_saved(tmp_path: Path, trained: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    result = run_killed("reads", folder / MODEL_FILE, 300)
    assert result["refused"] == []
    assert result["reads"] >= 300 and result["saves"] >= 300
    assert result["in_order"] and result["different"] > 50


def test_a_model_can_be_read_at_any_moment_of_its_training(story: Path, tmp_path: Path) -> None:
    """While it is written after every step, its readers find it whole."""
    often = ("--val-fraction", "0", "--eval-every", "1")
    with begun(story, tmp_path / "runs", *often) as process:
        path = tmp_path / "runs" / "story" / "model.safetensors"
        assert process.stderr is not None
        # each line is an evaluation and a save, and the next is under way
        steps = [checkpoint.load(path).provenance["step"] for _ in islice(process.stderr, 200)]
    assert steps == sorted(steps)
    assert len(set(steps)) > 50
