"""How far a reading or a scoring is."""

import re

import pytest
from screens import Broken, streams_given_back, terminal

from charrnn.display import progress
from charrnn.display.progress import Bar


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("size", [2400, None])
def test_a_bar_shows_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    stream = terminal(monkeypatch)
    with streams_given_back(), Bar() as bar:
        bar.show("a\x1b[b].txt", 1200, lambda: size, "2.000 [bits]")
    shown = without_codes(stream.getvalue())
    assert "a·[b].txt" in shown and "2.000 [bits]" in shown
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
