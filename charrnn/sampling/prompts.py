"""Prompts to states.

Shapes: T time, B prompts side by side, L layers, S of a layer's state.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from charrnn.config import OnUnknown
from charrnn.errors import UnknownCharacterError
from charrnn.model.forward import Array, Network, start_state
from charrnn.model.streams import SHORTEST, Streams
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

LONGEST_SIDE_BY_SIDE = 4096  # characters; of many prompts, the longer ones are read one by one


def check_prompts(
    vocabulary: Vocabulary,
    prompts: Iterable[Piece],
    on_unknown: OnUnknown,
    *,
    numbered: bool = False,
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


def prompt_states(network: Network, vocabulary: Vocabulary, prompts: Sequence[Ids]) -> Array:
    """Returns the state after reading each of B > 0 prompts, (L, B, S), from where texts start."""
    streams, start = Streams(network), start_state(network, vocabulary.newline_id)
    # few prompts are best read one by one, each as streams if it is long enough for them
    longest = LONGEST_SIDE_BY_SIDE if len(prompts) >= network.fewest_streams else SHORTEST - 1
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    short = [i for i in by_length if len(prompts[i]) <= longest]
    states = {
        i: streams.read(prompts[i], start, network.advance)[1] for i in by_length[len(short) :]
    }
    state = start.repeat(len(short), axis=1)
    read = 0  # characters of each
    for column, i in enumerate(short):
        # all that are not finished are read to the end of the shortest of them
        if (end := len(prompts[i])) > read:
            rows = np.stack([prompts[j][read:end] for j in short[column:]], axis=1)  # (T, B)
            _, state = streams.side_by_side(rows, state, network.advance)
            read = end
        states[i], state = state[:, :1], state[:, 1:]
    return np.concatenate([states[i] for i in range(len(prompts))], axis=1)
