"""A training, drawn: on a terminal, elsewhere, and when nobody reads it any more."""

import io
import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console
from screens import (
    LN_2,
    Broken,
    Screen,
    Waiting,
    streams_given_back,
    terminal,
    terminal_console,
)

from charrnn.config import Unit
from charrnn.display import console as console_module
from charrnn.display import live, progress
from charrnn.display.console import note
from charrnn.display.live import WIDEST, TrainingDisplay, summary_line
from charrnn.training.events import Evaluated, Finished, RolledBack, RunSummary, SaveFailed, Stepped

SUMMARY = RunSummary(Path("runs/coffee"), 6000, 40, "128 x 2", 60_000, 32, 64, "char")


def stepped(step: int = 500, **changes: Any) -> Stepped:
    fields = {
        "step": step,
        "chars": 2048 * step,
        "elapsed_s": 60.0,
        "train_nats_per_char": 2 * LN_2,
        "learning_rate": 0.004,
        "chars_per_second": 12_345.6,
        "progress": 0.25,
        "total_steps": 2000,
        "left_s": 180.0,
    }
    return Stepped(**{**fields, **changes})


def evaluated(bits: float | None = 2.5, best: bool = True) -> Evaluated:
    nats = None if bits is None else bits * LN_2
    model: Any = None
    return Evaluated(500, 1_024_000, 61.0, nats, best, model)


SETBACK = (
    "step 1,234: the loss is nan: rolled back to step 1,000, with half the learning rate, 0.002"
)


def rolled_back() -> RolledBack:
    return RolledBack(1000, 1233, 90.0, "the loss is nan", 0.002)


def finished(reason: str = "done", nats: float | None = 1.5 * LN_2) -> Finished:
    return Finished(reason, 2000, 3725.0, nats, Path("runs/coffee/model.safetensors"))


def new_screen(quiet: bool = False) -> TrainingDisplay:
    """Returns a display of a training whose samples are these."""
    samples = iter(["", "I had \x1b[31mcoffee\ttoday", "She [bold]said\nso"])
    return TrainingDisplay(SUMMARY, lambda event: next(samples), quiet=quiet)


def show(screen: TrainingDisplay) -> None:
    """Goes through a whole training."""
    with screen:
        screen.show(stepped())
        screen.show(evaluated(2.5))
        screen.show(evaluated(2.25))
        screen.show(stepped(1000, progress=0.5, left_s=60.0))
        screen.show(evaluated(2.75, best=False))
        screen.show(rolled_back())
        screen.show(finished())


# --- a training, without a terminal


def test_without_standard_error_nothing_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after 2>&- in a shell."""
    monkeypatch.setattr(sys, "stderr", None)
    note("lost")
    show(new_screen())
    assert capsys.readouterr().out == ""


TRAIN = ("step 500/2,000", "train 2.000")
SPEED = ("12,346 chars/s", "1:01 elapsed")


def no_sample(event: Evaluated) -> str:
    raise AssertionError("nobody would see it")


def test_elsewhere_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(TrainingDisplay(SUMMARY, no_sample))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ") for line in err.splitlines()] == [
        [summary_line(SUMMARY)],
        [*TRAIN, "val 2.500 bits/char (best)", *SPEED, "3:00 left"],
        [*TRAIN, "val 2.250 bits/char (best)", *SPEED, "3:00 left"],
        [*TRAIN, "val 2.750 bits/char", *SPEED, "1:00 left"],
        [SETBACK],
        ["done after 2,000 steps, 1:02:05; best validation 1.500 bits/char"],
    ]
    assert summary_line(SUMMARY) == (
        "runs/coffee: 6,000 characters, 40 distinct; 128 x 2 model, 60,000 parameters; "
        "batch 32 x 64"
    )


@pytest.mark.parametrize("drawn", [True, False])
def test_a_byte_model_is_told_of_in_the_same_words_but_bytes(
    drawn: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for unit in get_args(Unit):
        stream = terminal(monkeypatch) if drawn else io.StringIO()
        with TrainingDisplay(replace(SUMMARY, unit=unit), lambda event: "") as screen:
            screen.show(stepped())
            show(screen)
        shown.append(stream.getvalue() + capsys.readouterr().err)
    of_characters, of_bytes = shown
    assert re.sub("char(acter)?s", "bytes", of_characters).replace("/char", "/byte") == of_bytes
    assert of_characters.count("char") >= 8


@pytest.mark.parametrize(
    ("reason", "words"),
    [("done", "done"), ("patience", "no longer improves"), ("interrupted", "interrupted, saved")],
)
def test_the_last_line_names_the_reason(
    capsys: pytest.CaptureFixture[str], reason: str, words: str
) -> None:
    with new_screen() as screen:
        screen.show(evaluated(None))
        screen.show(finished(reason, nats=None))
    last = capsys.readouterr().err.splitlines()[-1]
    assert words in last and "validation " not in last.replace("validation no", "")


def test_quiet_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(new_screen(quiet=True))
    stream = terminal(monkeypatch)
    show(new_screen(quiet=True))
    assert capsys.readouterr() == ("", "")
    assert stream.getvalue() == ""


# --- a training, on a terminal


def test_on_a_terminal_there_is_a_panel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = terminal(monkeypatch)
    with streams_given_back():
        show(new_screen())
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    for words in (
        "━━━━",
        " 25%",
        "50%",
        "step 1,000/2,000",
        "12,346 chars/s",
        "1:00 elapsed",
        "3:00 left",
        "train 2.000",
        "validation 2.250",
        "validation 2.750  best 2.250 bits/char  ▅▁█",
        "sample",
        "I had ·[31mcoffee·today",
        "She [bold]said",
    ):
        assert words in shown
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("done after 2,000 steps")


LARGE: dict[str, Any] = {"total_steps": 2_000_000, "chars_per_second": 1_234_567.0}
LARGE |= {"progress": 1.0, "left_s": 360_000.0, "elapsed_s": 360_000.0}
ONCE = (
    "100%",
    "step 1,",
    "/2,000,000",
    "1,234,567 chars/s",
    "elapsed",
    "left",
    "train 2.000",
    "valida",
)
ONCE += ("best 2.250 bits/char", "sample", "coffee")


def show_large(screen: TrainingDisplay, console: Console, widths: Sequence[int]) -> None:
    """Draws a long training, on a terminal that is resized before each drawing."""
    with screen:
        for step, width in enumerate(widths, start=1_000_000):
            console.width = width
            screen.show(stepped(step, **LARGE))
            screen.show(evaluated(2.25 + width / 100))
        screen.show(evaluated(2.25))


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_panel_fits_any_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    stream, console = terminal_console(monkeypatch, width=width)
    samples = itertools.repeat("I had coffee, 日本" + ", and so on" * 15)
    show_large(TrainingDisplay(SUMMARY, lambda _: next(samples)), console, [width] * 3)
    screen = Screen(width)
    screen.feed(stream.getvalue())
    assert not screen.wrapped
    for words in ONCE:  # whole, and never a second time
        assert sum(words in row for row in screen.rows) == 1, words
    assert max(map(len, screen.rows)) <= min(width, WIDEST)


def test_the_panel_follows_the_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = terminal_console(monkeypatch)
    samples = itertools.repeat("I had coffee")
    show_large(TrainingDisplay(SUMMARY, lambda _: next(samples)), console, [200, 80, 120, 60, 40])
    screen = Screen(200)
    screen.feed(stream.getvalue())
    assert [sum(words in row for row in screen.rows) for words in ONCE] == [1] * len(ONCE)
    assert max(map(len, screen.rows)) == 40, "the last width; nothing wider is left"
    assert max(map(len, stream.getvalue().splitlines())) >= WIDEST


def test_a_rollback_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a line, above the panel on a terminal, and never if only errors are wanted."""
    for quiet, wanted in ((False, f"{SETBACK}\n"), (True, "")):
        new_screen(quiet).show(rolled_back())
        assert capsys.readouterr().err == wanted
    stream = terminal(monkeypatch)
    show(new_screen())
    assert SETBACK in stream.getvalue()


def test_a_save_that_failed_is_reported_even_with_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = SaveFailed(1234, 60.0, "runs/coffee/model.safetensors: cannot be written: full")
    line = f"step 1,234: {failed.reason}; training continues, and the next save tries again"
    for quiet in (False, True):
        new_screen(quiet).show(failed)
        assert capsys.readouterr().err == f"{line}\n"
    stream = terminal(monkeypatch)
    with new_screen() as screen:
        screen.show(failed)
    assert line in stream.getvalue()


def test_the_panel_lives_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first steps, and during a long evaluation, with a clock that goes on."""
    stream = Waiting("first steps", 3)
    terminal(monkeypatch, stream)
    monkeypatch.setattr(console_module, "is_terminal", lambda: True)
    monkeypatch.setattr(progress, "BEAT_S", 0.001)
    monkeypatch.setattr(live, "REFRESH_S", 0.0)
    with new_screen() as screen:
        assert stream.done.wait(60)
        stream.wait_for("1:02 elapsed", 3)
        now_s = live.time.monotonic() + 10
        monkeypatch.setattr(live.time, "monotonic", lambda: now_s)
        screen.show(stepped())
        monkeypatch.setattr(live.time, "monotonic", lambda: now_s + 2)
        assert stream.done.wait(60)
    assert "2:58 left" in stream.getvalue()
    last = Screen(100)
    last.feed(stream.getvalue())
    assert not any("first steps" in row for row in last.rows)


def test_a_training_that_ends_before_its_first_steps_leaves_no_panel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Waiting("first steps", 1)
    terminal(monkeypatch, stream)
    monkeypatch.setattr(console_module, "is_terminal", lambda: True)
    monkeypatch.setattr(progress, "BEAT_S", 0.001)
    with new_screen():
        assert stream.done.wait(60)
    screen = Screen(100)
    screen.feed(stream.getvalue())
    assert not any(screen.rows)


def test_without_validation_the_panel_shows_training(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with new_screen() as screen:
        screen.show(stepped(total_steps=None))
        screen.show(evaluated(None))
    shown = stream.getvalue()
    assert "train 2.000 bits/char" in shown and "validation" not in shown
    assert "step 500\n" in shown


def test_a_dumb_terminal_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show(new_screen())
    assert len(capsys.readouterr().err.splitlines()) == 6


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5, 8, 12, 20])
def test_a_terminal_that_goes_away_ends_the_drawing_only(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    terminal(monkeypatch, Broken(writes))
    with streams_given_back():
        show(new_screen())


def test_a_terminal_that_is_gone_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Broken(10**6)
    terminal(monkeypatch, stream)
    with streams_given_back(), new_screen() as screen:
        stream.writes_left = 0
        screen.show(finished("interrupted"))


def test_an_error_in_training_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    with pytest.raises(KeyError), new_screen() as screen:
        screen.show(stepped())
        raise KeyError("x")


def test_plain_lines_that_nobody_reads_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    show(new_screen())
