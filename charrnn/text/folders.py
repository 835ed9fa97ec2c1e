"""Folders and globs to files: what lies in them, and what is skipped.

A linked folder is read like any other, but no folder and no file is read twice.
"""

import errno
import fnmatch
import glob
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from charrnn.config import MODEL_FILE, TRAINING_FILE
from charrnn.text.compressed import unreadable
from charrnn.text.notes import Notes

_NEITHER = "dead links, pipes and the like skipped"
_AGAIN = "links skipped that lead to what is read anyway"


class Finder:
    """Finds files; notes what it skips: folders of runs, and links to what is read anyway."""

    def __init__(self, notes: Notes, *, skip_damaged: bool = False) -> None:
        """Takes the notes, and whether folders that cannot be read are skipped, too."""
        self._notes, self._skip_damaged = notes, skip_damaged
        self._unreadable: set[str] = set()

    def files_in(self, folder: str) -> list[str]:
        """Returns the files of a folder and of all folders in it, sorted; no hidden ones.

        Raises:
            DamagedError: A folder cannot be read.
        """
        return self._files(path for _, paths in self._walk([folder]) for path in paths)

    def matching(self, pattern: str) -> list[str]:
        """Returns the files that a glob matches, sorted; ``**`` stands for all folders below.

        Raises:
            DamagedError: A folder cannot be read.
        """
        path = Path(re.sub(r"(?:\*\*/)+(?=\*\*(?:/|$))", "", pattern))  # **/** is **
        parts = path.parts[1:] if path.anchor else path.parts
        if parts[-1] == "**":
            parts += ("*",)  # what lies in the folders, not the folders
        paths = [path.anchor]
        for part in parts:
            if part == "**":
                paths = [folder for folder, _ in self._walk(filter(_is_folder, paths))]
            elif glob.has_magic(part):
                below = map(self._list, filter(_is_folder, paths))
                paths = [p for p in itertools.chain(*below) if _matches(p, part)]
            else:
                paths = [os.path.join(path, part) for path in paths]
        runs = {folder for path in paths if _is_run(folder := os.path.dirname(path))}
        for run in sorted(runs):
            self._notes.add("folders of runs skipped", 1, run)
        return self._files(path for path in paths if os.path.dirname(path) not in runs)

    def _walk(self, tops: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yields folders and all below, each once, with the paths of what they hold.

        Links are followed last, so that what can be reached without them is.
        """
        seen: set[str] = set()  # real paths
        waiting = list(tops)
        while waiting:
            links: list[str] = []
            while waiting:
                folder = waiting.pop()
                if (real := os.path.realpath(folder)) in seen:
                    if os.path.islink(folder):
                        self._notes.add(_AGAIN, 1, folder)
                    continue
                seen.add(real)
                if _is_run(folder):
                    self._notes.add("folders of runs skipped", 1, folder)
                    continue
                paths = [path for path in self._list(folder) if not _is_hidden(path)]
                yield folder, paths
                for path in filter(os.path.isdir, paths):
                    (links if os.path.islink(path) else waiting).append(path)
            waiting = sorted(links, reverse=True)

    def _list(self, folder: str) -> list[str]:
        """Returns the paths of what a folder holds; nothing of one that cannot be read."""
        try:
            return [os.path.join(folder, name) for name in os.listdir(folder or ".")]
        except OSError as error:
            if not self._skip_damaged:
                raise unreadable(folder, error) from None
        if folder not in self._unreadable:
            self._unreadable.add(folder)
            self._notes.add("folders skipped that cannot be read", 1, folder)
        return []

    def _files(self, paths: Iterable[str]) -> list[str]:
        """Returns those that are files, each once, sorted."""
        files: dict[str, str] = {}  # by their real paths
        for path in paths:
            if not self._is_file(path):
                continue
            real = os.path.realpath(path)
            if real in files:
                self._notes.add(_AGAIN, 1, path if os.path.islink(path) else files[real])
            if real not in files or not os.path.islink(path):
                files[real] = path
        return [str(path) for path in sorted(map(Path, files.values()))]

    def _is_file(self, path: str) -> bool:
        """Returns whether a path is a file's; notes what is neither a file nor a folder.

        Raises:
            DamagedError: The system cannot tell: the path is too long, or may not be looked up.
        """
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                self._notes.add(_NEITHER, 1, path)
            elif self._skip_damaged:
                self._notes.add("files and folders skipped that cannot be read", 1, path)
            else:
                raise unreadable(path, error) from None
            return False
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            self._notes.add(_NEITHER, 1, path)
        return stat.S_ISREG(mode)


def _is_run(folder: str) -> bool:
    """Returns whether a folder is a run's: its files come from a training, and are not for one."""
    return any(os.path.exists(os.path.join(folder, file)) for file in (MODEL_FILE, TRAINING_FILE))


def _is_folder(path: str) -> bool:
    return os.path.isdir(path or ".")


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def _matches(path: str, pattern: str) -> bool:
    """Returns whether a path's name matches; a hidden one only if the pattern begins with a dot."""
    name = os.path.basename(path)
    return _is_hidden(path) == pattern.startswith(".") and fnmatch.fnmatchcase(name, pattern)
