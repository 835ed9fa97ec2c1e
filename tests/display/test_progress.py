"""How far a reading, a scoring, a sample is."""

import io
import re
import sys
from pathlib import Path

import pytest
from screens import SCORE, Broken, streams_given_back, terminal

from charrnn.display.progress import ReadingProgress, SamplingProgress, ScoringProgress


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
