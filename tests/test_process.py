"""What only a real process shows: signals, pipes, locales, terminals, memory."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

import charrnn
from charrnn.cli import app

COMMAND = (sys.executable, "-m", "charrnn")
TINY = ("--hidden-size", "8", "--num-layers", "1")
DEADLINE_S = 60.0
ESCAPE = "\x1b"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and locales of POSIX")


def environment(**more: str) -> dict[str, str]:
    """Returns this process's environment, without what others may have set in it, and more."""
    dropped = ("PYTHONIOENCODING", "PYTHONUTF8", "NO_COLOR", "FORCE_COLOR", "CHARRNN_RUNS")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a text that is not ASCII."""
    folder = tmp_path_factory.mktemp("process")
    text = folder / "text.txt"
    text.write_text("naïve café, 日本語\n" * 100, encoding="utf-8")
    args = ["train", str(text), "--runs", str(folder), *TINY, "--steps", "5"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.stderr
    return Path(result.stdout.strip())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_names_the_command_that_goes_on(
    number: signal.Signals, story: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "my runs"
    endless = ("--steps", "100M", "--patience", "0", "--eval-every", "20")
    with start("train", story, "--runs", runs, *TINY, *endless) as process:
        assert process.stderr is not None
        assert any(line.startswith("step ") for line in process.stderr), "no progress"
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number
    assert out == ""
    advice = err.splitlines()[-1].removeprefix("go on with: ")
    program, *args = shlex.split(advice)
    assert program == "charrnn"

    lines = (runs / "story/history.jsonl").read_text().splitlines()
    step = json.loads(lines[-1])["step"]
    result = CliRunner().invoke(app, [*args, "--steps", str(step + 3)])
    assert result.exit_code == 0, result.stderr
    assert f"resumed at step {step:,}" in result.stderr


def test_a_reader_that_goes_away_ends_an_endless_sample_quietly(model: Path) -> None:
    with start("sample", "--model", model, "--length", "0", "--seed", "1") as process:
        assert process.stdout is not None and process.stderr is not None
        assert len(process.stdout.read(1000)) == 1000
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("args", "stdin", "shown"),
    [
        (("sample", "--prompt", "café", "--seed", "1"), "", "café"),
        (("eval", "--per-line"), "naïve\n日本\n", "\tnaïve\n"),
    ],
    ids=["prompt", "eval"],
)
def test_a_locale_without_utf_8_changes_nothing(
    args: tuple[str, ...], stdin: str, shown: str, model: Path
) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = run(*COMMAND, *args, "--model", model, stdin=stdin.encode(), **plain)
    assert (result.returncode, result.stderr) == (0, b"")
    assert shown in result.stdout.decode()


def test_train_in_a_command_substitution(story: Path, tmp_path: Path) -> None:
    script = 'model=$("$@") && test -f "$model" && printf "[%s]" "$model"'
    train = (*COMMAND, "train", story, "--runs", tmp_path / "r", *TINY, "--steps", "5")
    result = run("sh", "-c", script, "sh", *train, TERM="xterm-256color")
    assert result.stdout.decode() == f"[{tmp_path}/r/story/model.safetensors]"
    assert ESCAPE not in result.stderr.decode()
    assert "step 5/5" in result.stderr.decode()


def test_a_terminal_shows_no_colour_where_none_is_wanted(story: Path, tmp_path: Path) -> None:
    main_end, terminal = os.openpty()
    args = ("train", story, "--runs", tmp_path / "r", *TINY, "--steps", "5")
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment(NO_COLOR="1", TERM="xterm-256color"),
    )
    os.close(terminal)
    shown = b""
    with process:
        while part := _read(main_end):
            shown += part
        assert process.stdout is not None
        assert process.stdout.read().decode() == f"{tmp_path}/r/story/model.safetensors\n"
    os.close(main_end)
    assert process.returncode == 0
    assert b"step 5/5" in shown
    # attributes such as bold may stay; colours are 30 to 49 and 90 to 107
    assert not re.search(rb"\x1b\[([0-9]+;)*(3[0-9]|4[0-9]|9[0-7]|10[0-7])[;m]", shown)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**16)
    except OSError:
        return b""  # the other end is closed


def test_a_model_too_large_for_the_memory_is_a_named_error(story: Path, tmp_path: Path) -> None:
    limited = ("sh", "-c", 'ulimit -v 6000000; exec "$@"', "sh")
    train = (*COMMAND, "train", story, "--runs", tmp_path / "r", "--steps", "1")
    result = run(*limited, *train, "--hidden-size", "65536")
    assert result.returncode == 1
    assert result.stderr.startswith(b"charrnn: ") and result.stderr.count(b"\n") == 1
    assert b"--hidden-size" in result.stderr
    assert not list((tmp_path / "r").glob("*"))


def test_a_pipe_as_source_is_read_once_or_refused(tmp_path: Path) -> None:
    text = b"I had coffee today.\n" * 2**20  # more than is held in memory
    train = (*COMMAND, "train", "/dev/stdin", "--runs", tmp_path / "r", *TINY, "--steps", "1")
    result = run(*train, stdin=text)
    assert result.returncode in (0, 1)
    assert b"Traceback" not in result.stderr


def test_python_m_charrnn() -> None:
    result = run(*COMMAND, "--version")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode() == f"charrnn {charrnn.__version__}\n"


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


@pytest.mark.parametrize("command", ["sample --length 0", "eval --per-line"])
def test_an_interrupt_ends_sampling_and_scoring_cleanly(command: str, model: Path) -> None:
    words = [sys.executable, "-m", "charrnn", *command.split(), "--model", str(model)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        letter = json.loads(checkpoint_vocabulary(model))[-1]
        process.stdin.write(f"{letter}\n".encode())
        process.stdin.flush()
        assert process.stdout.read(5)  # it is well under way
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err


def checkpoint_vocabulary(model: Path) -> str:
    """Returns a model's symbols, as JSON."""
    with safe_open(model, framework="np") as file:
        return str(file.metadata()["vocabulary"])
