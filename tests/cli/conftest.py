"""What the tests of the command line share: runs of small models."""

import os
from pathlib import Path

import pytest
from calls import SMALL, TINY, succeed


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs that does not exist yet."""
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, ``letters`` and ``raw``, the newest; nobody may change it."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "letters.txt"
    text.write_text("I had coffee today, naïve café.\nShe said so!\n" * 50, encoding="utf-8")
    succeed("train", text, "--runs", folder / "runs", *SMALL, "--steps", "200")
    succeed("train", text, "--runs", folder / "runs", *TINY, "--unit", "byte", "--name", "raw")
    os.utime(folder / "runs/letters/model.safetensors", (1, 1))
    return folder / "runs"


@pytest.fixture
def letters(trained: Path) -> Path:
    """The run of characters."""
    return trained / "letters"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a text that is not ASCII."""
    folder = tmp_path_factory.mktemp("process")
    text = folder / "text.txt"
    text.write_text("naïve café, 日本語\n" * 100, encoding="utf-8")
    result = succeed("train", text, "--runs", folder, *SMALL, "--steps", "5")
    return Path(result.stdout.strip())
