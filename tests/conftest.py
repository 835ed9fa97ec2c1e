"""What every test shares: texts made on the spot, and small models."""

import os
import signal
from pathlib import Path

import pytest
import torch
from clocks import Clock
from texts import DATA

from charrnn.model import parallel
from charrnn.store.checkpoint import Checkpoint

# nothing here may reach for a network, or for another test's runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("CHARRNN_RUNS", None)
# tests that are started in the background inherit that it is ignored, and so would all commands
signal.signal(signal.SIGINT, signal.default_int_handler)
# sums come out the same every time, as the command's, and tests side by side do not wait
os.environ["OPENBLAS_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds torch; what trains in this process trains alone, if a test does not say otherwise."""
    monkeypatch.setattr("charrnn.training.workers.core_count", lambda: 1)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    parallel.set_threads(1)


@pytest.fixture
def clock() -> Clock:
    """A clock for a training that takes time."""
    return Clock()


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
