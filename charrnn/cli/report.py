"""``charrnn report``: a page to look at."""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli import options
from charrnn.cli.shell import end_with_clean_up, named_errors, write
from charrnn.cli.threads import set_threads
from charrnn.cli.waiting import tell_who_types
from charrnn.config import REPORT_FILE, RUNS
from charrnn.display.console import note
from charrnn.display.progress import Bar
from charrnn.errors import CharrnnError, OptionError, reason
from charrnn.store.folder import find_folder, find_run

if TYPE_CHECKING:
    from charrnn.training.events import Event
    from charrnn.training.trainer import Trainer

MOST_RUNS = 32


@named_errors("close other programs, or name a smaller run")
def report(
    names: options.ReportRuns = None,
    text: options.ReportText = None,
    output: options.ReportOutput = None,
    runs: options.Runs = RUNS,
    threads: options.Threads = None,
) -> None:
    """Make a page to look at: curves, a text coloured by surprise, hidden units, samples, settings.

    The page is one file of HTML, for standard output; if that is a terminal, for the run's folder,
    and its path is printed.

    Examples: charrnn report > demo.html; charrnn report small large --output both.html
    """
    if names and len(names) > MOST_RUNS:
        raise OptionError(f"RUN: a page shows {MOST_RUNS} runs at most, not {len(names)}")
    _check_output(output)
    set_threads(threads)
    end_with_clean_up()
    if not names:
        model = find_run(runs, None)
        note(f"run {model.parent}")
    paths = [find_folder(runs, name) for name in names] if names else [model.parent]
    place = _place(output, paths[0])
    tell_who_types([text or ""])
    page = _page(paths, text)
    if place is None:
        write(page, drawn=True)
    else:
        _write_file(place, page)
        if output is None:
            write(os.fsencode(place), "\n")


def _check_output(output: str | None) -> None:
    """Refuses a place that takes no page, before anything is measured."""
    if output is None or output == "-":
        return
    if not (file := Path(output)).parent.is_dir():
        raise OptionError(f"--output: {file.parent}: no such folder: make it, or name another")
    if file.is_dir():
        raise OptionError(f"--output: {file}: it is a folder: name a file in it")


def _place(output: str | None, path: Path) -> Path | None:
    """Returns the file to write; None for standard output.

    Raises:
        OptionError: Standard output is a terminal, and there is no folder for a file.
    """
    if output == "-":
        return None
    if output is not None:
        return Path(output)
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    if not path.is_dir():
        raise OptionError("--output: name a file; standard output is a terminal, not for a page")
    return path / REPORT_FILE


def _write_file(path: Path, page: bytes) -> None:
    """Writes a page whole or not at all; into a device or a pipe as it comes."""
    from charrnn.store.opened import write_whole

    path = Path(os.path.realpath(path))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        path.write_bytes(page)
    else:
        write_whole(path, page)


def _page(paths: list[Path], text: str | None) -> bytes:
    """Returns the page of runs; shows what takes time."""
    with Bar(lines=True) as bar:
        bar.stage("reading the runs")
        _silence_matplotlib()
        from charrnn.report.measures import measure
        from charrnn.report.page import page
        from charrnn.report.subjects import subject_of
        from charrnn.report.texts import named_text, text_of_run
        from charrnn.store.mixing import load_all

        found = [subject_of(path) for path in paths]
        subjects = [subject for subject, _ in found]
        notes = [line for _, lines in found for line in lines]
        model = load_all(paths[:1])
        watch = partial(_show_reading, bar)
        shown = named_text(text, model) if text else text_of_run(subjects[0].run, model, watch)
        notes += shown.notes
        measures = measure(model, shown.text, shown.name, bar.stage)
        bar.stage("drawing")
        made = page(subjects, measures, model.vocabulary, notes)
    for line in [*notes, *measures.notes]:
        note(line)
    return made


def _silence_matplotlib() -> None:
    """Keeps its notes from the user: a page depends on none of a user's own settings of it."""
    import logging  # not at the start of every command

    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)


def _show_reading(bar: Bar, name: str, size: int, size_bytes: Callable[[], int | None]) -> None:
    bar.show(f"reading {name}", size, size_bytes, f"{size / 1e6:,.0f} MB")


@contextlib.contextmanager
def training_page(
    trainer: "Trainer", show: "Callable[[Event], None]", *, wanted: bool
) -> "Iterator[Callable[[Event], None]]":
    """Yields what writes a training's page at its evaluations; writes the last one at the end.

    Whatever is wrong with a page, the training continues, and ``show`` gets an event of it once.
    """
    if not wanted:
        yield lambda event: None
        return
    _silence_matplotlib()
    from charrnn.report.live import LivePage
    from charrnn.training.events import Evaluated, SaveFailed

    page, errors = LivePage(trainer), list[str]()

    def write_page(event: "Event") -> None:
        if isinstance(event, Evaluated):
            try:
                page.write(event)
            except Exception as error:  # whatever it is: a training is worth more than a page
                if not errors:
                    show(SaveFailed(event.step, event.elapsed_s, _reason(error)))
                errors.append(_reason(error))

    try:
        yield write_page
    finally:
        try:
            page.write_last()
        except Exception as error:
            if not errors:
                note(_reason(error))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CharrnnError) else f"{REPORT_FILE}: {reason(error)}"
