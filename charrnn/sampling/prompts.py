"""Prompts to states."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Ids, Vocabulary

NEAR = 4096
"""Characters of a prompt's end that are read at first, and of a prompt that is read whole."""
WARM_UP = 256
ALIKE = 1e-5
"""Two states are the same if no number differs by more."""


def prompt_state(model: CharRNN, vocabulary: Vocabulary, ids: Ids) -> Tensor:
    """Returns the state after reading a prompt, (L, 1, H), from where every text starts.

    What is long past is forgotten: of a long prompt only the end is read, twice, from two different
    states. Where both come to the same, it is the state after the whole; else more is read.
    """
    start, n = model.start_state(1, vocabulary.newline_id), NEAR
    with torch.inference_mode():
        while n + WARM_UP < len(ids):
            far = _read(model, ids[-n - WARM_UP : -n, None], model.zero_state(1))
            end = np.repeat(ids[-n:, None], 2, axis=1)
            state = _read(model, end, torch.cat([start, far], dim=1))
            if bool(((state[:, 0] - state[:, 1]).abs() < ALIKE).all()):
                return state[:, 1:]
            n *= 4
        return _read(model, ids[:, None], start)


def _read(model: CharRNN, ids: Ids, state: Tensor) -> Tensor:
    """Returns the state after reading ids, (T, B), from a state, (L, B, H)."""
    for start in range(0, len(ids), 2**12):
        x = torch.from_numpy(ids[start : start + 2**12].astype(np.int64))
        state = model.hidden(x.to(state.device), state)[1]
    return state


def prompt_states(model: CharRNN, vocabulary: Vocabulary, prompts: Sequence[Ids]) -> Tensor:
    """Returns the state after reading each prompt, (L, B, H), read side by side."""
    states: list[Tensor] = [model.zero_state(0)] * len(prompts)
    long = [i for i, ids in enumerate(prompts) if len(ids) > NEAR]
    for i in long:
        states[i] = prompt_state(model, vocabulary, prompts[i])
    left = sorted(set(range(len(prompts))) - set(long), key=lambda i: len(prompts[i]))
    at, state = 0, model.start_state(1, vocabulary.newline_id).repeat(1, len(left), 1)
    with torch.inference_mode():
        while left:
            # all that are left read on to the end of the shortest
            end = len(prompts[left[0]])
            state = _read(model, np.stack([prompts[i][at:end] for i in left], axis=1), state)
            done = sum(len(prompts[i]) == end for i in left)
            for k, i in enumerate(left[:done]):
                states[i] = state[:, k : k + 1]
            at, left, state = end, left[done:], state[:, done:].contiguous()
        return torch.cat(states, dim=1)
