"""Models whose cells have gates, as a shell user meets them: all that a plain one can do."""

import json
import re
from pathlib import Path

import pytest
from calls import TINY, call, fail, metadata, succeed
from texts import COFFEE

import charrnn

CELLS = ("rnn", "gru", "lstm")
gated = pytest.mark.parametrize("cell", ["gru", "lstm"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, and a run of each cell, by its name, in the folder ``runs``."""
    folder = tmp_path_factory.mktemp("cells")
    (folder / "text.txt").write_text(COFFEE[:6000])
    for cell in CELLS:
        options = ("--runs", folder / "runs", "--name", cell, "--cell", cell, "--eval-every", "2")
        succeed("train", folder / "text.txt", *options, "--seq-len", "16", *TINY)
    return folder


@pytest.fixture
def runs(made: Path) -> Path:
    return made / "runs"


@gated
def test_the_summary_the_list_and_the_card_name_the_cell(runs: Path, cell: str) -> None:
    listed = succeed("runs", "--runs", runs).stdout
    assert re.search(rf"^{cell} .* 8 x 1 {cell} ", listed, re.MULTILINE)
    assert re.search(r"^rnn .* 8 x 1 +/", listed, re.MULTILINE)
    assert re.search(rf"^cell +{cell}$", succeed("runs", cell, "--runs", runs).stdout, re.MULTILINE)
    assert (
        json.loads(succeed("runs", cell, "--runs", runs, "--json").stdout)["settings"]["cell"]
        == cell
    )
    card = succeed("runs", cell, "--runs", runs, "--card").stdout
    assert f"A language model: a{'n' * (cell == 'lstm')} {cell.upper()} of one layer of 8" in card
    assert "h_t" not in card and "{" not in card


def test_the_card_of_a_plain_model_has_the_equation(runs: Path) -> None:
    card = succeed("runs", "rnn", "--runs", runs, "--card").stdout
    assert "an RNN of one layer of 8 units, h_t = tanh(W_x x_t + W_h h_{t-1} + b), which" in card


def test_training_names_the_cell_in_its_first_line(made: Path, tmp_path: Path) -> None:
    options = ("--runs", tmp_path, *TINY)
    assert (
        "8 x 1 lstm model" in succeed("train", made / "text.txt", "--cell", "lstm", *options).stderr
    )
    assert "8 x 1 model" in succeed("train", made / "text.txt", *options).stderr


def test_a_plain_models_file_is_that_of_earlier_versions(runs: Path) -> None:
    """Which know no cell."""
    assert "cell" not in metadata(runs / "rnn" / "model.safetensors", "model_config")
    assert metadata(runs / "lstm" / "training.safetensors", "model_config")["cell"] == "lstm"


@gated
def test_it_samples_scores_and_adapts(runs: Path, cell: str, tmp_path: Path) -> None:
    model = ("--model", cell, "--runs", runs)
    sample = ("sample", "I had", "--length", "20", "--seed", "1", *model)
    text = succeed(*sample).stdout
    assert text == succeed(*sample).stdout and len(text) == 25
    both = succeed("sample", "I had", "--length", "20", "--seed", "1", "--count", "2", *model)
    assert both.stdout.startswith(text)
    for form in ([], ["--exact"], ["--adapt"]):
        score = json.loads(succeed("eval", "--json", *form, *model, stdin=COFFEE[:900]).stdout)
        assert score["chars"] == 900 and 0 < score["bits_per_char"] < 8
    lines = succeed("eval", "--per-line", "--carry", *model, stdin=COFFEE[:300]).stdout
    assert len(lines.splitlines()) == len(COFFEE[:300].splitlines())
    curve = succeed("eval", "--context-curve", *model, stdin=COFFEE[:300]).stdout
    assert "context" in curve
    saved = tmp_path / "adapted.safetensors"
    succeed("eval", "--adapt", "--save-adapted", saved, *model, stdin=COFFEE[:900])
    assert metadata(saved, "model_config")["cell"] == cell


def test_models_of_all_cells_are_one(runs: Path) -> None:
    models = [word for cell in CELLS for word in ("--model", cell)]
    mixed, *each = (
        json.loads(succeed("eval", "--json", "--runs", runs, *names, stdin=COFFEE[:2000]).stdout)
        for names in (models, *(("--model", cell) for cell in CELLS))
    )
    assert mixed["bits_per_char"] < sum(score["bits_per_char"] for score in each) / 3
    assert succeed("sample", "--length", "9", "--seed", "1", "--runs", runs, *models).stdout


@gated
def test_a_resumed_run_keeps_its_cell(made: Path, tmp_path: Path, cell: str) -> None:
    options = ("--name", "x", "--runs", tmp_path, *TINY[:-1])
    succeed("train", made / "text.txt", "--cell", cell, *options, 3)
    succeed("train", made / "text.txt", "--resume", *options, 5)
    assert metadata(tmp_path / "x" / "model.safetensors", "model_config")["cell"] == cell
    other = {"gru": "lstm", "lstm": "rnn"}[cell]
    error = fail("train", made / "text.txt", "--resume", "--cell", other, *options, 9)
    assert f"trained with --cell {cell}, not {other}: leave --cell out" in error


@gated
def test_another_models_weights_come_with_their_cell(
    made: Path, runs: Path, tmp_path: Path, cell: str
) -> None:
    train = ("train", made / "text.txt", "--runs", tmp_path, "--steps", 1)
    succeed(*train, "--init-from", runs / cell)
    assert metadata(tmp_path / "text" / "model.safetensors", "model_config")["cell"] == cell
    error = fail(*train, "--init-from", runs / cell, "--cell", "rnn", code=2)
    assert f"--cell: --init-from's model has {cell}: leave --cell out" in error


@gated
def test_relu_is_no_function_of_gates(made: Path, tmp_path: Path, cell: str) -> None:
    train = ("train", made / "text.txt", "--runs", tmp_path, *TINY)
    error = fail(*train, "--cell", cell, "--nonlinearity", "relu", code=2)
    assert "--nonlinearity relu" in error and "leave --nonlinearity out" in error
    assert list(tmp_path.iterdir()) == []
    assert call(*train, "--cell", "transformer").exit_code == 2


@gated
def test_the_page_shows_its_units(runs: Path, cell: str) -> None:
    page = succeed("report", cell, "--runs", runs).stdout
    assert f"8 × 1 {cell}" in page and 'id="passage"' in page
    assert f"8 × 1 {cell}" in succeed("report", cell, "rnn", "--runs", runs).stdout


@gated
def test_in_python_the_states_are_those_that_predict(runs: Path, cell: str) -> None:
    model = charrnn.load(runs / cell)
    states = model.states("I had")
    assert states.shape == (5, 1, 8)
    W_y, b_y = (model.weights[f"output.{name}"] for name in ("W_y", "b_y"))
    p = model.next("I had")
    assert model.symbols[(W_y @ states[-1, 0] + b_y).argmax()] == next(iter(p))
    assert f"8 x 1 {cell}" in repr(model)
