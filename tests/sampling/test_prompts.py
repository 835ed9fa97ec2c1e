"""Prompts: where a text begins, however long what comes before it is."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numpy_model import NumpyModel
from small_samples import ABC, BYTES, LETTERS, model_of

from charrnn.errors import UnknownCharacterError
from charrnn.model.network import CharRNN
from charrnn.model.stepper import Stepper
from charrnn.sampling import prompts as prompts_module
from charrnn.sampling.prompts import check_prompts, prompt_state, prompt_states
from charrnn.store.checkpoint import Checkpoint, save
from charrnn.text.vocabulary import Vocabulary


def step_by_step(model: CharRNN, ids: npt.NDArray[Any]) -> torch.Tensor:
    stepper = Stepper(model, model.start_state(1, LETTERS.newline_id))
    for symbol in ids.tolist():
        stepper.read([symbol])
    return stepper.state


@pytest.mark.parametrize("forgets", [True, False])
def test_a_long_prompt_is_read_as_step_by_step(
    forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the model forgets, its end is enough; else all of it is read."""
    monkeypatch.setattr(prompts_module, "READ_WHOLE", 128)
    monkeypatch.setattr(prompts_module, "WARM_UP", 16)
    model = model_of(LETTERS)
    with torch.no_grad():
        for layer in model.layers:
            layer.W_h.mul_(0.8 if forgets else 1.0)
            layer.W_x.mul_(1.0 if forgets else 0.001)
            layer.b.mul_(1.0 if forgets else 0.0)
    ids = np.random.default_rng(0).integers(len(LETTERS), size=5000)
    read: list[int] = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda x, h: (read.append(len(x)), hidden(x, h))[1])
    torch.testing.assert_close(prompt_state(model, LETTERS, ids), step_by_step(model, ids))
    assert (sum(read) < 300) == forgets


@pytest.mark.parametrize("lengths", [[0], [3], [300], [300, 200], [5, 0, 200, 5, 1, 0, 99, 300]])
def test_prompts_side_by_side_are_read_as_one_by_one(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts_module, "READ_WHOLE", 150)
    model = model_of(LETTERS)
    random = np.random.default_rng(0)
    prompts = [random.integers(len(LETTERS), size=n).astype(np.uint8) for n in lengths]
    states = prompt_states(model, LETTERS, prompts)
    assert states.shape == (3, len(prompts), 12)
    for k, ids in enumerate(prompts):
        wanted = step_by_step(model, ids)
        torch.testing.assert_close(states[:, k : k + 1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [LETTERS, ABC], ids=["newline", "no newline"])
def test_an_empty_prompt_starts_where_every_text_starts(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    wanted = NumpyModel.read(tmp_path / "model").logits_after("")
    stepper = Stepper(model, prompt_state(model, vocabulary, vocabulary.encode("")))
    np.testing.assert_allclose(stepper.logits()[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("numbered", [True, False])
def test_unknown_characters_of_prompts_are_counted_or_an_error(numbered: bool) -> None:
    """Numbered prompts are named by their number."""
    prompts = ["abc", "aXbé", "", "Y"]
    assert check_prompts(ABC, prompts, "skip", numbered=numbered) == 3
    assert check_prompts(BYTES, prompts, "error", numbered=numbered) == 0
    with pytest.raises(UnknownCharacterError, match="'X'") as raised:
        check_prompts(ABC, prompts, "error", numbered=numbered)
    assert str(raised.value).startswith("prompt 2: ") == numbered
