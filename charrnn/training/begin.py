"""Starts a run or resumes one, as the user asks."""

from collections.abc import Callable
from pathlib import Path

from charrnn.config import DataConfig
from charrnn.store.folder import find_models
from charrnn.store.mixing import load_all
from charrnn.text.dataset import Watch, ignore
from charrnn.training.asked import Asked
from charrnn.training.resume import resume
from charrnn.training.schedule import Clock
from charrnn.training.start import Request, start
from charrnn.training.trainer import Trainer
from charrnn.training.workers import Workers


def begin(
    asked: Asked,
    path: Path | None,
    watch: Watch = ignore,
    workers: Workers | None = None,
    clock: Clock | None = None,
    measuring: Callable[[], None] = lambda: None,
) -> Trainer:
    """Returns the trainer of the run that resumes ``path``, or of a new one if that is None.

    Other arguments and errors are those of :func:`~charrnn.training.start.start` and
    :func:`~charrnn.training.resume.resume`.
    """
    if path is not None:
        changes = asked.changes if asked.resume else {}
        trainer = resume(
            path, changes, watch, workers, clock, sources=asked.texts, val_source=asked.val_source
        )
        if asked.init_from:
            trainer.notes.append("--init-from: it counts for a new run only; this one is resumed")
        return trainer
    other = asked.init_from
    request = Request(
        asked.sources,
        asked.runs,
        asked.name,
        DataConfig(**asked.data),
        asked.training,
        asked.model,
        asked.val_source,
        init_from=() if other is None else load_all(find_models(asked.runs, [other])).members,
        keep_characters=asked.keep_characters,
        numbered=not asked.resume,
    )
    return start(request, watch, workers, clock, measuring)
