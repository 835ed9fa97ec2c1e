"""Fits a model and its training to the text and to the time: whatever the user left open.

The experiments behind the figures here are in ``tests/bench/README.md``.
"""

import itertools
import math
import statistics
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from charrnn.config import ENOUGH_EPOCHS, UNIT_NAMES, ModelConfig, TrainingConfig
from charrnn.model.device import find_device
from charrnn.model.memory import HELPER_BYTES, check_room, training_bytes
from charrnn.model.precision import precision_for
from charrnn.text.batches import Batch, Position
from charrnn.training.learner import Learner
from charrnn.training.members import drawn
from charrnn.training.schedule import Clock, enough_steps, total_steps
from charrnn.training.workers import Workers

# the hidden size from this many characters on that are read in all
HIDDEN_SIZE_BY_CHARS = ((6e7, 384), (3e6, 256), (0.6e6, 192), (-math.inf, 128))

# a hidden size above the default, for texts of at least this many characters; its larger dropout
# makes more epochs worthwhile
LARGE_MODEL_TEXT = 500_000
LARGE_MODEL_BATCH = 64
LARGE_MODEL_DROPOUT = 0.15
LARGE_MODEL_EPOCHS = 60

# a training that reads this many characters in all can start and end with smaller steps
LONG_CHARS = 8e6
LONG_SCHEDULE = {"learning_rate": 3e-3, "final_learning_rate": 0.05}

# how long the speed is measured, seconds; and as a share of a short time budget
MEASURE_S, MEASURE_SHARE = 0.25, 0.02

DROPOUT_EPOCHS = 8.0  # dropout is used from this many epochs on


@dataclass(frozen=True)
class Plan:
    """A training that fits its text and its time."""

    model: ModelConfig
    training: TrainingConfig
    notes: list[str]  # what the user should know, a line each


def plan(
    model_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    train_chars: float,
    workers: Workers,
    clock: Clock,
) -> Plan:
    """Fits model, settings, length, evaluation and workers to what can be read of the text.

    Args:
        model_options: fields of the model that are set; the others are chosen.
        training_options: fields of the settings that are set; the others are chosen.
        train_chars: characters of the training text; infinite if it has not ended.
        workers: what trains; as many as fit are left.
        clock: returns the seconds since the command began, which are part of a time budget.

    Raises:
        OptionError: A value is out of range.
        TrainingError: The workers cannot be started.
        TooLargeError: The model needs more memory than there is.
    """
    fixed = model_options.keys() | training_options.keys()
    model, asked = ModelConfig(**model_options), TrainingConfig(**training_options)
    notes, speed, spent_s = list[str](), 0.0, 0.0
    if asked.max_time is not None:
        model, asked, speed = _fit_to_time(model, asked, fixed, train_chars, workers, clock)
        spent_s = clock()
    large = "hidden_size" not in fixed and model.hidden_size > ModelConfig.hidden_size
    training = fit_to_text(asked, train_chars)
    if training != asked:
        notes.append(_shrunk(asked, training))
    chars_per_step = training.batch_size * training.seq_len
    endless = math.isinf(train_chars)  # then no number of epochs is enough
    steps_per_epoch = math.inf if endless else max(1, train_chars // chars_per_step)
    if training.max_time is None:
        steps = total_steps(training, steps_per_epoch)
        assert steps is not None
        chars = float(steps * chars_per_step)  # that will be read in all
    else:
        epochs = LARGE_MODEL_EPOCHS if large else ENOUGH_EPOCHS
        enough_s = enough_steps(steps_per_epoch, epochs) * chars_per_step / speed + spent_s
        max_time = min(training.max_time, enough_s)
        if max_time < training.max_time:
            notes.append(
                f"after {epochs} epochs a model only overfits: training ends after {enough_s:.0f} s"
            )
        chars = max(speed * (max_time - spent_s), 0.0)
        training = replace(training, max_time=max_time, max_val_chars=_val_chars(training, chars))
    schedule = {k: v for k, v in fitted_schedule(chars).items() if k not in fixed}
    if "dropout" not in fixed:
        epochs_read = chars / train_chars
        model = replace(model, dropout=fitted_dropout(epochs_read, chars, large=large))
        if model.dropout:
            notes.append(f"about {epochs_read:.0f} epochs: dropout {model.dropout}")
    training = fit_to_machine(model, replace(training, **schedule), workers)
    notes += fewer_workers(asked.workers, training)
    check_memory(model, training, workers)
    workers.set_count(training.workers or 1)
    return Plan(model, training, notes)


def _shrunk(asked: TrainingConfig, training: TrainingConfig) -> str:
    """Returns what a small text changed, for the user."""
    return (
        f"small text: batch size {training.batch_size} and sequence length {training.seq_len} "
        f"instead of {asked.batch_size} and {asked.seq_len}"
    )


def _val_chars(training: TrainingConfig, chars: float) -> int:
    """Returns how many characters to validate on in a training of ``chars`` characters.

    Scoring is three times as fast as learning: an evaluation takes a twentieth of the time.
    """
    return min(training.max_val_chars, max(1000, int(0.15 * chars)))


def _fit_to_time(
    model: ModelConfig,
    asked: TrainingConfig,
    fixed: Container[str],
    train_chars: float,
    workers: Workers,
    clock: Clock,
) -> tuple[ModelConfig, TrainingConfig, float]:
    """Returns a model and settings for a time budget, and the speed, characters/s.

    Args:
        model: the model by default.
        asked: the settings by default.
        fixed: the fields of both that the user set.
        train_chars: characters of the training text.
        workers: what trains.
        clock: returns the seconds since the command began.
    """
    assert asked.max_time is not None
    speed = training_speed(model, fit_to_text(asked, train_chars), workers, clock)
    size = fitted_hidden_size(speed * (asked.max_time - clock()), train_chars)
    if "hidden_size" in fixed or size == model.hidden_size:
        return model, asked, speed
    if size > model.hidden_size and "batch_size" not in fixed:
        asked = replace(asked, batch_size=LARGE_MODEL_BATCH)
    model = replace(model, hidden_size=size)
    return model, asked, training_speed(model, fit_to_text(asked, train_chars), workers, clock)


def fit_to_text(config: TrainingConfig, train_chars: float) -> TrainingConfig:
    """Returns the settings, with batch and sequence shrunk to fit a small text.

    Each stream should be at least four sequences long, or carrying its state means nothing: first
    the batch shrinks, then, for one stream, the sequence.
    """
    targets = min(train_chars, 2**40) - 1
    batch_size = max(1, min(config.batch_size, int(targets // (4 * config.seq_len))))
    seq_len = max(1, min(config.seq_len, int(targets // (4 * batch_size))))
    return replace(config, batch_size=batch_size, seq_len=seq_len)


def fit_to_machine(model: ModelConfig, config: TrainingConfig, workers: Workers) -> TrainingConfig:
    """Returns the settings, with workers and precision as asked for, or as they pay here.

    Raises:
        OptionError: What is asked for cannot be had.
    """
    return replace(
        config,
        workers=workers.count_for(model, config),
        precision=precision_for(config),
        average_every=config.average_every if workers.on_machines else 1,
    )


def fitted_hidden_size(chars: float, train_chars: float) -> int:
    """Returns the hidden size for a time in which the default one would read ``chars`` characters.

    A small model learns less from each character, but reads more of them.
    """
    size = next(size for least, size in HIDDEN_SIZE_BY_CHARS if chars >= least)
    return size if train_chars >= LARGE_MODEL_TEXT else min(size, ModelConfig.hidden_size)


def fitted_schedule(chars: float) -> dict[str, Any]:
    """Returns settings that suit a training of ``chars`` characters better than the defaults."""
    return LONG_SCHEDULE if chars >= LONG_CHARS else {}


def fitted_dropout(epochs: float, chars: float, *, large: bool = False) -> float:
    """Returns the dropout for a text that is read often; a large text is harder to overfit.

    Args:
        epochs: how often the training text will be read.
        chars: characters that will be read in all.
        large: whether the hidden size is above the default.
    """
    if epochs < DROPOUT_EPOCHS:
        return 0.0
    if large:
        return LARGE_MODEL_DROPOUT
    return 0.05 if chars >= LONG_CHARS else 0.1


def check_memory(
    model_config: ModelConfig,
    config: TrainingConfig,
    workers: Workers,
    advice: str = "choose a smaller model (--hidden-size, --num-layers) or batch (--batch-size, "
    "--seq-len), or close other programs",
) -> None:
    """Raises TooLargeError if a training on the CPU surely needs more memory than there is.

    ``workers`` are those that have started: the system counts their memory, if they have it yet.
    """
    if find_device(config.device).type != "cpu":
        return
    size, layers = model_config.hidden_size, model_config.num_layers
    batch = f"batches of {config.batch_size} x {config.seq_len} {UNIT_NAMES[model_config.unit]}s"
    helpers = max((config.workers or 1) - workers.count, 0)  # to be started
    check_room(
        training_bytes(model_config, config) + helpers * HELPER_BYTES,
        f"{_models(config)} of {size:,} x {layers}, {model_config.vocab_size:,} symbols, in "
        f"{batch},",
        advice,
    )


def fewer_workers(asked: int | None, config: TrainingConfig) -> list[str]:
    """Returns a line for the user if fewer workers train than were asked for."""
    if asked is None or asked <= (config.workers or 1):
        return []
    why = f"for {config.members} members" if config.members > 1 else "one a stream"
    return [f"{config.workers} workers, {why}, instead of {asked}"]


def _models(config: TrainingConfig) -> str:
    return f"{config.members} models" if config.members > 1 else "a model"


def training_speed(
    model_config: ModelConfig, config: TrainingConfig, workers: Workers, clock: Clock
) -> float:
    """Measures how fast such a model learns here, characters/s; takes a quarter of a second.

    It takes less of a short time budget.
    """
    config = fit_to_machine(model_config, config, workers)
    check_memory(model_config, config, workers)
    workers.set_count(config.workers or 1)
    with torch.random.fork_rng(devices=[]):
        first, *others = drawn(model_config, config)
        learner = Learner(first.model, config, workers, others)
    size = (config.seq_len + 1, config.batch_size)
    text = np.random.default_rng(0).integers(model_config.vocab_size, size=size)
    batch = Batch(text[:-1], text[1:], starts_block=False, after=Position())
    least_s = min(MEASURE_S, MEASURE_SHARE * (config.max_time or math.inf))
    marks_s = [clock()]
    while len(marks_s) < 4 or marks_s[-1] - marks_s[0] < least_s:
        learner.update(batch, lr=0.0)  # the weights stay where they are
        marks_s.append(clock())
    # the first update has the warm-up
    step_s = statistics.median(b - a for a, b in itertools.pairwise(marks_s[1:]))
    if config.average_every > 1:
        start_s = clock()
        learner.average_ranks()
        step_s += (clock() - start_s) / config.average_every
    return batch.x.size / step_s
