"""Helpers that are forked instead of started anew: torch is loaded once, for all of them."""

import os
import signal
import sys
from unittest.mock import patch

from charrnn.training import helper, workers


class Forked:
    """What `Workers` uses of a process that it started."""

    def __init__(self, memory: int | None, rank: int, threads: int) -> None:
        assert memory is not None
        (its_input, my_output), (my_input, its_output) = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setpgid(0, 0)
                os.dup2(its_input, 0)
                os.dup2(its_output, 1)
                # no other helper's pipe, or it would live as long as this one
                os.closerange(3, memory)
                os.closerange(memory + 1, 256)
                sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
                helper.main(memory, rank, threads)
            finally:
                os._exit(1)
        os.close(its_input)
        os.close(its_output)
        self.stdin, self.stdout = open(my_output, "wb"), open(my_input, "rb")  # noqa: SIM115

    def wait(self, _: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> None:
        self.wait()
        self.stdin.close()
        self.stdout.close()


def fork_helpers() -> None:
    """Lets all helpers of this process, and of its children, be forks, from here on.

    Nothing of this process may have used several threads.
    """
    patch.object(workers, "_start_helper", Forked).start()


def helpers_of(pid: int) -> list[int]:
    """Returns the children of a process, on Linux."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
