"""A passage, character by character: surprise, rank, what was probable instead, hidden states.

It is read in one pass, so that each state is the one that predicted the next character.

Shapes: n characters of the passage, m of them with an id, K most probable, V vocabulary,
L layers, S numbers of a layer's state: the first ones are its h.
"""

import math
from dataclasses import dataclass

import numpy as np

from charrnn.model.forward import Array, Predictor, overflow_allowed, require_finite
from charrnn.scoring.scorer import Scorer
from charrnn.text.vocabulary import Ids, Piece

MOST_PROBABLE = 5  # K


@dataclass(frozen=True)
class Passage:
    """What a model makes of each character."""

    text: Piece  # characters, or bytes if the model's unit is the byte
    bits: Array  # surprise, (n,)
    ranks: Ids  # 1 if it was the most probable ..., (n,)
    likely: Ids  # the ids of the K most probable, the most probable first, (n, K)
    probabilities: Array  # theirs, (n, K)
    states: Array  # of all layers after reading the character, (n, L, S)


@overflow_allowed
def read_passage(scorer: Scorer, network: Predictor, text: Piece) -> Passage:
    """Reads a text from the start of all texts on.

    An unknown character is charged as :mod:`charrnn.scoring.scorer` says; its rank is V + 1, and
    the state is the one before it.

    Raises:
        UnknownCharacterError: The text holds unknown characters, and they are an error.
        OverflowedError: The model predicts nothing.
    """
    text = scorer.vocabulary.to_piece(text, scorer.on_unknown)
    ids, known = scorer.encode(text).ids, scorer.vocabulary.known(text)
    has_id = known if len(ids) < len(text) else np.ones(len(text), np.bool_)
    after, _ = network.states(ids[:, None], scorer.start)  # (m, L, 1, S)
    states = np.concatenate([scorer.start[None], after])[:, :, 0]  # (m + 1, L, S)
    places = np.cumsum(has_id)  # of the states after each character
    before = states[places - has_id, -1]  # of the top layer, (n, S)
    targets = np.zeros(len(text), np.int64)
    targets[has_id] = ids
    # a part of the text at a time: V logits of each character may be many
    count = max(1, network.block_numbers // network.config.vocab_size)
    parts = [
        _figures(network.logits(before[i : i + count]), targets[i : i + count])
        for i in range(0, max(len(text), 1), count)
    ]
    nats, ranks, likely, probabilities = map(np.concatenate, zip(*parts, strict=True))
    nats = np.where(has_id, require_finite(nats), 0) + np.where(known, 0, scorer.charge)
    ranks = np.where(has_id, ranks, len(scorer.vocabulary) + 1)
    bits = nats / math.log(2)
    return Passage(text, bits, ranks, likely, probabilities, states[places])


def _figures(logits: Array, targets: Ids) -> tuple[Array, Ids, Ids, Array]:
    """Returns nats, rank, K most probable and their probabilities, by logits, (n, V)."""
    target = np.take_along_axis(logits, targets[:, None], axis=1)
    ranks = 1 + (logits > target).sum(axis=1)
    likely = np.argsort(-logits, axis=1, kind="stable")[:, :MOST_PROBABLE]
    highest = logits.max(axis=1, keepdims=True)
    log_sums = highest + np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))  # (n, 1)
    probabilities = np.exp(np.take_along_axis(logits, likely, axis=1) - log_sums)
    return (log_sums - target)[:, 0], ranks, likely, probabilities
