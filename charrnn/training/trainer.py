"""The loop: updates, and what is due after them; yields typed events, knows no screen."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from charrnn.config import TRAINING_FILE, TrainingConfig
from charrnn.errors import CheckpointError, RunRemovedError, TrainingError
from charrnn.model.streams import Stop
from charrnn.scoring.lines import usual_of_lines
from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.system import quoted
from charrnn.text.batches import batches_of
from charrnn.text.dataset import Dataset
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.events import (
    Evaluated,
    Event,
    Finished,
    Reason,
    RolledBack,
    RunSummary,
    SaveFailed,
    Stepped,
)
from charrnn.training.guessing import Guessing
from charrnn.training.learner import Diverged, Learner
from charrnn.training.moments import restore
from charrnn.training.progress import MAX_ROLLBACKS, Progress
from charrnn.training.recorder import Recorder
from charrnn.training.schedule import Clock, Schedule, default_eval_every, total_steps
from charrnn.training.workers import WorkerDied


class Trainer:
    """One training.

    Attributes:
        learner: the weights.
        recorder: the run's files.
        config: the settings, fitted to the text.
        batches: the training text.
        schedule: when, and how fast.
        val_ids: the validation text, (n,).
        score: scores a model on the validation text, nats/char; None if it was stopped.
        notes: what the user should know before it starts, a line each.
    """

    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        recorder: Recorder,
        config: TrainingConfig,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self.learner, self.recorder, self.config = learner, recorder, config
        self.notes: list[str] = []
        self.score = nats_per_char
        self._dataset = dataset
        self.batches = batches = batches_of(dataset, config.batch_size, config.seq_len)
        self.val_ids = dataset.validation(config.max_val_chars)
        self._guessing = Guessing.of(dataset.shares, self.val_ids)
        steps = total_steps(config, batches.steps_per_epoch)
        chars_per_step = config.batch_size * config.seq_len
        eval_every = config.eval_every or default_eval_every(
            steps, len(self.val_ids), chars_per_step
        )
        self.schedule = Schedule(config, steps, eval_every, progress, clock)
        chars = dataset.train_chars + dataset.val_chars
        self.summary = RunSummary.of(recorder.folder, learner.model.config, config, chars)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.recorder.folder

    @property
    def late_notes(self) -> list[str]:
        """What the user should know at the end, a line each."""
        best_nats, unit = self.schedule.progress.best_nats, self.vocabulary.unit
        doubts = self._guessing.warnings(best_nats, unit)
        return [*self._dataset.late_notes, *self.recorder.notes, *doubts]

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's symbols."""
        return self._dataset.vocabulary

    def begin(self) -> None:
        """Opens the history; makes a new run something to resume and to sample from.

        Raises:
            CheckpointError: Nothing can be saved.
        """
        self.recorder.open_history(self.schedule.progress)
        if not self.recorder.has(TRAINING_FILE):
            self.save()  # first, so that whatever has a model can be resumed
        self._save_missing_model()

    def _save_missing_model(self) -> None:
        """Saves the newest model if it, or a member, is missing: not yet there, or not any more."""
        if not self.recorder.has_model():
            if self.schedule.forget_best():
                self.notes.append("the best model is missing: it is now that of the last save")
            self.recorder.save_model(self.learner, self.schedule.progress, None)

    def events(self, stop: Stop = lambda: False) -> Generator[Event, None, None]:
        """Trains to the end, or until ``stop`` returns true, saving on the way.

        It is asked after each step, and while the model is scored.

        Yields:
            What happened, as it happens; :class:`Finished` last.

        Raises:
            TrainingError: The loss was NaN or infinite too often.
            CheckpointError: Nothing can be saved at the end.
            RunRemovedError: The run's folder was removed.
            CorpusError: The text cannot be read any more.
        """
        try:
            yield from self._run(stop)
        finally:
            self.learner.close()
            self._dataset.close()
            self.recorder.close()

    def _run(self, stop: Stop) -> Iterator[Event]:
        self.schedule.start()
        if self.recorder.mark is None:
            self._set_mark()
        reason: Reason | None = None
        try:
            while reason is None:
                try:
                    reason = yield from self._train(stop)
                    self._save_at_end(reason)
                except Diverged as error:
                    reason = None
                    yield from self._roll_back(str(error))
        except WorkerDied as error:
            self.save()
            step, folder = self.schedule.progress.step, quoted(self.folder)
            raise TrainingError(
                f"{error}; all is saved up to step {step:,}: "
                f"charrnn train --resume {folder} continues it"
            ) from None
        yield from self._score_lines()
        at, elapsed_s = self.schedule.progress, self.schedule.elapsed()
        yield Finished(reason, at.step, elapsed_s, at.best_nats, self.recorder.model_path())

    def _train(self, stop: Stop) -> Generator[Event, None, Reason]:
        """Makes updates from the current position on; returns why training ended."""
        schedule, learner = self.schedule, self.learner
        if schedule.progress.step and (reason := (yield from self._evaluate_if_due(stop))):
            return reason  # training had stopped between a step and what was due after it
        stopping = False
        for batch in self.batches.batches(schedule.progress.position):
            lr = schedule.learning_rate()
            schedule.count(batch, learner.update(batch, lr))
            now_s, stopping = schedule.elapsed(), stop() or stopping
            if together := schedule.round_is_over():
                learner.average_ranks()
            if (stopping and together) or schedule.is_done() or schedule.log_is_due():
                yield self._log(lr, now_s)
            if not together:
                continue
            if schedule.keep_is_due():
                yield from self._attempt(self.recorder.keep_model, learner, schedule.progress)
            if stopping:
                return (yield from self._interrupted())
            if reason := (yield from self._evaluate_if_due(stop)):
                return reason
            if schedule.save_is_due():
                before_s = schedule.elapsed()
                yield from self._attempt(self.save)
                schedule.saved(schedule.exclude_since(before_s))
        raise AssertionError("batches never end")

    def _evaluate_if_due(self, stop: Stop) -> Generator[Event, None, Reason | None]:
        """Evaluates if that is due; returns why training ends, or None if it continues."""
        schedule, progress = self.schedule, self.schedule.progress
        ending = schedule.is_done()
        if (ending or schedule.evaluation_is_due()) and progress.evaluated_step != progress.step:
            before_s = schedule.elapsed()
            if not (yield from self._evaluate(stop)):
                return (yield from self._interrupted())
            schedule.exclude_since(before_s)
        if ending or schedule.mark_is_due() or schedule.out_of_patience():
            self._set_mark()
        if schedule.out_of_patience():
            return "patience"
        if ending:
            schedule.finish()
            return "done"
        return None

    def _evaluate(self, stop: Stop) -> Generator[Event, None, bool]:
        """Scores the averaged model, keeps it if it is the best; returns False if stopped."""
        schedule, progress = self.schedule, self.schedule.progress
        before_s = schedule.elapsed()
        self.learner.check_finite()
        nats = None
        if len(self.val_ids):
            nats = self.score(self.learner.averaged(), self.vocabulary, self.val_ids, stop)
            if nats is None:
                return False
        if best := schedule.judge(nats):
            yield from self._attempt(self.recorder.save_model, self.learner, progress, nats)
        schedule.evaluated(before_s)
        model = self.learner.in_numpy()
        event = Evaluated(progress.step, progress.chars, progress.elapsed_s, nats, best, model)
        self.recorder.log(event)
        yield from self._attempt(self.recorder.flush)
        yield event
        return True

    def _set_mark(self) -> None:
        """Remembers this moment if counting decides when, so that two runs roll back alike."""
        if self.schedule.steps is not None:
            self.recorder.set_mark(self.learner, self.schedule.progress)

    def _interrupted(self) -> Generator[Event, None, Reason]:
        """Keeps the newest model, which is better than the untrained one, if none was scored."""
        progress = self.schedule.progress
        if progress.evaluated_step == 0 or not len(self.val_ids):
            yield from self._attempt(self.recorder.save_model, self.learner, progress, None)
        return "interrupted"

    def _log(self, lr: float, now_s: float) -> Stepped:
        event = self.schedule.log(lr, now_s)
        self.recorder.log(event)
        return event

    def _roll_back(self, reason: str) -> Iterator[Event]:
        """Returns to the mark or the last save, with half the learning rate from there on.

        Raises:
            TrainingError: It was rolled back too often.
        """
        wrong = self.schedule.progress
        if wrong.setbacks >= MAX_ROLLBACKS:
            raise TrainingError(
                f"step {wrong.step + 1}: {reason}, after {MAX_ROLLBACKS} rollbacks: "
                f"the best model so far is kept in {self.folder}; "
                "train again with a lower --learning-rate, or --grad-clip 1"
            )
        progress = restore(self.recorder.last(), self.learner)
        self.schedule.roll_back(progress)
        yield from self._attempt(self.recorder.open_history, progress)
        yield from self._attempt(self.save)
        lr = self.schedule.peak_learning_rate()
        yield RolledBack(progress.step, wrong.step, self.schedule.elapsed(), reason, lr)

    def save(self, ended: Reason | None = None) -> None:
        """Saves the whole training, to be resumed exactly from here; and why it ended, if it has.

        Raises:
            CheckpointError: It cannot be written.
        """
        # first: a training file counts on what was kept of a text that has not ended
        kept = self._dataset.keep() | {"ended": ended}
        self.recorder.save(self.learner, self.schedule.progress, kept)

    def _save_at_end(self, reason: Reason) -> None:
        try:
            self.save(reason)
            self._save_missing_model()
        except CheckpointError as error:
            if isinstance(error, RunRemovedError) or not self.recorder.has(TRAINING_FILE):
                raise
            raise CheckpointError(
                f"{error}; what was saved before is whole: charrnn train --resume continues it"
            ) from None

    def _score_lines(self) -> Iterator[SaveFailed]:
        """Completes the best model, which must be whole, by what is usual of held-out lines."""
        best = self.recorder.load_model()
        if best.vocabulary.symbols != self.vocabulary.symbols:
            return  # somebody has put another model there
        scorer = Scorer(best.model, best.vocabulary)
        if not best.held_out_lines and (usual := usual_of_lines(scorer, self.val_ids)):
            yield from self._attempt(self.recorder.complete_model, best, usual)

    def _attempt(self, write: Callable[..., None], *args: Any) -> Iterator[SaveFailed]:
        """Writes something; reports it if the disk refuses.

        Raises:
            RunRemovedError: The run's folder was removed, so that no save will ever succeed.
        """
        step, elapsed_s = self.schedule.progress.step, self.schedule.elapsed
        try:
            write(*args)
        except RunRemovedError as error:
            yield SaveFailed(step, elapsed_s(), str(error), final=True)
            raise
        except CheckpointError as error:
            yield SaveFailed(step, elapsed_s(), str(error))
