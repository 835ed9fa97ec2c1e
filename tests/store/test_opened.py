"""A run's folder: files whole or not at all, in the folder that was opened, by one at a time."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults import CALLS, ERRORS, READING, each_call_failing, watched

from charrnn import system
from charrnn.errors import CheckpointError, RunBusyError, RunRemovedError
from charrnn.store.history import History
from charrnn.store.opened import WAITS_S, RunFolder, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- whole or not at all


def failures(
    task: Callable[[], object], folder: Path, errors: Sequence[int] = ERRORS
) -> "list[tuple[str, Exception | None]]":
    """Lets each call of a task fail; checks that no descriptor and no file is left over."""
    outcomes = []
    open_files = len(os.listdir("/proc/self/fd"))
    for what, error in each_call_failing(task, errors):
        call = what.split()[1]
        assert error is None or type(error) is CheckpointError or type(error) is RunRemovedError
        # a write that has no effect, or that needs none, may fail unnoticed
        assert error is not None or call in (*READING, "fchmod", "unlink"), what
        if error is not None:
            assert str(folder) in str(error) and str(error).count("\n") == 0
        assert [name for name in names(folder) if name.endswith(".tmp")] == [], what
        assert len(os.listdir("/proc/self/fd")) == open_files, what
        outcomes.append((what, error))
        task()
    return outcomes


@posix
def test_every_call_of_a_save_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with RunFolder(tmp_path) as folder:
        folder.write_whole(path.name, b"old")
        contents: list[bytes] = []

        def save() -> None:
            contents.append(path.read_bytes())
            folder.write_whole(path.name, b"%d of them" % len(contents))

        outcomes = failures(save, tmp_path)
        with watched() as calls:
            save()
    wanted = ["stat", "open", "fchmod", "write", "fsync", "close", "replace", "fsync"]
    assert [name for name in calls if name in CALLS] == wanted
    assert len(outcomes) == len(wanted) * len(ERRORS)
    # after each failure, the content was the old or the new one
    for number, content in enumerate(contents[1:], 1):
        assert content in (b"%d of them" % number, b"%d of them" % (number - 1), b"old")
    assert path.read_bytes() == b"%d of them" % len(contents)


@posix
def test_every_call_of_a_flush_of_the_history_can_fail(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        history = History(folder)
        lines = 0

        def flush() -> None:
            nonlocal lines
            history.append({"event": "step", "step": lines})
            lines += 1
            history.flush(to_disk=True)

        failures(flush, tmp_path)
        text = (tmp_path / "history.jsonl").read_text()
        wanted = [json.dumps({"event": "step", "step": number}) for number in range(lines)]
        assert text.splitlines() == wanted
        # without the file, it would begin anew
        failures(lambda: History(folder, 10, 10), tmp_path, ERRORS[:-1])
        assert (tmp_path / "history.jsonl").read_text().splitlines() == wanted[1:11]


def test_a_write_that_takes_a_part_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    write_whole(tmp_path / "file", b"something new")
    assert (tmp_path / "file").read_bytes() == b"something new"


def test_an_interrupted_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_whole(tmp_path / "file", b"new")
    assert names(tmp_path) == []


@posix
def test_a_file_system_without_fsync_of_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems refuse it; the file itself is whole by then."""
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "No space left on device: free some space"),
        (errno.EDQUOT, "free some space of your quota"),
        (errno.EACCES, r"change the permissions of it or of its folder \(chmod\)"),
        (errno.EROFS, "Read-only file system: mount the file system for writing"),
        (errno.EMFILE, r"allow more open files \(ulimit -n\)"),
        (errno.EIO, "check the disk"),
        (errno.ENODEV, "choose another --runs"),
    ],
)
def test_an_error_of_the_system_has_a_remedy_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with RunFolder(tmp_path) as folder:
        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(CheckpointError, match=f"file: cannot be written: .*{remedy}$"):
            folder.write_whole("file", b"new")


# --- links, pipes, permissions


@posix
def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    other, run = tmp_path / "other", tmp_path / "run"
    other.write_bytes(b"another's")
    run.mkdir()
    (run / "model.safetensors").symlink_to(other)
    (run / "training.safetensors").symlink_to(run / "nowhere")
    for number in range(3):
        (run / f".model.safetensors.{os.getpid() + number}.tmp").symlink_to(other)
    (run / f".training.safetensors.{os.getpid()}.tmp").symlink_to(run / "nowhere")
    with RunFolder(run) as folder:
        for name in ("model.safetensors", "training.safetensors"):
            folder.write_whole(name, b"new")
            assert (run / name).read_bytes() == b"new" and not (run / name).is_symlink()
        assert other.read_bytes() == b"another's"
        folder.lock()  # what stands there by a temporary file's name is removed, link by link
    assert names(run) == ["model.safetensors", "training.safetensors"]
    assert other.read_bytes() == b"another's"


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_history_that_is_no_file_is_a_named_error(tmp_path: Path, kind: str, begun: bool) -> None:
    """From the start on, or from some moment on; nothing waits for a pipe's other end."""
    other, run = tmp_path / "other", tmp_path / "run"
    other.write_bytes(b"another's")
    run.mkdir()
    with RunFolder(run) as folder:
        history = History(folder) if begun else None
        path = run / "history.jsonl"
        path.unlink(missing_ok=True)
        if kind.endswith("link"):
            path.symlink_to(other if kind == "link" else run / "nowhere")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        what = r"history\.jsonl: cannot be (read|written): .*: move it away"
        with pytest.raises(CheckpointError, match=what):
            if history is None:
                History(folder)
            else:
                history.append({"step": 1})
                history.flush()
        assert other.read_bytes() == b"another's"
        assert names(run) == ["history.jsonl"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o444, 0o600, 0o666])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "model.safetensors"
    before = os.umask(0o027)
    try:
        write_whole(path, b"first")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(mode)
        write_whole(path, b"second")
        assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


# --- the folder that was opened


@posix
def test_a_folder_that_is_moved_is_still_the_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with RunFolder(old) as folder:
        folder.lock()
        history = History(folder)
        old.rename(new)
        old.mkdir()  # another run takes the name
        folder.write_whole("model.safetensors", b"new")
        history.append({"step": 1})
        history.flush(to_disk=True)
        assert folder.path == new
        with folder.open("model.safetensors") as stream:
            assert stream.read() == b"new"
        with pytest.raises(RunBusyError):
            RunFolder(new).lock()
        RunFolder(old).lock()
    assert folder.path == new
    assert names(old) == []
    assert names(new) == ["history.jsonl", "model.safetensors"]


@posix
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_removed_is_a_named_error(tmp_path: Path, replaced: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with RunFolder(run) as folder:
        history = History(folder)
        (run / "history.jsonl").unlink()
        run.rmdir()
        if replaced:
            run.mkdir()
        message = f"^{run}: the run's folder was removed .*: start a new run$"
        with pytest.raises(RunRemovedError, match=message):
            folder.write_whole("model.safetensors", b"new")
        with pytest.raises(RunRemovedError, match=message):
            history.flush()
        assert folder.place is None
    assert run.exists() == replaced and names(tmp_path) == ["run"] * replaced
    assert not replaced or names(run) == []


@posix
def test_a_history_that_is_removed_begins_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        history = History(folder)
        for step in (1, 2):
            history.append({"step": step})
            history.flush()
            if step == 1:
                (tmp_path / "history.jsonl").unlink()
    assert (tmp_path / "history.jsonl").read_text() == '{"step": 2}\n'


# --- one training at a time


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.lock()
    with pytest.raises(RunBusyError, match="another training is running there"):
        RunFolder(tmp_path).lock()
    folder.close()
    folder.close()
    other = RunFolder(tmp_path)
    other.lock()
    del other
    RunFolder(tmp_path).lock()
    with pytest.raises(CheckpointError, match="cannot be opened: No such file"):
        RunFolder(tmp_path / "gone")


@posix
def test_a_file_system_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(system.fcntl, "flock", unsupported)
    folders = [RunFolder(tmp_path) for _ in range(2)]
    for folder in folders:
        folder.lock()
        assert not folder.is_locked


# --- other systems, by what stands in for their calls


class Windows:
    """Locks of an open file, as Windows has them, by the system's own."""

    LK_NBLCK = 2

    @staticmethod
    def locking(descriptor: int, _: int, size: int) -> None:
        assert size == 1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", Windows)
    monkeypatch.setattr(system, "OPENS_FOLDERS", False)


@pytest.mark.usefixtures("windows")
def test_without_descriptors_of_folders_a_lock_is_a_file(tmp_path: Path) -> None:
    (tmp_path / ".model.safetensors.123.tmp").touch()
    folder = RunFolder(tmp_path)
    folder.lock()
    assert folder.is_locked
    assert names(tmp_path) == [".lock"]
    with pytest.raises(RunBusyError):
        RunFolder(tmp_path).lock()
    folder.write_whole("model.safetensors", b"new")
    with folder.open("model.safetensors") as stream:
        assert stream.read() == b"new"
    folder.close()
    assert names(tmp_path) == ["model.safetensors"]
    with RunFolder(tmp_path) as again:
        again.lock()


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("refusals", [0, 3, len(WAITS_S) + 1])
def test_a_file_that_a_reader_has_open_is_tried_again_for_a_short_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    replace, calls = os.replace, []
    waited_s: list[float] = []

    def refuse(*args: Any, **options: Any) -> None:
        calls.append(args)
        if len(calls) <= refusals:
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(*args, **options)

    monkeypatch.setattr(os, "replace", refuse)
    folder = RunFolder(tmp_path, wait=waited_s.append)
    if refusals <= len(WAITS_S):
        folder.write_whole("file", b"new")
    else:
        with pytest.raises(CheckpointError, match="file: cannot be written: Permission denied"):
            folder.write_whole("file", b"new")
        assert names(tmp_path) == []
        folder.write_whole("file", b"new")
    assert waited_s == list(WAITS_S[:refusals])
    assert sum(WAITS_S) < 2
    assert names(tmp_path) == ["file"]


@posix
def test_a_refused_replacement_is_not_tried_again_if_no_reader_can_be_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    waited_s: list[float] = []
    with RunFolder(tmp_path, waited_s.append) as folder, pytest.raises(CheckpointError):
        folder.write_whole("file", b"new")
    assert waited_s == []


@pytest.mark.parametrize("refused", [False, True])
def test_macos_flushes_to_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    done = []

    def control(descriptor: int, command: int) -> None:
        done.append(command)
        if refused:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(system, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=control))
    monkeypatch.setattr(os, "fsync", lambda _: done.append(0))
    system.flush(3)
    assert done == ([51, 0] if refused else [51])


@posix
def test_macos_tells_where_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def control(_: int, command: int, buffer: bytes) -> bytes:
        assert (command, len(buffer)) == (50, 1024)
        return os.fsencode(tmp_path / "new").ljust(1024, b"\0")

    def no_proc(_: str) -> None:
        raise FileNotFoundError

    (tmp_path / "old").mkdir()
    descriptor = os.open(tmp_path / "old", os.O_RDONLY)
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.setattr(os, "readlink", no_proc)
    monkeypatch.setattr(system, "fcntl", SimpleNamespace(F_GETPATH=50, fcntl=control))
    assert system.place_of(descriptor, tmp_path / "old") == tmp_path / "new"
    monkeypatch.setattr(system, "fcntl", None)
    assert system.place_of(descriptor, tmp_path / "old") is None
    os.close(descriptor)


# --- commands to copy


@posix
@pytest.mark.parametrize("name", ["runs/a", "a b", "it's", "\udcff\udcfe'\\", "a\nb\x1b", "é$HOME"])
def test_a_quoted_path_is_that_path_in_a_shell(name: str) -> None:
    word = system.quoted(Path(name))
    assert word.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)


def test_a_path_is_quoted_as_windows_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "os", SimpleNamespace(name="nt"))
    assert system.quoted(Path("my runs/it's")) == '"my runs/it\'s"'
    assert sys.platform == "win32" or system.quoted(Path("a")) == "a"
