"""A run's ``history.jsonl``: one JSON object a line, appended as training continues."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from charrnn import system
from charrnn.errors import CheckpointError, refusal
from charrnn.fields import read_json
from charrnn.store.opened import HISTORY_FILE, RunFolder

LONGEST_LINE = 2**16  # bytes; a training writes some hundred


class History:
    """The file, and the lines that wait to be written."""

    def __init__(self, folder: RunFolder, last_step: int = 0, last_evaluation: int = 0) -> None:
        """Opens the file for appending; lines after the last step or evaluation are dropped.

        Raises:
            CheckpointError: It cannot be read or written.
        """
        self._folder = folder
        last = {"step": last_step, "eval": min(last_step, last_evaluation)}
        try:
            kept = (
                line
                for line, entry in _lines(folder)
                if entry and 0 < entry["step"] <= last.get(entry["event"], 0)
            )
            data = "".join(kept).encode()
        except OSError as error:
            raise _failed(folder, "read", error) from None
        folder.write_whole(HISTORY_FILE, data)
        self._whole: int | None = None  # bytes before a write that failed
        self._waiting: list[str] = []

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds a line, to be written by :meth:`flush`; NaN and infinity become null."""
        finite = {key: None if _is_nan(value) else value for key, value in entry.items()}
        self._waiting.append(json.dumps(finite) + "\n")

    def flush(self, *, to_disk: bool = False) -> None:
        """Hands the lines to the system, or to the disk; what it refuses waits for the next time.

        If the file was removed, a new one begins with these lines.

        Raises:
            CheckpointError: They cannot be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            descriptor = self._folder.descriptor_of(HISTORY_FILE, flags)
            try:
                size = os.fstat(descriptor).st_size
                if self._whole is not None and self._whole < size:
                    os.ftruncate(descriptor, self._whole)  # a part of the lines that now follow
                else:
                    self._whole = size
                system.write_all(descriptor, "".join(self._waiting).encode())
                if to_disk:
                    system.flush(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failed(self._folder, "written", error) from None
        self._whole = None
        self._waiting.clear()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_history(folder: RunFolder) -> Iterator[dict[str, Any] | None]:
    """Yields a history's entries, in order: JSON objects that have an ``event`` and a ``step``.

    In place of a line that no training wrote, it yields None. The last line is left out if it is
    not whole: a training is writing it.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        for line, entry in _lines(folder):
            if entry or line.endswith("\n"):
                yield entry
    except OSError as error:
        raise _failed(folder, "read", error) from None


def _lines(folder: RunFolder) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yields the text of each line, and what it holds: None if no training wrote it whole."""
    try:
        stream = folder.open(HISTORY_FILE)
    except FileNotFoundError:
        return
    with stream:
        while data := stream.readline(LONGEST_LINE + 1):
            if len(data) > LONGEST_LINE:
                raise OSError(f"a line of more than {LONGEST_LINE:,} bytes")
            line, entry = data.decode("utf-8", "replace"), None
            with contextlib.suppress(ValueError, KeyError, TypeError):
                read = read_json(line)
                if line.endswith("\n") and type(read["step"]) is int:
                    entry = {**read, "event": str(read["event"])}
            yield line, entry


def _failed(folder: RunFolder, what: str, error: OSError) -> CheckpointError:
    path = folder.path / HISTORY_FILE
    return CheckpointError(refusal(path, what, error, "move it away"))
