"""What systems do differently or by halves: opening, writing, locking, paths, limits."""

import contextlib
import errno
import importlib
import os
import selectors
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def _module(name: str) -> Any:
    """Returns a module of Python's that only some systems have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")  # of POSIX, of Windows

# Windows refuses to move or remove a folder that holds an open file, so paths will do there
OPENS_FOLDERS = os.open in os.supports_dir_fd and fcntl is not None
_BINARY = getattr(os, "O_BINARY", 0)
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")  # of Linux
_NOT_A_FILE = {errno.ELOOP, errno.EMLINK, errno.ENXIO, getattr(errno, "EFTYPE", errno.ELOOP)}


def open_regular(
    path: str | Path,
    flags: int,
    mode: int = 0o666,
    *,
    folder: int | None = None,
    follow: bool = False,
) -> int:
    """Opens a regular file, and nothing else: a named pipe or a device is never waited for.

    Args:
        path: the file.
        flags: of ``os.open``.
        mode: its permissions if it is made, before the umask.
        folder: descriptor of the folder in which the path begins.
        follow: whether it may be a symbolic link.

    Returns:
        A descriptor.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    flags |= _BINARY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise
        raise OSError(errno.ENXIO, "it is not a regular file") from None
    if flags & os.O_EXCL or _is_regular(descriptor):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ENXIO, "it is not a regular file")


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of some bytes, however many the system takes at a time.

    Raises:
        OSError: It refuses the rest.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def wait_until_readable(stream: Any) -> None:
    """Waits until a non-blocking stream has more, or has ended."""
    _wait(stream, selectors.EVENT_READ)


def wait_until_writable(stream: Any) -> None:
    """Waits until a non-blocking stream takes more."""
    _wait(stream, selectors.EVENT_WRITE)


def _wait(stream: Any, event: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, event)
        selector.select()


def flush(descriptor: int) -> None:
    """Flushes a file or folder to the disk itself.

    Raises:
        OSError: It cannot be flushed.
    """
    if (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        # macOS: fsync stops at the disk's own buffer; some of its file systems have nothing else
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def lock(descriptor: int) -> bool:
    """Locks an open file or folder until it is closed, also by the end of the process.

    Returns:
        Whether the file system has locks.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # the latter by Windows
        raise BlockingIOError(errno.EAGAIN, "it is locked") from None
    except OSError:
        return False
    return True


def place_of(folder: int, known: Path) -> Path | None:
    """Returns where an open folder is now, or None if it is gone or the system does not tell.

    Args:
        folder: its descriptor.
        known: where it was.
    """
    for path in (known, *_names(folder)):
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(os.stat(path), os.fstat(folder)):
                return path
    return None


def _names(descriptor: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):  # Linux
        yield Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    if (get_path := getattr(fcntl, "F_GETPATH", None)) is not None:  # macOS
        with contextlib.suppress(OSError):
            path: bytes = fcntl.fcntl(descriptor, get_path, bytes(1024))
            yield Path(os.fsdecode(path.rstrip(b"\0")))


def control_groups() -> Iterator[tuple[str, Path]]:
    """Yields the folders of Linux's control groups that this process is in, and of those above.

    A container's limits stand there. Each comes with the controllers of its hierarchy as one text,
    which is empty for groups of version 2, and like ``cpu,cpuacct`` for those of version 1.
    """
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, name = line.split(":", 2)
        root = CGROUPS / controllers
        group = root / name.strip("/")
        yield from ((controllers, at) for at in (group, *group.parents) if at.is_relative_to(root))


def stopwatch() -> Callable[[], float]:
    """Returns a clock that shows the seconds since now."""
    start_s = time.perf_counter()
    return lambda: time.perf_counter() - start_s


def core_count() -> int:
    """Returns how many cores this process may use: of the machine, or of its container."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    for controllers, group in control_groups():
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file
            if not controllers:
                quota, period = map(int, (group / "cpu.max").read_text().split())
            elif "cpu" in controllers.split(","):
                quota = int((group / "cpu.cfs_quota_us").read_text())
                period = int((group / "cpu.cfs_period_us").read_text())
            else:
                continue
            if quota > 0:  # -1: no limit
                cores = min(cores, max(1, round(quota / period)))
    return cores


def keep_freed_memory() -> None:
    """Keeps what is freed for what is allocated next, instead of giving it back to the system.

    An update would have to fetch its memory anew, page by page: a twentieth of its time. Only the
    C library of GNU can be told so.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in malloc.h
    with contextlib.suppress(ImportError, AttributeError, OSError, TypeError):
        import ctypes  # not at the start of every command

        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            library.mallopt(M_TRIM_THRESHOLD, 2**30)
            library.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that is allowed


def quoted(path: Path | str) -> str:
    """Returns a path or a text as a word of a command that can be copied from a terminal."""
    word = str(path)
    if os.name == "nt":
        return subprocess.list2cmdline([word])
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(symbol: str) -> str:
    if symbol.isprintable() and symbol not in "\\'":
        return symbol
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(symbol))
