"""The program itself: help, version, its end."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from calls import succeed
from processes import COMMAND, environment, posix, run

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
        assert done.stderr.count("\n") == 1  # an error, or the column's name


def completed(words: str, folder: Path, **env: str) -> list[str]:
    """Returns what bash is offered for the last of some words, which may be empty."""
    done = subprocess.run(
        COMMAND,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(
            _CHARRNN_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(words.count(" ")),
            **env,
        ),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@posix
def test_the_shell_completes_commands_options_choices_and_runs(trained: Path) -> None:
    folder = trained.parent
    assert completed("charrnn ", folder) == ["train", "sample", "eval", "runs", "report"]
    assert completed("charrnn train --max", folder) == ["--max-time"]
    assert completed("charrnn train x --unit ", folder) == ["char", "byte"]
    assert completed("charrnn sample --model ", folder) == ["letters", "raw"]
    assert completed("charrnn train --resume --name le", folder) == ["letters"]
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    assert completed("charrnn sample --model ", elsewhere) == []
    assert completed("charrnn eval --runs ../runs --model r", elsewhere) == ["raw"]
    assert completed("charrnn eval --model r", elsewhere, CHARRNN_RUNS="../runs") == ["raw"]


LARGE = {"torch", "numpy", "datasets", "pyarrow", "safetensors"}


@posix
def test_completion_loads_nothing_large(trained: Path) -> None:
    """A key press must not wait for torch."""
    words = f"charrnn sample --runs {trained} --model l"
    completing = {"_CHARRNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "5"}
    done = run(sys.executable, "-X", "importtime", *COMMAND[1:], **completing)
    assert done.returncode == 0
    lines = done.stderr.decode().splitlines()
    modules = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert "charrnn.cli.app" in modules
    assert not modules & LARGE


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_is_a_script_for_bash() -> None:
    # from a bash that waits for it: the script is for the shell that the command was started from
    script = run("bash", "-c", '"$@"; exit', "-", *COMMAND, "--show-completion").stdout
    assert b"complete -o default -F _charrnn_completion charrnn" in script
    assert run("bash", "-n", stdin=script).returncode == 0
