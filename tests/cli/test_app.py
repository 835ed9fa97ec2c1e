"""The program itself: help, version, its end."""

import subprocess
import sys
from pathlib import Path

import pytest
from calls import succeed
from processes import COMMAND, posix, run

import charrnn


@pytest.mark.parametrize(
    "args", [["--help"], ["-h"], ["train", "-h"], ["sample", "-h"], ["eval", "-h"]]
)
def test_help_goes_to_stdout(args: list[str]) -> None:
    result = succeed(*args)
    assert "Usage: " in result.stdout and result.stderr == ""
    assert "...]..." not in result.stdout


def test_version() -> None:
    assert succeed("--version").stdout == f"charrnn {charrnn.__version__}\n"


@posix
def test_python_m_charrnn() -> None:
    result = run(*COMMAND, "--version")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode() == f"charrnn {charrnn.__version__}\n"


@posix
def test_a_process_that_read_rows_ends_at_once_and_as_any_other(
    model: Path, tmp_path: Path
) -> None:
    """Arrow's threads may wait for each other at a process's end."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"t": "I had coffee today."}\n' * 50)
    for source, code in ((rows, 0), (tmp_path / "no.jsonl", 1)):
        command = [sys.executable, "-m", "charrnn", "eval", "--model", str(model), str(source)]
        command += ["--on-unknown", "skip"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert ("bits per character" in done.stdout) == (code == 0)
        assert done.stderr.count("\n") == code
