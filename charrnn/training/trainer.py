"""The loop; yields typed events, knows no screen.

One step reads B streams T characters further, predicts each next character, and follows the
gradient of the mean surprise with AdamW. The hidden state is carried from batch to batch, and
gradients stop there (truncated back-propagation through time). What is evaluated and kept are not
the last weights but their exponential average, which wanders less.

Validation is a function handed in, so the loop knows nothing of scoring.
"""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import MODEL_FILE, TrainingConfig
from charrnn.errors import CheckpointError, TrainingError
from charrnn.fields import typed
from charrnn.model.network import CharRNN
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.folder import TRAINING_FILE, RunLock
from charrnn.store.history import History
from charrnn.text.batches import Batch, Batches, Position
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training.events import (
    Evaluated,
    Event,
    Finished,
    SaveFailed,
    Stepped,
    WentBack,
    _Diverged,
)
from charrnn.training.optimizer import AdamW, learning_rate, move_average

Validate = Callable[[CharRNN, Vocabulary, Ids, Callable[[], bool]], float | None]
"""Scores a model on a text, nats/char; None once the function that it asks says to stop."""

MAX_SETBACKS = 5
"""How often a training may go back; each time its learning rate is halved."""

LOG_AFTER_S = 2.0
"""Seconds after which a line is logged, however few updates were made."""

EARLY_FROM_S = 20.0
"""A budget of so many seconds can afford an early evaluation."""

SAVES_SHARE = 0.02
"""Share of the time that saves by the clock may take."""


@dataclass
class _Progress:
    """What changes while training, but for tensors; goes into the training file as JSON.

    Times are seconds of training. ``done_max_time`` is the budget at whose end training ended;
    ``log_...`` are sums since the last :class:`Stepped`.
    """

    step: int = 0
    chars: int = 0
    elapsed_s: float = 0.0
    position: Position = field(default_factory=Position)
    best_nats: float | None = None
    evaluations_since_best: int = 0
    evaluated_step: int = 0
    evaluated_s: float = 0.0
    eval_s: float = 0.0
    setbacks: int = 0
    done_max_time: float | None = None
    log_nats: float = 0.0
    log_chars: int = 0
    log_start_s: float = 0.0

    def log_is_due(self) -> bool:
        """Every ten steps, less often in long runs so that the file stays small; or after 2 s."""
        interval = max(10, int(10 ** (len(str(self.step)) - 3)))
        return self.step % interval == 0 or self.elapsed_s - self.log_start_s >= LOG_AFTER_S


class Trainer:
    """One training: model, optimiser, place in the text, and the run's folder.

    Attributes:
        model: the network that is updated.
        batches: the text.
        config: the settings, fitted to the text.
        folder: the run's folder.
        total_steps: updates of the whole training; None where the clock decides.
        notes: what the user should know before it starts, a line each.
    """

    def __init__(
        self,
        model: CharRNN,
        batches: Batches,
        config: TrainingConfig,
        folder: Path,
        *,
        validate: Validate,
        origin: Mapping[str, Any],
        provenance: Mapping[str, Any],
        resume_from: Checkpoint | None = None,
        kept_nats: float | None = None,
        lock: RunLock | None = None,
        spent_s: float = 0.0,
        notes: Sequence[str] = (),
    ) -> None:
        """Prepares the training; nothing runs yet.

        Args:
            model: the network, on its device.
            batches: the text. Where it has no validation part, the newest model counts as the best.
            config: the settings.
            folder: where to save; it must exist.
            validate: scores a model on the validation part.
            origin: what the training file must tell to find the text again; JSON values.
            provenance: what every file tells of the text; JSON values.
            resume_from: a training file's content, to go on exactly from there.
            kept_nats: what the model that is kept scores, where it is better than what that file
                says of the best one.
            lock: of the folder; let go when training ends.
            spent_s: seconds of the budget that were spent before.
            notes: what the user should know.
        """
        self.model, self.batches, self.config, self.folder = model, batches, config, folder
        self.total_steps = config.total_steps(batches.steps_per_epoch)
        self.notes = list(notes)
        self._validate, self._val_ids = validate, batches.validation(config.max_val_chars)
        self._origin, self._provenance = dict(origin), dict(provenance)
        self._lock = lock
        # the best model, where the disk refused it
        self._unsaved: Checkpoint | None = None
        self._optimizer = AdamW(model.parameters(), config.weight_decay)
        self._average = copy.deepcopy(model).eval()
        self._averages: list[Tensor] = [p.detach() for p in self._average.parameters()]
        self._state = model.zero_state(batches.batch_size)
        self._progress = _Progress(elapsed_s=spent_s, evaluated_s=spent_s, log_start_s=spent_s)
        if resume_from is not None:
            self._restore(resume_from)
            self.notes.append(f"resumed at step {self._progress.step:,}")
        if kept_nats is not None:
            self._progress.best_nats = kept_nats
        self._eval_every = config.eval_every or self._default_eval_every()
        self._save_s = 0.0  # what the last save took
        self._clock = 0.0

    def _default_eval_every(self) -> int:
        """Returns steps between evaluations, so that they take a few percent of the time.

        Scoring a character costs about a third of learning it.
        """
        per_step = self.batches.batch_size * self.batches.seq_len
        affordable = math.ceil(5 * len(self._val_ids) / per_step)
        wanted = (self.total_steps or 0) // 20
        return max(affordable, min(wanted, 1000), 10)

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Trains to the end, or until told to stop, saving as it goes.

        Args:
            stop: asked after each step; once true, everything is saved and training ends.

        Yields:
            What happened, as it happens; :class:`Finished` last.

        Raises:
            TrainingError: The loss was no number too often.
            CheckpointError: Nothing can be saved at the start, or at the end.
            CorpusError: The text cannot be read any more.
        """
        self._open_history()
        try:
            yield from self._run(stop)
        finally:
            self.batches.close()
            with contextlib.suppress(CheckpointError):
                self._history.flush()
            if self._lock is not None:
                self._lock.release()

    def _open_history(self) -> None:
        progress = self._progress
        self._history = History(self.folder, progress.step, progress.evaluated_step)

    def _run(self, stop: Callable[[], bool]) -> Iterator[Event]:
        self._clock = time.perf_counter() - self._progress.elapsed_s
        self.model.train()
        if self._progress.step == 0:
            # from the first moment on there is something to resume and to sample from
            self._save_model(None)
            self.save()
        reason = None
        while reason is None:
            try:
                reason = yield from self._train(stop)
                self._save_at_last()
            except _Diverged as error:
                reason = None
                yield from self._go_back(str(error))
        progress = self._progress
        yield Finished(
            reason,
            progress.step,
            progress.elapsed_s,
            progress.best_nats,
            self.folder / MODEL_FILE,
        )

    def _train(self, stop: Callable[[], bool]) -> Generator[Event, None, str]:
        """Makes updates from the place in the text on; returns why it ended."""
        progress = self._progress
        ending = bool(progress.step) and self._is_done()
        if progress.step and (ending or self._evaluation_is_due()):
            # training was stopped between a step and the evaluation due after it
            yield from self._evaluated_once(stop)
            if progress.evaluated_step != progress.step:
                return self._interrupted()
        if self._out_of_patience():
            return "patience"
        if ending:
            return self._done()
        saved_s = self._elapsed()
        for batch in self.batches.batches(progress.position):
            rate = self._step(batch)
            now = self._elapsed()
            stopping = stop()
            ending = self._is_done()
            if ending or stopping or progress.log_is_due():
                yield self._log(rate, now)
            if stopping:
                return self._interrupted()
            if ending or self._evaluation_is_due():
                yield from self._evaluated_once(stop)
                if progress.evaluated_step != progress.step:
                    return self._interrupted()
                progress.log_start_s += self._elapsed() - now
                if self._out_of_patience():
                    return "patience"
            if ending:
                return self._done()
            if self._save_is_due(self._elapsed() - saved_s):
                before = self._elapsed()
                yield from self._tried(self.save)
                saved_s = self._elapsed()
                self._save_s = saved_s - before
                progress.log_start_s += self._save_s
        raise AssertionError("batches go on for ever")

    def _done(self) -> str:
        self._progress.done_max_time = self.config.max_time
        return "done"

    def _interrupted(self) -> str:
        """Keeps the newest model, which is better than the untrained one, where none was scored."""
        if self._progress.evaluated_step == 0 or not len(self._val_ids):
            self._save_model(None)
        return "interrupted"

    def _go_back(self, reason: str) -> Iterator[Event]:
        """Takes up the last saved moment, with half the learning rate from there on.

        Raises:
            TrainingError: It has gone back too often.
        """
        wrong = self._progress
        if wrong.setbacks == MAX_SETBACKS:
            raise TrainingError(
                f"step {wrong.step + 1}: {reason}, after going back {MAX_SETBACKS} times: "
                f"the best model so far is kept in {self.folder}; "
                "train again with a lower --learning-rate, or --grad-clip 1"
            )
        saved = checkpoint.load(self.folder / TRAINING_FILE)
        self.model.load_state_dict(saved.model.state_dict())
        self._optimizer.forget_gradients()
        self._restore(saved)
        progress = self._progress
        if wrong.best_nats != progress.best_nats:
            # a better model that was kept since is kept still
            progress.best_nats, progress.evaluations_since_best = wrong.best_nats, 0
        progress.elapsed_s = progress.log_start_s = wrong.elapsed_s  # time has passed
        progress.setbacks = wrong.setbacks + 1
        yield from self._tried(self._open_history)
        yield from self._tried(self.save)
        peak = self.config.learning_rate * self._slowdown()
        yield WentBack(progress.step, wrong.step, self._elapsed(), reason, peak)

    def _slowdown(self) -> float:
        return 0.5**self._progress.setbacks

    def _elapsed(self) -> float:
        self._progress.elapsed_s = time.perf_counter() - self._clock
        return self._progress.elapsed_s

    def _share_done(self) -> float:
        if self.total_steps is not None:
            return self._progress.step / self.total_steps
        assert self.config.max_time is not None
        # the budget keeps what an evaluation takes for the final one
        progress = self._progress
        return progress.elapsed_s / max(self.config.max_time - progress.eval_s, 1e-9)

    def _is_done(self) -> bool:
        budget = self.config.max_time
        return self._share_done() >= 1 or (
            budget is not None and budget == self._progress.done_max_time
        )

    def _step(self, batch: Batch) -> float:
        """Makes one update; returns its learning rate."""
        progress = self._progress
        rate = learning_rate(self.config, self._share_done()) * self._slowdown()
        device = self._state.device
        x = torch.from_numpy(batch.x).to(device)  # (T, B)
        y = torch.from_numpy(batch.y).to(device)
        if batch.starts_block:
            self._state.zero_()
        nats, self._state = update_weights(
            self.model,
            self._optimizer,
            (x, y),
            self._state,
            rate=rate,
            number=progress.step + 1,
            grad_clip=self.config.grad_clip,
        )
        move_average(self._averages, self._optimizer.parameters, progress.step)
        progress.step += 1
        progress.chars += batch.x.size
        progress.position = batch.after
        progress.log_nats += nats * batch.x.size
        progress.log_chars += batch.x.size
        return rate

    def _check_weights(self) -> None:
        """Refuses to save weights that are no numbers."""
        models = (self.model, self._average)
        if not all(bool(p.isfinite().all()) for model in models for p in model.parameters()):
            raise _Diverged("the weights are no numbers any more")

    def _log(self, rate: float, now: float) -> Stepped:
        progress = self._progress
        event = Stepped(
            step=progress.step,
            chars=progress.chars,
            elapsed_s=progress.elapsed_s,
            train_nats_per_char=progress.log_nats / progress.log_chars,
            learning_rate=rate,
            chars_per_second=progress.log_chars / max(now - progress.log_start_s, 1e-9),
            progress=min(self._share_done(), 1.0),
            total_steps=self.total_steps,
        )
        progress.log_nats, progress.log_chars, progress.log_start_s = 0.0, 0, now
        self._write_history("step", event, without=("progress", "total_steps"))
        return event

    def _evaluation_is_due(self) -> bool:
        progress, config = self._progress, self.config
        if config.max_time is None or config.eval_every is not None:
            return progress.step % self._eval_every == 0
        # a tenth of the budget, at most a minute, and never more than a twentieth of the time
        wanted_s = max(min(config.max_time / 10, 60.0), 20 * progress.eval_s)
        if progress.evaluated_step == 0 and config.max_time >= EARLY_FROM_S:
            wanted_s /= 4  # a text that only gets worse has its best model early
        return progress.elapsed_s - progress.evaluated_s >= wanted_s

    def _evaluated_once(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Evaluates after this step, if that was not done yet."""
        if self._progress.evaluated_step != self._progress.step:
            yield from self._evaluate(stop)

    def _evaluate(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Scores the averaged model, and keeps it if it is the best; says nothing if stopped."""
        progress = self._progress
        before = self._elapsed()
        self._check_weights()
        nats = None
        if len(self._val_ids):
            nats = self._validate(self._average, self.batches.vocabulary, self._val_ids, stop)
            if nats is None:
                return
        best = nats is None or progress.best_nats is None or nats < progress.best_nats
        if nats is not None and not math.isfinite(nats):
            best = False
        progress.evaluated_step = progress.step
        progress.evaluations_since_best = 0 if best else progress.evaluations_since_best + 1
        if best:
            progress.best_nats = nats
            yield from self._tried(lambda: self._save_model(nats))
        progress.evaluated_s = self._elapsed()
        progress.eval_s = progress.evaluated_s - before
        event = Evaluated(
            progress.step, progress.chars, progress.elapsed_s, nats, best, self._average
        )
        self._write_history("eval", event, without=("model",))
        yield from self._tried(self._history.flush)
        yield event

    def _tried(self, write: Callable[[], None]) -> Iterator[SaveFailed]:
        """Writes something; says so where the disk refuses it."""
        try:
            write()
        except CheckpointError as error:
            yield SaveFailed(self._progress.step, self._elapsed(), str(error))

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return patience > 0 and self._progress.evaluations_since_best >= patience

    def _save_is_due(self, since_s: float) -> bool:
        if self.config.save_every is not None:
            return self._progress.step % self.config.save_every == 0
        return since_s >= max(self.config.save_every_s, self._save_s / SAVES_SHARE)

    def _write_history(self, name: str, event: Any, without: Iterable[str]) -> None:
        fields = {k: v for k, v in vars(event).items() if k not in without}
        self._history.append({"event": name, **fields})

    def _provenance_now(self, nats: float | None) -> dict[str, Any]:
        return {
            **self._provenance,
            "step": self._progress.step,
            "train_chars_read": self._progress.chars,
            "elapsed_s": round(self._progress.elapsed_s, 3),
            "val_nats_per_char": nats,
            "versions": checkpoint.library_versions(),
        }

    def _save_model(self, nats: float | None) -> None:
        self._check_weights()
        self._unsaved = None
        kept = Checkpoint(
            self._average, self.batches.vocabulary, provenance=self._provenance_now(nats)
        )
        try:
            checkpoint.save(self.folder / MODEL_FILE, kept)
        except CheckpointError:
            self._unsaved = replace(kept, model=copy.deepcopy(self._average))
            raise

    def _save_at_last(self) -> None:
        try:
            self.save()
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; what was saved before is whole: charrnn train --resume goes on from it"
            ) from None

    def save(self) -> None:
        """Saves the whole training, so that it can go on exactly from here.

        Raises:
            CheckpointError: It cannot be written.
        """
        self._check_weights()
        # first: the history must reach as far as the saved moment
        self._history.flush(to_disk=True)
        if self._unsaved is not None:
            # a training file must not speak of a best model that is nowhere
            checkpoint.save(self.folder / MODEL_FILE, self._unsaved)
            self._unsaved = None
        tensors = {"state": self._state, "random_state": torch.get_rng_state()}
        tensors |= dict(self._named_tensors())
        progress = asdict(self._progress)
        kept = Checkpoint(
            self.model,
            self.batches.vocabulary,
            provenance=self._provenance_now(self._progress.best_nats),
            training_state={
                "training_config": asdict(self.config),
                "progress": progress,
                **self._origin,
            },
            tensors=tensors,
        )
        checkpoint.save(self.folder / TRAINING_FILE, kept)

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yields what is kept beside each weight, by its name in the training file."""
        names = [name for name, _ in self.model.named_parameters()]
        kinds = {
            "average.{}": self._averages,
            "optimizer.{}.exp_avg": self._optimizer.means,
            "optimizer.{}.exp_avg_sq": self._optimizer.squares,
        }
        for kind, kept in kinds.items():
            yield from ((kind.format(name), t) for name, t in zip(names, kept, strict=True))

    def _restore(self, saved: Checkpoint) -> None:
        try:
            progress = dict(saved.training_state["progress"])
            position = typed(Position, progress.pop("position"))
            self._progress = typed(_Progress, {**progress, "position": position})
            if not self.batches.holds(position):
                raise ValueError(f"there is no {position}")
            self._state = _like(self._state, saved.tensors["state"]).to(self._state.device)
            for name, tensor in self._named_tensors():
                tensor.copy_(_like(tensor, saved.tensors[name]))
            torch.set_rng_state(saved.tensors["random_state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{saved.path}: not a whole training file ({error}): start a new run"
            ) from None


def _like(wanted: Tensor, tensor: Tensor) -> Tensor:
    if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)}, not {tuple(wanted.shape)}")
    return tensor


def update_weights(
    model: CharRNN,
    optimizer: AdamW,
    batch: tuple[Tensor, Tensor],
    state: Tensor,
    *,
    rate: float,
    number: int,
    grad_clip: float,
) -> tuple[float, Tensor]:
    """Makes one update of the weights.

    Args:
        model: the network; changed.
        optimizer: of its weights; changed.
        batch: ids read and, for each, the id that follows, both (T, B) int64.
        state: before the first of them, (L, B, H).
        rate: the learning rate.
        number: which update this is, from 1 on.
        grad_clip: largest norm of the gradient; 0 is any.

    Returns:
        The mean surprise, nats/char, and the state after the last step: truncated BPTT stops there.

    Raises:
        _Diverged: The surprise or the gradient is no finite number; the weights are as they were.
    """
    x, y = batch
    logits, state = model(x, state)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    nats = loss.item()
    if not math.isfinite(nats):
        raise _Diverged(f"the loss is {nats}")
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(optimizer.parameters, grad_clip or math.inf)
    if not math.isfinite(norm.item()):
        raise _Diverged(f"the gradient's norm is {norm.item()}")
    optimizer.update(rate, number)
    return nats, state.detach()
