"""What experiments found: which settings suit a text, and how often it will be read.

The experiments are in ``tests/bench/README.md``. Nothing here is measured; `planning` does that.
"""

import math
from dataclasses import replace
from typing import Any

from charrnn.config import ENOUGH_EPOCHS, ModelConfig, TrainingConfig

# the hidden size from this many characters on that are read in all
HIDDEN_SIZE_BY_CHARS = ((3e6, 256), (0.6e6, 192), (-math.inf, 128))

# a hidden size above the default pays from this many characters on, the fewer the larger the text
# is, for it is then read less often; never for a small text
LARGE_MODEL_SIZE = 384
LARGE_MODEL_FEWEST_CHARS = 6e6
LARGE_MODEL_CHARS_BY_TEXT = 5e13  # over the characters of the text: 50 million, of a million
LARGE_MODEL_TEXT = 500_000
LARGE_MODEL_BATCH = 64
LARGE_MODEL_EPOCHS = 60  # its larger dropout makes more worthwhile

# members of a training, if one model would read this many characters, of a text of a million; of
# others, by the cube root of their size. Until then, one learns more from more. Not 3: two workers
# would take as long as for 4
MEMBERS_BY_CHARS = ((3.6e7, 4), (5.5e6, 2))

# a training that reads this many characters in all can start and end with smaller steps
LONG_CHARS = 6e6
LONG_SCHEDULE = {"learning_rate": 3e-3, "final_learning_rate": 0.05}
# of that rate, if it reads a small text so often that it takes the most dropout; not of a large
# model, whose batches are larger
LONG_AND_OVERFITTING = 0.5

# models narrower than this learn more with larger steps: the narrower the larger, up to twice
NARROW_SIZE = 128

# a training of fewer updates than this learns more from more, of sequences half as long
FEWEST_UPDATES = 800
SHORT_SEQ_LEN = TrainingConfig.seq_len // 2

# without dropout, a text can be read this often, and more often the fewer weights there are for
# each of its characters; the more often it is read than that, the more dropout it takes
FREE_EPOCHS, FREE_EPOCHS_BY_CHARS_PER_WEIGHT = 5.0, 3.0
ENOUGH_BY_FREE_EPOCHS = 3.0  # beyond, even with dropout, a model only overfits
MOST_DROPOUT = 0.15
DROPOUT_BY_EXCESS = ((4.5, MOST_DROPOUT), (2.0, 0.1), (1.0, 0.05))


def fit_to_text(config: TrainingConfig, train_chars: float) -> TrainingConfig:
    """Returns the settings, with batch and sequence shrunk to fit a small text.

    Each stream should be at least four sequences long, or carrying its state means nothing: first
    the batch shrinks, then, for one stream, the sequence.
    """
    targets = min(train_chars, 2**40) - 1
    batch_size = max(1, min(config.batch_size, int(targets // (4 * config.seq_len))))
    seq_len = max(1, min(config.seq_len, int(targets // (4 * batch_size))))
    return replace(config, batch_size=batch_size, seq_len=seq_len)


def fitted_hidden_size(chars: float, train_chars: float) -> int:
    """Returns the hidden size for a time in which the default one would read ``chars`` characters.

    A small model learns less from each character, but reads more of them.
    """
    large = max(LARGE_MODEL_FEWEST_CHARS, LARGE_MODEL_CHARS_BY_TEXT / train_chars)
    if train_chars >= LARGE_MODEL_TEXT and chars >= large:
        return LARGE_MODEL_SIZE
    return next(size for least, size in HIDDEN_SIZE_BY_CHARS if chars >= least)


def fitted_members(chars: float, train_chars: float) -> int:
    """Returns how many members suit a time in which one model would read ``chars`` characters.

    Each reads fewer. If one model would gain little from more of the same text, their mixture is
    better.
    """
    scaled = chars / math.cbrt(train_chars / 1e6)
    return next((members for least, members in MEMBERS_BY_CHARS if scaled >= least), 1)


def fitted_seq_len(chars: float, batch_size: int) -> int:
    """Returns the sequence length for a training that reads ``chars`` characters in all."""
    updates = chars / (batch_size * TrainingConfig.seq_len)
    return SHORT_SEQ_LEN if updates < FEWEST_UPDATES else TrainingConfig.seq_len


def fitted_schedule(hidden_size: int, chars: float, dropout: float) -> dict[str, Any]:
    """Returns the learning rates of a training that reads ``chars`` characters in all.

    The dropout is the one that suits the text, whichever is set.
    """
    schedule = {"learning_rate": TrainingConfig.learning_rate}
    if chars >= LONG_CHARS:
        schedule = dict(LONG_SCHEDULE)
        if dropout == MOST_DROPOUT and hidden_size < LARGE_MODEL_SIZE:
            schedule["learning_rate"] *= LONG_AND_OVERFITTING
    schedule["learning_rate"] *= min(max(NARROW_SIZE / hidden_size, 1.0), 2.0)
    return schedule


def fitted_dropout(weights: int, train_chars: float, epochs: float) -> float:
    """Returns the dropout for a text that is read often.

    Args:
        weights: the model's parameters.
        train_chars: characters of the training text.
        epochs: how often it will be read.
    """
    excess = epochs / _free_epochs(weights, train_chars)
    return next((dropout for least, dropout in DROPOUT_BY_EXCESS if excess >= least), 0.0)


def most_epochs(model: ModelConfig, train_chars: float, *, fitted: bool) -> float:
    """Returns how often a text is worth reading.

    Args:
        model: what reads it.
        train_chars: characters of the training text.
        fitted: whether the hidden size was chosen here: then a large one has enough dropout.
    """
    large = fitted and model.hidden_size > ModelConfig.hidden_size
    free_epochs = _free_epochs(model.parameter_count(), train_chars)
    at_least = LARGE_MODEL_EPOCHS if large else ENOUGH_EPOCHS
    return max(at_least, ENOUGH_BY_FREE_EPOCHS * free_epochs)


def _free_epochs(weights: int, train_chars: float) -> float:
    """Returns how often a model can read a text before it overfits without dropout.

    A model with few weights for each character has little room to overfit; dropout would take it
    some of that.
    """
    return FREE_EPOCHS + FREE_EPOCHS_BY_CHARS_PER_WEIGHT * train_chars / weights
