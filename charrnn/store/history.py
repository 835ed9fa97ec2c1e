"""A run's ``history.jsonl``: one JSON object a line, appended as training continues."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError, reason
from charrnn.fields import read_json
from charrnn.store.folder import HISTORY_FILE, write_whole


class History:
    """The file, and the lines that wait to be written."""

    def __init__(self, folder: Path, last_step: int = 0, last_evaluation: int = 0) -> None:
        """Opens the file for appending; lines after the last step or evaluation are dropped.

        Raises:
            CheckpointError: It cannot be read or written.
        """
        self.path = folder / HISTORY_FILE
        last = {"step": last_step, "eval": min(last_step, last_evaluation)}
        lines = (line for event, step, line in self._lines() if 0 < step <= last.get(event, 0))
        try:
            data = "".join(lines).encode()
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be read: {reason(error)}: move it away"
            ) from None
        write_whole(self.path, data)
        self._size = len(data)  # bytes that are whole lines
        self._waiting: list[str] = []

    def _lines(self) -> Iterator[tuple[str, int, str]]:
        """Yields the event, the step and the text of each whole line."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = read_json(line)
                    if line.endswith("\n") and type(entry["step"]) is int:
                        yield str(entry["event"]), entry["step"], line

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds a line, to be written by :meth:`flush`; NaN and infinity become null."""
        finite = {key: None if _is_nan(value) else value for key, value in entry.items()}
        self._waiting.append(json.dumps(finite) + "\n")

    def flush(self, *, to_disk: bool = False) -> None:
        """Hands the lines to the system, or to the disk; what it refuses waits for the next time.

        Raises:
            CheckpointError: They cannot be written.
        """
        lines = "".join(self._waiting).encode()
        try:
            with self.path.open("ab") as stream:
                if stream.tell() > self._size:
                    stream.truncate(self._size)  # a part of a line, that a full disk left
                stream.write(lines)
                if to_disk:
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be written: {reason(error)}: free some space"
            ) from None
        self._size += len(lines)
        self._waiting.clear()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
