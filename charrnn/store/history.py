"""``history.jsonl``."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charrnn.errors import (
    CheckpointError,
)
from charrnn.store.folder import HISTORY_FILE, write_whole


class History:
    """A run's ``history.jsonl``: one JSON object a line, appended as training goes on."""

    def __init__(self, folder: Path, upto_step: int = 0, evaluated_step: int = 0) -> None:
        """Opens the file for appending; lines past a step, or cut short, are dropped.

        Args:
            folder: the run's folder.
            upto_step: the last step to keep; 0 starts afresh.
            evaluated_step: the last evaluation to keep.

        Raises:
            CheckpointError: It cannot be read or written.
        """
        self.path = folder / HISTORY_FILE
        last = {"step": upto_step, "eval": min(upto_step, evaluated_step)}
        lines = (line for event, step, line in self._lines() if 0 < step <= last.get(event, 0))
        try:
            kept = "".join(lines).encode()
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be read: {error.strerror or error}: move it away"
            ) from None
        write_whole(self.path, kept)
        self._size = len(kept)  # bytes that are whole lines
        self._waiting: list[str] = []

    def _lines(self) -> Iterator[tuple[str, int, str]]:
        """Yields whole lines, their events and their steps."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    if line.endswith("\n") and type(entry["step"]) is int:
                        yield str(entry["event"]), entry["step"], line

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds one line, to be written by :meth:`flush`; numbers that are none become null."""
        finite = {key: None if _is_nan(value) else value for key, value in entry.items()}
        self._waiting.append(json.dumps(finite) + "\n")

    def flush(self, *, to_disk: bool = False) -> None:
        """Hands the lines to the system; what it refuses waits for the next time.

        Args:
            to_disk: wait until the whole file has reached it.

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
                f"{self.path}: cannot be written: {error.strerror or error}: free some space"
            ) from None
        self._size += len(lines)
        self._waiting.clear()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
