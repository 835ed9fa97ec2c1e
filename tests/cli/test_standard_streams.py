"""Standard input, output and error that are closed, full or non-blocking; an early Ctrl-C."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from calls import SMALL, TINY, call, fail, succeed
from processes import COMMAND, environment, posix, run
from waiting import fed_pipe, when_waited_for

from charrnn.cli import shell
from charrnn.cli.shell import AS_IT_WAS, NO_RUN_LEFT, prompt_bytes, write
from charrnn.display.console import note
from charrnn.errors import CharrnnError
from charrnn.text import compressed

pytestmark = posix


def in_a_shell(redirect: str, *command: object) -> "subprocess.CompletedProcess[bytes]":
    """Runs ``charrnn`` with a stream redirected by a shell."""
    return run("sh", "-c", f'exec "$@" {redirect}', "sh", *COMMAND, *command)


FORMS = [
    ("--help",),
    ("--version",),
    (),
    ("train", "--help"),
    ("sample", "--length", "5", "--seed", "1"),
    ("sample", "--json", "--length", "5", "--seed", "1"),
    ("eval",),
    ("eval", "--per-line"),
    ("train", *SMALL, "--steps", "2", "--quiet"),
]


@pytest.fixture
def place(model: Path, story: Path, tmp_path: Path) -> dict[str, tuple[object, ...]]:
    """What each command needs besides."""
    return {
        "sample": ("--model", model),
        "eval": ("--model", model, model.parents[1] / "text.txt"),
        "train": (story, "--runs", tmp_path / "runs"),
    }


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize(
    ("redirect", "problem"),
    [
        (">/dev/full", "No space left on device: free some space, or write to another place"),
        (">&-", "it is closed: leave >&- out, or name a file to write to"),
    ],
)
def test_what_standard_output_refuses_is_one_line_of_error(
    form: tuple[str, ...], redirect: str, problem: str, place: dict[str, tuple[object, ...]]
) -> None:
    more = place.get(form[0], ()) if form and "--help" not in form else ()
    done = in_a_shell(redirect, *form, *more)
    where = f"; the model is {more[-1]}/story/model.safetensors" if "--steps" in form else ""
    error = done.stderr.decode()
    assert error == f"charrnn: standard output: cannot be written: {problem}{where}\n"
    assert done.returncode == 1


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_a_closed_standard_error_changes_nothing(
    form: tuple[str, ...], place: dict[str, tuple[object, ...]]
) -> None:
    more = place.get(form[0], ()) if form and "--help" not in form else ()
    done = in_a_shell("2>&-", *form, *more)
    assert (done.returncode, done.stderr) == (0 if form else 2, b"")
    assert done.stdout


@pytest.mark.parametrize("form", [("eval",), ("sample", "--prompts", "-"), ("train", "-")])
def test_a_closed_standard_input_is_named(form: tuple[str, ...], model: Path, runs: Path) -> None:
    more = ("--runs", runs) if form[0] == "train" else ("--model", model)
    done = in_a_shell("<&-", *form, *more)
    wanted = "charrnn: standard input: it is closed: name a file or pipe a text in\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", wanted)
    assert not runs.exists()


def test_no_file_takes_the_place_of_a_closed_stream(story: Path, tmp_path: Path) -> None:
    """What a library prints to it would else be written into a model."""
    train = ("train", story, "--runs", tmp_path, *SMALL, "--steps", "2")
    assert in_a_shell(">&- 2>&- <&-", *train).returncode == 1
    done = run(*COMMAND, "eval", "--model", tmp_path / "story", story)
    assert done.returncode == 0, done.stderr


def test_an_error_of_standard_output_has_its_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> int:
        raise OSError(5, "Input/output error")

    buffer = SimpleNamespace(write=refuse, flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=buffer, isatty=lambda: False))
    monkeypatch.setattr("charrnn.cli.shell._discard_stdout", lambda: None)
    with pytest.raises(CharrnnError, match="written: Input/output error: write to another place"):
        write("text")


# --- non-blocking


def test_a_non_blocking_reader_gets_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads only when it is waited for, and a pipe holds much less than is written."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    received: list[bytes] = []
    when_waited_for(monkeypatch, lambda: received.append(os.read(receiver, 5000)))
    text = "".join(map(str, range(100_000)))
    with open(sender, "wb") as buffer:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=buffer, isatty=lambda: False))
        for start in range(0, len(text), 200_000):
            write(text[start : start + 200_000])
    while block := os.read(receiver, 2**16):
        received.append(block)
    os.close(receiver)
    assert b"".join(received).decode() == text


def test_a_note_waits_for_a_non_blocking_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    received: list[bytes] = []
    when_waited_for(monkeypatch, lambda: received.append(os.read(receiver, 2**16)))
    with open(sender, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        for number in range(9999):
            note(f"note {number}")
    monkeypatch.undo()
    received.append(os.read(receiver, 2**16))
    os.close(receiver)
    lines = b"".join(received).decode().splitlines()
    assert lines == [f"note {number}" for number in range(9999)]


def test_prompts_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = fed_pipe(monkeypatch, [b"I had", b" coffee\n"])
    with open(receiver, "rb") as buffer:
        stdin = SimpleNamespace(buffer=buffer, isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)
        assert prompt_bytes() == b"I had coffee\n"


@pytest.mark.parametrize("form", [("--prompts", "-"), ("--prompt", "-"), ("--prompts", "file")])
def test_prompts_without_end_are_named(
    form: tuple[str, ...], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "MOST_PROMPT_BYTES", 100)
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a" * 101)
    name = "file" if form[1] == "file" else "standard input"
    error = fail("sample", *form, "--model", model, stdin="a" * 101)
    assert error.startswith(f"charrnn: {name}: it has not ended after 101 bytes")


def test_prompts_that_may_not_be_read_are_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compressed, "open", refuse, raising=False)
    error = fail("sample", "--prompts", "file", "--model", model)
    assert error.startswith("charrnn: file: cannot be read: Permission denied: change the perm")


@pytest.mark.parametrize(
    ("form", "lines"),
    [(("eval", "--json"), 2000), (("sample", "--prompts", "-", "--length", "1"), 20)],
)
def test_a_pipe_that_another_program_made_non_blocking(
    form: tuple[str, ...], lines: int, model: Path
) -> None:
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    text = "naïve café\n"
    with subprocess.Popen(
        [*COMMAND, *form, "--model", str(model)],
        stdin=receiver,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        os.close(receiver)
        with open(sender, "wb") as stream:
            for _ in range(10):
                stream.write(text.encode() * lines)
                stream.flush()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    if form[0] == "eval":
        assert json.loads(out)["chars"] == 10 * lines * len(text)
    else:
        assert out.count(text.strip().encode()) >= 10 * lines


@pytest.mark.parametrize(
    "form",
    [("eval",), ("eval", "-"), ("sample", "-"), ("sample", "--prompts", "-"), ("train", "-")],
)
def test_whoever_types_is_told_how_to_end(form: tuple[str, ...], model: Path, runs: Path) -> None:
    main_end, terminal = os.openpty()
    more = ("--runs", runs, *TINY) if form[0] == "train" else ("--model", model)
    more += ("--length", "5") if form[0] == "sample" else ()
    with OnTerminal(*form, *more, stdin=terminal) as screen:
        os.close(terminal)
        screen.wait_for(b"reading standard input; end it with Ctrl-D\r\n")
        os.write(main_end, b"caf\xc3\xa9\n" * 40 + b"\x04")
        assert screen.ended() == 0, screen.shown
    os.close(main_end)


def test_only_a_terminal_is_typed_on(letters: Path) -> None:
    assert "Ctrl-D" not in call("eval", "--model", letters, stdin="I had").stderr


# --- Ctrl-C while the program is loaded

EARLY = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupted(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
from charrnn.__main__ import main
name, sys.argv = sys.argv[1], ["charrnn", *sys.argv[2:]]
sys.argv.insert(1, name)
del sys.argv[1]
main()
"""


def interrupted(name: str, *args: object) -> "subprocess.CompletedProcess[bytes]":
    """Runs ``charrnn`` with a Ctrl-C when it first imports something."""
    program = EARLY.replace("sys.argv[1]:", f"{name!r}:")
    return run(sys.executable, "-c", program, "-", *args)


@pytest.mark.parametrize("name", ["charrnn.cli.app", "typer", "charrnn.cli.train"])
def test_an_early_interrupt_is_quiet(name: str, story: Path, runs: Path) -> None:
    done = interrupted(name, "train", story, "--runs", runs)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
    assert not runs.exists()


@pytest.mark.parametrize("name", ["numpy", "safetensors", "torch"])
def test_an_interrupt_while_torch_is_loaded_leaves_no_run_and_says_so(
    name: str, story: Path, runs: Path
) -> None:
    done = interrupted(name, "train", story, "--runs", runs)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.decode() == f"{NO_RUN_LEFT}\n"
    assert not runs.exists()


def test_an_early_interrupt_leaves_a_resumed_run_as_it_was(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    for name in ("torch", "charrnn.training.resume"):
        done = interrupted(name, "train", "--resume", "--runs", runs, "--steps", "9")
        assert (done.returncode, done.stdout) == (130, b"")
        assert done.stderr.decode() == f"{AS_IT_WAS}\n"
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_the_text_is_read_leaves_no_run_and_says_so(
    number: signal.Signals, runs: Path
) -> None:
    receiver, sender = os.pipe()
    text = b"I had coffee.\n" * 5000
    with OnTerminal("train", "-", "--runs", runs, *SMALL, stdin=receiver) as screen:
        os.close(receiver)
        feeder = threading.Thread(target=feed_on, args=(sender, text), daemon=True)
        feeder.start()
        screen.wait_for(b"reading standard input")
        assert runs.exists(), "the copy of the text"
        screen.process.send_signal(number)
        status = screen.ended()
        feeder.join()
    assert status == 128 + number
    assert screen.shown.endswith(NO_RUN_LEFT.encode() + b"\r\n")
    assert not runs.exists()


def test_an_interrupt_that_is_ignored_stays_ignored(model: Path) -> None:
    """As in the background of a script."""
    script = "trap '' INT; exec \"$@\""
    program = EARLY.replace("sys.argv[1]:", "'numpy':")
    sample = ("-", "sample", "--model", model, "--length", "5", "--seed", "1")
    done = run("sh", "-c", script, "sh", sys.executable, "-c", program, *sample)
    assert done.returncode == 0, done.stderr
    assert done.stdout


# --- what a terminal shows meanwhile


class OnTerminal:
    """``charrnn`` with a terminal as standard error; a context manager that kills it at the end."""

    def __init__(self, *args: object, stdin: int = subprocess.DEVNULL) -> None:
        self._end, terminal = os.openpty()
        self.shown = b""
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            env=environment(TERM="xterm-256color"),
        )
        os.close(terminal)

    def read(self) -> bool:
        """Reads what is drawn next; returns whether the terminal is still in use."""
        try:
            part = os.read(self._end, 2**16)
        except OSError:
            part = b""
        self.shown += part
        return bool(part)

    def wait_for(self, text: bytes) -> None:
        while text not in self.shown:
            assert self.read(), self.shown

    def ended(self) -> int:
        """Reads to the end; returns the exit status."""
        while self.read():
            pass
        return self.process.wait(60)

    def __enter__(self) -> "OnTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


FOREVER = {
    "eval --per-line": b"standard input",
    "eval --per-char": b"standard input",
    "eval --context-curve": b"standard input",
    "sample --length 0": b"sampling",
}


@pytest.mark.parametrize("command", FOREVER)
def test_long_work_is_shown_while_its_output_goes_elsewhere(command: str, model: Path) -> None:
    receiver, sender = os.pipe()
    text = "naïve café, 日本語\n".encode() * 500
    with OnTerminal(*command.split(), "--model", model, stdin=receiver) as screen:
        os.close(receiver)
        feeder = threading.Thread(target=feed_on, args=(sender, text), daemon=True)
        feeder.start()
        screen.wait_for(FOREVER[command])
        screen.process.send_signal(signal.SIGINT)
        assert screen.ended() == 130
        feeder.join()
    assert screen.shown.endswith(b"\x1b[2K"), "erased"


def cursor_is_shown(shown: bytes) -> bool:
    return shown.rfind(b"\x1b[?25l") <= shown.rfind(b"\x1b[?25h")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_while_a_bar_is_drawn_leaves_the_cursor(
    number: signal.Signals, model: Path
) -> None:
    receiver, sender = os.pipe()
    text = "naïve café, 日本語\n".encode() * 500
    with OnTerminal("eval", "--model", model, stdin=receiver) as screen:
        os.close(receiver)
        feeder = threading.Thread(target=feed_on, args=(sender, text), daemon=True)
        feeder.start()
        screen.wait_for(b"standard input")
        screen.process.send_signal(number)
        status = screen.ended()
        feeder.join()
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    assert cursor_is_shown(screen.shown)
    assert b"Traceback" not in screen.shown


def feed_on(sender: int, text: bytes) -> None:
    """Writes a text again and again, until its reader is gone."""
    with contextlib.suppress(BrokenPipeError), open(sender, "wb", 0) as stream:
        while True:
            stream.write(text)


def test_a_second_interrupt_of_a_training_leaves_the_cursor(story: Path, tmp_path: Path) -> None:
    endless = ("--steps", "100M", "--patience", "0")
    with OnTerminal("train", story, "--runs", tmp_path, *SMALL, *endless) as screen:
        screen.wait_for(b"chars/s")  # it trains
        screen.process.send_signal(signal.SIGINT)
        screen.process.send_signal(signal.SIGINT)
        status = screen.ended()
    assert status in (130, -signal.SIGINT)
    assert cursor_is_shown(screen.shown)
