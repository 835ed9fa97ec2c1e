"""Fits a model and its training to the text and to the time: whatever the user left open.

The tables of what is fitted to what are in :mod:`charrnn.config`, the experiments behind them in
``tests/bench/README.md``.
"""

import itertools
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from charrnn.config import (
    ENOUGH_PASSES,
    LARGE_MODEL_BATCH,
    LARGE_MODEL_PASSES,
    ModelConfig,
    TrainingConfig,
    enough_steps,
    fitted_dropout,
    fitted_hidden_size,
    fitted_schedule,
)
from charrnn.model.device import find_device
from charrnn.model.network import CharRNN
from charrnn.training.optimizer import AdamW
from charrnn.training.trainer import update_weights


@dataclass(frozen=True)
class Plan:
    """A training that fits its text and its time.

    Attributes:
        model: the model's configuration.
        training: the settings.
        notes: what the user should know.
        spent_s: seconds that planning took from the time.
    """

    model: ModelConfig
    training: TrainingConfig
    notes: list[str]
    spent_s: float


def plan(
    model_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    train_chars: int | None,
) -> Plan:
    """Fits model, settings, length and evaluation to what can be read of the text.

    Args:
        model_options: fields of the model; those that are missing are chosen.
        training_options: fields of the settings; those that are missing are chosen.
        train_chars: characters of the training text; None where it has no end yet.

    Raises:
        OptionError: A value is out of range.
    """
    start_s, spent_s = time.perf_counter(), 0.0
    endless = train_chars is None
    text_chars = math.inf if train_chars is None else train_chars
    asked, model, notes = TrainingConfig(**training_options), ModelConfig(**model_options), []
    training, large, passes = asked.fitted(text_chars), False, ENOUGH_PASSES
    max_time = training.max_time
    if max_time is not None:
        speed = training_speed(model, training)
        if "hidden_size" not in model_options:
            size = fitted_hidden_size(speed * max_time, text_chars)
            if size != model.hidden_size:
                model, large = replace(model, hidden_size=size), size > model.hidden_size
                if large:
                    passes = LARGE_MODEL_PASSES
                    asked = TrainingConfig(**{"batch_size": LARGE_MODEL_BATCH, **training_options})
                    training = asked.fitted(text_chars)
                speed = training_speed(model, training)
        spent_s = time.perf_counter() - start_s
    chars_per_step = training.batch_size * training.seq_len
    steps_per_epoch = None if endless else max(1, int(text_chars // chars_per_step))
    if training != asked:
        notes.append(_say_fitted(asked, training))
    if max_time is None:
        steps = training.total_steps(steps_per_epoch)
        assert steps is not None
        read = float(steps * chars_per_step)
    else:
        if steps_per_epoch is not None:
            enough_s = enough_steps(steps_per_epoch, passes) * chars_per_step / speed + spent_s
            if enough_s < max_time:
                notes.append(
                    f"after {passes} passes a text is only learnt by heart: "
                    f"training ends after {enough_s:.0f} s"
                )
                max_time = enough_s
        read = max(speed * (max_time - spent_s), 0.0)
        # scoring is thrice as fast as learning: an evaluation takes a twentieth of the time
        val_chars = min(training.max_val_chars, max(1000, int(0.15 * read)))
        training = replace(training, max_time=max_time, max_val_chars=val_chars)
    schedule = {k: v for k, v in fitted_schedule(read).items() if k not in training_options}
    if "dropout" not in model_options:
        often = read / text_chars
        model = replace(model, dropout=fitted_dropout(often, read, large=large))
        if model.dropout:
            notes.append(f"about {often:.0f} passes over the text: dropout {model.dropout}")
    return Plan(model, replace(training, **schedule), notes, spent_s)


def training_speed(model_config: ModelConfig, config: TrainingConfig) -> float:
    """Measures how fast such a model learns here; takes about a quarter of a second.

    Args:
        model_config: the network.
        config: batch size, sequence length and device.

    Returns:
        Characters per second.
    """
    with torch.random.fork_rng(devices=[]):
        model = CharRNN(model_config).to(find_device(config.device))
        text = torch.randint(model_config.vocab_size, (config.seq_len + 1, config.batch_size))
    optimizer, state = AdamW(model.parameters(), 0.0), model.zero_state(config.batch_size)
    batch = text[:-1].to(state.device), text[1:].to(state.device)
    marks = [time.perf_counter()]
    while len(marks) < 4 or marks[-1] - marks[0] < 0.25:
        # at rate 0 the weights stay where they are, and every update is as the first
        update_weights(model, optimizer, batch, state, rate=0.0, number=1, grad_clip=1.0)
        marks.append(time.perf_counter())
    # the first update has the warm-up
    return batch[0].numel() / statistics.median(b - a for a, b in itertools.pairwise(marks[1:]))


def _say_fitted(asked: TrainingConfig, fitted: TrainingConfig) -> str:
    return (
        f"small text: batch size {fitted.batch_size} and sequence length {fitted.seq_len} "
        f"instead of {asked.batch_size} and {asked.seq_len}"
    )
