"""Terminals that are none, and what is shown on them."""

import contextlib
import io
import math
import re
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from charrnn.display import live, progress
from charrnn.scoring.reports import Score

LN_2 = math.log(2)


class Broken(io.StringIO):
    """A stream that refuses everything after the first N writes."""

    def __init__(self, writes: int = 0) -> None:
        super().__init__()
        self.writes_left = writes

    def write(self, text: str) -> int:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


class Waiting(io.StringIO):
    """A stream that tells when a text has been written to it N times."""

    def __init__(self, text: str, times: int) -> None:
        super().__init__()
        self.done = threading.Event()
        self.wait_for(text, times)

    def wait_for(self, text: str, times: int) -> None:
        self.done.clear()
        self._text, self._left = text, times

    def write(self, text: str) -> int:
        self._left -= self._text in text
        if self._left <= 0:
            self.done.set()
        return super().write(text)


SCORE = Score(1000, 1200, 1386.2943611198906, 3, 120 * LN_2, seconds=0.5)
any_bytes = st.one_of(st.binary(max_size=9), st.text("aé\ufffd", max_size=9).map(str.encode))


def bytes_of(row: dict[str, Any], key: str) -> bytes:
    """Returns the bytes of a text in JSON."""
    text = row[key]
    return text.encode() if row["encoding"] == "utf-8" else b64decode(text, validate=True)


def is_utf_8(*texts: bytes) -> bool:
    """Returns whether all texts are."""
    return all(text.decode("utf-8", "ignore").encode() == text for text in texts)


class Screen:
    """What a terminal shows after all that was written to it.

    Attributes:
        width: its columns; what is shown stays where it is if they change.
        rows: the text of each row.
        wrapped: whether something did not fit into a row.
    """

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.wrapped = width, [""], False
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        for code, symbol in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.)", text, re.S):
            if symbol == "\n":
                self._next_row()
            elif symbol == "\r":
                self._column = 0
            elif symbol:
                self._put(symbol)
            elif code.endswith("A"):
                self._row = max(0, self._row - int(code[:-1]))
            elif code == "2K":
                self.rows[self._row] = ""
            else:
                assert code[-1] in "mhl", code

    def _next_row(self) -> None:
        self._row, self._column = self._row + 1, 0
        self.rows += [""] * (self._row + 1 - len(self.rows))

    def _put(self, symbol: str) -> None:
        if self._column + cell_len(symbol) > self.width:
            self.wrapped = True
            self._next_row()
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + symbol + row[self._column + 1 :]
        self._column += cell_len(symbol)


def terminal(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None = None, width: int = 100
) -> io.StringIO:
    """Makes every display believe in a terminal; returns what it writes to."""
    return terminal_console(monkeypatch, stream, width)[0]


def terminal_console(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None = None, width: int = 100
) -> tuple[io.StringIO, Console]:
    """Does what :func:`terminal` does; returns the console as well, whose width can be set."""
    stream = io.StringIO() if stream is None else stream
    console = Console(file=stream, force_terminal=True, width=width, _environ={"TERM": "xterm"})
    for module in (live, progress):
        monkeypatch.setattr(module, "drawing_console", lambda: console)
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    return stream, console


@contextlib.contextmanager
def streams_given_back() -> Iterator[None]:
    """Checks that standard output and error are afterwards what they were."""
    before = sys.stdout, sys.stderr
    yield
    after = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = before
    assert after == before
