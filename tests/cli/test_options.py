"""Counts and durations as they are typed."""

from pathlib import Path

import pytest
from calls import TINY, metadata, succeed

from charrnn.cli.options import _count


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1m", 60.0), ("1h30m", 5400.0), ("1.5m", 90.0)]
)
def test_durations_have_units(text: str, seconds: float, story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    # the run is over at once: its five steps are what the new limit is asked about
    succeed("train", "--resume", "--runs", runs, "--save-every", text + "s" * (text == "90"))
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert state["training_config"]["save_every_s"] == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("1.001M", 1_001_000), ("0.3k", 300), ("12", 12), ("2K", 2000)]
)
def test_counts_are_exact(text: str, count: int) -> None:
    assert _count(text) == count
