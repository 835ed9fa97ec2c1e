"""How runs begin: with another model's weights, or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import COFFEE, after, resume, run, start

from charrnn.errors import CharrnnError, CorpusError, EncodingError, OptionError
from charrnn.store import checkpoint

# --- runs that cannot begin


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("", {}, CorpusError),
        ("too short", {}, CorpusError),
        ("a" * 500, {}, CorpusError),
        (COFFEE + "é", {"encoding": "ascii"}, EncodingError),
        (COFFEE, {"device": "abacus"}, OptionError),
        (COFFEE, {"dropout": 7.0}, OptionError),
    ],
    ids=["empty", "short", "one character", "encoding", "device", "dropout"],
)
def test_what_cannot_be_trained_leaves_no_run(
    tmp_path: Path, text: str, options: dict[str, Any], error: type[CharrnnError]
) -> None:
    with pytest.raises(error):
        start(tmp_path, text, **options)
    assert list(tmp_path.glob("runs/*")) == []


# --- another model's weights


def test_a_model_continues_with_another_text(tmp_path: Path) -> None:
    run(start(tmp_path / "old", hidden_size=10, num_layers=3, steps=40))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000] + "ü", init_from=[old])
    model = trainer.learner.model
    assert (model.config.hidden_size, model.config.num_layers) == (10, 3)
    assert any("1 new" in note for note in trainer.notes)
    W_h = model.in_numpy().weights["layers.2.W_h"]
    assert np.array_equal(W_h, old.model.weights["layers.2.W_h"])
    run(trainer)
    with pytest.raises(OptionError, match=r"--hidden-size: .*has 10: leave --hidden-size out"):
        start(tmp_path / "other", init_from=[old], hidden_size=12)


def test_a_models_cell_is_taken_over_with_its_weights(tmp_path: Path) -> None:
    run(start(tmp_path / "old", hidden_size=10, num_layers=2, cell="lstm", steps=20))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000] + "ü", init_from=[old])
    model = trainer.learner.model
    assert model.config.cell == "lstm"
    for name in ("layers.1.W_x", "layers.1.W_h", "layers.1.b"):
        assert np.array_equal(model.in_numpy().weights[name], old.model.weights[name])
    run(trainer)
    with pytest.raises(OptionError, match="--cell: --init-from's model has lstm: leave --cell out"):
        start(tmp_path / "other", init_from=[old], cell="gru")
    run(start(tmp_path / "plain", steps=2))
    plain = checkpoint.load(tmp_path / "plain" / "runs" / "text" / "model.safetensors")
    with pytest.raises(OptionError, match="--cell: --init-from's model has rnn: leave --cell out"):
        start(tmp_path / "other", init_from=[plain], cell="lstm")


@pytest.mark.parametrize("keep", [True, False])
def test_characters_that_only_the_old_model_has_are_kept_or_dropped(
    tmp_path: Path, keep: bool
) -> None:
    run(start(tmp_path / "old", COFFEE[:3000] + "üß", hidden_size=10, num_layers=1))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000], init_from=[old], keep_characters=keep)
    dropped = 0 if keep else 2
    assert any(f"0 new, {dropped} dropped" in note for note in trainer.notes)
    run(trainer, after(5))
    run(resume(tmp_path / "new"))
    new = checkpoint.load(tmp_path / "new" / "runs" / "text" / "model.safetensors")
    assert len(new.vocabulary) == len(old.vocabulary) - dropped
    assert set(new.vocabulary.symbols) == set(old.vocabulary.symbols) - ({*"üß"} - {*"üß" * keep})


def test_bytes_are_all_known(tmp_path: Path) -> None:
    run(start(tmp_path / "old", unit="byte"))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path, COFFEE + "ü", unit="byte", init_from=[old], keep_characters=True)
    assert any("256 bytes taken over, 0 new, 0 dropped" in note for note in trainer.notes)


# --- the first weights


def test_the_threads_that_torch_likes_change_nothing_that_is_drawn(tmp_path: Path) -> None:
    """They are as many as there are cores, unless an environment variable says otherwise."""
    drawn = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        trainer = start(tmp_path / str(threads), hidden_size=128)
        drawn.append(trainer.learner.shares.weights)
        trainer.learner.close()
    assert torch.equal(*drawn)
