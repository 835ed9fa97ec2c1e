"""Weights of one model into another's vocabulary."""

import torch

from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Vocabulary


def transfer(source: Checkpoint, model: CharRNN, vocabulary: Vocabulary) -> str:
    """Copies another model's weights; characters are matched by name.

    A character that only the new vocabulary has keeps its fresh weights; one that only the old
    model has is dropped.

    Args:
        source: the other model; of the same layers and hidden size.
        model: the new model; changed.
        vocabulary: the new model's.

    Returns:
        One line for the user that counts the characters.
    """
    old = {symbol: i for i, symbol in enumerate(source.vocabulary.symbols)}
    pairs = [(i, old[s]) for i, s in enumerate(vocabulary.symbols) if s in old]
    new_ids, old_ids = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    weights = source.model.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "layers.0.W_x":
                parameter[:, new_ids] = weights[name][:, old_ids]  # a column a character
            elif name.startswith("output."):
                parameter[new_ids] = weights[name][old_ids]  # a row a character
            else:
                parameter.copy_(weights[name])
    return (
        f"{source.path}: {len(pairs)} characters taken over, {len(vocabulary) - len(pairs)} new, "
        f"{len(old) - len(pairs)} dropped"
    )
