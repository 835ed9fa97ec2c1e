"""Options as they are typed and shown: counts, durations, choices, their order."""

import re
from pathlib import Path
from typing import get_args

import pytest
from calls import TINY, call, metadata, succeed

from charrnn.cli.values import count
from charrnn.config import Nonlinearity, OnUnknown, Optimizer, Precision, Unit


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
    ("text", "number"), [("1.001M", 1_001_000), ("0.3k", 300), ("12", 12), ("2K", 2000)]
)
def test_counts_are_exact(text: str, number: int) -> None:
    assert count(text) == number


def help_of(command: str) -> str:
    return succeed(command, "--help", COLUMNS="200", TERMINAL_WIDTH="200").stdout


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("train", "--unit", get_args(Unit)),
        ("train", "--nonlinearity", get_args(Nonlinearity)),
        ("train", "--precision", get_args(Precision)),
        ("train", "--optimizer", get_args(Optimizer)),
        ("eval", "--on-unknown", get_args(OnUnknown)),
        ("eval", "--encoding-errors", ("strict", "replace")),
    ],
)
def test_choices_are_shown_and_kept_to(
    command: str, option: str, choices: tuple[str, ...], story: Path
) -> None:
    assert re.search(rf"{option} +<{'[|]'.join(choices)}>", help_of(command))
    wrong = call(command, story, option, "surrogateescape")
    assert wrong.exit_code == 2
    assert all(f"'{choice}'" in wrong.stderr for choice in choices)


def test_the_most_used_options_come_first() -> None:
    first = ["name", "resume", "max-time", "steps", "epochs", "unit", "val-source"]
    first += ["hidden-size", "num-layers", "learning-rate"]
    options = re.findall(r"\n. --([a-z-]+) ", help_of("train"))
    assert [option for option in options if option in first] == first
    panels = re.findall(r"─ ([A-Z][a-z ]+) ─", help_of("train"))
    assert panels[2:] == ["Run", "When to stop", "Text", "Model", "Training"]
