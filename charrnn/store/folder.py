"""Runs as folders: create, find, lock; files that are written whole or not at all."""

import contextlib
import os
import re
import shutil
from pathlib import Path

from charrnn.config import MODEL_FILE
from charrnn.errors import CheckpointError, OptionError, RunBusyError, RunNotFoundError, reason

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second training out there
    fcntl = None  # type: ignore[assignment]

HISTORY_FILE = "history.jsonl"
_TEMPORARY = re.compile(r"\.(model\.safetensors|training\.safetensors|history\.jsonl)\.\d+\.tmp")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a crash, finds the old content or the new, never a part.

    Raises:
        CheckpointError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written: {reason(error)}: free some space or choose another --runs"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flushes a folder to the disk: a new name in it must survive a power loss."""
    with contextlib.suppress(OSError):  # not every file system can, and the file is there
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_run(runs: Path, name: str) -> Path:
    """Creates a new run's folder: ``name``, or ``name-2``, ``name-3`` ... if it exists.

    Raises:
        OptionError: The name cannot be a folder's name.
        CheckpointError: The folder cannot be made.
    """
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise OptionError(f"--name: {name!r} is no folder's name: choose one without slashes")
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            _sync_folder(runs)
            return folder
        except FileExistsError:
            if not runs.is_dir():
                raise CheckpointError(f"{runs}: not a folder: choose another --runs") from None
            number += 1
        except OSError as error:
            raise CheckpointError(
                f"{folder}: cannot be made: {reason(error)}: choose another --runs"
            ) from None


class RunLock:
    """Keeps a second training out of a run's folder.

    The system releases it when the process ends, however it ends, so that a crash locks nothing.
    Whoever holds it is alone, and removes what a killed training left half-written.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            RunBusyError: Another training holds it.
            CheckpointError: The folder cannot be opened.
        """
        self._descriptor: int | None = None
        if fcntl is None:
            return
        try:
            self._descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise RunBusyError(
                f"{folder}: another training is running there: wait for it, or start a new run"
            ) from None
        except OSError as error:
            if self._descriptor is None:
                raise CheckpointError(f"{folder}: cannot be opened: {reason(error)}") from None
            # a file system without locks must do without
        for path in folder.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def release(self) -> None:
        """Lets the next training in; may be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        """Releases what nobody can release any more."""
        self.release()


class NewRun:
    """A run's folder, made and locked when it is first asked for; a context manager.

    If an error leaves the context, the folder is removed again.
    """

    def __init__(self, runs: Path, name: str) -> None:
        self._runs, self._name = runs, name
        self._runs_existed = runs.exists()
        self._folder: Path | None = None
        self._lock: RunLock | None = None

    def folder(self) -> Path:
        """Returns the folder.

        Raises:
            OptionError: The name cannot be a folder's name.
            CheckpointError: The folder cannot be made.
        """
        if self._folder is None:
            self._folder = create_run(self._runs, self._name)
            self._lock = RunLock(self._folder)
        return self._folder

    def lock(self) -> RunLock:
        """Returns the folder's lock; errors as :meth:`folder`."""
        self.folder()
        assert self._lock is not None
        return self._lock

    def __enter__(self) -> "NewRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Removes the folder if an error leaves the context."""
        if kind is None or self._folder is None:
            return
        if self._lock is not None:
            self._lock.release()
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._runs_existed:
            with contextlib.suppress(OSError):
                self._runs.rmdir()


def run_names(runs: Path, file: str = MODEL_FILE) -> list[str]:
    """Returns the names of the runs that have a file, sorted."""
    return sorted(path.parent.name for path in runs.glob(f"*/{file}"))


def find_run(runs: Path, name: str | None, file: str = MODEL_FILE) -> Path:
    """Returns the path of a run's file.

    Args:
        runs: the folder of all runs.
        name: a file, a run's folder or a run's name; None is the newest run.
        file: which of the run's files.

    Raises:
        RunNotFoundError: There is none.
    """
    if name is None:
        paths = sorted(runs.glob(f"*/{file}"), key=lambda path: path.stat().st_mtime)
        if not paths:
            raise RunNotFoundError(f"{runs}: no run there: train one first, or name another --runs")
        return paths[-1]
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):  # a name too long, or with a NUL: no such file
        for candidate in (runs / name / file, path / file, path):
            if candidate.is_file():
                return candidate
        if path.is_dir() or (runs / name).is_dir():
            raise RunNotFoundError(f"{name}: no {file} in this folder: name a run that was saved")
    names = ", ".join(run_names(runs, file)) or "none"
    raise RunNotFoundError(f"{name}: no such run or file: name one of those in {runs}: {names}")
