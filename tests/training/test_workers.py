"""Several processes train: as one would, however they end, and nothing of them stays."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from forked import helpers_of as children
from lent import Lent
from small_runs import COFFEE, after, history, resume, run, same, saved_tensors, start, twice
from texts import DATA

from charrnn import system
from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TrainingError
from charrnn.store import checkpoint
from charrnn.system import core_count
from charrnn.training import workers
from charrnn.training.events import Stepped
from charrnn.training.trainer import Trainer
from charrnn.training.workers import WorkerDied, Workers, saved_workers, worker_count

posix = processes.posix
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc of Linux")


# --- how many


MODEL, TRAINING = ModelConfig(100), TrainingConfig()


@pytest.mark.parametrize(
    ("cores", "model", "training", "wanted"),
    [
        (1, MODEL, TRAINING, 1),
        (2, MODEL, TRAINING, 2),
        (6, MODEL, TRAINING, 6),
        (64, MODEL, TRAINING, 8),  # 4 streams each
        (2, ModelConfig(100, hidden_size=8, num_layers=1), TRAINING, 1),  # too little to share
        (2, MODEL, TrainingConfig(batch_size=7), 1),
        (2, MODEL, TrainingConfig(workers=5), 5),
        (2, MODEL, TrainingConfig(workers=5, batch_size=3), 3),
        (2, MODEL, TrainingConfig(device="cuda"), 1),
        (2, MODEL, TrainingConfig(device="cuda", workers=1), 1),
    ],
)
def test_cores_and_shapes_decide_how_many_train(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    model: ModelConfig,
    training: TrainingConfig,
    wanted: int,
) -> None:
    monkeypatch.setattr(workers, "core_count", lambda: cores)
    assert worker_count(model, training) == wanted


def test_several_workers_need_the_cpu_and_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="--device cpu, not cuda"):
        worker_count(MODEL, TrainingConfig(workers=2, device="cuda"))
    monkeypatch.setattr(os, "name", "nt")
    assert worker_count(MODEL, TRAINING) == 1
    with pytest.raises(OptionError, match="--workers: this system"):
        worker_count(MODEL, TrainingConfig(workers=2))


def test_a_training_file_says_how_many_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(start(tmp_path, workers=3, steps=1))
    path = tmp_path / "runs" / "text" / "training.safetensors"
    for cores, wanted in ((1, 1), (2, 1), (3, 3)):
        monkeypatch.setattr(workers, "core_count", lambda cores=cores: cores)
        assert saved_workers(path) == wanted
    path.write_bytes(path.read_bytes()[:100])
    assert saved_workers(path) == 1
    assert saved_workers(tmp_path / "none") == 1


# --- what they compute


@pytest.fixture(scope="module")
def team() -> Iterator[Lent]:
    lent = Lent()
    yield lent
    lent.give_back()


@pytest.fixture(autouse=True)
def _one_team_trains_all(monkeypatch: pytest.MonkeyPatch, team: Lent) -> None:
    for wing in ("start", "resume"):
        monkeypatch.setattr(f"charrnn.training.{wing}.Workers", lambda **_: team)


def trained(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    run(start(folder, **{"steps": 20, "dropout": 0.2, "block_chars": 1024, **options}))
    return {name: torch.tensor(t) for name, t in saved_tensors(folder).items()}


@posix
def test_the_number_of_workers_changes_rounding_only(tmp_path: Path) -> None:
    one, two, three = (trained(tmp_path / str(n), workers=n) for n in (1, 2, 3))
    for name in one:
        for several in (two, three):
            torch.testing.assert_close(several[name], one[name], rtol=1e-3, atol=1e-4)
    assert not same(one, two), "so it was two"


@posix
def test_several_workers_resume_as_if_never_stopped(tmp_path: Path) -> None:
    options = {"workers": 2, "steps": 60, "dropout": 0.3, "block_chars": 1024, "eval_every": 27}
    one, cut = twice(tmp_path, (16, 33), **options)
    assert same(saved_tensors(one), saved_tensors(cut))
    assert same(saved_tensors(one, "model"), saved_tensors(cut, "model"))


@posix
def test_other_workers_go_on_at_the_same_place(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40, "dropout": 0.3, "workers": 2}
    run(start(tmp_path / "whole", **options))
    run(start(tmp_path / "cut", **options), after(20))
    trainer = resume(tmp_path / "cut", workers=1)
    assert trainer.notes[0] == "workers: 1, and 2 before: the same but for rounding"
    run(trainer)
    for whole, cut in zip(*(history(tmp_path / n) for n in ("whole", "cut")), strict=True):
        assert (cut["step"], cut["chars"]) == (whole["step"], whole["chars"])
        for key in cut.keys() & {"train_nats_per_char", "val_nats_per_char"}:
            assert cut[key] == pytest.approx(whole[key], abs=1e-4)


def test_more_workers_than_this_machine_can_have_are_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(start(tmp_path, workers=3), after(5))
    monkeypatch.setattr("charrnn.training.resume.core_count", lambda: 0)
    trainer = resume(tmp_path)
    assert trainer.config.workers == 1
    run(trainer)


def test_where_only_one_may_train_one_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another device or system than it was trained on."""
    run(start(tmp_path, workers=2), after(5))
    for module in ("workers", "resume"):
        monkeypatch.setattr(f"charrnn.training.{module}.may_have_helpers", lambda _: False)
    trainer = resume(tmp_path)
    assert trainer.config.workers == 1
    run(trainer)


def test_a_small_text_has_work_for_fewer(tmp_path: Path) -> None:
    trainer = start(tmp_path, COFFEE[:300], batch_size=8, workers=8)
    assert trainer.notes[-1] == "4 workers, one a stream, instead of 8"
    run(trainer)


# --- how they end


def helpers_of(trainer: Trainer) -> list[Any]:
    return trainer.learner.shares._workers._helpers


@posix
def test_a_worker_that_dies_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    """A storm of such deaths is in `test_killed`."""
    trainer = start(tmp_path, steps=40, workers=2)
    with pytest.raises(TrainingError) as raised:
        for event in trainer.events():
            if isinstance(event, Stepped):
                helpers_of(trainer)[0].kill()
    assert str(raised.value) == (
        "worker 2 of 2: killed by signal 9, perhaps for want of memory; all is saved up to step "
        f"10: charrnn train --resume {trainer.folder} continues it"
    )
    assert resume(tmp_path).schedule.progress.step == 10


@posix
def test_a_helper_that_cannot_do_what_it_is_told_says_why(team: Lent) -> None:
    team.set_count(2)
    team.share(1)
    shape = {"batch_size": 2, "seq_len": 3, "workers": 2, "dtype": "float32"}
    team.tell(shape={"model": {"vocab_size": 5, "hidden_size": 2**16}, **shape})
    with pytest.raises(WorkerDied, match=r"worker 2 of 2: \w+"):
        team.wait()


@posix
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_of_workers_stays(count: int) -> None:
    before = open_files()
    with Workers(count) as team:
        started = list(team._helpers)
        assert len(started) == count - 1 == team.count - 1
        team.set_count(1)
        assert team.count == 1
    assert all(helper.returncode == -signal.SIGKILL for helper in started)
    assert open_files() == before


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@linux
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGKILL,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)],
)
def test_nothing_is_left_of_a_training_that_is_ended(
    tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    args = ["train", DATA / "coffee.txt", "--runs", tmp_path, "--workers", "2", "--steps", "100k"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with processes.start(*args, "--hidden-size", "8", TMPDIR=str(temporary)) as process:
        try:
            assert process.stderr is not None
            assert any("characters" in line for line in process.stderr), "training begins"
            helpers = children(process.pid)
            assert len(helpers) == 1 and not any(map(has_ended, helpers))
            for number in signals:
                process.send_signal(number)
            _, err = process.communicate()
        finally:
            process.kill()
    deadline = time.monotonic() + processes.DEADLINE_S
    while not all(map(has_ended, helpers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(map(has_ended, helpers))
    if signals == (signal.SIGINT,):
        assert process.returncode == 130
        assert err.splitlines()[-1].startswith("resume with: charrnn train --resume ")
    elif signals == (signal.SIGKILL,):
        assert process.returncode == -signal.SIGKILL
    assert resumable(tmp_path / "coffee" / "training.safetensors")
    assert os.listdir(temporary) == []
    pids = [str(pid) for pid in (process.pid, *helpers)]
    assert [name for name in os.listdir("/dev/shm") if any(pid in name for pid in pids)] == []


def resumable(path: Path) -> bool:
    return checkpoint.load(path).training_state["training_config"]["workers"] == 2


@posix
def test_the_system_may_refuse_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    with Workers(2) as team:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(TrainingError, match="100 bytes of shared memory: cannot be had"):
            team.share(100)
    monkeypatch.setattr(workers.subprocess, "Popen", refuse)
    with pytest.raises(TrainingError, match="workers: cannot be started: Cannot allocate memory"):
        Workers(2)


# --- cores


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ({}, 3),
        ({"proc/self/cgroup": "0::/a/b\n", "groups/a/b/cpu.max": "max 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/a/b\n", "groups/a/b/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "groups/a/cpu.max": "50000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/x\n0::/\n",
                "groups/cpu,cpuacct/x/cpu.cfs_quota_us": "150000\n",
                "groups/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
                "groups/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "groups/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
    ],
)
def test_cores_are_those_of_the_process_and_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: dict[str, str], wanted: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    monkeypatch.setattr(system, "PROC", tmp_path / "proc")
    monkeypatch.setattr(system, "CGROUPS", tmp_path / "groups")
    for name, text in groups.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert core_count() == wanted
