"""A helper's life: it computes what it is told, until its pipe is closed."""

import json
import mmap
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from charrnn.config import ModelConfig
from charrnn.errors import reason

if TYPE_CHECKING:
    from charrnn.training.shares import Worker


def main(memory: int, rank: int, threads: int) -> None:
    """Answers each line of standard input by one of standard output, empty if all went well.

    Args:
        memory: descriptor of the file that all workers share.
        rank: which worker this is.
        threads: of each product.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    import torch  # takes long: the thread above must be there before

    from charrnn.training.shares import Shape, Worker

    def prepare(shape: dict[str, Any]) -> "Worker":
        model = ModelConfig(**shape.pop("model"))
        known = Shape(model, **shape)
        return Worker(known, rank, known.placed(mmap.mmap(memory, known.offsets()[-1])))

    torch.set_num_threads(threads)
    worker: Worker | None = None
    for line in sys.stdin.buffer:
        message, answer = json.loads(line), ""
        try:
            if "shape" in message:
                worker = prepare(**message)
            else:
                assert worker is not None
                worker.compute(**message)
        except (MemoryError, RuntimeError, OSError) as error:  # RuntimeError: torch's, for all
            answer = reason(error)
        print(answer, flush=True)


def _end_with_the_pipe() -> None:
    """Ends this process as soon as nobody can write to its standard input, whatever it does."""
    poll = select.poll()
    poll.register(0, 0)  # events: none but that it was closed
    poll.poll()
    os._exit(0)
