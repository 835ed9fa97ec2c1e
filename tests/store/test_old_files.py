"""Files that an earlier version wrote are read, and its runs are resumed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy_model import NumpyModel, parse
from texts import DATA

from charrnn.errors import CorpusError
from charrnn.store.checkpoint import Checkpoint, load, save
from charrnn.text.origin import Origin
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.events import Finished
from charrnn.training.resume import resume

OLD = Path(__file__).parents[1] / "data" / "version_0_1"


def test_a_model_of_an_earlier_version_is_read() -> None:
    model = load(OLD / "model_at_the_end.safetensors")
    weights = parse((OLD / "model_at_the_end.safetensors").read_bytes())[1]
    assert {name: tuple(w.shape) for name, w in weights.items()} == (
        model.model.config.parameter_shapes()
    )
    for name, weight in model.model.weights.items():
        assert np.array_equal(weight, weights[name])
    assert model.provenance["step"] == 60


def test_earlier_versions_kept_windows_line_ends() -> None:
    saved = load(OLD / "training.safetensors")
    origin = Origin.read(saved.training_state)
    assert origin.data_config.newlines == "keep" and origin.reader == 1
    model = load(OLD / "model_at_the_end.safetensors")
    assert "newlines" not in model.provenance and model.newlines == "lf"
    windows = Vocabulary.of_text("I had\r\n")
    assert Checkpoint(model.model, windows).newlines == "keep"
    assert Checkpoint(model.model, windows, {"newlines": "lf"}).newlines == "lf"


def test_a_run_whose_text_was_read_otherwise_says_so(tmp_path: Path) -> None:
    """Then a folder's files were glued end to end, and rows without text were empty lines."""
    folder = shutil.copytree(OLD, tmp_path / "run")
    saved = load(folder / "training.safetensors")
    changed = {**saved.training_state, "corpus_chars": 1}
    save(folder / "training.safetensors", replace(saved, training_state=changed))
    with pytest.raises(CorpusError, match="or an earlier version read it otherwise"):
        resume(folder / "training.safetensors", {})


def test_a_run_of_an_earlier_version_is_resumed_as_if_nothing_had_changed(tmp_path: Path) -> None:
    """Up to rounding: the file was written by another processor perhaps."""
    folder = shutil.copytree(OLD, tmp_path / "run")
    *_, finished = resume(folder / "training.safetensors", {}).events()
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step) == ("done", 60)
    wanted = parse((OLD / "model_at_the_end.safetensors").read_bytes())[1]
    weights = parse((folder / "model.safetensors").read_bytes())[1]
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, wanted[name], atol=1e-4)
    validation = (DATA / "coffee.txt").read_text()[2700:3000]
    nats = NumpyModel.read(finished.model_path).nats(validation).mean()
    assert abs(nats - (finished.val_nats_per_char or 0.0)) < 1e-4


def test_a_run_of_an_earlier_version_stays_in_float32(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / "run")
    trainer = resume(folder / "training.safetensors", {})
    assert trainer.config.precision == "fp32"
    trainer.learner.close()
