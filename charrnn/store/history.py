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
        lines = (line for event, step, line in self._lines() if 0 < step <= last.get(event, 0))
        try:
            data = "".join(lines).encode()
        except OSError as error:
            raise self._failed("read", error) from None
        folder.write_whole(HISTORY_FILE, data)
        self._whole: int | None = None  # bytes before a write that failed
        self._waiting: list[str] = []

    def _failed(self, what: str, error: OSError) -> CheckpointError:
        path = self._folder.path / HISTORY_FILE
        return CheckpointError(refusal(path, what, error, "move it away"))

    def _lines(self) -> Iterator[tuple[str, int, str]]:
        """Yields the event, the step and the text of each whole line."""
        try:
            stream = self._folder.open(HISTORY_FILE)
        except FileNotFoundError:
            return
        with stream:
            while data := stream.readline(LONGEST_LINE + 1):
                if len(data) > LONGEST_LINE:
                    raise OSError(f"a line of more than {LONGEST_LINE:,} bytes")
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    line = data.decode("utf-8", "replace")
                    entry = read_json(line)
                    if line.endswith("\n") and type(entry["step"]) is int:
                        yield str(entry["event"]), entry["step"], line

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
            raise self._failed("written", error) from None
        self._whole = None
        self._waiting.clear()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
