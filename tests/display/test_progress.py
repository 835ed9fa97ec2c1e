"""How far a reading or a scoring is."""

import io
import os
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import posix
from rich.cells import cell_len
from rich.console import Console
from screens import Broken, Screen, Waiting, streams_given_back, terminal, terminal_console

from charrnn.cli.shell import write
from charrnn.cli.waiting import at_output, output_bar
from charrnn.display import console as console_module
from charrnn.display import progress
from charrnn.display.console import note
from charrnn.display.progress import Bar, bar_row


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("size", [2400, None])
def test_a_bar_shows_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    stream = terminal(monkeypatch)
    with streams_given_back(), Bar() as bar:
        bar.show("a\x1b[b]\n.txt", 1200, lambda: size, "2.000 [bits]")
    shown = without_codes(stream.getvalue())
    assert "a·[b]·.txt" in shown and "2.000 [bits]" in shown
    assert ("50%" in shown) == (size is not None)


def test_a_bar_is_drawn_a_few_times_a_second_and_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, sizes = terminal(monkeypatch), iter([200, None])
    with Bar() as bar:
        bar.show("first", 50, lambda: next(sizes), "50 MB")
        monkeypatch.setattr(progress, "REFRESH_S", 60.0)
        bar.show("too soon", 60, lambda: next(sizes), "60 MB")
        monkeypatch.setattr(progress, "REFRESH_S", 0.0)
        bar.show("second", 70, lambda: next(sizes), "70 MB")
    bar.show("too late", 80, lambda: next(sizes), "80 MB")
    shown = without_codes(stream.getvalue())
    assert "first" in shown and "25%" in shown and "50 MB" in shown
    assert "second" in shown and "35%" not in shown, "the first size is not the second's"
    assert "too soon" not in shown and "too late" not in shown
    # the cursor is back, and the line with it
    assert stream.getvalue().rstrip().endswith("\x1b[2K")


def test_work_that_ends_at_once_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setattr(progress, "REFRESH_S", 60.0)
    with Bar() as bar:
        bar.show("a.txt", 1, lambda: 2, "")
    assert stream.getvalue() == ""


def test_nothing_is_drawn_if_no_one_would_see_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bar() as bar:
        bar.show("a.txt", 1, lambda: 2, "")
    assert capsys.readouterr() == ("", "")
    stream = terminal(monkeypatch)
    with Bar(shown=False) as bar:
        bar.show("a.txt", 1, lambda: 2, "")
    with Bar():
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5])
def test_a_terminal_that_goes_away_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    terminal(monkeypatch, Broken(writes))
    with streams_given_back(), Bar() as bar:
        for done in range(3):
            bar.show("a.txt", done, lambda: 3, "")


def test_what_cannot_be_measured_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with streams_given_back(), Bar() as bar:
        bar.show("a.txt", 2, lambda: 2, "2 MB")
        monkeypatch.setattr(progress, "REFRESH_S", 60.0)
        bar.stage("measuring this machine")
    last = without_codes(stream.getvalue()).split("a.txt")[-1]
    assert "measuring this machine" in last
    assert "%" not in last.split("measuring")[1] and "MB" not in last.split("measuring")[1]


def test_without_a_terminal_long_work_is_named_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bar(lines=True) as bar:
        bar.stage("too soon")
        monkeypatch.setattr(progress, "PLAIN_S", 0.0)
        monkeypatch.setattr(progress, "REFRESH_S", 0.0)
        bar.show("reading a.txt", 1, lambda: 2, "1 MB")
        bar.stage("measuring this machine")
    with Bar(shown=False, lines=True) as bar:
        bar.stage("not shown")
    assert capsys.readouterr() == ("", "reading a.txt  1 MB\nmeasuring this machine\n")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 130),
    st.sampled_from([None, 0.0, 0.5, 1.0]),
    st.text("ab 日\u0301", max_size=50),
    st.lists(st.sampled_from(["1,048,576 characters", "130,000 chars/s", "2 MB"]), max_size=4),
)
def test_a_bar_never_wraps(width: int, share: float | None, label: str, figures: list[str]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    console.print(bar_row(width, share, label, "  ".join(figures)))
    assert isinstance(console.file, io.StringIO)
    (line,) = without_codes(console.file.getvalue()).splitlines()
    assert cell_len(line) <= width
    assert share is None or width < 14 or f"{share:.0%}" in line
    for figure in figures:
        assert figure in line or width < 110, "nothing is left out without need"


def test_a_bar_in_a_narrow_terminal_keeps_what_matters_most() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    label = "reading /a/very/long/path/to/corpus.txt"
    console.print(bar_row(60, 0.25, label, "12 MB  130,000 characters  2.345 bits/char"))
    assert isinstance(console.file, io.StringIO)
    shown = without_codes(console.file.getvalue())
    assert "/to/corpus.txt" in shown and "25%  12 MB" in shown and "━━━━━━━━" in shown
    assert "bits" not in shown


def test_a_bar_follows_the_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = terminal_console(monkeypatch)
    with Bar() as bar:
        for width in (100, 40, 20, 200):
            console.width, before = width, len(stream.getvalue())
            bar.show("a.txt", 1, lambda: 2, "1 MB")
            drawn = without_codes(stream.getvalue()[before:]).rpartition("\r")[2]
            assert len(drawn) <= width and "50%" in drawn
            assert ("a.txt" in drawn and "1 MB" in drawn) == (width >= 40)


# --- a bar that lives


def test_a_bar_is_drawn_though_nobody_reports_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Waiting("waiting for it", 3)
    terminal(monkeypatch, stream)
    monkeypatch.setattr(console_module, "is_terminal", lambda: True)
    monkeypatch.setattr(progress, "BEAT_S", 0.001)
    with streams_given_back(), Bar() as bar:
        bar.about("waiting for it")
        assert stream.done.wait(60)
    assert not any(thread.name == "beat" for thread in threading.enumerate())


def test_what_is_about_to_be_done_is_not_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Bar() as bar:
        bar.about("a short thing")
    assert stream.getvalue() == ""


def test_a_note_stands_alone_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setattr(sys, "stderr", stream)
    with Bar() as bar:
        bar.show("a.txt", 1, lambda: 2, "1 MB")
        note("model runs/a")
        bar.show("b.txt", 1, lambda: 2, "1 MB")
    screen = Screen(100)
    screen.feed(stream.getvalue())
    assert [row for row in screen.rows if row] == ["model runs/a"]


@pytest.mark.parametrize(
    ("at_output", "kept", "again"), [("stay", True, True), ("vanish", False, True), ("end", 0, 0)]
)
def test_a_bar_makes_room_for_output(
    at_output: Any, kept: bool, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = terminal(monkeypatch)
    stdout = SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: False)
    with Bar(at_output=at_output) as bar:
        bar.show("a.txt", 1, lambda: 2, "1 MB")
        monkeypatch.setattr(sys, "stdout", stdout)
        write("a row\n")
        screen = Screen(100)
        screen.feed(stream.getvalue())
        assert any("a.txt" in row for row in screen.rows) == kept
        before = len(stream.getvalue())
        bar.show("b.txt", 1, lambda: 2, "1 MB")
        assert ("b.txt" in stream.getvalue()[before:]) == again
    write("after the bar\n")
    assert stdout.buffer.getvalue() == b"a row\nafter the bar\n"


@posix
def test_where_output_goes_decides_what_the_bar_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (receiver, pipe), (main_end, tty) = os.pipe(), os.openpty()
    with open(tmp_path / "o", "w") as file, open(os.devnull, "w") as null:
        for output, source, by_lines, wanted in (
            (file.fileno(), "-", False, "stay"),
            (null.fileno(), "a.txt", True, "stay"),
            (tty, "a.txt", True, "end"),
            (pipe, "a.txt", True, "vanish"),
            (pipe, "-", True, "end"),
            (pipe, "a.txt", False, "end"),
        ):
            assert at_output(output, [source], by_lines=by_lines) == wanted
    for descriptor in (receiver, pipe, main_end, tty):
        os.close(descriptor)
    assert at_output(pipe, [], by_lines=True) == "end"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert output_bar(["a.txt"], by_lines=True).shown
    assert not output_bar(["-"], by_lines=True).shown, "somebody types"
