"""The processes that train: this one and its helpers, and the memory that they share.

A worker is a process of one thread, which computes the gradient of its share of the streams: two
threads within each small product would wait for each other at every step, and for long where
another program runs. This process is the first worker; it starts the others, tells them what to do
by lines of JSON, and waits for their answers. :mod:`charrnn.training.shares` is what they compute.

Nothing is left behind, however it ends: the memory is a file without a name, and a helper whose
pipe from this process is closed ends at once. No torch here: helpers load it while this process
still loads its own.
"""

import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TrainingError, refusal
from charrnn.system import core_count

# a worker with fewer streams, or less to multiply in an update, costs more than it gives; measured
# in tests/bench/README.md
FEWEST_STREAMS = 4
LEAST_MULTIPLICATIONS = 2**25

PATIENCE_S = 5.0  # for a helper that has closed its pipe
_HELPER = "import sys; sys.path = {}; from charrnn.training.helper import main; main({})"


class WorkerDied(TrainingError):
    """A helper ended, or failed; the training is where its last update left it."""


def may_have_helpers(config: TrainingConfig) -> bool:
    """Returns whether several workers can train so: on a CPU, and a POSIX system."""
    return config.device == "cpu" and os.name == "posix"


def worker_count(model: ModelConfig, config: TrainingConfig) -> int:
    """Returns how many workers train such a model: as many as asked for, or as it pays.

    The processor and the shapes decide, never the clock, so that a run can be repeated to the bit.

    Raises:
        OptionError: Several are asked for, and the device or the system allows one.
    """
    if not may_have_helpers(config):
        if (config.workers or 1) > 1:
            why = "this system is not a POSIX one"
            why = f"they need --device cpu, not {config.device}" if os.name == "posix" else why
            raise OptionError(f"--workers: {why}: leave --workers out")
        return 1
    K = config.members
    if config.workers is not None:
        return _shared(min(config.workers, K * config.batch_size), K)
    multiplications = K * config.batch_size * config.seq_len * model.parameter_count()
    most = K * max(config.batch_size // FEWEST_STREAMS, 1)
    most = min(core_count(), most, multiplications // LEAST_MULTIPLICATIONS)
    return _shared(max(1, most), K)


def _shared(workers: int, members: int) -> int:
    """Returns at most as many workers, of which each has whole members, or all as large a share."""
    return workers if workers < members else workers - workers % members


def saved_workers(path: Path) -> int:
    """Returns how many workers a training file asks for, if it does, and this machine has them."""
    from charrnn.store.checkpoint import training_state  # loads NumPy, which a new run need not

    settings = training_state(path).get("training_config")
    count = settings.get("workers") if isinstance(settings, dict) else None
    return count if isinstance(count, int) and 1 <= count <= core_count() else 1


class Workers:
    """This process and its helpers; to be used by ``with``, which ends the helpers."""

    rank = 0  # of this process
    on_machines = False  # whether they are ranks, which may average their weights

    def __init__(self, count: int = 1, threads: int = 1) -> None:
        """Starts helpers, which load torch meanwhile; each product has ``threads`` threads."""
        self.threads = threads
        self.count = 1
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._memory: int | None = None  # the file's descriptor
        self.set_count(count)

    def count_for(self, model: ModelConfig, config: TrainingConfig) -> int:
        """Returns how many workers train such a model: see :func:`worker_count`."""
        return worker_count(model, config)

    def set_count(self, count: int) -> None:
        """Starts helpers, or ends the last, until there are ``count`` workers.

        Raises:
            TrainingError: The system refuses.
        """
        try:
            if count > 1 and self._memory is None:
                self._memory = _nameless_file()
            for rank in range(self.count, count):
                self._helpers.append(_start_helper(self._memory, rank, self.threads))
        except OSError as error:
            raise TrainingError(refusal("workers", "started", error, "use --workers 1")) from None
        finally:
            self._end(self._helpers[max(count - 1, 0) :])
            del self._helpers[max(count - 1, 0) :]
            self.count = len(self._helpers) + 1

    def share(self, size: int) -> mmap.mmap:
        """Returns memory of ``size`` bytes that all workers can map, zeros or old numbers.

        Raises:
            TrainingError: The system refuses.
        """
        assert self._memory is not None
        try:
            if size > os.fstat(self._memory).st_size:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self._memory, 0, size)  # or the first write would be fatal
                else:
                    os.truncate(self._memory, size)
            return mmap.mmap(self._memory, size)
        except OSError as error:
            what = f"workers: {size:,} bytes of shared memory"
            raise TrainingError(refusal(what, "had", error, "use --workers 1")) from None

    def tell(self, **message: Any) -> None:
        """Tells all helpers what to do.

        Raises:
            WorkerDied: One has ended.
        """
        line = json.dumps(message).encode() + b"\n"
        for rank, helper in enumerate(self._helpers, 1):
            assert helper.stdin is not None
            try:
                helper.stdin.write(line)
                helper.stdin.flush()
            except OSError:
                raise self._died(rank) from None

    def wait(self) -> None:
        """Waits until each helper has done what it was told.

        Raises:
            WorkerDied: One has ended, or failed.
        """
        for rank, helper in enumerate(self._helpers, 1):
            assert helper.stdout is not None
            answer = helper.stdout.readline()
            if answer != b"\n":
                raise self._died(rank, answer.decode(errors="replace").strip())

    def _died(self, rank: int, why: str = "") -> WorkerDied:
        helper = self._helpers[rank - 1]
        if not why:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = helper.wait(PATIENCE_S)
                why = f"killed by signal {-status}" if status < 0 else f"ended with {status}"
                why += ", perhaps for want of memory" if status == -signal.SIGKILL else ""
        return WorkerDied(f"worker {rank + 1} of {self.count}: {why or 'it does not answer'}")

    def finish(self) -> None:
        """Tells the others that all went well; helpers need not know."""

    def close(self) -> None:
        """Ends the helpers and gives the memory back, which lives on where it is mapped."""
        self._end(self._helpers)
        self._helpers, self.count = [], 1
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

    @staticmethod
    def _end(helpers: Sequence["subprocess.Popen[bytes]"]) -> None:
        for helper in helpers:
            helper.kill()  # it holds nothing that could be lost
            with contextlib.suppress(OSError):  # lines that a dead one never read
                helper.communicate()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        self.close()


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("charrnn")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _start_helper(memory: int | None, rank: int, threads: int) -> "subprocess.Popen[bytes]":
    """Starts a helper in a process group of its own: signals of a terminal are this process's."""
    assert memory is not None
    arguments = f"{memory}, {rank}, {threads}"
    return subprocess.Popen(
        [sys.executable, "-c", _HELPER.format(sys.path, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[memory],
        process_group=0,
    )
