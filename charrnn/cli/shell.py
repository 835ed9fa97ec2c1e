"""Errors to exit codes, signals, stdin, stdout."""

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from charrnn.config import (
    check_threads,
)
from charrnn.display.console import note
from charrnn.errors import CharrnnError, CorpusError

if TYPE_CHECKING:
    pass

P = ParamSpec("P")


def _named_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turns errors into one line on standard error and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CharrnnError as error:
            note(f"charrnn: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            # the reader of a pipe went away; nothing more is to be said there
            _lose_what_is_left()
            raise typer.Exit(128 + 13) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            note(f"charrnn: {where}{error.strerror or error}")
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            # torch has no class of its own for this
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            note("charrnn: not enough memory: use a smaller --hidden-size or --batch-size")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None

    return wrapped


class _Signals:
    """Notes signals that ask to stop, so that training can save; a second Ctrl-C leaves at once.

    Until training begins, there is nothing to save: then they end the program, clearing up.
    """

    wanted = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self.received = 0
        self.training = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in self.wanted:
            before = signal.getsignal(number)
            # under nohup a hang-up stays ignored; an interrupt is heard even behind a shell's &
            if before != signal.SIG_IGN or number == signal.SIGINT:
                self._before[number] = before
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self.training:
            raise SystemExit(128 + number)
        self.received = self.received or number
        # of other signals a second is none: some programs send them twice
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stdin_bytes() -> bytes:
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: pipe a text in")
    return sys.stdin.buffer.read()


def _set_threads(threads: int | None) -> None:
    check_threads(threads)
    if threads is not None:
        # NumPy's products, in sampling, have threads of their own; it reads this when it is loaded
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)


def _write(text: str | bytes) -> None:
    """Writes to standard output at once, as UTF-8 whatever the locale, line ends as they are."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _lose_what_is_left()
        reason = error.strerror or error
        raise CharrnnError(
            f"standard output: cannot be written: {reason}: free some space"
        ) from None


def _lose_what_is_left() -> None:
    """Keeps the end of the process from writing again what standard output has refused."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
