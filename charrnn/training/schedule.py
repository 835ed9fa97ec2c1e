"""When, and how fast: the learning rate, and what is due now.

A :class:`Schedule` answers from the settings, a clock and the progress; it knows no
network, no text and no disk.
"""

import math
from collections.abc import Callable

from charrnn.config import (
    DEFAULT_EPOCHS,
    DEFAULT_MIN_STEPS,
    ENOUGH_EPOCHS,
    TrainingConfig,
)
from charrnn.errors import OptionError
from charrnn.text.batches import Batch
from charrnn.training.events import Stepped
from charrnn.training.progress import Progress

Clock = Callable[[], float]  # returns the seconds since the command began

ENOUGH_STEPS = 200  # a model may make this many, however small its text is
LOG_AFTER_S = 2.0  # then a line is logged, however few updates were made
EARLY_FROM_S = 20.0  # a time budget from here on can afford an early evaluation
SAVES_SHARE = 0.02  # of the time, that saves by the clock may take
LEAST_SHARE = 0.1  # of a time budget, for updates, whatever the rest takes
LAST_EVALUATIONS = 2  # what the last one and held-out lines take, in times of an evaluation


def learning_rate(config: TrainingConfig, share_done: float) -> float:
    """Returns the rate at a share of the training: a linear rise, then half a cosine down."""
    if share_done < config.warmup:
        return config.learning_rate * (0.01 + 0.99 * share_done / config.warmup)
    fall = min((share_done - config.warmup) / (1 - config.warmup), 1.0)
    low = config.final_learning_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * fall)))


def enough_steps(steps_per_epoch: float, epochs: float = ENOUGH_EPOCHS) -> float:
    """Returns the updates beyond which a model only overfits."""
    return max(epochs * steps_per_epoch, ENOUGH_STEPS)


def total_steps(config: TrainingConfig, steps_per_epoch: float) -> int | None:
    """Returns the updates of the whole training; None if the clock decides.

    Without a limit it is :data:`DEFAULT_EPOCHS` epochs and at least :data:`DEFAULT_MIN_STEPS`
    steps, but no more than enough; patience usually ends it before.

    Raises:
        OptionError: The text has no end, and neither has the training.
    """
    if config.max_time is not None:
        return None
    if config.steps is not None:
        return config.steps
    if math.isinf(steps_per_epoch):
        raise OptionError("--steps or --max-time: a text without an end needs one of them")
    if config.epochs is not None:
        return max(1, round(config.epochs * steps_per_epoch))
    wanted = max(DEFAULT_EPOCHS * steps_per_epoch, DEFAULT_MIN_STEPS)
    return int(min(wanted, enough_steps(steps_per_epoch)))


def default_eval_every(steps: int | None, val_chars: int, chars_per_step: int) -> int:
    """Returns the steps between evaluations so that they take a few percent of the time.

    Args:
        steps: of the whole training; None if the clock decides.
        val_chars: characters that an evaluation scores.
        chars_per_step: characters that a step reads.
    """
    affordable = math.ceil(5 * val_chars / chars_per_step)  # scoring takes a third of learning
    return max(affordable, min((steps or 0) // 20, 1000), 10)


class Schedule:
    """How far a training is, and what is due.

    Attributes:
        steps: updates of the whole training; None if the clock decides.
        eval_every: steps between evaluations, if they do not follow the clock.
        progress: what it answers from; replaced when training is rolled back.
    """

    def __init__(
        self,
        config: TrainingConfig,
        steps: int | None,
        eval_every: int,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self.config, self.steps, self.progress = config, steps, progress
        self.eval_every = eval_every
        self._clock = clock
        self._start_s = 0.0  # what the clock would have shown at the start of training
        self._saved_s = 0.0  # when the last save ended, in seconds of training
        self._save_took_s = 0.0

    def start(self) -> None:
        """Starts the time of training; all that the command did before is part of a budget."""
        progress, now_s = self.progress, self._clock()
        budget = self.config.max_time
        if budget is not None and budget != progress.done_max_time:
            progress.starts_s += now_s
            progress.elapsed_s += now_s
            progress.evaluated_s += now_s
            progress.log_start_s += now_s
        self._start_s = now_s - progress.elapsed_s
        self._saved_s = progress.elapsed_s

    def elapsed(self) -> float:
        """Returns the seconds of training so far, and puts them into the progress."""
        self.progress.elapsed_s = self._clock() - self._start_s
        return self.progress.elapsed_s

    def share_done(self) -> float:
        """Returns the share of the training that is done; 1 or more at the end."""
        progress = self.progress
        if self.steps is not None:
            return progress.step / self.steps
        return (progress.elapsed_s - progress.starts_s) / self._budget_s()

    def _budget_s(self) -> float:
        """Returns the seconds of a time budget that are for updates and what is due between."""
        budget, progress = self.config.max_time, self.progress
        assert budget is not None
        end_s = LAST_EVALUATIONS * progress.eval_s + self._save_took_s  # after the last update
        return max(budget - progress.starts_s - end_s, LEAST_SHARE * budget)

    def learning_rate(self) -> float:
        """Returns the learning rate of the next update."""
        return learning_rate(self.config, self.share_done()) * 0.5**self.progress.setbacks

    def peak_learning_rate(self) -> float:
        """Returns the peak of the learning rate, after all rollbacks."""
        return self.config.learning_rate * 0.5**self.progress.setbacks

    def count(self, batch: Batch, nats: float) -> None:
        """Counts an update: the batch that it read, and its mean surprise, nats/char."""
        progress = self.progress
        progress.step += 1
        progress.chars += batch.x.size
        progress.position = batch.after
        progress.log_nats += nats * batch.x.size
        progress.log_chars += batch.x.size

    def log(self, lr: float, now_s: float) -> Stepped:
        """Returns a log line's figures, and starts the next line.

        Args:
            lr: the learning rate of the last update.
            now_s: seconds of training.
        """
        progress = self.progress
        event = Stepped(
            step=progress.step,
            chars=progress.chars,
            elapsed_s=progress.elapsed_s,
            train_nats_per_char=progress.log_nats / progress.log_chars,
            learning_rate=lr,
            chars_per_second=progress.log_chars / max(now_s - progress.log_start_s, 1e-9),
            progress=min(self.share_done(), 1.0),
            total_steps=self.steps,
            left_s=self._left_s(),
        )
        progress.log_nats, progress.log_chars, progress.log_start_s = 0.0, 0, now_s
        return event

    def _left_s(self) -> float:
        progress, config = self.progress, self.config
        if config.max_time is not None:
            return max(config.max_time - progress.elapsed_s, 0.0)
        assert self.steps is not None
        return progress.elapsed_s * max(self.steps / progress.step - 1, 0.0)

    def exclude_since(self, before_s: float) -> float:
        """Leaves the time since then out of the speed; returns how long it was, in seconds."""
        took_s = self.elapsed() - before_s
        self.progress.log_start_s += took_s
        return took_s

    def is_done(self) -> bool:
        """Returns whether the steps or the time are used up."""
        budget = self.config.max_time
        used_up = budget is not None and budget == self.progress.done_max_time
        return used_up or self.share_done() >= 1

    def finish(self) -> None:
        """Notes that the budget, if there is one, is used up."""
        self.progress.done_max_time = self.config.max_time

    def roll_back(self, saved: Progress) -> None:
        """Returns to a save; the time that has passed, and a better model found since, stay."""
        wrong, self.progress = self.progress, saved
        if wrong.best_nats != saved.best_nats:
            saved.best_nats, saved.evaluations_since_best = wrong.best_nats, 0
        saved.elapsed_s = saved.log_start_s = self._saved_s = wrong.elapsed_s
        saved.starts_s = wrong.starts_s
        saved.setbacks = wrong.setbacks + 1

    def log_is_due(self) -> bool:
        """Returns whether a log line is due: every ten steps, later less often; or after 2 s."""
        progress = self.progress
        interval = max(10, int(10 ** (len(str(progress.step)) - 3)))  # so that the file stays small
        too_long = progress.elapsed_s - progress.log_start_s >= LOG_AFTER_S
        return progress.step % interval == 0 or too_long

    def evaluation_is_due(self) -> bool:
        """Returns whether one is due by the steps, or by the clock if that ends the training."""
        progress, config = self.progress, self.config
        if config.max_time is None or config.eval_every is not None:
            return self._counted(self.eval_every)
        # a tenth of the budget, at most a minute, and never more than a twentieth of the time
        wanted_s = max(min(config.max_time / 10, 60.0), 20 * progress.eval_s)
        if progress.evaluated_step == 0 and config.max_time >= EARLY_FROM_S:
            wanted_s /= 4  # a model that only gets worse is best early
        is_due = progress.elapsed_s - progress.evaluated_s >= wanted_s
        # none shortly before the last one
        return is_due and (1 - self.share_done()) * self._budget_s() > wanted_s / 2

    def judge(self, nats: float | None) -> bool:
        """Counts an evaluation; returns whether it is the best so far.

        Without a validation text (None), the newest model is the best.
        """
        progress = self.progress
        lowest = math.inf if progress.best_nats is None else progress.best_nats
        best = nats is None or nats < lowest  # never so for NaN
        progress.evaluated_step = progress.step
        progress.evaluations_since_best = 0 if best else progress.evaluations_since_best + 1
        if best:
            progress.best_nats = nats
        return best

    def forget_best(self) -> bool:
        """Lets the next evaluation be the best; returns whether there was a best one."""
        progress = self.progress
        had_one = progress.best_nats is not None
        progress.best_nats, progress.evaluated_step, progress.evaluations_since_best = None, 0, 0
        return had_one

    def evaluated(self, before_s: float) -> None:
        """Notes that an evaluation ends now, which began at ``before_s`` seconds of training."""
        self.progress.evaluated_s = self.elapsed()
        self.progress.eval_s = self.progress.evaluated_s - before_s

    def out_of_patience(self) -> bool:
        """Returns whether too many evaluations in a row were no better."""
        patience = self.config.patience
        return patience > 0 and self.progress.evaluations_since_best >= patience

    def save_is_due(self) -> bool:
        """Returns whether one is due by the steps, or by the clock; then they take 2 % at most."""
        if self.config.save_every is not None:
            return self._counted(self.config.save_every)
        interval_s = max(self.config.save_every_s, self._save_took_s / SAVES_SHARE)
        return self.elapsed() - self._saved_s >= interval_s

    def keep_is_due(self) -> bool:
        """Returns whether the model is to be kept in a file of its own."""
        return self.config.keep_every is not None and self._counted(self.config.keep_every)

    def mark_is_due(self) -> bool:
        """Returns whether training may return to this step: counting decides, never the clock."""
        every = self.config.save_every or self.eval_every
        return self.steps is not None and self._counted(every)

    def round_is_over(self) -> bool:
        """Returns whether ranks that made updates alone average now: only then is anything due."""
        return self.progress.step % self.config.average_every == 0 or self.is_done()

    def _counted(self, every: int) -> bool:
        """Returns whether something is due that is so every N steps, or when that round is over."""
        return self.progress.step % every < self.config.average_every

    def saved(self, took_s: float) -> None:
        """Notes that a save has just ended."""
        self._saved_s, self._save_took_s = self.progress.elapsed_s, took_s
