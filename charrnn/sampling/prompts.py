"""Prompts to states.

Shapes: T time, B prompts side by side, L layers, H hidden.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.config import OnUnknown
from charrnn.errors import UnknownCharacterError
from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Ids, Vocabulary

READ_WHOLE = 4096  # of a longer prompt, its last characters are read first, as many as this
WARM_UP = 256  # characters
SAME_STATE = 1e-5  # two states are the same if all values differ by less


def check_prompts(
    vocabulary: Vocabulary, prompts: Iterable[str], on_unknown: OnUnknown, *, numbered: bool = False
) -> int:
    """Returns how many unknown characters of the prompts will be left out.

    Raises:
        UnknownCharacterError: A prompt holds unknown characters that are not to be skipped; the
            message has the number of the prompt if ``numbered``.
    """
    left_out = 0
    for number, prompt in enumerate(prompts, start=1):
        try:
            ids = vocabulary.encode(prompt, on_unknown)
        except UnknownCharacterError as error:
            where = f"prompt {number}: " if numbered else ""
            raise UnknownCharacterError(f"{where}{error}") from None
        left_out += len(prompt) - len(ids) if vocabulary.unit == "char" else 0
    return left_out


def prompt_state(model: CharRNN, vocabulary: Vocabulary, ids: Ids) -> Tensor:
    """Returns the state after reading a prompt, (L, 1, H), from the state where texts start.

    Of a long prompt only the end is read, from two different states at once. If both converge, no
    earlier text can matter; if not, a longer end is read.
    """
    start, length = model.start_state(1, vocabulary.newline_id), READ_WHOLE
    with torch.inference_mode():
        while length + WARM_UP < len(ids):
            warm = model.state_after(ids[-length - WARM_UP : -length, None], model.zero_state(1))
            end = np.repeat(ids[-length:, None], 2, axis=1)  # (T, 2)
            states = model.state_after(end, torch.cat([start, warm], dim=1))  # (L, 2, H)
            if ((states[:, 0] - states[:, 1]).abs() < SAME_STATE).all():
                return states[:, 1:]
            length *= 4
        return model.state_after(ids[:, None], start)


def prompt_states(model: CharRNN, vocabulary: Vocabulary, prompts: Sequence[Ids]) -> Tensor:
    """Returns the state after reading each of B > 0 prompts, (L, B, H), read side by side."""
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    short = [i for i in by_length if len(prompts[i]) <= READ_WHOLE]
    states = {i: prompt_state(model, vocabulary, prompts[i]) for i in by_length[len(short) :]}
    state = model.start_state(1, vocabulary.newline_id).repeat(1, len(short), 1)
    start = 0  # characters that were read of each
    with torch.inference_mode():
        for column, i in enumerate(short):
            # all that are not finished are read to the end of the shortest of them
            if (end := len(prompts[i])) > start:
                rows = np.stack([prompts[j][start:end] for j in short[column:]], axis=1)  # (T, B)
                state, start = model.state_after(rows, state), end
            states[i], state = state[:, :1], state[:, 1:]
        return torch.cat([states[i] for i in range(len(prompts))], dim=1)
