"""Runs: create, find, lock, write whole."""

import contextlib
import os
import re
from pathlib import Path

from charrnn.config import MODEL_FILE
from charrnn.errors import (
    CheckpointError,
    OptionError,
    RunBusyError,
    RunNotFoundError,
)

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second training out there
    fcntl = None  # type: ignore[assignment]
TRAINING_FILE = "training.safetensors"
HISTORY_FILE = "history.jsonl"
STDIN_FILE = "stdin.txt"
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
            f"{path}: cannot be written: {error.strerror or error}: "
            "free some space or choose another --runs"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flushes a folder to the disk: a new name in it must survive a power loss."""
    with contextlib.suppress(OSError):  # not every file system can, and the file is there
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def create_run(runs: Path, name: str) -> Path:
    """Creates a new run's folder: ``name``, or ``name-2``, ``name-3`` ... where it exists.

    Raises:
        OptionError: The name is no folder's name.
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
                f"{folder}: cannot be made: {error.strerror or error}: choose another --runs"
            ) from None


class RunLock:
    """Keeps a second training out of a run's folder.

    The system lets go of it when the process ends, however it ends, so that a crash locks nothing.
    Whoever holds it is alone, and clears away what a killed training left half-written.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            RunBusyError: Another training holds it.
            CheckpointError: The folder cannot be opened.
        """
        self._opened: int | None = None
        if fcntl is None:
            return
        try:
            self._opened = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise RunBusyError(
                f"{folder}: another training goes on there: wait for it, or start a new run"
            ) from None
        except OSError as error:
            if self._opened is None:
                reason = error.strerror or error
                raise CheckpointError(f"{folder}: cannot be opened: {reason}") from None
            # a file system without locks must do without
        for path in folder.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def release(self) -> None:
        """Lets the next training in; may be called again."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def __del__(self) -> None:
        """Lets go of what nobody can release any more."""
        self.release()


def find_run(runs: Path, name: str | None, file: str = MODEL_FILE) -> Path:
    """Finds a run's file.

    Args:
        runs: the folder of all runs.
        name: a file, a run's folder or a run's name; None is the newest run.
        file: which of the run's files.

    Returns:
        The file's path; it exists.

    Raises:
        RunNotFoundError: There is none.
    """
    if name is None:
        found = sorted(runs.glob(f"*/{file}"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise RunNotFoundError(f"{runs}: no run there: train one first, or name another --runs")
        return found[-1]
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):  # a name too long, or with a NUL: no such file
        for candidate in (runs / name / file, path / file, path):
            if candidate.is_file():
                return candidate
        if path.is_dir() or (runs / name).is_dir():
            raise RunNotFoundError(f"{name}: no {file} in this folder: name a run that was saved")
    names = ", ".join(sorted(p.parent.name for p in runs.glob(f"*/{file}"))) or "none"
    raise RunNotFoundError(f"{name}: no such run or file: name one of those in {runs}: {names}")
