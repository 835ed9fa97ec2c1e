"""Runs as folders in the folder of all runs: create, find."""

import contextlib
import errno
import itertools
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from charrnn.config import (
    COPY_FILE,
    KEPT_FILE,
    MEMBER_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TRAINING_FILE,
    member_file,
)
from charrnn.errors import (
    CheckpointError,
    OptionError,
    RunBusyError,
    RunNotFoundError,
    refusal,
)
from charrnn.likely import did_you_mean, likely, likely_paths, listed
from charrnn.store.opened import HISTORY_FILE, LOCK_FILE, TEMPORARY, RunFolder

_FILES = (MODEL_FILE, TRAINING_FILE, HISTORY_FILE, REPORT_FILE)
_SAVED = re.compile("|".join(map(re.escape, _FILES)))
# what Windows takes for a device or cannot keep, with any ending
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])( *\..*)?", re.I)
_REFUSED = re.compile(r'[\0-\x1f"*:<>?|]|[. ]$')


def check_name(name: str, *, windows: bool = os.name == "nt") -> None:
    """Checks that a name can be a folder's.

    Raises:
        OptionError: It cannot.
    """
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise OptionError(f"--name: {name!r} is no folder's name: choose one without slashes")
    if windows and (_DEVICES.fullmatch(name) or _REFUSED.search(name)):
        raise OptionError(f"--name: {name!r} is no folder's name on Windows: choose another")


def create_run(runs: Path, name: str, *, numbered: bool = True) -> tuple[RunFolder, bool]:
    """Creates a new run's folder: ``name``; if that exists, ``name-2``, ... if it may be numbered.

    Returns:
        The folder, locked, and whether it was made; a start that was killed has left it if not.

    Raises:
        OptionError: The name cannot be a folder's name.
        RunBusyError: The name is taken, and may not be numbered.
        CheckpointError: The folder cannot be made.
    """
    check_name(name)
    for number in itertools.count(1):
        path = runs / (name if number == 1 else f"{name}-{number}")
        made = _make(path)
        if (folder := _taken(path, made)) is not None:
            return folder, made
        if not numbered:
            raise RunBusyError(f"{path}: another training is starting there: wait for it")
    raise AssertionError("numbers never end")


def _make(path: Path) -> bool:
    """Makes a folder; returns False if there is something of that name."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.parent.is_dir():
            raise CheckpointError(f"{path.parent}: not a folder: choose another --runs") from None
        return False
    except OSError as error:
        raise CheckpointError(refusal(path, "made", error, "choose another --runs")) from None
    with contextlib.suppress(CheckpointError, OSError), RunFolder(path.parent) as runs:
        runs.sync()
    return True


def _taken(path: Path, made: bool) -> RunFolder | None:
    """Opens and locks a folder for a new run; returns None if it is another's."""
    if not made and (path.is_symlink() or not path.is_dir()):
        return None
    try:
        folder = RunFolder(path)
        if is_unused(folder):  # looked at first, so that no lock is in the way of a resume
            folder.lock()
            # by now, another start may have taken, filled or removed it
            if (made or folder.is_locked) and is_unused(folder) and folder.place == path:
                clear(folder)
                return folder
        folder.close()
    except RunBusyError:
        pass
    except CheckpointError:
        if made:
            raise
    return None


def is_free(path: Path) -> bool:
    """Returns whether a new run may have a folder: there is none, or a killed start left it."""
    try:
        with RunFolder(path) as folder:
            return is_unused(folder)
    except CheckpointError:
        return not os.path.lexists(path)


def is_unused(folder: RunFolder) -> bool:
    """Returns whether a folder holds nothing but what a killed start leaves."""
    try:
        return all(_is_leftover(folder, name) for name in folder.names())
    except OSError:
        return False


def _is_leftover(folder: RunFolder, name: str) -> bool:
    if name == HISTORY_FILE:  # it has no lines before the first save
        status = folder.status(name)
        return status is None or status.st_size == 0
    return name == LOCK_FILE or any(known.fullmatch(name) for known in (TEMPORARY, COPY_FILE))


def clear(folder: RunFolder) -> None:
    """Removes all that a training writes into its folder."""
    folder.remove(TEMPORARY, COPY_FILE, MEMBER_FILE, KEPT_FILE, _SAVED)


class NewRun:
    """A run's folder, made and locked when it is first asked for; a context manager.

    If an error leaves the context, the folder is removed again, but nothing that others put there.
    """

    def __init__(self, runs: Path, name: str, *, numbered: bool = True) -> None:
        """Makes nothing yet; arguments and errors as for :func:`create_run`."""
        self._runs, self._name, self._numbered = runs, name, numbered
        self._runs_existed = runs.exists()
        self._folder: RunFolder | None = None
        self._made = False

    def folder(self) -> RunFolder:
        """Returns the folder.

        Raises:
            OptionError: The name cannot be a folder's name.
            CheckpointError: The folder cannot be made.
        """
        if self._folder is None:
            self._folder, self._made = create_run(self._runs, self._name, numbered=self._numbered)
        return self._folder

    def __enter__(self) -> "NewRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Removes the folder if an error leaves the context."""
        if kind is None or self._folder is None:
            return
        clear(self._folder)
        if self._made:
            self._folder.remove_if_empty()
        self._folder.close()
        if not self._runs_existed:
            with contextlib.suppress(OSError):
                self._runs.rmdir()


def _files(runs: Path, file: str, refusals: list[RunNotFoundError]) -> list[tuple[float, Path]]:
    """Returns when it was changed, and the path, of each run's file; notes what may not be read.

    Raises:
        RunNotFoundError: The folder of runs cannot be read.
    """
    try:
        names = os.listdir(runs)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(runs, error) from None
    files = []
    for path in (runs / name / file for name in names):
        try:
            files.append((path.stat().st_mtime, path))
        except PermissionError as error:
            refusals.append(_unreadable(path, error))
        except OSError:
            pass
    return files


def _unreadable(path: Path, error: OSError) -> RunNotFoundError:
    return RunNotFoundError(refusal(path, "read", error, "check the path"))


def run_names(runs: Path, file: str = MODEL_FILE) -> list[str]:
    """Returns the names of the runs that have a file, sorted.

    Raises:
        RunNotFoundError: The folder of runs cannot be read.
    """
    return sorted(path.parent.name for _, path in _files(runs, file, []))


def find_folder(runs: Path, name: str) -> Path:
    """Returns the folder of a run, by its name or its path, or a model file that is named.

    Raises:
        RunNotFoundError: There is none.
    """
    for path in (runs / name, Path(name)):
        with contextlib.suppress(OSError, ValueError):
            if path.is_dir():
                return path
    path = find_run(runs, name)
    from charrnn.store.checkpoint import is_member  # loads NumPy

    alone = path.name != TRAINING_FILE and (path.name != MODEL_FILE or is_member(path))
    return path if alone else path.parent


def find_models(runs: Path, names: Sequence[str] | None) -> list[Path]:
    """Returns the folder of each run that is named, or the model's file if a file is.

    Without names, it is the newest run's. Errors are those of :func:`find_run`.
    """
    if not names:
        return [find_run(runs, None).parent]
    paths = [(find_run(runs, name), Path(name)) for name in names]
    return [path if path == named else path.parent for path, named in paths]


def find_run(runs: Path, name: str | None, file: str = MODEL_FILE) -> Path:
    """Returns the path of a run's file.

    Args:
        runs: the folder of all runs.
        name: a file, a run's folder or a run's name; None is the newest run.
        file: which of the run's files.

    Raises:
        RunNotFoundError: There is none, or it cannot be read.
    """
    refusals: list[RunNotFoundError] = []
    if name is None:
        if files := _files(runs, file, refusals):
            return max(files)[1]
        none = RunNotFoundError(f"{runs}: no run there: train one first, or name another --runs")
        raise next(iter(refusals), none)
    for path in (runs / name / file, Path(name, file), Path(name)):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # of which there is no file
                refusals.append(_unreadable(path, error))
            continue
        if not stat.S_ISDIR(mode):
            return path
    if refusals:
        raise refusals[0]
    for folder in filter(os.path.isdir, (runs / name, Path(name))):
        if file == MODEL_FILE and (folder / member_file(2)).exists():
            raise first_is_missing(folder)
        raise RunNotFoundError(f"{name}: no {file} in this folder: name a run that was saved")
    raise _no_run(runs, name, file)


def first_is_missing(folder: Path) -> RunNotFoundError:
    """Returns the error of a run of several members without the first."""
    return RunNotFoundError(
        f"{folder / MODEL_FILE} (member 1): no such file: resuming the training writes all members "
        "again; or name another member's file alone"
    )


def _no_run(runs: Path, name: str, file: str) -> RunNotFoundError:
    """Returns the error of a name that is no run's, with what was likely meant."""
    names = run_names(runs, file)
    if not names:
        return RunNotFoundError(
            f"{name}: no such run or file, and none in {runs}: "
            "train one first, or name another --runs"
        )
    paths = likely_paths(name)
    models = [p for p in paths if p.endswith(".safetensors") or os.path.isfile(Path(p, file))]
    remedy = did_you_mean(
        likely(name, names) or models, f"name one of those in {runs}: {listed(names)}"
    )
    return RunNotFoundError(f"{name}: no such run or file: {remedy}")
