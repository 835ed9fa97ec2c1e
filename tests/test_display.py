"""Everything drawn: on a terminal, elsewhere, and where nobody listens any more."""

import contextlib
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from charrnn import display
from charrnn.display import (
    ReadingProgress,
    RunSummary,
    SamplingProgress,
    ScoringProgress,
    TrainingDisplay,
    char_rows,
    duration,
    printable,
    sparkline,
)
from charrnn.evaluation import CharScore, Score
from charrnn.memory import ContextScore
from charrnn.training import Evaluated, Finished, SaveFailed, Stepped, WentBack

LN_2 = math.log(2)
SUMMARY = RunSummary(Path("runs/coffee"), 6000, 40, 128, 2, 60_000, 32, 64, "character")
few = settings(deadline=None, max_examples=60)


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
    }
    return Stepped(**{**fields, **changes})


def evaluated(bits: float | None = 2.5, best: bool = True) -> Evaluated:
    nats = None if bits is None else bits * LN_2
    model: Any = None
    return Evaluated(500, 1_024_000, 61.0, nats, best, model)


SAID = "step 1,234: the loss is nan: back to step 1,000 with half the learning rate, 0.002"


def went_back() -> WentBack:
    return WentBack(1000, 1233, 90.0, "the loss is nan", 0.002)


def finished(reason: str = "done", nats: float | None = 1.5 * LN_2) -> Finished:
    return Finished(reason, 2000, 3725.0, nats, Path("runs/coffee/model.safetensors"))


def show(screen: TrainingDisplay) -> None:
    """Goes through a whole training."""
    with screen:
        screen.stepped(stepped())
        screen.evaluated(evaluated(2.5), "")
        screen.evaluated(evaluated(2.25), "I had \x1b[31mcoffee\ttoday")
        screen.stepped(stepped(1000, progress=0.5))
        screen.evaluated(evaluated(2.75, best=False), "She [bold]said\nso")
        screen.went_back(went_back())
        screen.finished(finished())


# --- small texts


def test_a_sparkline_is_as_high_as_its_numbers() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7.5, 0.5, 4]) == "█▁▅"
    assert sparkline([]) == ""
    assert sparkline([3, 3]) in ("▁▁", "██")
    assert sparkline([1, math.nan, 2, math.inf]) == "▁█"
    assert sparkline([1, 5, 3, 2], width=2) == "█▁"


@few
@given(st.lists(st.integers(-99, 99), min_size=1, max_size=60), st.integers(1, 50))
def test_sparklines_keep_the_order(values: list[int], width: int) -> None:
    blocks, shown = sparkline(values, width), values[-width:]
    assert len(blocks) == len(shown)
    pairs = sorted(zip(shown, blocks, strict=True))
    assert [block for _, block in pairs] == sorted(blocks)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (-3, "0:00"),
        (0.4, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.7, "1:00:00"),
        (3725, "1:02:05"),
        (360_000, "100:00:00"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_printable_cannot_upset_a_terminal() -> None:
    assert printable("a é漢\U0001f600\nb") == "a é漢\U0001f600\nb"
    assert printable("\x1b[2J\x07\r\t\x9b\x7f\0\u202e\ud800") == "·[2J········"


@few
@given(st.text())
def test_nothing_printable_is_a_control_character(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() for c in shown.replace("\n", ""))


# --- notes


def test_a_note_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    display.note("a\nb \x1b[31mred")
    assert capsys.readouterr() == ("", "a b ·[31mred\n")


class Broken(io.StringIO):
    """A stream that refuses everything after so many writes."""

    def __init__(self, writes: int = 0) -> None:
        super().__init__()
        self.left = writes

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_note_that_nobody_reads_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    display.note("lost")


def test_without_standard_error_nothing_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after 2>&- in a shell."""
    monkeypatch.setattr(sys, "stderr", None)
    display.note("lost")
    show(TrainingDisplay(SUMMARY))
    assert capsys.readouterr().out == ""


def test_a_note_on_an_ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    display.note("é\nb\x1b[31m")
    text = buffer.getvalue().decode("ascii")
    assert text.startswith(r"\xe9 b")
    assert text.count("\n") == 1 and "\x1b" not in text


# --- scores


SCORE = Score(1000, 1200, 1386.2943611198906, 3, seconds=0.5)
FIGURES = {
    "chars": 1000,
    "bytes": 1200,
    "nats_per_char": pytest.approx(1.3862943611),
    "bits_per_char": pytest.approx(2.0),
    "bits_per_byte": pytest.approx(2000 / 1200),
    "perplexity": pytest.approx(4.0),
    "unknown_chars": 3,
    "seconds": 0.5,
    "chars_per_second": 2000,
}


@pytest.mark.parametrize("one_pass", [True, False])
def test_a_score_as_json(one_pass: bool) -> None:
    text = display.score_json([("t", SCORE)], "runs/a\n/model", one_pass=one_pass)
    assert len(text.splitlines()) == 1
    assert json.loads(text) == {**FIGURES, "model": "runs/a\n/model", "one_pass": one_pass}


def test_a_score_as_lines() -> None:
    lines = display.score_lines([("t", SCORE)], "runs/a", one_pass=False).splitlines()
    assert dict(re.split(r"  +", line) for line in lines) == {
        "bits per character": "2.0000",
        "bits per byte": "1.6667",
        "nats per character": "1.3863",
        "perplexity": "4.000",
        "characters": "1,000",
        "bytes": "1,200",
        "unknown characters": "3",
        "time": "0.5 s, 2,000 characters/s, parallel streams",
        "model": "runs/a",
    }


def test_several_scores_and_their_total() -> None:
    """Two texts may have one name."""
    scores = [("t", SCORE), ("t", Score(3000, 3000, 0.0, 1, 1.5))]
    head, *rows = display.score_lines(scores, "runs/a", one_pass=True).splitlines()
    assert head.split()[-2:] == ["unknown", "source"]
    assert [row.split() for row in rows] == [
        ["2.0000", "1.6667", "1.3863", "4.000", "1,000", "1,200", "3", "t"],
        ["0.0000", "0.0000", "0.0000", "1.000", "3,000", "3,000", "1", "t"],
        ["0.5000", "0.4762", "0.3466", "1.414", "4,000", "4,200", "4", "total"],
        ["2.0", "s,", "2,000", "characters/s,", "one", "pass"],
        ["model", "runs/a"],
    ]
    found = json.loads(display.score_json(scores, "runs/a", one_pass=True))
    assert (found["chars"], found["bits_per_char"]) == (4000, pytest.approx(0.5))
    assert found["sources"][0] == {"source": "t", **FIGURES}
    assert found["sources"][1]["chars"] == 3000


def test_a_context_curve_as_lines_and_json() -> None:
    curve = [ContextScore(0, 4.0, 0.1), ContextScore(1, 2.0, 0.05), ContextScore(1024, 0.0, 0.0)]
    head, *rows, last = [line.split() for line in display.context_lines(curve, 64).splitlines()]
    assert rows[0] == ["0", "4.0000", "0.1000", "#" * 40]
    assert rows[1] == ["1", "2.0000", "0.0500", "#" * 20]
    assert rows[2] == ["1024", "0.0000", "0.0000"]
    assert head == ["context", "bits/char", "std", "error"]
    assert "64" in last
    found = json.loads(display.context_json(curve, 64))
    assert found["within_1_percent"] == 64
    assert found["curve"][1] == {"context": 1, "bits_per_char": 2.0, "standard_error": 0.05}


def test_a_context_curve_of_a_model_that_is_never_surprised() -> None:
    assert "0.0000" in display.context_lines([ContextScore(0, 0.0, 0.0)], 0)


def heated(monkeypatch: pytest.MonkeyPatch, *symbols: tuple[str | int, float]) -> list[str]:
    """Returns the lines of a heat map of symbols and their bits; colours as their codes."""
    stream = io.StringIO()
    sixteen = {"TERM": "xterm-16color"}
    monkeypatch.setattr(
        display,
        "Console",
        lambda **options: Console(
            file=stream, force_terminal=True, color_system="standard", _environ=sixteen, **options
        ),
    )
    scores = [CharScore(0, s, bits * math.log(2), 1, s) for s, bits in symbols]
    shown = "".join(display.heatmap([scores[:1], scores[1:]])) + display.heat_legend()
    assert stream.getvalue() == ""
    return shown.splitlines()


def test_a_heat_map_colours_by_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    known, some, much = ("a", 0.99), ("[", 1.01), ("\\", 50.0)
    *lines, legend = heated(monkeypatch, known, some, ("\n", 0.1), much, ("\n", 3.0), ("\t", 8.0))
    assert lines == [
        "a\x1b[30;46m[\x1b[0m",
        "\x1b[37;41m\\\x1b[0m\x1b[30;42m↵\x1b[0m",
        "\x1b[37;41m\\t\x1b[0m",
    ]
    assert re.sub(r"\x1b\[[0-9;]*m", "", legend).split("  ") == [
        "bits:",
        "0 to 1",
        "1 to 2",
        "2 to 4",
        "4 to 8",
        "8 or more ",
    ]


def test_a_heat_map_of_bytes_shows_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "é".encode()
    line, _ = heated(monkeypatch, (97, 0.0), (data[0], 0.6), (data[1], 0.6), (10, 0.0))
    assert line == "a\x1b[30;46mé\x1b[0m"


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("a", "a"),
        (" ", " "),
        ("'", "'"),
        ("漢", "漢"),
        ("\t", r"\t"),
        ("\n", r"\n"),
        ("\r", r"\r"),
        ("\\", r"\\"),
        ("\x1b", r"\x1b"),
        ("\u2028", r"\u2028"),
        ("\udc80", r"\udc80"),
        (65, "A"),
        (10, r"\n"),
        (92, r"\\"),
        (0, r"\x00"),
        (200, r"\xc8"),
    ],
)
def test_a_row_has_five_fields_whatever_the_character(symbol: str | int, shown: str) -> None:
    row = char_rows([CharScore(7, symbol, 3 * LN_2, 2, symbol)], as_json=False).removesuffix("\n")
    assert row.split("\t") == ["7", shown, "3.0000", "2", shown]
    assert len(row.splitlines()) == 1


# --- a training, without a terminal

TRAIN = ("step 500/2,000", "train 2.000")
SPEED = ("12,346 chars/s", "1:01 elapsed")


def test_elsewhere_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(TrainingDisplay(SUMMARY))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ") for line in err.splitlines()] == [
        [SUMMARY.line()],
        [*TRAIN, "val 2.500 bits/char (best)", *SPEED, "3:00 left"],
        [*TRAIN, "val 2.250 bits/char (best)", *SPEED, "3:00 left"],
        [*TRAIN, "val 2.750 bits/char", *SPEED, "1:00 left"],
        [SAID],
        ["done after 2,000 steps, 1:02:05; best validation 1.500 bits/char"],
    ]
    assert SUMMARY.line() == (
        "runs/coffee: 6,000 characters, 40 distinct; 128 x 2 model, 60,000 parameters; "
        "batch 32 x 64"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [("done", "done"), ("patience", "no longer improves"), ("interrupted", "interrupted, saved")],
)
def test_the_last_line_says_why(
    capsys: pytest.CaptureFixture[str], reason: str, words: str
) -> None:
    with TrainingDisplay(SUMMARY) as screen:
        screen.evaluated(evaluated(None), "")
        screen.finished(finished(reason, nats=None))
    last = capsys.readouterr().err.splitlines()[-1]
    assert words in last and "validation " not in last.replace("validation no", "")


def test_quiet_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(TrainingDisplay(SUMMARY, quiet=True))
    stream = terminal(monkeypatch)
    show(TrainingDisplay(SUMMARY, quiet=True))
    assert capsys.readouterr() == ("", "")
    assert stream.getvalue() == ""


# --- a training, on a terminal


def terminal(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None = None) -> io.StringIO:
    """Makes every display believe in a terminal; returns what it writes to."""
    stream = io.StringIO() if stream is None else stream
    monkeypatch.setattr(
        display,
        "Console",
        lambda **_: Console(
            file=stream, force_terminal=True, width=100, _environ={"TERM": "xterm"}
        ),
    )
    return stream


@contextlib.contextmanager
def streams_given_back() -> Iterator[None]:
    """Checks that standard output and error are afterwards what they were."""
    before = sys.stdout, sys.stderr
    yield
    after = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = before
    assert after == before


def test_on_a_terminal_there_is_a_panel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = terminal(monkeypatch)
    with streams_given_back():
        show(TrainingDisplay(SUMMARY))
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
        "validation 2.750   best 2.250 bits/char",
        "▅▁█",
        "sample",
        "I had ·[31mcoffee·today",
        "She [bold]said",
    ):
        assert words in shown
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("done after 2,000 steps")


def test_a_setback_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a line, above the panel on a terminal, and never where nothing but errors is wanted."""
    for quiet, wanted in ((False, f"{SAID}\n"), (True, "")):
        TrainingDisplay(SUMMARY, quiet=quiet).went_back(went_back())
        assert capsys.readouterr().err == wanted
    stream = terminal(monkeypatch)
    show(TrainingDisplay(SUMMARY))
    assert SAID in stream.getvalue()


def test_a_save_that_failed_is_said_even_where_little_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = SaveFailed(1234, 60.0, "runs/coffee/model.safetensors: cannot be written: full")
    said = f"step 1,234: {failed.reason}; training goes on, and will try again"
    for quiet in (False, True):
        TrainingDisplay(SUMMARY, quiet=quiet).save_failed(failed)
        assert capsys.readouterr().err == f"{said}\n"
    stream = terminal(monkeypatch)
    with TrainingDisplay(SUMMARY) as screen:
        screen.save_failed(failed)
    assert said in stream.getvalue()


def test_without_validation_the_panel_shows_training(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with TrainingDisplay(SUMMARY) as screen:
        screen.stepped(stepped(total_steps=None))
        screen.evaluated(evaluated(None), "text")
    shown = stream.getvalue()
    assert "train 2.000 bits/char" in shown and "validation" not in shown
    assert "step 500 " in shown


def test_a_dumb_terminal_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(
        display,
        "Console",
        lambda **_: Console(file=stream, force_terminal=True, _environ={"TERM": "dumb"}),
    )
    show(TrainingDisplay(SUMMARY))
    assert stream.getvalue() == ""
    assert len(capsys.readouterr().err.splitlines()) == 6


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5, 8, 12, 20])
def test_a_terminal_that_goes_away_ends_the_drawing_only(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    terminal(monkeypatch, Broken(writes))
    with streams_given_back():
        show(TrainingDisplay(SUMMARY))


def test_a_terminal_that_is_gone_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Broken(10**6)
    terminal(monkeypatch, stream)
    with streams_given_back(), TrainingDisplay(SUMMARY) as screen:
        stream.left = 0
        screen.finished(finished("interrupted"))


def test_an_error_in_training_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    with pytest.raises(KeyError), TrainingDisplay(SUMMARY) as screen:
        screen.stepped(stepped())
        raise KeyError("x")


def test_plain_lines_that_nobody_reads_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    show(TrainingDisplay(SUMMARY))


# --- scoring, on a terminal


def test_scoring_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, there in ((2400, True), (None, False)):
        stream = terminal(monkeypatch)
        with streams_given_back(), ScoringProgress("a\x1b.txt", size) as progress:
            progress.scored(SCORE)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
        for words in ("a·.txt", "1,000 characters", "2,000 chars/s", "2.000 bits/char"):
            assert words in shown
        assert ("50%" in shown) == there == ("━━━" in shown)


def test_scoring_elsewhere_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ScoringProgress("a.txt", 2400) as progress:
        progress.scored(SCORE)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5])
def test_a_terminal_that_goes_away_does_not_end_scoring(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    terminal(monkeypatch, Broken(writes))
    with streams_given_back(), ScoringProgress("a.txt", 2400) as progress:
        for _ in range(3):
            progress.scored(SCORE)


def test_a_long_sample_into_a_file_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of a short one, nor of one that goes into a pipe."""
    with (tmp_path / "out").open("w") as file:
        for out, length, there in ((file, 40_000, True), (file, 0, True), (file, 100, False)):
            monkeypatch.setattr(sys, "stdout", out)
            stream = terminal(monkeypatch)
            with SamplingProgress(length) as progress:
                progress.written(20_000)
            assert ("20,000 characters" in stream.getvalue()) == there
            assert ("50%" in stream.getvalue()) == (length == 40_000)
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        stream = terminal(monkeypatch)
        with SamplingProgress(40_000) as progress:
            progress.written(20_000)
        assert stream.getvalue() == ""


def test_a_first_pass_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, quiet in ((200_000_000, False), (None, False), (200_000_000, True)):
        stream = terminal(monkeypatch)
        with streams_given_back(), ReadingProgress(quiet=quiet) as progress:
            progress.read("a.txt", 50_000_000, lambda size=size: size)
            progress.read("a.txt", 60_000_000, lambda size=size: size)  # too soon
            progress.close()
            progress.read("a.txt", 70_000_000, lambda size=size: size)
        shown = stream.getvalue()
        assert ("reading a.txt" in shown and "50 MB" in shown) != quiet
        assert ("25%" in shown) == (size is not None and not quiet)
        assert "60 MB" not in shown and "70 MB" not in shown
