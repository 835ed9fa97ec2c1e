"""Several models on the command line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from calls import SMALL, TINY, fail, succeed

from charrnn.report.measures import measure
from charrnn.scoring.lines import usual_of_lines
from charrnn.scoring.scorer import Scorer
from charrnn.store import checkpoint
from charrnn.store.mixing import load_all, load_run, save_all


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
        ("both", "a.txt", "--seed", "1", "--members", "2"),
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


# --- a run of several members


def files(runs: Path) -> tuple[str, str]:
    return f"{runs}/both/model.safetensors", f"{runs}/both/model-2.safetensors"


@pytest.mark.parametrize("form", [(), ("--json",), ("--per-line",), ("--per-char",), ("--exact",)])
def test_a_run_is_the_mixture_of_its_members(runs: Path, form: tuple[str, ...]) -> None:
    """And each file is a model alone."""
    args = ("eval", *form, "--runs", runs)

    def scored(*names: str) -> str:
        text = succeed(*args, *models(*names), stdin="I had coffee today.\n" * 20).stdout
        return re.sub(r'^time.*|"(chars_per_)?seconds?": [\d.]+', "", text, flags=re.MULTILINE)

    first, second = files(runs)
    assert scored("both") == scored(first, second) == scored(f"{runs}/both")
    assert len({scored("both"), scored(first), scored(second)}) == 3


def test_a_run_of_several_members_is_sampled_and_named(runs: Path, tmp_path: Path) -> None:
    args = ("sample", "--seed", "3", "--length", "50", "--json")
    (tmp_path / "both").symlink_to(runs / "both")
    newest = succeed(*args, "--runs", tmp_path)
    assert f"model {tmp_path}/both (2 members)" in newest.stderr
    drawn = json.loads(newest.stdout)
    assert drawn["model"] == [path.replace(str(runs), str(tmp_path)) for path in files(runs)]
    named = json.loads(succeed(*args, *models(*files(runs))).stdout)
    assert named["text"] == drawn["text"]
    alone = json.loads(succeed(*args, *models(files(runs)[1])).stdout)
    assert alone["text"] != drawn["text"] and alone["model"] == files(runs)[1]


def test_training_prints_the_folder_of_several_members(runs: Path, tmp_path: Path) -> None:
    args = ("train", runs.parent / "a.txt", "--runs", tmp_path, *TINY, "--members", "3")
    result = succeed(*args)
    assert result.stdout == f"{tmp_path}/a\n"
    assert re.search(r"; 3 members of 8 x 1, \d+ parameters each; batch", result.stderr)
    error = fail("train", "--resume", tmp_path / "a", "--members", "2")
    assert "trained with --members 3, not 2: leave --members out" in error
    again = succeed("train", "--resume", tmp_path / "a", "--steps", "7")
    assert again.stdout == f"{tmp_path}/a\n"
    assert "out of range; it must be 1 to 16" in fail(*args[:-1], "17", code=2)


def test_the_held_out_lines_of_a_run_are_scored_by_its_mixture(runs: Path) -> None:
    args = ("eval", "--per-line", "--threshold", "auto", "--runs", runs)
    loaded = load_run(runs / "both")
    text = (runs.parent / "a.txt").read_text()
    ids = loaded.vocabulary.encode(text[int(0.9 * len(text)) :])
    usual = usual_of_lines(Scorer(loaded.model, loaded.vocabulary), ids)
    assert loaded.held_out_lines == (usual["lines"], usual["usual_bits_per_char"])
    threshold = f"threshold {usual['usual_bits_per_char']:.4f} bits"
    assert threshold in succeed(*args, *models("both"), stdin="x\n").stderr
    error = fail(*args, *models(files(runs)[0]), stdin="x\n")
    assert "it is one of 2 members, and its run keeps them of all" in error
    assert "of one --model" in fail(*args, *models("both", "one"), stdin="x\n", code=2)


def test_a_run_of_several_members_is_listed_and_described(runs: Path) -> None:
    assert re.search(r"both .* 8 x 1, 2 members ", succeed("runs", "--runs", runs).stdout)
    shown = succeed("runs", "both", "--runs", runs).stdout
    assert re.search(r"parameters +\d+ in each of 2 members\n", shown)
    assert re.search(r"best validation +\d\.\d+ bits/char", shown)
    card = succeed("runs", "both", "--card", "--runs", runs).stdout
    assert "the mean of 2 models' logits, each an RNN of one layer" in card
    assert "`model.safetensors` and\n`model-2.safetensors` belong together" in card
    for number, path in enumerate(files(runs), 1):
        shown = succeed("runs", path, "--runs", runs).stdout
        assert re.search(rf"\nmember +{number} of 2\n", shown)
        assert re.search(r"\nbest validation +-\n", shown)
        card = succeed("runs", path, "--card", "--runs", runs).stdout
        assert re.search(r"not known of it alone: it is one of 2 members, which reach \d", card)


def test_a_page_shows_a_mixture(runs: Path) -> None:
    page = succeed("report", "both", "--runs", runs, "--output", "-").stdout
    assert "8 × 1, 2 members" in page and "the hidden units are those of the first member" in page
    alone = succeed("report", files(runs)[1], "--output", "-").stdout
    assert "of the first member" not in alone


def test_a_page_shows_the_units_of_the_first_member(runs: Path) -> None:
    """And the surprise of all members together."""
    text = "I had coffee today.\n" * 30
    both, alone = load_run(runs / "both"), load_all([Path(files(runs)[0])])
    mixed, first = (measure(loaded, text, "a text", context_work=0) for loaded in (both, alone))
    assert mixed.layers == first.layers
    assert mixed.passage is not None and first.passage is not None
    ids = both.vocabulary.encode(text)
    scorer = Scorer(both.model, both.vocabulary, exact=True)
    bits = scorer.nats(ids, scorer.start)[0] / np.log(2)
    np.testing.assert_allclose(mixed.passage.bits, bits, atol=1e-4)
    assert not np.allclose(first.passage.bits, bits, atol=1e-2)


def test_a_page_of_a_training_shows_a_mixture(runs: Path, tmp_path: Path) -> None:
    options = ("--runs", tmp_path, *TINY, "--members", "2", "--report")
    succeed("train", runs.parent / "a.txt", *options)
    assert "2 members" in (tmp_path / "a" / "report.html").read_text()


def test_a_missing_member_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "both", tmp_path / "both")
    (tmp_path / "both" / "model-2.safetensors").unlink()
    for command in (("eval",), ("sample",), ("report", "both", "--output", "-")):
        more = () if command[0] == "report" else models("both")
        error = fail(*command, *more, "--runs", tmp_path, stdin="x")
        assert "model-2.safetensors (member 2 of 2): no such file: with this file moved" in error
        assert "resuming the training writes all members again" in error
    assert "damaged" in succeed("runs", "--runs", tmp_path).stdout
    succeed("eval", "--model", tmp_path / "both" / "model.safetensors", stdin="x")
    succeed("train", "--resume", tmp_path / "both")
    succeed("eval", *models("both"), "--runs", tmp_path, stdin="x")


def test_a_member_that_adapts_is_a_model_of_its_own(runs: Path, tmp_path: Path) -> None:
    text = "I had coffee today.\n" * 20
    place = tmp_path / "adapted" / "model.safetensors"
    place.parent.mkdir()
    args = ("eval", "--adapt", *models(files(runs)[0]), "--save-adapted", place)
    succeed(*args, stdin=text)
    succeed("eval", "--model", place.parent, stdin=text)


def test_members_adapt_together_and_are_saved_together(runs: Path, tmp_path: Path) -> None:
    text = "I had coffee today.\n" * 40
    saved = tmp_path / "adapted"
    args = ("eval", "--json", *models("both"), "--runs", runs)
    plain = json.loads(succeed(*args, stdin=text).stdout)["bits_per_char"]
    figures = json.loads(succeed(*args, "--adapt", "--save-adapted", saved, stdin=text).stdout)
    assert figures["bits_per_char_as_it_was"] == pytest.approx(plain, abs=1e-4)
    assert figures["bits_per_char"] < plain - 0.1

    def bits(model: Path) -> float:
        score = json.loads(succeed("eval", "--json", "--model", model, stdin=text).stdout)
        return float(score["bits_per_char"])

    assert bits(saved) < plain - 0.1
    assert [path.name for path in sorted(saved.iterdir())] == [
        "model-2.safetensors",
        "model.safetensors",
    ]
    for member, changed in zip(files(runs), sorted(saved.iterdir(), reverse=True), strict=True):
        assert bits(changed) < bits(member) - 0.1
    # again, further, and as a start
    further = ("eval", "--adapt", "--model", saved, "--save-adapted", saved)
    before = bits(saved)
    succeed(*further, stdin=text)
    assert bits(saved) < before
    start = ("train", runs.parent / "a.txt", "--runs", tmp_path / "runs", "--steps", "1")
    succeed(*start, "--init-from", saved)


def test_the_first_member_of_those_that_are_saved_comes_last(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From it, a reader learns how many there are."""
    written: list[Path] = []
    monkeypatch.setattr(checkpoint, "save", lambda path, _: written.append(path))
    save_all(tmp_path / "saved", load_run(runs / "both").members)
    assert [path.name for path in written] == ["model-2.safetensors", "model.safetensors"]


def test_adapted_models_are_saved_only_where_they_go_together(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    single = files(runs)[0]

    def refused(place: Path, *models: str | Path) -> str:
        named = [word for model in models for word in ("--model", model)]
        args = ("eval", "--adapt", "--save-adapted", place, *named, "--runs", runs)
        return fail(*args, stdin="x", code=2)

    assert "2 members are kept in a folder: name a new one" in refused(tmp_path / "file", "both")
    assert f"{runs / 'both'} is a run: name a new folder" in refused(runs / "both", "both")
    assert f"{tmp_path} is a folder: name a file" in refused(tmp_path, single)
    assert "it keeps the model of one run" in refused(tmp_path / "new", single, single)
    assert (tmp_path / "file").read_text() == "mine"
    for models in (["both"], [single]):
        no_folder = f"there is no folder {tmp_path / 'gone'}: create it"
        assert no_folder in refused(tmp_path / "gone" / "new", *models)


def test_each_member_starts_from_its_own(runs: Path, tmp_path: Path) -> None:
    args = ("train", runs.parent / "a.txt", "--runs", tmp_path, "--steps", "1")
    succeed(*args, "--init-from", runs / "both")
    assert (tmp_path / "a" / "model-2.safetensors").exists()
    command = json.loads(succeed("runs", "a", "--json", "--runs", tmp_path).stdout)["command"]
    assert f"--init-from {runs}/both" in command
    error = fail(*args, "--init-from", runs / "both", "--members", "3", code=2)
    assert "--members: --init-from's run has 2 members: leave --members out" in error
    succeed(*args, "--init-from", files(runs)[1], "--name", "single")
    assert not (tmp_path / "single" / "model-2.safetensors").exists()


def test_models_of_different_texts_are_refused(runs: Path) -> None:
    error = fail("eval", "--runs", runs, *models("one", "other"), stdin="x")
    assert "they know different characters" in error


def test_the_figure_of_held_out_lines_is_of_one_model(runs: Path) -> None:
    args = ("eval", "--per-line", "--threshold", "auto", "--runs", runs)
    assert "of one --model" in fail(*args, *models("one", "two"), stdin="x\n", code=2)
    succeed(*args, *models("one"), stdin="x\n")
