"""The rules that experiments found: for any text and time, and where they were measured."""

import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ENOUGH_EPOCHS, ModelConfig, TrainingConfig
from charrnn.training.fitting import (
    FEWEST_UPDATES,
    LARGE_MODEL_EPOCHS,
    LONG_CHARS,
    SHORT_SEQ_LEN,
    fit_to_text,
    fitted_dropout,
    fitted_hidden_size,
    fitted_members,
    fitted_schedule,
    fitted_seq_len,
    most_epochs,
)

few = settings(max_examples=100, deadline=None)

# Settings fitted to a small text.

training_chars = st.one_of(st.integers(3, 3000), st.integers(3, 10**6))


@few
@given(training_chars, st.integers(1, 200), st.integers(1, 200))
def test_fitted_streams_are_four_sequences_long(chars: int, batch: int, seq: int) -> None:
    fitted = fit_to_text(TrainingConfig(batch_size=batch, seq_len=seq), chars)
    assert 1 <= fitted.batch_size <= batch
    assert 1 <= fitted.seq_len <= seq
    targets = chars - 1
    if targets >= 4:
        assert targets // fitted.batch_size >= 4 * fitted.seq_len
    # what shrank could not be larger
    if fitted.batch_size < batch:
        assert targets // (fitted.batch_size + 1) < 4 * seq
    if fitted.seq_len < seq:
        assert targets // fitted.batch_size < 4 * (fitted.seq_len + 1)


@few
@given(training_chars, st.integers(1, 200), st.integers(1, 200))
def test_fitted_is_settled_and_changes_nothing_else(chars: int, batch: int, seq: int) -> None:
    fitted = fit_to_text(TrainingConfig(batch_size=batch, seq_len=seq, seed=7), chars)
    assert fit_to_text(fitted, chars) == fitted
    assert fit_to_text(fitted, 10**9) == fitted
    same = {"batch_size": 1, "seq_len": 1}
    assert asdict(fitted) | same == asdict(TrainingConfig(seed=7)) | same


@pytest.mark.parametrize("chars", [8192, 8193, 4 * 64 * 5, 4 * 64 * 5 + 1])
def test_the_sequence_shrinks_for_a_single_stream_only(chars: int) -> None:
    fitted = fit_to_text(TrainingConfig(batch_size=32, seq_len=64), chars)
    assert fitted.batch_size > 1
    assert fitted.seq_len == 64


# --- settings fitted to what will be read

AMOUNTS = [10.0**n for n in range(10)]


@pytest.mark.parametrize(
    ("train_chars", "largest"), [(400_000, 256), (600_000, 384), (1e8, 384), (math.inf, 384)]
)
def test_more_to_read_never_means_a_smaller_model(train_chars: float, largest: int) -> None:
    chosen = [fitted_hidden_size(chars, train_chars) for chars in AMOUNTS]
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (128, largest)


def test_a_larger_text_gets_the_large_model_sooner() -> None:
    """Shakespeare's plays after 50 million characters, a text of 5 million after 10."""
    for train_chars, least in ((1e6, 5e7), (5e6, 1e7), (1e8, 6e6)):
        assert fitted_hidden_size(least, train_chars) == 384
        assert fitted_hidden_size(0.99 * least, train_chars) == 256


def test_more_to_read_never_means_fewer_members() -> None:
    for train_chars in (1e4, 1e6, 1e7, math.inf):
        chosen = [fitted_members(chars, train_chars) for chars in AMOUNTS]
        assert chosen == sorted(chosen) and chosen[0] == 1
    assert fitted_members(1e12, 1e6) == 4
    assert fitted_members(1e12, math.inf) == 1, "a text that is never read again"


@pytest.mark.parametrize(
    ("chars", "members"),
    [(4.5e6, 1), (7e6, 2), (12.3e6, 2), (24e6, 2), (37e6, 4), (48e6, 4), (75e6, 4)],
)
def test_members_of_shakespeare_are_as_many_as_were_found_to_win(
    chars: float, members: int
) -> None:
    assert fitted_members(chars, 1_003_854) == members


@pytest.mark.parametrize(
    ("train_chars", "chars"),
    [
        (143_000, [2e6, 4e6, 15e6, 20e6]),  # data/coffee.txt
        (205_000, [2e6, 4e6, 20e6, 22e6]),  # names
        (8.1e6, [8e6, 12e6, 60e6, 75e6]),  # Python's library
    ],
)
def test_the_larger_a_text_the_later_several_members_win(
    train_chars: float, chars: list[float]
) -> None:
    assert [fitted_members(n, train_chars) for n in chars] == [1, 2, 2, 4]


def test_only_a_short_training_has_short_sequences() -> None:
    for batch_size in (1, 32, 100):
        enough = FEWEST_UPDATES * batch_size * TrainingConfig.seq_len
        assert fitted_seq_len(enough, batch_size) == TrainingConfig.seq_len
        assert fitted_seq_len(enough - 1, batch_size) == SHORT_SEQ_LEN


def rates(hidden_size: int, chars: float, train_chars: float = 1e6) -> dict[str, Any]:
    weights = ModelConfig(65, hidden_size=hidden_size).parameter_count()
    dropout = fitted_dropout(weights, train_chars, chars / train_chars)
    return fitted_schedule(hidden_size, chars, dropout)


def test_only_a_long_training_takes_smaller_steps() -> None:
    assert rates(256, LONG_CHARS - 1) == {"learning_rate": 4e-3}
    assert rates(256, LONG_CHARS) == {"learning_rate": 3e-3, "final_learning_rate": 0.05}


def test_a_long_training_of_a_small_text_takes_half_of_these() -> None:
    """Of names, 39 times; not of Shakespeare, 24 times, nor in the larger batches of 384 x 3."""
    assert rates(256, 8e6, 205_000) == {"learning_rate": 1.5e-3, "final_learning_rate": 0.05}
    assert rates(256, 5.7e6, 143_000) == {"learning_rate": 4e-3}
    assert rates(256, 24.5e6)["learning_rate"] == 3e-3
    assert rates(384, 55e6)["learning_rate"] == 3e-3


def test_a_narrow_model_takes_larger_steps() -> None:
    sizes = [512, 128, 96, 80, 64, 32, 1]
    steps = [rates(size, 1e6)["learning_rate"] / 4e-3 for size in sizes]
    assert steps == pytest.approx([1, 1, 4 / 3, 1.6, 2, 2, 2])


@pytest.mark.parametrize(
    ("weights", "train_chars", "epochs", "wanted"),
    [
        (115_000, 2_100_000, 11, 0.0),  # a small model of a novel
        (50_000, 200_000, 8, 0.0),
        (120_000, 200_000, 8, 0.0),
        (375_000, 200_000, 4, 0.0),
        (375_000, 200_000, 12, 0.05),
        (375_000, 1_000_000, 4.5, 0.0),  # Shakespeare: a minute, 5, 30
        (375_000, 1_000_000, 20, 0.05),
        (830_000, 1_000_000, 55, 0.15),
        (375_000, 205_000, 20, 0.1),  # names: a minute, 5
        (342_000, 205_000, 39, 0.15),
        (375_000, 143_000, 25, 0.1),  # data/coffee.txt
        (375_000, math.inf, 0.0, 0.0),  # a text that has not ended
    ],
)
def test_there_is_dropout_where_it_was_found_to_help(
    weights: int, train_chars: float, epochs: float, wanted: float
) -> None:
    assert fitted_dropout(weights, train_chars, epochs) == wanted


@few
@given(
    st.integers(1, 10**7), st.integers(100, 10**9), st.floats(0, 1000), st.floats(1, 10, width=32)
)
def test_what_can_overfit_more_never_has_less_dropout(
    weights: int, chars: int, epochs: float, factor: float
) -> None:
    dropout = fitted_dropout(weights, chars, epochs)
    assert fitted_dropout(weights, chars, epochs * factor) >= dropout
    assert fitted_dropout(math.ceil(weights * factor), chars, epochs) >= dropout
    assert fitted_dropout(weights, chars * factor, epochs) <= dropout


def test_a_text_is_read_the_oftener_the_fewer_weights_there_are_for_it() -> None:
    model = ModelConfig(65, hidden_size=128)
    assert most_epochs(model, 100_000, fitted=True) == ENOUGH_EPOCHS
    assert most_epochs(model, 10_000_000, fitted=True) > 10 * ENOUGH_EPOCHS
    assert most_epochs(model, math.inf, fitted=True) == math.inf
    large = ModelConfig(65, hidden_size=384)
    assert most_epochs(large, 1_000_000, fitted=True) == LARGE_MODEL_EPOCHS
    assert most_epochs(large, 1_000_000, fitted=False) == ENOUGH_EPOCHS
