"""Fits a model and its training to the text and to the time: whatever the user left open.

The rules are in `fitting`; here, they meet the user's settings and this machine.
"""

import contextlib
import itertools
import math
import statistics
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from charrnn.config import UNIT_NAMES, ModelConfig, TrainingConfig
from charrnn.errors import TooLargeError
from charrnn.model.device import find_device
from charrnn.model.forward import Forward
from charrnn.model.memory import HELPER_BYTES, check_room, training_bytes
from charrnn.model.network import CharRNN
from charrnn.model.precision import precision_for
from charrnn.text.batches import Batch, Position
from charrnn.training.fitting import (
    LARGE_MODEL_BATCH,
    fit_to_text,
    fitted_dropout,
    fitted_hidden_size,
    fitted_members,
    fitted_schedule,
    fitted_seq_len,
    most_epochs,
)
from charrnn.training.learner import Learner
from charrnn.training.members import Member
from charrnn.training.schedule import Clock, enough_steps, total_steps
from charrnn.training.workers import Workers

# how long the speed is measured, seconds; and as a share of a short time budget
MEASURE_S, MEASURE_SHARE = 0.25, 0.02

# who sets one of these gets one model, but by `members`
ONE_MODEL = {"members", "hidden_size", "num_layers"}


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
        epochs = most_epochs(model, train_chars, fitted="hidden_size" not in fixed)
        enough_s = enough_steps(steps_per_epoch, epochs) * chars_per_step / speed + spent_s
        max_time = min(training.max_time, enough_s)
        if max_time < training.max_time:
            notes.append(
                f"after {epochs:.0f} epochs a model only overfits: "
                f"training ends after {enough_s:.0f} s"
            )
        chars = max(speed * (max_time - spent_s), 0.0)
        training = replace(
            training, max_time=max_time, max_val_chars=_val_chars(model, training, chars)
        )
    dropout = fitted_dropout(model.parameter_count(), train_chars, chars / train_chars)
    schedule = fitted_schedule(model.hidden_size, chars, dropout)
    schedule = {name: value for name, value in schedule.items() if name not in fixed}
    if dropout and "dropout" not in fixed:
        model = _with_dropout(model, dropout, chars / train_chars, notes)
    training = fit_to_machine(model, replace(training, **schedule), workers)
    notes += fewer_workers(asked.workers, training)
    check_memory(model, training, workers)
    workers.set_count(training.workers or 1)
    return Plan(model, training, notes)


def _with_dropout(
    model: ModelConfig, dropout: float, epochs: float, notes: list[str]
) -> ModelConfig:
    """Returns the model with the dropout for a text that is read so often; notes it."""
    notes.append(f"about {epochs:.0f} epochs: dropout {dropout}")
    return replace(model, dropout=dropout)


def _shrunk(asked: TrainingConfig, training: TrainingConfig) -> str:
    """Returns what a small text changed, for the user."""
    return (
        f"small text: batch size {training.batch_size} and sequence length {training.seq_len} "
        f"instead of {asked.batch_size} and {asked.seq_len}"
    )


def _val_chars(model: ModelConfig, training: TrainingConfig, chars: float) -> int:
    """Returns how many characters to validate on in a training of ``chars`` characters.

    Scoring is three times as fast as learning, with gates about as fast: so an evaluation takes a
    twentieth of the time.
    """
    share = 0.15 if model.cell == "rnn" else 0.05
    return min(training.max_val_chars, max(1000, int(share * chars)))


def _fit_to_time(
    model: ModelConfig,
    asked: TrainingConfig,
    fixed: Set[str],
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
    budget_s = asked.max_time

    def chars_per_s(model: ModelConfig, asked: TrainingConfig) -> float:
        return training_speed(model, fit_to_text(asked, train_chars), workers, clock)

    speed = chars_per_s(model, asked)
    if fixed.isdisjoint(ONE_MODEL) and _members_were_compared(model, asked, workers):
        members = fitted_members(speed * (budget_s - clock()), train_chars)
        several = replace(asked, members=members)
        if members > 1:
            with contextlib.suppress(TooLargeError):  # one model may be small enough
                speed, asked = chars_per_s(model, several), several
    size = fitted_hidden_size(speed * (budget_s - clock()), train_chars)
    if "hidden_size" not in fixed and size != model.hidden_size:
        if size > model.hidden_size and "batch_size" not in fixed:
            asked = replace(asked, batch_size=LARGE_MODEL_BATCH)
        model = replace(model, hidden_size=size)
        speed = chars_per_s(model, asked)
    seq_len = fitted_seq_len(speed * (budget_s - clock()), asked.batch_size)
    if "seq_len" not in fixed:
        asked = replace(asked, seq_len=seq_len)  # about as fast: not measured again
    return model, asked, speed


def _members_were_compared(model: ModelConfig, asked: TrainingConfig, workers: Workers) -> bool:
    """Returns whether experiments compared members and one model in trainings of this kind."""
    plain = model.cell == "rnn" and model.nonlinearity == "tanh"
    return plain and find_device(asked.device).type == "cpu" and not workers.on_machines


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


def check_memory(
    model_config: ModelConfig,
    config: TrainingConfig,
    workers: Workers,
    advice: str = "",
) -> None:
    """Raises TooLargeError if a training on the CPU surely needs more memory than there is.

    ``workers`` are those that have started: the system counts their memory, if they have it yet.
    """
    if find_device(config.device).type != "cpu":
        return
    size, layers = model_config.hidden_size, model_config.num_layers
    batch = f"batches of {config.batch_size} x {config.seq_len} {UNIT_NAMES[model_config.unit]}s"
    fewer = "fewer --members, " if config.members > 1 else ""
    helpers = max((config.workers or 1) - workers.count, 0)  # to be started
    check_room(
        training_bytes(model_config, config) + helpers * HELPER_BYTES,
        f"training {_models(config)} of {size:,} x {layers}, {model_config.vocab_size:,} symbols, "
        f"in {batch},",
        advice
        or f"choose {fewer}a smaller model (--hidden-size, --num-layers) or batch "
        "(--batch-size, --seq-len), or close other programs",
    )


def fewer_workers(asked: int | None, config: TrainingConfig) -> list[str]:
    """Returns a line for the user if fewer workers train than were asked for."""
    if asked is None or asked <= (config.workers or 1):
        return []
    if config.members > 1:
        return [
            f"{config.workers} workers instead of {asked}: as many for each of {config.members} "
            "members"
        ]
    return [f"{config.workers} workers, one a stream, instead of {asked}"]


def _models(config: TrainingConfig) -> str:
    return f"{config.members} models" if config.members > 1 else "a model"


def training_speed(
    model_config: ModelConfig, config: TrainingConfig, workers: Workers, clock: Clock
) -> float:
    """Measures how fast such a model learns here, characters/s.

    It takes a quarter of a second, less of a short time budget, but at least two updates.
    """
    config = fit_to_machine(model_config, config, workers)
    check_memory(model_config, config, workers)
    workers.set_count(config.workers or 1)
    with torch.random.fork_rng(devices=[]):
        zeros = {n: np.zeros(s, np.float32) for n, s in model_config.parameter_shapes().items()}
        model = CharRNN.of(Forward(model_config, zeros))  # takes less time than drawing weights
        others = [Member(model)] * (config.members - 1)
        learner = Learner(model, config, workers, others)
    size = (config.seq_len + 1, config.batch_size)
    text = np.random.default_rng(0).integers(model_config.vocab_size, size=size)
    batch = Batch(text[:-1], text[1:], starts_block=False, after=Position())
    least_s = min(MEASURE_S, MEASURE_SHARE * (config.max_time or math.inf))
    marks_s = [clock()]
    took_s = 0.0
    # slow updates vary less
    while len(marks_s) < (3 if took_s > least_s else 4) or took_s < least_s:
        learner.update(batch, lr=0.0)  # the weights stay where they are
        marks_s.append(clock())
        took_s = marks_s[-1] - marks_s[0]
    # the first update has the warm-up
    step_s = statistics.median(b - a for a, b in itertools.pairwise(marks_s[1:]))
    if config.average_every > 1:
        start_s = clock()
        learner.average_ranks()
        step_s += (clock() - start_s) / config.average_every
    return batch.x.size / step_s
