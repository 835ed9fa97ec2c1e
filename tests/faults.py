"""The calls by which a task reaches the system's files: counted, and each made to go wrong."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

READING = ("stat", "fstat", "listdir")  # what changes nothing
CALLS = ("mkdir", "open", "fchmod", "ftruncate", "write", "fsync", "close", "replace", "unlink")
CALLS += ("rmdir", *READING)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.ENOENT)

Call = Callable[..., Any]
Fault = Callable[[Call], Call]  # what is called instead


@contextlib.contextmanager
def watched(number: int = -1, fault: Fault = lambda call: call) -> Iterator[list[str]]:
    """Yields the names of the calls as they are made; the n-th one, from 0, has a fault."""
    names: list[str] = []

    def watching(name: str, call: Call) -> Call:
        def wrapper(*args: Any, **options: Any) -> Any:
            names.append(name)
            now = fault(call) if len(names) - 1 == number else call
            return now(*args, **options)

        return wrapper

    with contextlib.ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(patch.object(os, name, watching(name, getattr(os, name))))
        yield names


def failing(code: int) -> Fault:
    """Returns the fault of a call that fails: a write has written half, a close has closed."""

    def fault(call: Call) -> Call:
        def fail(*args: Any, **options: Any) -> None:
            if call is os_write:
                call(args[0], args[1][: len(args[1]) // 2])
            elif call is os_close:
                call(*args)
            raise OSError(code, os.strerror(code))

        return fail

    return fault


os_write, os_close = os.write, os.close


def each_call_failing(
    task: Callable[[], object], errors: Sequence[int] = ERRORS
) -> Iterator[tuple[str, Exception | None]]:
    """Does something again and again, each time with another one of its calls failing.

    Yields the call, with the error that the system reports, and the error that the task raised.
    """
    with watched() as names:
        task()
    for number, name in enumerate(names):
        for code in errors:
            raised = None
            with watched(number, failing(code)):
                try:
                    task()
                except Exception as error:
                    raised = error
            yield f"{number} {name} {errno.errorcode[code]}", raised
