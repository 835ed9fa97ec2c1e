"""What every test shares: texts made on the spot, and small models."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from charrnn import planning, training
from charrnn.checkpoint import Checkpoint

# nothing here may reach for a network, or for another test's runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("CHARRNN_RUNS", None)
# sums come out the same every time, and tests that run side by side do not wait for each other
torch.set_num_threads(1)

DATA = Path(__file__).parents[1] / "data"
SENTENCE = "I had coffee today with Anna.\nShe said so, and I said no!\n"


class Clock:
    """A clock that goes on by a little each time it is read."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        self.now += 0.1
        return self.now


@pytest.fixture(autouse=True)
def _same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds torch; a test that sets other threads does not change the next one.

    However slow the machine is, lines are logged by the steps.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "LOG_AFTER_S", math.inf)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replaces the clock that planning and training read."""
    clock = Clock()
    for room in (planning, training):
        monkeypatch.setattr(room, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model that has read the diary's first 30,000 characters twice."""
    from small_models import trained_on

    torch.set_num_threads(1)
    text = (DATA / "coffee.txt").read_text()[:30_000]
    return trained_on(text, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A text of 6,000 characters that a small model can learn."""
    path = tmp_path / "story.txt"
    path.write_text((DATA / "coffee.txt").read_text()[:6000])
    return path
