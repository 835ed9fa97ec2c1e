"""Calls of the command line in a process of their own."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="signals and locales of POSIX")

COMMAND = (sys.executable, "-m", "charrnn")

DEADLINE_S = 60.0


def environment(**more: str) -> dict[str, str]:
    """Returns this process's environment, without what others may have set in it, and more."""
    dropped = ("PYTHONIOENCODING", "PYTHONUTF8", "NO_COLOR", "FORCE_COLOR", "CHARRNN_RUNS")
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**inherited, "OMP_NUM_THREADS": "1", **more}


def run(*command: object, stdin: bytes = b"", **env: str) -> "subprocess.CompletedProcess[bytes]":
    """Runs a command to its end, which must come."""
    return subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        env=environment(**env),
        timeout=DEADLINE_S,
    )


def start(*args: object, **env: str) -> "subprocess.Popen[str]":
    """Starts ``charrnn`` with its output in pipes; it ends at the latest at the deadline."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )
    timer = threading.Timer(DEADLINE_S, process.kill)
    timer.daemon = True
    timer.start()
    return process


def on_terminal(*args: object, stdin: bytes = b"", **env: str) -> str:
    """Runs ``charrnn``, its output on a terminal; returns what is shown."""
    main_end, terminal = os.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env=environment(**env),
    ) as process:
        os.close(terminal)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(main_end, 2**16):
                shown += part
    os.close(main_end)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")
