"""``charrnn train`` as several processes: by the environment alone, and by torchrun."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

import processes
import pytest

SHORT = ("--hidden-size", 16, "--num-layers", 2, "--batch-size", 4, "--seq-len", 16)


def ranks(*args: object, count: int = 2) -> list[tuple[int, str, str]]:
    """Starts ``charrnn`` as ranks; returns exit code, standard output and error of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = [processes.start(*args, RANK=str(rank), **where) for rank in range(count)]
    said = [process.communicate() for process in started]
    return [(process.returncode, *each) for process, each in zip(started, said, strict=True)]


def test_the_first_rank_alone_reads_writes_and_speaks(story: Path, runs: Path) -> None:
    args = ("train", story, "--runs", runs, *SHORT, "--steps", 30, "--dropout", 0.2)
    (code, out, err), follower = ranks(*args, "--name", "ranks")
    assert (code, out) == (0, f"{runs / 'ranks' / 'model.safetensors'}\n")
    assert "done after 30 steps" in err
    assert follower == (0, "", "")
    assert [path.name for path in runs.iterdir()] == ["ranks"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--workers", 2), "--workers: there are 2 ranks, one worker each: leave --workers out"),
        (("--hidden-size", 0), "--hidden-size: 0 is out of range"),
    ],
)
def test_only_the_first_rank_says_what_is_wrong(
    story: Path, runs: Path, args: tuple[object, ...], said: str
) -> None:
    """A follower waits for it, and is ended by whoever started both."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2"}
    with processes.start("train", story, "--runs", runs, *args, RANK="0", **where) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, "") and err.startswith(f"charrnn: {said}")


def test_followers_have_no_help() -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2"}
    with processes.start("train", "--help", RANK="1", **where) as process:
        assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_averages_need_ranks(story: Path, runs: Path) -> None:
    with processes.start("train", story, "--runs", runs, "--average-every", 2) as process:
        _, err = process.communicate()
    assert (process.returncode, err) == (
        2,
        "charrnn: --average-every: this is the only rank: start several with torchrun\n",
    )


# --- by torchrun


def child_of_rank(parent: int, rank: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (child,) = (
        int(child)
        for child in children
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )
    return child


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc of Linux")
def test_what_torchrun_starts_again_goes_on(story: Path, runs: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "1", "-m", "charrnn"]
    args = ["train", story, "--runs", runs, *SHORT, "--steps", "100k", "--eval-every", 10]
    process = subprocess.Popen(
        [*torchrun, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=processes.environment(),
    )
    timer = threading.Timer(4 * processes.DEADLINE_S, process.kill)
    timer.start()
    assert process.stderr is not None
    read_to(process.stderr, "step ")
    os.kill(child_of_rank(process.pid, 1), signal.SIGKILL)
    read_to(process.stderr, "resumed at step ")
    read_to(process.stderr, "step ")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    timer.cancel()
    assert out == "" and "interrupted, saved" in err
    assert [path.name for path in runs.iterdir()] == ["story"]


def read_to(lines: TextIO, beginning: str) -> None:
    """Reads lines to the first one that begins so, which must come."""
    assert any(line.startswith(beginning) for line in lines)
