"""A run's folder, opened and locked: its files are written whole or not at all.

The folder that was opened is the one that is written to, wherever it is moved and whatever takes
its old name. Nothing is ever written through a symbolic link.
"""

import contextlib
import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from charrnn import system
from charrnn.errors import CheckpointError, RunBusyError, RunRemovedError, refusal

HISTORY_FILE = "history.jsonl"
LOCK_FILE = ".lock"  # on Windows, which cannot lock a folder
WAITS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3)  # between attempts to replace a file that is read
TEMPORARY = re.compile(
    r"\.((model(-step-\d+)?(-\d+)?|training)\.safetensors|history\.jsonl|report\.html)\.\d+\.tmp"
)
_NO_FSYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP)


class RunFolder:
    """A folder that is open; a context manager.

    Attributes:
        is_locked: whether no other training can be in it.
    """

    def __init__(self, path: Path, wait: Callable[[float], object] = time.sleep) -> None:
        """Opens the folder.

        Args:
            path: where it is.
            wait: waits for some seconds.

        Raises:
            CheckpointError: It cannot be opened.
        """
        self._path, self._wait = path, wait
        self._descriptor: int | None = None  # of the folder; None if the system opens none
        self._lock_file: int | None = None
        self.is_locked = False
        if system.OPENS_FOLDERS:
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise CheckpointError(refusal(path, "opened", error, "check the path")) from None

    @property
    def place(self) -> Path | None:
        """Where the folder is now; None if it was removed, or the system does not tell."""
        if self._descriptor is None:
            return self._path if self._path.is_dir() else None
        return system.place_of(self._descriptor, self._path)

    @property
    def path(self) -> Path:
        """Where the folder is now, or was when the system last told."""
        return self.place or self._path

    def lock(self) -> None:
        """Keeps a second training out, and removes what a killed one left half-written.

        The system releases the lock when the process ends, however it ends.

        Raises:
            RunBusyError: Another training holds it.
            CheckpointError: It cannot be taken.
        """
        try:
            if self._descriptor is None:
                self._lock_file = os.open(self._at(LOCK_FILE), os.O_RDWR | os.O_CREAT)
            descriptor = self._lock_file if self._descriptor is None else self._descriptor
            assert descriptor is not None
            self.is_locked = self._locked(descriptor)
        except BlockingIOError:
            self.close()
            raise RunBusyError(
                f"{self._path}: another training is running there: wait for it, or start a new run"
            ) from None
        except OSError as error:
            raise self._failed(LOCK_FILE, error) from None
        self.remove(TEMPORARY)

    def _locked(self, descriptor: int) -> bool:
        for wait_s in WAITS_S[:3]:  # somebody may only be looking: `is_busy`
            with contextlib.suppress(BlockingIOError):
                return system.lock(descriptor)
            self._wait(wait_s)
        return system.lock(descriptor)

    def close(self) -> None:
        """Lets the next training in; may be called again."""
        self._path = self.path
        descriptor, self._descriptor = self._descriptor, None
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            os.close(lock_file)
            if self.is_locked:
                with contextlib.suppress(OSError):  # Windows: another process has it open
                    os.unlink(self._path / LOCK_FILE)
        self.is_locked = False
        if descriptor is not None:
            with contextlib.suppress(OSError):  # all that was written is closed and flushed
                os.close(descriptor)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        """Releases what nobody can release any more."""
        if getattr(self, "_descriptor", None) is not None or getattr(self, "_lock_file", None):
            self.close()

    def remove_if_empty(self) -> None:
        """Removes the folder, and closes it."""
        place = self.place
        if self._descriptor is None:
            self.close()  # Windows removes no folder with an open file in it
        if place is not None:
            with contextlib.suppress(OSError):
                place.rmdir()
        self.close()

    # --- its files

    def _at(self, name: str) -> str:
        """Returns what the system calls a file, together with the folder's descriptor."""
        return name if self._descriptor is not None else os.path.join(self._path, name)

    def names(self) -> list[str]:
        """Returns the names of all that is in it.

        Raises:
            OSError: It cannot be read.
        """
        return os.listdir(self._path if self._descriptor is None else self._descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Returns what the system tells of a file, or of the link that it is; None if it is gone.

        Raises:
            OSError: The system does not tell.
        """
        try:
            return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, *, follow: bool = False) -> BinaryIO:
        """Opens a regular file for reading.

        Raises:
            OSError: It cannot be opened.
        """
        return os.fdopen(self.descriptor_of(name, os.O_RDONLY, follow=follow), "rb")

    def descriptor_of(
        self, name: str, flags: int, mode: int = 0o666, *, follow: bool = False
    ) -> int:
        """Opens a regular file by the flags of ``os.open``; returns its descriptor.

        Raises:
            RunRemovedError: The folder is gone in which it should be made.
            OSError: It cannot be opened.
        """
        try:
            return system.open_regular(
                self._at(name), flags, mode, folder=self._descriptor, follow=follow
            )
        except OSError as error:
            # a file can be made in any folder that exists
            if flags & os.O_CREAT and error.errno in (errno.ENOENT, errno.ESTALE):
                raise RunRemovedError(
                    f"{self._path}: the run's folder was removed while it trained, "
                    "and nothing of it is left: start a new run"
                ) from None
            raise

    def write_whole(self, name: str, data: bytes) -> None:
        """Writes a file so that a reader, or a crash, finds the old content or the new.

        Its permissions stay. A symbolic link of that name is replaced, and not followed.

        Raises:
            CheckpointError: It cannot be written.
        """
        temporary = ""
        try:
            old = self.status(name)
            mode = stat.S_IMODE(old.st_mode) if old and stat.S_ISREG(old.st_mode) else None
            descriptor, temporary = self._new(name, 0o666 if mode is None else mode)
            try:
                if mode is not None and hasattr(os, "fchmod"):
                    with contextlib.suppress(OSError):  # a file system without permissions
                        os.fchmod(descriptor, mode)  # regardless of the umask
                system.write_all(descriptor, data)
                system.flush(descriptor)
            finally:
                os.close(descriptor)
            self._replace(temporary, name)
            temporary = ""
            self.sync()
        except OSError as error:
            raise self._failed(name, error) from None
        finally:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(self._at(temporary), dir_fd=self._descriptor)

    def _failed(self, name: str, error: OSError) -> CheckpointError:
        in_the_way = error.errno in (errno.EISDIR, errno.ENXIO)  # a folder, a pipe or the like
        otherwise = "move it away" if in_the_way else "choose another --runs"
        return CheckpointError(refusal(self.path / name, "written", error, otherwise))

    def _new(self, name: str, mode: int) -> tuple[int, str]:
        """Makes a temporary file; returns its descriptor and its name."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # a link of that name is not followed either
        for number in itertools.count(os.getpid()):
            temporary = f".{name}.{number}.tmp"
            try:
                return self.descriptor_of(temporary, flags, mode), temporary
            except FileExistsError:
                if number == os.getpid() + 99:
                    raise
        raise AssertionError("numbers never end")

    def _replace(self, temporary: str, name: str) -> None:
        """Gives a temporary file its name."""
        ends, waits_s = (self._at(temporary), self._at(name)), iter(WAITS_S)
        while True:
            try:
                os.replace(*ends, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
                return
            except PermissionError:
                # Windows refuses while another program has the file open
                wait_s = next(waits_s, None)
                if wait_s is None or self._descriptor is not None:
                    raise
            self._wait(wait_s)

    def sync(self) -> None:
        """Flushes the folder to the disk: a new name in it must survive a power loss.

        Raises:
            OSError: It cannot be flushed.
        """
        if self._descriptor is not None:
            try:
                system.flush(self._descriptor)
            except OSError as error:
                if error.errno not in _NO_FSYNC:  # not every file system can, and the file is there
                    raise

    def remove(self, *patterns: re.Pattern[str]) -> None:
        """Removes the files whose names fit a pattern, if the system lets it."""
        with contextlib.suppress(OSError):
            for name in self.names():
                if any(pattern.fullmatch(name) for pattern in patterns):
                    with contextlib.suppress(OSError):
                        os.unlink(self._at(name), dir_fd=self._descriptor)


def is_busy(folder: Path) -> bool:
    """Returns whether a training is running in a folder; for a moment, it may keep one out."""
    path, flags = folder / LOCK_FILE, os.O_RDWR
    if system.OPENS_FOLDERS:
        path, flags = folder, os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return False
    try:
        system.lock(descriptor, shared=True)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file of any folder as :meth:`RunFolder.write_whole` does.

    Raises:
        CheckpointError: It cannot be written.
    """
    with RunFolder(path.parent) as folder:
        folder.write_whole(path.name, data)
