"""Prompts: where a text begins, however long what comes before it is."""

from pathlib import Path

import numpy as np
import pytest
from numpy_model import NumpyModel
from small_samples import ABC, BYTES, LETTERS, model_of

from charrnn.config import Cell
from charrnn.errors import UnknownCharacterError
from charrnn.model.forward import Array, Forward, start_state
from charrnn.sampling.prompts import check_prompts, prompt_states
from charrnn.store.checkpoint import Checkpoint, save
from charrnn.text.vocabulary import Ids, Vocabulary


def step_by_step(network: Forward, ids: Ids) -> Array:
    hs = list(start_state(network, LETTERS.newline_id))
    for symbol in ids:
        _, hs = network.step(symbol[None], hs)
    return np.stack(hs)


@pytest.mark.parametrize(
    "lengths",
    [
        [0],
        [3],
        [300],
        [2000],
        [3000, 20],
        [5, 0, 200, 5, 1, 0, 1400, 99, 513, 512],
        [700, 0, 4097, *range(1, 16)],
    ],
)
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_prompts_side_by_side_are_read_as_one_by_one(lengths: list[int], cell: Cell) -> None:
    network = model_of(LETTERS, cell=cell)
    for name, weight in network.weights.items():
        if name.endswith("W_h"):
            weight *= 0.8
    random = np.random.default_rng(0)
    prompts = [random.integers(len(LETTERS), size=n).astype(np.uint8) for n in lengths]
    states = prompt_states(network, LETTERS, prompts)
    assert states.shape == (3, len(prompts), network.config.state_size)
    for k, ids in enumerate(prompts):
        wanted = step_by_step(network, ids)
        np.testing.assert_allclose(states[:, k : k + 1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [LETTERS, ABC], ids=["newline", "no newline"])
def test_an_empty_prompt_starts_where_every_text_starts(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    network = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(network, vocabulary))
    wanted = NumpyModel.read(tmp_path / "model").logits_after("")
    state = prompt_states(network, vocabulary, [vocabulary.encode("")])
    np.testing.assert_allclose(network.logits(state[-1])[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("numbered", [True, False])
def test_unknown_characters_of_prompts_are_counted_or_an_error(numbered: bool) -> None:
    """Numbered prompts are named by their number."""
    prompts = ["abc", "aXbé", "", "Y"]
    assert check_prompts(ABC, prompts, "skip", numbered=numbered) == 3
    assert check_prompts(BYTES, prompts, "error", numbered=numbered) == 0
    with pytest.raises(UnknownCharacterError, match="'X'") as raised:
        check_prompts(ABC, prompts, "error", numbered=numbered)
    assert str(raised.value).startswith("prompt 2: ") == numbered
