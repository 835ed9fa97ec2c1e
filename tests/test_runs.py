"""Runs that begin with another model's weights."""

from pathlib import Path

import pytest
import torch
from small_runs import COFFEE, after, resume, run, start

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import OptionError
from charrnn.model import CharRNN
from charrnn.runs import transfer
from charrnn.vocabulary import Vocabulary


def checkpoint_of(vocabulary: Vocabulary) -> Checkpoint:
    config = ModelConfig(len(vocabulary), hidden_size=6, num_layers=2)
    return Checkpoint(CharRNN(config).eval(), vocabulary, provenance={}, path=Path("old"))


def test_characters_are_transferred_by_name() -> None:
    old = checkpoint_of(Vocabulary.of_text("abc\n"))
    new = Vocabulary.of_text("\nbcxyé")
    model = checkpoint_of(new).model
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = transfer(old, model, new)
    assert message == "old: 3 characters taken over, 3 new, 1 dropped"
    given, now = old.model.state_dict(), model.state_dict()
    for i, symbol in enumerate(new.symbols):
        known = symbol in old.vocabulary.symbols
        source = given if known else fresh
        j = old.vocabulary.symbols.index(symbol) if known else i
        assert torch.equal(now["layers.0.W_x"][:, i], source["layers.0.W_x"][:, j])
        assert torch.equal(now["output.W_y"][i], source["output.W_y"][j])
        assert torch.equal(now["output.b_y"][i], source["output.b_y"][j])
    for name in ("layers.0.W_h", "layers.0.b", "layers.1.W_x", "layers.1.W_h", "layers.1.b"):
        assert torch.equal(now[name], given[name])


def test_a_transfer_between_equal_vocabularies_copies_the_model() -> None:
    old = checkpoint_of(Vocabulary.of_text("A small text.\n"))
    other = checkpoint_of(old.vocabulary)
    before, wanted = other.model.state_dict(), old.model.state_dict()
    assert not torch.equal(before["layers.0.W_x"], wanted["layers.0.W_x"])
    transfer(old, other.model, other.vocabulary)
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, wanted[name])


def test_a_model_goes_on_with_another_text(tmp_path: Path) -> None:
    run(start(tmp_path / "old", hidden_size=10, num_layers=3, steps=40))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000] + "ü", init_from=old)
    assert (trainer.model.config.hidden_size, trainer.model.config.num_layers) == (10, 3)
    assert any("1 new" in note for note in trainer.notes)
    assert torch.equal(trainer.model.layers[2].W_h, old.model.layers[2].W_h)
    run(trainer)
    with pytest.raises(OptionError, match=r"--hidden-size: .*has 10: leave --hidden-size out"):
        start(tmp_path / "other", init_from=old, hidden_size=12)


@pytest.mark.parametrize("keep", [True, False])
def test_characters_that_only_the_old_model_has_are_kept_or_dropped(
    tmp_path: Path, keep: bool
) -> None:
    run(start(tmp_path / "old", COFFEE[:3000] + "üß", hidden_size=10, num_layers=1))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000], init_from=old, keep_characters=keep)
    dropped = 0 if keep else 2
    assert any(f"0 new, {dropped} dropped" in note for note in trainer.notes)
    run(trainer, after(5))
    run(resume(tmp_path / "new"))
    kept = checkpoint.load(tmp_path / "new" / "runs" / "text" / "model.safetensors")
    assert len(kept.vocabulary) == len(old.vocabulary) - dropped
    assert set(kept.vocabulary.symbols) == set(old.vocabulary.symbols) - ({*"üß"} - {*"üß" * keep})


def test_bytes_are_all_known(tmp_path: Path) -> None:
    run(start(tmp_path / "old", unit="byte"))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path, COFFEE + "ü", unit="byte", init_from=old, keep_characters=True)
    assert any("256 characters taken over, 0 new, 0 dropped" in note for note in trainer.notes)
