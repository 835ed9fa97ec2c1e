"""The network, step by step: it computes what the model computes."""

import numpy as np
import pytest
import torch
from small_samples import LETTERS, model_of

from charrnn.model.stepper import Stepper


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_stepper_computes_the_logits_of_the_model(
    nonlinearity: str, num_layers: int, B: int
) -> None:
    model = model_of(LETTERS, nonlinearity=nonlinearity, num_layers=num_layers)
    x = torch.randint(len(LETTERS), (8, B))
    state = torch.rand(num_layers, B, 12)
    with torch.no_grad():
        logits, after = model(x, state)
    stepper = Stepper(model, state)
    for x_t, logits_t in zip(x, logits, strict=True):
        stepper.read(x_t.tolist())
        np.testing.assert_allclose(stepper.logits(), logits_t, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stepper.state, after)


@pytest.mark.parametrize("B", [1, 2])
def test_resuming_from_a_saved_state(B: int) -> None:
    model = model_of(LETTERS)
    whole = Stepper(model, model.start_state(B, LETTERS.newline_id))
    for symbol in (3, 4, 5):
        whole.read([symbol] * B)
    saved_state = whole.state
    rest = Stepper(model, saved_state)
    for symbol in (6, 7):
        whole.read([symbol] * B)
        rest.read([symbol] * B)
        np.testing.assert_array_equal(whole.logits(), rest.logits())
    assert not torch.equal(saved_state, rest.state), "the state that was handed in stays as it was"
    assert torch.equal(saved_state, Stepper(model, saved_state).state)


@pytest.mark.parametrize("B", [1, 2])
def test_later_training_does_not_change_a_sample(B: int) -> None:
    model = model_of(LETTERS)
    one, other = (Stepper(model, model.zero_state(B)) for _ in range(2))
    one.read([2] * B)
    wanted = one.logits()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    other.read([2] * B)
    np.testing.assert_array_equal(other.logits(), wanted)
