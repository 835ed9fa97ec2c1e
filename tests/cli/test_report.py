"""``charrnn report`` and ``train --report`` as people call them."""

import io
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from calls import TINY, call, fail, succeed
from full_disks import files_no_larger_than
from texts import COFFEE

from charrnn.report import live


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: ``one`` and the newer ``two``, and their text."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "text.txt").write_text(COFFEE[:6000])
    for name in ("one", "two"):
        text = str(folder / "text.txt")
        options = ("--runs", folder / "runs", "--eval-every", "2", "--seq-len", "16")
        succeed("train", text, "--name", name, *options, *TINY)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of the runs, whose text stays where it is."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def report(runs: Path, *args: object, **more: Any) -> tuple[str, str]:
    """Returns the page and the notes."""
    done = succeed("report", *args, "--runs", runs, **more)
    assert done.stdout.startswith("<!DOCTYPE html>")
    return done.stdout, done.stderr


def test_the_newest_run_is_shown_and_named(runs: Path) -> None:
    os.utime(runs / "two" / "model.safetensors", (10**10, 10**10))
    html, notes = report(runs)
    assert f"run {runs / 'two'}\n" in notes
    for part in ("<h1>two</h1>", "Learning curves", "How much context", "Hidden units", "Samples"):
        assert part in html
    assert "The beginning of the validation text" in html
    assert "--eval-every 2" in html and f"charrnn train --resume {runs / 'two'}" in html
    assert "refresh" not in html


def test_the_same_page_each_time(runs: Path) -> None:
    assert report(runs, "one")[0] == report(runs, "one")[0]


def test_a_users_settings_of_matplotlib_change_and_say_nothing(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("nonsense: 1\naxes.grid: maybe\nfont.size: 30\n")
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", "report", "one", "--runs", str(runs)],
        cwd=tmp_path,
        env={**os.environ, "MPLCONFIGDIR": "/proc/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout == report(runs, "one")[0]


def test_several_runs_are_compared(runs: Path) -> None:
    html, notes = report(runs, "one", "two")
    assert "one and 1 more" in html and notes == ""
    assert html.count('<th scope="col">two</th>') == 3  # origin, settings, versions


def test_more_runs_than_a_page_has_room_for(runs: Path) -> None:
    assert "32" in fail("report", *["one"] * 33, "--runs", runs, code=2)


def test_a_page_is_written_into_a_file(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("before")
    done = succeed("report", "one", "--runs", runs, "--output", tmp_path / "page.html")
    assert done.stdout == ""
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert report(runs, "one", "--output", "-")[0] == (tmp_path / "page.html").read_text()


def test_a_link_leads_to_the_file_that_is_written(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    succeed("report", "one", "--runs", runs, "--output", tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_device_stays_one(runs: Path) -> None:
    succeed("report", "one", "--runs", runs, "--output", "/dev/null")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("place", ["nowhere/page.html", "folder"])
def test_a_place_that_takes_no_page_is_wrong_usage(runs: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    error = fail("report", "one", "--runs", runs, "--output", tmp_path / place, code=2)
    assert place.partition("/")[0] in error and "--output" in error


def test_a_full_disk_leaves_the_page_before(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("before")
    with files_no_larger_than(10_000):
        error = fail("report", "one", "--runs", runs, "--output", tmp_path / "page.html")
    assert "page.html" in error
    assert (tmp_path / "page.html").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "runs"}


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_path_of_the_page(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.cli.report import _place

    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    assert _place(None, runs / "one") == runs / "one" / "report.html"
    assert _place("-", runs / "one") is None


def test_another_text_is_coloured(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("I had coffee <today>\n\x00" * 30)
    html, _ = report(runs, "one", "--text", tmp_path / "other.txt")
    assert "The beginning of " in html and "other.txt" in html and "validation text" not in html
    html, _ = report(runs, "one", "--text", "-", stdin="I had coffee today with Anna.\n")
    assert "standard input" in html


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("", "empty")])
def test_a_text_that_is_not_there_is_a_named_error(
    runs: Path, tmp_path: Path, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "other.txt").write_text(content)
    error = fail("report", "one", "--runs", runs, "--text", tmp_path / "other.txt")
    assert "other.txt" in error and why in error


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_text_that_is_gone_is_said_and_a_sample_stands_in(
    runs: Path, tmp_path: Path, change: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(COFFEE[:6000])
    options = ("--runs", runs, "--seq-len", "16")
    succeed("train", text, "--name", "three", *options, *TINY)
    if change == "gone":
        text.unlink()
    else:
        text.write_text(COFFEE[:5000])
    html, notes = report(runs, "three")
    assert (
        "its text is not shown" in notes and "--text" in notes and "its text is not shown" in html
    )
    assert "A sample of the model itself" in html


def test_a_model_alone_and_a_run_without_history(runs: Path, tmp_path: Path) -> None:
    model = tmp_path / "alone.safetensors"
    shutil.copy(runs / "one" / "model.safetensors", model)
    html, _ = report(runs, model)
    assert "<h1>alone.safetensors</h1>" in html and "There is no history" in html
    (runs / "one" / "history.jsonl").unlink()
    html, _ = report(runs, "one")
    assert "There is no history" in html and "The beginning of the validation text" in html


def test_a_model_alone_and_a_terminal(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.cli.report import _place
    from charrnn.errors import OptionError

    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    with pytest.raises(OptionError, match="--output"):
        _place(None, runs / "one" / "model.safetensors")


def test_a_run_without_validation(runs: Path, made: Path) -> None:
    options = ("--runs", runs, "--val-fraction", "0", "--seq-len", "16")
    succeed("train", made / "text.txt", "--name", "all", *options, *TINY)
    html, _ = report(runs, "all")
    assert "nothing was held out" in html and "Learning curves" in html


def test_a_damaged_history_is_said(runs: Path) -> None:
    history = runs / "one" / "history.jsonl"
    whole = history.read_text()
    history.write_text(whole + '{"event": "step", "st')  # as a training writes at this moment
    html, notes = report(runs, "one")
    assert notes == "" and "left out" not in html
    history.write_text("\0\0\n[]\n" + whole)
    _, notes = report(runs, "one")
    assert "2 lines left out" in notes
    history.write_text("x" * 10**5)
    html, notes = report(runs, "one")
    assert "no curves" in notes and "There is no history" in html


def test_a_damaged_model_is_a_named_error(runs: Path) -> None:
    (runs / "one" / "model.safetensors").write_bytes(b"x" * 100)
    assert "model.safetensors" in fail("report", "one", "--runs", runs)


def test_a_damaged_run_stands_beside_a_whole_one(runs: Path) -> None:
    for path in (runs / "two").iterdir():
        path.write_bytes(b"x" * 100)
    html, notes = report(runs, "one", "two")
    assert "<td>damaged</td>" in html and notes == ""


def test_a_damaged_training_file_is_said(runs: Path) -> None:
    (runs / "one" / "training.safetensors").write_bytes(b"x" * 100)
    html, notes = report(runs, "one")
    assert "its text is not shown" in notes and "damaged" in html


def test_a_byte_model(runs: Path, made: Path) -> None:
    options = ("--runs", runs, "--unit", "byte", "--seq-len", "16")
    succeed("train", made / "text.txt", "--name", "bytes", *options, *TINY)
    html, _ = report(runs, "bytes")
    assert "bits per byte" in html and "bits per character" not in html


def test_no_run_at_all(tmp_path: Path) -> None:
    assert "no run there" in fail("report", "--runs", tmp_path / "runs")
    assert "no such run" in fail("report", "x", "--runs", tmp_path / "runs")


# --- while training


def trained(made: Path, runs: Path, *options: object) -> Any:
    common = ("--runs", runs, "--name", "live", "--seq-len", "16", "--eval-every", "2")
    return call("train", made / "text.txt", *common, *TINY, *options)


def test_the_page_of_a_training_follows_it(
    made: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    write_whole = live.write_whole

    def keep(path: Path, data: bytes) -> None:
        write_whole(path, data)
        pages.append(path.read_text())

    monkeypatch.setattr(live, "write_whole", keep)
    monkeypatch.setattr(live, "SHARE", 10**6)
    done = trained(made, runs, "--report")
    assert done.exit_code == 0, done.stderr
    assert (runs / "live" / "report.html").read_text() == pages[-1]
    assert len(pages) == 4  # steps 2, 4, 5, and the end
    assert all('http-equiv="refresh"' in page and "training now" in page for page in pages[:-1])
    assert "refresh" not in pages[-1] and "finished" in pages[-1]
    assert "The beginning of the validation text" in pages[0]
    # the history has come further than the last save
    assert [n for n in (2, 4, 5) if f"<dd>{n} steps, " in pages[(2, 4, 5).index(n)]] == [2, 4, 5]
    assert "How much context" in pages[-1] and "How much context" not in pages[0]


def test_pages_take_a_small_share_of_the_time() -> None:
    seconds = itertools.count(step=1.0)  # each look at the clock comes a second later
    page = live.LivePage(trainer=SimpleNamespace(vocabulary=None), clock=lambda: next(seconds))  # type: ignore[arg-type]
    page._write = lambda *_: None  # type: ignore[method-assign]

    def write(elapsed_s: float) -> bool:
        from charrnn.training.events import Evaluated

        return page.write(Evaluated(1, 1, elapsed_s, None, True, None))  # type: ignore[arg-type]

    assert write(0.1), "the first one, at once"
    assert not write(19.0)
    assert write(21.0)
    assert not write(39.0)
    assert write(41.0)


def test_a_page_that_cannot_be_written_ends_no_training(
    made: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SHARE", 10**6)
    monkeypatch.setattr(live, "page", lambda *_: 1 / 0)
    done = trained(made, runs, "--report", "--quiet")
    assert done.exit_code == 0
    assert done.stderr.count("division by zero") == 1
    assert not (runs / "live" / "report.html").exists()


def test_a_training_without_validation_shows_a_sample(made: Path, runs: Path) -> None:
    done = trained(made, runs, "--report", "--val-fraction", "0")
    assert done.exit_code == 0, done.stderr
    html = (runs / "live" / "report.html").read_text()
    assert "A sample of the model itself" in html and "nothing was held out" in html


def test_a_start_that_failed_leaves_no_page(runs: Path) -> None:
    folder = runs / "one"
    (folder / "report.html").write_text("a page")
    from charrnn.store.folder import clear
    from charrnn.store.opened import RunFolder

    with RunFolder(folder) as opened:
        clear(opened)
    assert list(folder.iterdir()) == []
