"""Weights of another model: characters keep what was learnt of them."""

from pathlib import Path

import numpy as np

from charrnn.config import ModelConfig
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.transfer import transfer
from charrnn.text.vocabulary import Vocabulary


def checkpoint_of(vocabulary: Vocabulary) -> Checkpoint:
    config = ModelConfig(len(vocabulary), hidden_size=6, num_layers=2)
    return Checkpoint(CharRNN(config).in_numpy(), vocabulary, provenance={}, path=Path("old"))


def test_characters_are_transferred_by_name() -> None:
    old = checkpoint_of(Vocabulary.of_text("abc\n"))
    new = Vocabulary.of_text("\nbcxyé")
    model = checkpoint_of(new).model
    fresh = {name: weight.copy() for name, weight in model.weights.items()}
    message = transfer(old, model, new)
    assert message == "old: 3 characters taken over, 3 new, 1 dropped"
    old_weights, new_weights = old.model.weights, model.weights
    for i, symbol in enumerate(new.symbols):
        in_old = symbol in old.vocabulary.symbols
        source = old_weights if in_old else fresh
        j = old.vocabulary.symbols.index(symbol) if in_old else i
        np.testing.assert_array_equal(
            new_weights["layers.0.W_x"][:, i], source["layers.0.W_x"][:, j]
        )
        np.testing.assert_array_equal(new_weights["output.W_y"][i], source["output.W_y"][j])
        np.testing.assert_array_equal(new_weights["output.b_y"][i], source["output.b_y"][j])
    for name in ("layers.0.W_h", "layers.0.b", "layers.1.W_x", "layers.1.W_h", "layers.1.b"):
        np.testing.assert_array_equal(new_weights[name], old_weights[name])


def test_a_transfer_between_equal_vocabularies_copies_the_model() -> None:
    old = checkpoint_of(Vocabulary.of_text("A small text.\n"))
    other = checkpoint_of(old.vocabulary)
    before, wanted = other.model.weights, old.model.weights
    assert not np.array_equal(before["layers.0.W_x"], wanted["layers.0.W_x"])
    transfer(old, other.model, other.vocabulary)
    for name, weight in other.model.weights.items():
        np.testing.assert_array_equal(weight, wanted[name])
