"""How the program behaves in a shell: exit codes, signals, standard input and output, the end.

Exit codes: 0 done; 1 a named error; 2 wrong usage; 128 + n after signal n (130 for Ctrl-C, 141 if
the reader of a pipe went away).
"""

import codecs
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import typer

from charrnn.cli.waiting import tell_who_types
from charrnn.display import console
from charrnn.display.console import exact_bytes, note, without_control, write_waiting
from charrnn.errors import CharrnnError, CorpusError, reason

MOST_PROMPT_BYTES = 2**30  # prompts are held in memory
# what an interrupt before the first step of a training leaves: of a new run, of a resumed one
NO_RUN_LEFT = "interrupted: nothing was trained, and no run is left"
AS_IT_WAS = "interrupted: the run is as it was"
SIGPIPE = 13  # its number, also on a system that lacks the signal


@contextlib.contextmanager
def named_errors(memory_advice: str) -> Iterator[None]:
    """Turns a command's errors into one line on standard error and an exit code; a decorator."""
    handlers = {number: signal.getsignal(number) for number in _stop_signals()}
    try:
        yield
    except CharrnnError as error:
        raise failed(str(error), error.exit_code) from None
    except BrokenPipeError:
        _discard_stdout()
        raise typer.Exit(128 + SIGPIPE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise failed(where + reason(error)) from None
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for a lack of memory
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise failed(f"not enough memory: {memory_advice}") from None
        raise
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    finally:  # what `end_with_clean_up` changed
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


def failed(message: str, exit_code: int = 1) -> typer.Exit:
    """Prints an error as one line, and returns what ends the program with the exit code."""
    note(f"charrnn: {message}")
    return typer.Exit(exit_code)


def _stop_signals() -> list[int]:
    """Returns the signals that ask to stop, of those that this system has."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Signals:
    """Catches the signals that ask to stop; a context manager.

    Until ``saving`` is set, a signal ends the program at once, with clean-up, and the line ``left``
    says what is left. From then on the
    first signal is only noted, so that training can save; a second Ctrl-C ends the program at once,
    if ``twice_ends``: torchrun may pass on what the terminal has sent already.

    Attributes:
        received: number of the first signal noted; 0 if none was.
    """

    def __init__(self, left: str = "", *, twice_ends: bool = True) -> None:
        self.saving, self._left = False, left
        self._twice_ends = twice_ends
        self.received = 0
        self._handlers: dict[int, Any] = {}  # as they were before

    def tell_while_loading(self) -> None:
        """Lets a Ctrl-C before the context end the program at once, as ever, but with the line.

        Meanwhile libraries are loaded, through which no exception comes as it went in.
        """

        def end(*_: object) -> None:
            if not self.saving:  # else the training is over
                with contextlib.suppress(OSError):
                    # what was drawn stays, and ^C behind it
                    os.write(2, ("\n" * os.isatty(2) + self._left + "\n").encode())
            os._exit(128 + signal.SIGINT)

        if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
            signal.signal(signal.SIGINT, end)

    def __enter__(self) -> "Signals":
        for number in _stop_signals():
            handler = signal.getsignal(number)
            # nohup ignores SIGHUP, and it stays so; a shell's & ignores SIGINT, which we do catch
            if handler != signal.SIG_IGN or number == signal.SIGINT:
                self._handlers[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is SystemExit and self._left and not self.saving:
            note(self._left)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self.saving:
            raise SystemExit(128 + number)
        self.received = self.received or number
        # a second Ctrl-C ends the program; a second SIGTERM does not, as some programs send two
        if self._twice_ends:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_with_clean_up() -> None:
    """From here on, a signal that asks to stop unwinds the command, and closes what is open."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in _stop_signals():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def prompt_bytes(file: str = "-") -> bytes:
    """Reads a file of prompts, or standard input, to its end.

    Raises:
        CorpusError: It is closed, cannot be read, or does not end.
    """
    # at need: for the start of the program
    from charrnn.text.compressed import plain_blocks
    from charrnn.text.sources import STDIN, shown, standard_input_blocks

    if file == STDIN:
        tell_who_types()
    blocks, size = [], 0
    for block in standard_input_blocks() if file == STDIN else plain_blocks(file):
        blocks.append(block)
        size += len(block)
        if size > MOST_PROMPT_BYTES:
            raise CorpusError(
                f"{shown(file)}: it has not ended after {size:,} bytes, which are too many for "
                "prompts: end it with head -c, or name another file"
            )
    return b"".join(blocks)


def write(*texts: str | bytes, drawn: bool = False) -> None:
    """Writes to standard output at once, as UTF-8 whatever the locale, bytes as they are.

    For a terminal, control characters are escaped, unless the text was ``drawn`` for one.

    Raises:
        CharrnnError: It cannot be written.
        BrokenPipeError: Its reader went away.
    """
    data = b"".join(map(exact_bytes, texts))
    for make_room in console.on_output:
        make_room()
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        if not drawn and sys.stdout.isatty():
            data = without_control(data.decode("utf-8", "replace")).encode()
        buffer: Any = sys.stdout.buffer
        write_waiting(getattr(buffer, "raw", buffer), data)
        buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise CharrnnError(_not_written(error)) from None


def _not_written(error: OSError) -> str:
    """Returns why standard output takes no more, and what to do."""
    why, remedy = reason(error), "write to another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = f"free some space, or {remedy}"
    elif error.errno == errno.EBADF:
        why, remedy = "it is closed", "leave >&- out, or name a file to write to"
    return f"standard output: cannot be written: {why}: {remedy}"


@contextlib.contextmanager
def whole_output() -> Iterator[None]:
    """Flushes standard output at the end: what it refuses of a help text is an error, too."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        raise SystemExit(128 + SIGPIPE) from None
    except OSError as error:
        _discard_stdout()
        note(f"charrnn: {_not_written(error)}")
        raise SystemExit(1) from None


def keep_closed_streams_closed() -> None:
    """Takes the places of standard streams that are closed, so that no other file gets one.

    What is then written to standard output fails, as in any program.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the first number that is free, and the wrong way round
            if number == 1:
                sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextlib.contextmanager
def text_output() -> Iterator[Callable[..., None]]:
    """Yields :func:`write`; for a terminal, one that writes whole characters and ends the line.

    A terminal gets U+FFFD for what is not UTF-8. A newline ends the last line, so that the shell's
    prompt starts one.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        yield write
        return
    decoder, last = codecs.getincrementaldecoder("utf-8")("replace"), "\n"

    def write_characters(*texts: str | bytes, final: bool = False) -> None:
        nonlocal last
        if characters := decoder.decode(b"".join(map(exact_bytes, texts)), final):
            write(characters)
            last = characters

    yield write_characters
    write_characters(final=True)
    if not last.endswith("\n"):
        write("\n")


def _discard_stdout() -> None:
    """Points standard output at /dev/null, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def end_on_broken_pipe() -> None:
    """Lets the process end quietly when the reader of its output goes away, as any filter does."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def end_at_once() -> None:
    """Ends the process if Arrow was used, or torch.

    Arrow's threads may wait for each other forever; torch takes half a second to be taken down.
    """
    error = sys.exception()
    if {"pyarrow", "torch"} & sys.modules.keys() and isinstance(error, SystemExit):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
