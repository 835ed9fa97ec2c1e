"""A training's page, in its folder, that shows it as it happens, at a few percent of its time."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charrnn.config import REPORT_FILE
from charrnn.report.measures import CONTEXT_WORK, measure, wanted_length
from charrnn.report.page import page
from charrnn.report.subjects import subject_of
from charrnn.report.texts import VALIDATION, ShownText, sample_text
from charrnn.store.mixing import Loaded, load_run
from charrnn.store.opened import write_whole
from charrnn.training.events import Evaluated

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

SHARE = 0.05  # of the time, that pages may take
RELOAD_S = (5, 60)  # the shortest and the longest time after which a page reloads itself
LAST_CONTEXT_WORK = CONTEXT_WORK // 5  # as the command that trains must end soon


class LivePage:
    """Writes the page of a training, which may not be in its folder yet when it begins."""

    def __init__(self, trainer: "Trainer", clock: Callable[[], float] = time.monotonic) -> None:
        self._trainer, self._clock = trainer, clock
        self._spent_s = 0.0
        self._written_s: float | None = None  # when it was written last

    def write(self, event: Evaluated) -> bool:
        """Writes it with the model that was evaluated; returns False if that is not due yet.

        Raises:
            CheckpointError: It cannot be written.
        """
        start_s = self._clock()
        if self._written_s is not None and self._spent_s > SHARE * event.elapsed_s:
            return False
        between_s = 0.0 if self._written_s is None else start_s - self._written_s
        reload_s = round(min(max(between_s, RELOAD_S[0]), RELOAD_S[1]))
        try:
            model = Loaded(event.model, self._trainer.vocabulary, "lf", 1, ())
            self._write(model, reload_s)
        finally:
            self._written_s = self._clock()
            self._spent_s += self._written_s - start_s
        return True

    def write_last(self) -> None:
        """Writes it with the best model, once training has ended; it does not reload itself.

        Raises:
            CheckpointError: It cannot be written, or there is no model.
        """
        self._write(load_run(self._trainer.folder), 0)

    def _write(self, model: Loaded, reload_s: int) -> None:
        folder, shown = self._trainer.folder, self._text(model)
        subject, notes = subject_of(folder)
        work = 0 if reload_s else LAST_CONTEXT_WORK
        measures = measure(model, shown.text, shown.name, context_work=work)
        data = page([subject], measures, model.vocabulary, [*notes, *shown.notes], reload_s)
        write_whole(folder / REPORT_FILE, data)

    def _text(self, model: Loaded) -> ShownText:
        """Returns the text to show: the validation text is at hand."""
        ids = self._trainer.val_ids[: wanted_length(model.model)]
        if not len(ids):
            return sample_text(model, "nothing was held out to validate on")
        return ShownText(model.vocabulary.decode(ids), VALIDATION)
