"""The optimiser is torch's own; the average follows."""

import pytest
import torch

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.network import CharRNN
from charrnn.training.learner import Learner
from charrnn.training.optimizer import AdamW, update_average
from charrnn.training.workers import Workers

P = 300


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_an_update_is_that_of_torchs_adamw(scale: float) -> None:
    ours, decays = torch.randn(P), torch.tensor([0.0, 0.3, 2.0]).repeat_interleave(P // 3)
    theirs = [part.clone().requires_grad_() for part in ours.split(P // 3)]
    groups = [
        {"params": [part], "weight_decay": float(decays[P // 3 * i])}
        for i, part in enumerate(theirs)
    ]
    optimizer = AdamW(ours, decays)
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    for number in range(1, 30):
        rate = 0.01 / number
        for group in reference.param_groups:
            group["lr"] = rate
        gradient = torch.randn(P) * scale
        for part, its_gradient in zip(theirs, gradient.split(P // 3), strict=True):
            part.grad = its_gradient.clone()
        optimizer.update(gradient, rate)
        reference.step()
        torch.testing.assert_close(ours, torch.cat(theirs).detach(), rtol=1e-5, atol=1e-7)


def test_only_matrices_decay() -> None:
    config = TrainingConfig(batch_size=2, seq_len=3, weight_decay=0.5)
    model = CharRNN(ModelConfig(5, hidden_size=4, num_layers=2))
    learner = Learner(model, config, Workers())
    learner.shares.weights.fill_(1)
    learner.optimizer.update(torch.zeros_like(learner.shares.weights), lr=0.1)
    for weights in learner.model.parameters():
        assert torch.allclose(weights, torch.tensor(0.95 if weights.ndim > 1 else 1.0))


def test_the_average_begins_with_the_first_weights_and_varies_less() -> None:
    average, weights = torch.zeros(1000), torch.randn(1000) + 5
    update_average(average, weights, 0)
    assert torch.equal(average, weights)
    for number in range(1, 500):
        weights = torch.randn(1000) + 5
        update_average(average, weights, number)
    assert float(average.mean()) == pytest.approx(5, abs=0.05)
    # about (10 + 0.07 n) updates count: the spread falls with the root of twice as many
    assert float(average.std()) == pytest.approx((2 * 45) ** -0.5, rel=0.15)
