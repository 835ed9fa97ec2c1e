"""``charrnn eval --adapt``: what is printed, what is saved, what does not go together."""

import json
import re
from pathlib import Path

import pytest
from calls import fail, metadata, succeed

TEXT = "She had coffee at noon, and then some more.\n" * 60


def test_the_figures_come_with_those_of_the_model_as_it_was(letters: Path) -> None:
    model = ("--model", letters)
    plain = json.loads(succeed("eval", "--json", *model, stdin=TEXT).stdout)
    figures = json.loads(succeed("eval", "--json", "--adapt", *model, stdin=TEXT).stdout)
    assert "adapted" not in plain and figures["adapted"] is True
    assert figures["bits_per_char_as_it_was"] == pytest.approx(plain["bits_per_char"], abs=1e-4)
    assert figures["bits_per_char"] < plain["bits_per_char"] - 0.3
    assert figures["chars"] == plain["chars"]
    table = succeed("eval", "--adapt", *model, stdin=TEXT).stdout
    (as_it_was,) = re.findall(r"without adapting +([\d.]+)", table)
    assert float(as_it_was) == pytest.approx(plain["bits_per_char"], abs=1e-3)


def test_lines_are_scored_after_those_before_them(letters: Path) -> None:
    lines = TEXT.splitlines(keepends=True)
    rows = succeed("eval", "--per-line", "--adapt", "--model", letters, stdin=TEXT).stdout
    bits = [float(row.split("\t")[0]) for row in rows.splitlines()]
    assert len(bits) == len(lines)
    assert bits[-1] < bits[0] - 0.5, "what repeats is usual"


@pytest.mark.parametrize("carry", [False, True])
def test_each_source_is_scored_alone_or_after_the_others(
    letters: Path, tmp_path: Path, carry: bool
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(TEXT)
    args = ("eval", tmp_path / "a", tmp_path / "b", "--adapt", "--json", "--model", letters)
    figures = json.loads(succeed(*args, *["--carry"] * carry).stdout)
    a, b = (one["bits_per_char"] for one in figures["sources"])
    assert b < a - 0.2 if carry else b == a


def test_the_adapted_model_is_saved(letters: Path, tmp_path: Path) -> None:
    saved = tmp_path / "adapted.safetensors"
    succeed("eval", "--adapt", "--save-adapted", saved, "--model", letters, stdin=TEXT)

    def bits(model: Path) -> float:
        line = succeed("eval", "--json", "--model", model, stdin=TEXT).stdout
        return float(json.loads(line)["bits_per_char"])

    assert bits(saved) < bits(letters) - 0.5
    provenance = metadata(saved, "provenance")
    assert provenance["adapted_to"] == ["-"]
    assert provenance["val_nats_per_char"] is None and provenance["held_out_lines"] is None
    card = succeed("runs", saved, "--card").stdout
    assert "not known: it has adapted to standard input since" in card


@pytest.mark.parametrize("carry", [False, True])
def test_what_is_saved_names_the_sources_that_it_has_learnt_from(
    letters: Path, tmp_path: Path, carry: bool
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(TEXT[:200])
    sources = [str(tmp_path / name) for name in "ab"]
    saved = tmp_path / "adapted.safetensors"
    args = ("eval", *sources, "--adapt", "--save-adapted", saved, "--model", letters)
    succeed(*args, *["--carry"] * carry)
    assert metadata(saved, "provenance")["adapted_to"] == (sources if carry else sources[1:])


@pytest.mark.parametrize(
    "args",
    [
        ("--adapt", "--per-char"),
        ("--adapt", "--context-curve"),
        ("--adapt", "--per-line", "--threshold", "auto"),
        ("--save-adapted", "x"),
    ],
)
def test_what_does_not_go_together_is_refused(letters: Path, args: tuple[str, ...]) -> None:
    assert "adapt" in fail("eval", *args, "--model", letters, stdin=TEXT, code=2)
