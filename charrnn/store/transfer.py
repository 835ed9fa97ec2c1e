"""Weights of one model into another's vocabulary."""

import numpy as np

from charrnn.config import UNIT_NAMES
from charrnn.model.forward import Forward
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Vocabulary


def transfer(source: Checkpoint, model: Forward, vocabulary: Vocabulary) -> str:
    """Copies another model's weights; characters are matched by name.

    A character that only the new vocabulary has keeps its fresh weights; one that only the old
    model has is dropped.

    Args:
        source: the other model; of the same layers and hidden size.
        model: the new model; its weights are changed.
        vocabulary: the new model's.

    Returns:
        One line for the user that counts the characters.
    """
    old = {symbol: i for i, symbol in enumerate(source.vocabulary.symbols)}
    pairs = [(i, old[s]) for i, s in enumerate(vocabulary.symbols) if s in old]
    new_ids, old_ids = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    for name, weight in model.weights.items():
        old_weight = source.model.weights[name]
        if name == "layers.0.W_x":
            weight[:, new_ids] = old_weight[:, old_ids]  # a column a character
        elif name.startswith("output."):
            weight[new_ids] = old_weight[old_ids]  # a row a character
        else:
            weight[...] = old_weight
    return (
        f"{source.path}: {len(pairs)} {UNIT_NAMES[vocabulary.unit]}s taken over, "
        f"{len(vocabulary) - len(pairs)} new, {len(old) - len(pairs)} dropped"
    )
