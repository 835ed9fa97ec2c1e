"""A model must be better than guessing, or the user is told."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import run, start

from charrnn.training.guessing import MUCH_WORSE, Guessing


def test_guessing_costs_the_cross_entropy() -> None:
    guessing = Guessing.of(np.array([0.5, 0.25, 0.25]), np.array([0, 0, 1, 2]))
    assert guessing.nats == pytest.approx(1.5 * np.log(2))
    assert Guessing.of(np.array([0.5, 0.5]), np.array([], int)).warnings(1e9, "char") == []


def test_only_a_model_that_is_much_worse_is_warned_of() -> None:
    guessing = Guessing(2.0)
    assert guessing.warnings(None, "char") == guessing.warnings(2.0 * MUCH_WORSE, "char") == []
    (warning,) = guessing.warnings(2.0 * MUCH_WORSE + 0.01, "byte")
    assert "lower --learning-rate" in warning and "2.885" in warning and "bits/byte" in warning


@pytest.mark.parametrize(("lr", "warned"), [(10.0, True), (1e-2, False), (1e-30, False)])
def test_a_learning_rate_that_is_too_high_is_named_at_the_end(
    tmp_path: Path, lr: float, warned: bool
) -> None:
    """The lower one that is advised is not warned of; nor is one so low that nothing is learnt."""
    trainer = start(tmp_path, learning_rate=lr, steps=40)
    run(trainer)
    assert any("lower --learning-rate" in note for note in trainer.late_notes) == warned
