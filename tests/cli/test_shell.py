"""Errors and exit codes; and what only a real process shows: signals, pipes, locales, terminals."""

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from calls import SMALL, TINY, call, contents, fail, succeed
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import COMMAND, environment, on_terminal, posix, run, start
from safetensors import safe_open
from typer.main import get_command

from charrnn.cli.app import app
from charrnn.cli.shell import Signals, text_output
from charrnn.display.console import exact_bytes, without_control
from charrnn.model import memory
from charrnn.store import checkpoint
from charrnn.text import compressed

# --- what goes wrong: one line, exit code 1, nothing left behind

# a name, the file's bytes (None: no file), and what the error must contain
BAD_SOURCES = [
    ("missing.txt", None, "no such file"),
    ("empty.txt", b"", "empty"),
    ("same.txt", b"a" * 100, "'a'"),
    ("short.txt", b"I had", "at least"),
    ("bad.txt", b"I had coffee\n" * 10 + b"\xff", "at byte 130"),
    ("cut.gz", b"\x1f\x8b\x08\x00", "damaged"),
    ("no-gzip.gz", b"I had coffee", "damaged"),
    ("bad.jsonl", b"{", "bad.jsonl"),
    ("nothing*.txt", None, "nothing*.txt"),
    ("x" * 5000, None, "xxx"),
    ("hf:" + "x" * 5000, None, "xxx"),
    ("deep.jsonl", b'{"t": ' + b"[" * 10_000 + b"]" * 10_000 + b"}\n", "row 1: no JSON"),
    ("deep.json", b'[{"t": ' + b'{"t":' * 10_000 + b"1" + b"}" * 10_001 + b"]", "row 1: no JSON"),
    ("large.jsonl", b'{"t": ' + b"[" * 500_000 + b"]" * 500_000 + b"}\n", "row 1: no JSON"),
]


@pytest.mark.parametrize(
    ("name", "data", "problem"), BAD_SOURCES, ids=[name[:12] for name, _, _ in BAD_SOURCES]
)
def test_a_text_that_cannot_be_learnt(
    name: str, data: bytes | None, problem: str, tmp_path: Path, runs: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    error = fail("train", f"{tmp_path}/{name}", "--runs", runs, *TINY)
    assert problem in error
    assert contents(runs) == []


def test_a_broken_encoding_names_the_ways_out(letters: Path, tmp_path: Path, runs: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"caf\xe9 " * 50)
    error = fail("train", bad, "--runs", runs, *TINY)
    assert "at byte 3" in error and "--encoding" in error and "--unit byte" in error
    assert "--encoding" in fail("eval", "--model", letters, "--on-unknown", "error", bad)
    stderr = succeed("eval", "--model", letters, bad).stderr
    assert f"unknown characters: 50 (first in {bad}); --encoding names another" in stderr
    strict = ("--encoding-errors", "strict")
    assert "leave --encoding-errors out" in fail("eval", "--model", letters, bad, *strict)


def test_a_folder_without_text(tmp_path: Path, runs: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "no files in it" in fail("train", folder, "--runs", runs, *TINY)
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    (folder / ".hidden").write_text("I had coffee\n" * 20)
    assert "no text" in fail("train", folder, "--runs", runs, *TINY)
    assert contents(runs) == []


def test_an_unreadable_file(story: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compressed, "open", refuse, raising=False)
    error = fail("train", story, "--runs", runs, *TINY)
    assert str(story) in error and "Permission denied" in error
    assert contents(runs) == []


@pytest.mark.parametrize(
    "text",
    [b"", b"I had", b"a" * 99, b"I had coffee\n" * 9 + b"\xff"],
    ids=["empty", "short", "one character", "broken"],
)
def test_standard_input_that_cannot_be_learnt(text: bytes, runs: Path) -> None:
    error = fail("train", "-", "--runs", runs, *TINY, stdin=text)
    assert "standard input" in error and str(runs) not in error, "the user named no such file"
    assert contents(runs) == []


def test_the_error_of_a_text_that_is_too_small_names_the_size_needed(
    tmp_path: Path, runs: Path
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("I had")
    needed = int(re.findall(r"at least (\d+)", fail("train", text, "--runs", runs, *TINY))[0])
    text.write_text(("I had coffee. " * 10)[: needed - 1])
    fail("train", text, "--runs", runs, *TINY)
    text.write_text(("I had coffee. " * 10)[:needed])
    succeed("train", text, "--runs", runs, *TINY)


def test_a_folder_of_runs_that_is_a_file(story: Path) -> None:
    assert "--runs" in fail("train", story, "--runs", story, *TINY)


@pytest.mark.parametrize("command", ["sample", "eval"])
@pytest.mark.parametrize("model", ["none", "name", "no model", "long", "folder", "broken", "empty"])
def test_a_model_that_is_not_there(command: str, model: str, trained: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs" if model == "none" else trained
    text = tmp_path / "story.txt"
    text.write_text("I had coffee\n" * 20)
    whole = (trained / "letters/model.safetensors").read_bytes()
    (tmp_path / "broken.safetensors").write_bytes(whole[:-100])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    options, problem = {
        "none": ([], "no run"),
        "name": (["--model", "nope"], "letters, raw"),
        "no model": (["--model", text], "not a charrnn model"),
        "long": (["--model", "x" * 5000], "x"),
        "folder": (["--model", tmp_path], "no model.safetensors"),
        "broken": (["--model", tmp_path / "broken.safetensors"], "not a charrnn model"),
        "empty": (["--model", tmp_path / "empty.safetensors"], "not a charrnn model"),
    }[model]
    assert problem in fail(command, "--runs", runs, *options, stdin="")


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A link that leads to itself."""
    path = tmp_path / "loop"
    path.symlink_to(path)
    return path


@pytest.mark.parametrize("inner", ["", "/x", "/*.txt"])
def test_a_link_to_itself_is_no_source(
    loop: Path, inner: str, story: Path, model: Path, tmp_path: Path
) -> None:
    runs, source = tmp_path / "runs", f"{loop}{inner}"
    problem = "Too many levels of symbolic links"
    assert problem in fail("train", source, "--runs", runs, *TINY)
    assert problem in fail("train", story, "--val-source", source, "--runs", runs, *TINY)
    assert source in fail("train", story, "--init-from", source, "--runs", runs, *TINY)
    assert source in fail("train", "--resume", source, "--runs", runs)
    assert problem in fail("eval", source, "--model", model)
    assert contents(runs) == []


@pytest.mark.parametrize("command", [("sample",), ("eval",), ("train", "--resume")])
def test_a_link_to_itself_is_no_model_and_no_runs(loop: Path, command: tuple[str, ...]) -> None:
    option = "--name" if command[0] == "train" else "--model"
    assert "loop" in fail(*command, option, loop, stdin="")
    assert "loop" in fail(*command, "--runs", loop, stdin="")


def test_a_link_to_itself_holds_no_prompts_and_takes_no_runs(
    loop: Path, story: Path, model: Path
) -> None:
    problem = "Too many levels of symbolic links"
    assert problem in fail("sample", "--prompts", loop, "--model", model)
    assert problem in fail("train", story, "--runs", loop, *TINY)


def test_a_folder_nested_too_deep_for_a_path(tmp_path: Path, runs: Path) -> None:
    top = here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("folder", dir_fd=here)
        inner = os.open("folder", os.O_RDONLY, dir_fd=here)
        if here != top:
            os.close(here)
        here = inner
    try:
        assert "File name too long" in fail("train", tmp_path / "folder", "--runs", runs, *TINY)
        assert contents(runs) == []
    finally:
        os.close(here)
        os.close(top)
        subprocess.run(["rm", "-rf", str(tmp_path / "folder")], check=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP, errno.EIO])
def test_a_source_that_the_system_refuses_is_not_missing(
    number: int, story: Path, runs: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, why = os.stat, os.strerror(number)

    def refuse(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if path == str(story):
            raise OSError(number, why)
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    for command in (("train", "--runs", runs, *TINY), ("eval", "--model", model)):
        error = fail(*command, story)
        assert why in error and "no such file" not in error


def test_a_model_too_large_is_named_before_it_is_read(
    story: Path, model: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100.0)
    for command in (("sample",), ("eval", story), ("train", story, "--runs", runs, "--init-from")):
        named = ("--model", model) if command[0] != "train" else (model,)
        error = fail(*command, *named)
        assert "at least 0.00 GB of memory" in error and "close other programs" in error
    error = fail("train", story, "--runs", runs, "--hidden-size", 8, "--steps", 1)
    assert "a model of 8 x 3, " in error and "--hidden-size" in error
    error = fail("train", story, "--runs", runs, "--max-time", "1s")
    assert "a model of 256 x 3, " in error
    assert contents(runs) == []


# --- wrong usage: exit code 2, nothing written


def numeric_options(command: str) -> list[str]:
    """Returns the options of a command whose values are numbers, as far as their help shows."""
    group: Any = get_command(app)
    numbers = ("int", "float", "count", "seconds", "steps_or_seconds")
    params = group.commands[command].params
    return [param.opts[0] for param in params if param.type.name in numbers]


OUT_OF_RANGE = {
    "train": [
        *((option, "9" * 5000) for option in numeric_options("train")),
        *(("--hidden-size", value) for value in ("0", "-1", "1.5", "x", "", "65537", "9" * 400)),
        *(("--num-layers", value) for value in ("0", "-1", "65", "1.5")),
        *(("--nonlinearity", value) for value in ("sin", "")),
        *(("--dropout", value) for value in ("1", "-0.1", "nan")),
        *(("--unit", value) for value in ("word", "")),
        *(("--encoding", value) for value in ("klingon", "hex", "")),
        *(("--val-fraction", value) for value in ("-0.1", "1", "nan")),
        *(("--batch-size", value) for value in ("0", "65537")),
        *(("--seq-len", value) for value in ("0", "65537")),
        *(("--learning-rate", value) for value in ("0", "-1", "nan", "inf", "1e-400")),
        *(("--grad-clip", value) for value in ("-1", "nan", "inf")),
        *(("--weight-decay", value) for value in ("-1", "nan", "inf")),
        *(("--epochs", value) for value in ("0", "-1", "nan", "inf", "1e308")),
        *(("--steps", value) for value in ("0", "-1", "0.5", "5m", "5kk", "9" * 20)),
        *(("--max-time", value) for value in ("0", "0s", "-1s", "5x", "", "m", "9" * 400)),
        *(("--max-time", value) for value in ("1e308", "1e308h", "9" * 300 + "h")),
        *(("--patience", value) for value in ("-1", "x")),
        *(("--eval-every", value) for value in ("0", "5s")),
        *(("--save-every", value) for value in ("0", "0s", "", "x")),
        *(("--seed", value) for value in ("-1", str(2**63), "x")),
        *(("--threads", value) for value in ("0", "-1", str(2**40))),
        *(("--device", value) for value in ("gpu", "", "cuda:99", "meta")),
        ("--no-such-option", "1"),
    ],
    "sample": [
        *((option, "9" * 5000) for option in numeric_options("sample")),
        *(("--length", value) for value in ("-1", "0.5", "x")),
        *(("--temperature", value) for value in ("-1", "nan", "inf", "x")),
        *(("--top-k", value) for value in ("-1", "1.5")),
        *(("--top-p", value) for value in ("0", "1.1", "-1", "nan")),
        *(("--min-p", value) for value in ("-0.1", "1.1", "nan")),
        *(("--seed", value) for value in ("-1", str(2**63))),
        *(("--count", value) for value in ("0", "-1", "65537")),
        ("--stop", ""),
        ("--on-unknown", "ignore"),
        ("--threads", "0"),
    ],
    "eval": [("--on-unknown", "ignore"), ("--encoding", "klingon"), ("--threads", "0")],
}


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [(command, *pair) for command, pairs in OUT_OF_RANGE.items() for pair in pairs],
    ids=lambda value: value[:12],
)
def test_a_value_out_of_range(
    command: str, option: str, value: str, story: Path, runs: Path, trained: Path
) -> None:
    rest = (story, "--runs", runs) if command == "train" else ("--model", trained / "letters")
    result = call(command, *rest, option, value, stdin="I had")
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"charrnn: {option}: ") and result.stderr.count("\n") == 1
    assert contents(runs) == []


@pytest.mark.parametrize(
    "args",
    [
        ("train",),
        ("train", "t.txt", "--steps", "5", "--epochs", "1"),
        ("train", "t.txt", "--steps", "5", "--max-time", "1m"),
        ("train", "--resume", "a", "b"),
        ("sample", "--length", "0", "--count", "2"),
        ("sample", "--length", "0", "--json"),
        ("sample", "--length", "0", "--prompts", "t.txt"),
        ("sample", "--prompt", "a", "--prompts", "t.txt"),
        ("sample", "two", "words"),
        ("eval", "--per-line", "--per-char"),
        ("eval", "--per-line", "--context-curve"),
        ("eval", "--heatmap", "--json"),
        ("learn", "t.txt"),
        ("--no-such-option",),
    ],
)
def test_options_that_contradict_each_other(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("I had coffee\n" * 20)
    result = call(*args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_a_hyphen_in_an_error_stays_a_hyphen(runs: Path) -> None:
    error = fail("train", "-", "--name", "a/b", "--runs", runs, stdin="I had coffee\n" * 9, code=2)
    assert "--name" in error
    assert "standard input" not in error


# --- signals


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup, or in the background of a script."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signals.saving = True
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # again: some programs send it twice
        assert signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
def test_ctrl_c_that_torchrun_passes_on_is_one() -> None:
    with Signals(twice_ends=False) as signals:
        signals.saving = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT


@posix
def test_ctrl_break_of_windows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with Signals() as signals:
        signals.saving = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received == signal.SIGUSR1


# --- signals, pipes, locales, terminals, memory: in a real process


ESCAPE = "\x1b"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_names_the_command_to_resume(
    number: signal.Signals, story: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "my runs"
    endless = ("--steps", "100M", "--patience", "0", "--eval-every", "20")
    with start("train", story, "--runs", runs, *SMALL, *endless) as process:
        assert process.stderr is not None
        assert any(line.startswith("step ") for line in process.stderr), "no progress"
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number
    assert out == ""
    advice = err.splitlines()[-1].removeprefix("resume with: ")
    program, *args = shlex.split(advice)
    assert program == "charrnn"

    lines = (runs / "story/history.jsonl").read_text().splitlines()
    step = json.loads(lines[-1])["step"]
    result = succeed(*args, "--steps", step + 3)
    assert f"resumed at step {step:,}" in result.stderr


@posix
def test_a_reader_that_goes_away_ends_an_endless_sample_quietly(model: Path) -> None:
    with start("sample", "--model", model, "--length", "0", "--seed", "1") as process:
        assert process.stdout is not None and process.stderr is not None
        assert len(process.stdout.read(1000)) == 1000
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGPIPE


@posix
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


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\xc3", b"\xa9", b"\xff", b"a", b"\n", "é", "\udcff", ""])))
@example([b"a", b"\xc3"])
@example([b"\n", b""])
def test_a_terminal_gets_whole_characters_and_all_else_the_bytes(pieces: list[str | bytes]) -> None:
    def written(*, is_terminal: bool) -> bytes:
        stdout = SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: is_terminal)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            with text_output() as write_text:
                for piece in pieces:
                    write_text(piece, "")
        return stdout.buffer.getvalue()

    data = written(is_terminal=False)
    assert data == b"".join(map(exact_bytes, pieces))
    text = data.decode("utf-8", "replace")
    assert written(is_terminal=True).decode() == text + ("\n" if text and text[-1] != "\n" else "")


@posix
def test_train_in_a_command_substitution(story: Path, tmp_path: Path) -> None:
    script = 'model=$("$@") && test -f "$model" && printf "[%s]" "$model"'
    train = (*COMMAND, "train", story, "--runs", tmp_path / "r", *SMALL, "--steps", "5")
    result = run("sh", "-c", script, "sh", *train, TERM="xterm-256color")
    assert result.stdout.decode() == f"[{tmp_path}/r/story/model.safetensors]"
    assert ESCAPE not in result.stderr.decode()
    assert "step 5/5" in result.stderr.decode()


@posix
def test_a_terminal_shows_no_colour_if_none_is_wanted(story: Path, tmp_path: Path) -> None:
    main_end, terminal = os.openpty()
    args = ("train", story, "--runs", tmp_path / "r", *SMALL, "--steps", "5")
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


@posix
def test_a_model_too_large_for_the_memory_is_a_named_error(story: Path, tmp_path: Path) -> None:
    limited = ("sh", "-c", 'ulimit -v 6000000; exec "$@"', "sh")
    train = (*COMMAND, "train", story, "--runs", tmp_path / "r", "--steps", "1")
    result = run(*limited, *train, "--hidden-size", "65536")
    assert result.returncode == 1
    assert result.stderr.startswith(b"charrnn: ") and result.stderr.count(b"\n") == 1
    assert b"--hidden-size" in result.stderr
    assert not list((tmp_path / "r").glob("*"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory")])
@pytest.mark.parametrize("command", ["sample", "eval"])
def test_advice_on_too_little_memory_names_no_option_that_the_command_lacks(
    command: str, error: Exception, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path, _: object = None) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "load", load)
    assert "not enough memory: " in fail(command, "--model", letters, stdin="I had")


@posix
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


# --- a terminal


@posix
def test_no_text_drives_a_terminal(tmp_path: Path) -> None:
    """Neither a model's, nor a line's, nor a path's; a pipe gets all bytes as they are."""
    runs, text = tmp_path / "r\x1b[2Juns", tmp_path / "t.txt"
    text.write_text("\x1b]0;owned\x07 I\thad\n\x9b31m\x7f\n" * 60)
    succeed("train", text, "--runs", runs, *TINY)
    controls = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
    sampling = ("sample", "--runs", runs, "--seed", "1", "--length", "300")
    per_line = ("eval", "--runs", runs, "--per-line")
    line = "I\thad \x1b[2J\r\x07é\n"
    for args in (sampling, per_line):
        raw = succeed(*args, stdin=line).stdout
        shown = on_terminal(*args, stdin=line.encode())
        assert controls.search(raw) and not controls.search(shown)
        assert shown.rstrip("\n") == without_control(raw).rstrip("\n")
    assert "I\thad \\x1b[2J\\r\\x07é" in shown
    assert "r\\x1b[2Juns/t/model" in on_terminal("eval", "--runs", runs, stdin=b"I had")


@posix
def test_a_heat_map_still_has_its_colours(letters: Path) -> None:
    args = ("eval", "--model", letters, "--heatmap")
    shown = on_terminal(*args, stdin=b"I had \x1b[2J coffee\n", TERM="xterm-256color")
    assert "\x1b[37;41m" in shown and "\x1b[2J" not in shown and "\\x1b" in shown
