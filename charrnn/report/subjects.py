"""A run, with its history, as a page shows it."""

from pathlib import Path

from charrnn.errors import CheckpointError
from charrnn.report.curves import Curves, curves_of
from charrnn.report.facts import Subject
from charrnn.store.history import read_history
from charrnn.store.opened import HISTORY_FILE, RunFolder
from charrnn.store.runs import look_at


def subject_of(path: Path) -> tuple[Subject, list[str]]:
    """Reads a run's folder, or a model's file alone, and notes what cannot be shown of it.

    Raises:
        RunNotFoundError: There is nothing of a run.
    """
    run, curves, notes = look_at(path), Curves(), list[str]()
    if path.is_dir():
        try:
            with RunFolder(path) as folder:
                curves = curves_of(read_history(folder))
        except CheckpointError as error:
            notes.append(f"no curves: {error}")
    if curves.left_out:
        lines = f"{curves.left_out:,} line" + "s" * (curves.left_out > 1)
        notes.append(f"{path / HISTORY_FILE}: {lines} left out: no training wrote them")
    return Subject(run, curves), notes
