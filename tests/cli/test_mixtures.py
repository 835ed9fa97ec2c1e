"""Several models on the command line."""

import json
from pathlib import Path

import pytest
from calls import SMALL, fail, succeed


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of two seeds and two sizes of one text, and one of another text."""
    folder = tmp_path_factory.mktemp("mixtures")
    (folder / "a.txt").write_text("I had coffee today.\nShe said so!\n" * 60)
    (folder / "b.txt").write_text("Other letters: xyz.\n" * 60)
    for name, source, *more in (
        ("one", "a.txt", "--seed", "1"),
        ("two", "a.txt", "--seed", "2", "--hidden-size", "12"),
        ("other", "b.txt"),
    ):
        options = (*SMALL, "--steps", "60", "--name", name, *more)
        succeed("train", folder / source, "--runs", folder / "runs", *options)
    return folder / "runs"


def models(*names: str) -> list[str]:
    return [word for name in names for word in ("--model", name)]


def test_a_mixture_is_better_than_the_mean_of_its_members(runs: Path) -> None:
    def bits(*names: str) -> float:
        args = ("eval", "--json", "--runs", runs, *models(*names))
        figures = json.loads(succeed(*args, stdin="She had coffee.\n" * 20).stdout)
        paths = [f"{runs}/{name}/model.safetensors" for name in names]
        assert figures["model"] == (paths if names[1:] else paths[0])
        return float(figures["bits_per_char"])

    assert bits("one", "two") < (bits("one") + bits("two")) / 2
    assert bits("one", "one") == pytest.approx(bits("one"), abs=1e-5)


@pytest.mark.parametrize(
    "form", [(), ("--per-line",), ("--per-char",), ("--context-curve",), ("--exact", "--json")]
)
def test_every_form_of_eval_takes_a_mixture(runs: Path, form: tuple[str, ...]) -> None:
    text = "I had coffee today.\n" * 90
    args = ("eval", *form, "--runs", runs)
    result = succeed(*args, *models("one", "two"), stdin=text)
    assert result.stdout
    assert result.stdout != succeed(*args, *models("one"), stdin=text).stdout


def test_samples_of_a_mixture(runs: Path) -> None:
    args = ("sample", "--runs", runs, "--prompt", "I had", "--seed", "3", "--length", "50")
    both = succeed(*args, *models("one", "two")).stdout
    assert len(both.strip("\n")) >= 50
    assert both == succeed(*args, *models("one", "two")).stdout
    assert both != succeed(*args, *models("one")).stdout
    line = json.loads(succeed(*args, "--json", *models("one", "two")).stdout)
    assert line["prompt"] + line["text"] == both.removesuffix("\n")
    assert line["model"] == [f"{runs}/{name}/model.safetensors" for name in ("one", "two")]
    many = succeed(*args, "--count", "3", *models("one", "two")).stdout
    assert many.startswith(both.removesuffix("\n"))


def test_models_of_different_texts_are_refused(runs: Path) -> None:
    error = fail("eval", "--runs", runs, *models("one", "other"), stdin="x")
    assert "they know different characters" in error


def test_the_figure_of_held_out_lines_is_of_one_model(runs: Path) -> None:
    args = ("eval", "--per-line", "--threshold", "auto", "--runs", runs)
    assert "of one --model" in fail(*args, *models("one", "two"), stdin="x\n", code=2)
    succeed(*args, *models("one"), stdin="x\n")
