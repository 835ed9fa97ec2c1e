"""The folder of a run: files are whole or not at all, runs are found, one training at a time."""

import errno
import fcntl
import io
import os
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import TRAINING_FILE
from charrnn.errors import CharrnnError, CheckpointError, RunBusyError, RunNotFoundError
from charrnn.store.folder import NewRun, RunLock, create_run, find_run, write_whole

# --- whole or not at all


def no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


class FullDisk(io.FileIO):
    def write(self, data: Any) -> int:
        super().write(bytes(data)[:3])
        return no_space()


def fail(*_: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(Path, "open", lambda self, mode: FullDisk(self, mode))
        elif moment == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "replace", fail)
        with pytest.raises(CheckpointError, match=r"file: cannot be written: (No space|Input)"):
            write_whole(path, b"something new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_whole(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_fsync_of_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems refuse it; the file itself is whole by then."""
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))[1])
    write_whole(tmp_path / "file", b"new")
    assert done[:2] == ["fsync", "rename"]
    assert (tmp_path / "file").read_bytes() == b"new"


# --- runs


def make_run(runs: Path, name: str, age_s: int = 0) -> Path:
    path = runs / name / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (10**9 - age_s, 10**9 - age_s))
    return path


def test_a_run_is_found_by_file_folder_and_name(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs", "corpus")
    for name in (str(path), str(path.parent), "corpus"):
        assert find_run(tmp_path / "runs", name) == path


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    make_run(tmp_path, "z", age_s=9)
    newest = make_run(tmp_path, "b", age_s=1)
    make_run(tmp_path, "c", age_s=5)
    (tmp_path / "unsaved").mkdir()
    assert find_run(tmp_path, None) == newest
    with pytest.raises(RunNotFoundError):
        find_run(tmp_path, None, TRAINING_FILE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such", "no-such: no such run or file: name one of those in .*: corpus"),
        ("unsaved", "unsaved: no model.safetensors in this folder"),
        ("x" * 300, "no such run or file"),
        ("corpus/no", "no such run or file"),
    ],
    ids=["unknown", "unsaved", "long", "inside"],
)
def test_a_wrong_name_is_a_named_error(tmp_path: Path, name: str, message: str) -> None:
    make_run(tmp_path, "corpus")
    (tmp_path / "unsaved").mkdir()
    with pytest.raises(RunNotFoundError, match=message):
        find_run(tmp_path, name)


def test_no_run_is_a_named_error(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RunNotFoundError, match="train one first"):
            find_run(runs, None)
        with pytest.raises(RunNotFoundError, match="none"):
            find_run(runs, "corpus")


def test_a_new_run_never_takes_a_folder_that_exists(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    made = [create_run(runs, "corpus") for _ in range(3)]
    assert [folder.name for folder in made] == ["corpus", "corpus-2", "corpus-3"]
    assert all(folder.is_dir() for folder in made)
    made[1].rmdir()
    made[1].touch()
    assert create_run(runs, "corpus").name == "corpus-4"


def test_runs_that_is_a_file_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(CheckpointError, match="choose another --runs"):
        create_run(tmp_path / "runs", "corpus")


@pytest.mark.parametrize("name", ["../corpus", "a/b", ".", "..", "nul\0", "x" * 300])
def test_a_run_is_a_folder_of_its_name_in_runs_or_none(tmp_path: Path, name: str) -> None:
    """Elsewhere, the newest run would not be found."""
    runs = tmp_path / "runs"
    with pytest.raises(CharrnnError):
        create_run(runs, name)
    assert [path for path in tmp_path.rglob("*") if path != runs] == []


# --- one training at a time


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(RunBusyError, match="another training is running there"):
        RunLock(tmp_path)
    lock.release()
    lock.release()
    other = RunLock(tmp_path)
    del other
    RunLock(tmp_path).release()
    with pytest.raises(CheckpointError, match="cannot be opened: No such file"):
        RunLock(tmp_path / "gone")


def test_a_file_system_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert RunLock(tmp_path) and RunLock(tmp_path)


# --- a new run


def test_a_new_run_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    with NewRun(tmp_path / "runs", "a") as run:
        assert not (tmp_path / "runs").exists()
        assert run.folder() == run.folder() == tmp_path / "runs" / "a"
        with pytest.raises(RunBusyError):
            RunLock(run.folder())
    assert run.folder().is_dir()
    run.lock().release()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("other", [False, True])
def test_a_new_run_that_fails_leaves_nothing(
    tmp_path: Path, error: type[BaseException], other: bool
) -> None:
    runs = tmp_path / "runs"
    if other:
        (runs / "other").mkdir(parents=True)
    with pytest.raises(error), NewRun(runs, "a") as run:
        (run.folder() / "stdin.txt").write_text("half")
        raise error
    assert not (runs / "a").exists()
    assert runs.exists() == other
    with NewRun(runs, "a") as run:
        run.lock().release()
