"""The optimiser is a mean of two of torch's; the average follows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import run, saved_tensors, start
from torch import Tensor

from charrnn.config import ModelConfig, Optimizer, TrainingConfig
from charrnn.model.network import CharRNN
from charrnn.training.learner import Learner
from charrnn.training.optimizer import BETAS, AdamW, update_average
from charrnn.training.workers import Workers

P = 300


@pytest.mark.parametrize("momentum_share", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_an_update_is_a_mean_of_two_of_torchs_adamw(scale: float, momentum_share: float) -> None:
    """One follows the moving average of the gradient, the other the newest gradient alone."""
    ours, rates = torch.randn(P), torch.tensor([1.0, 2.0, 0.5]).repeat_interleave(P // 3)
    decays = torch.tensor([0.0, 0.3, 2.0]).repeat_interleave(P // 3)
    optimizer = AdamW(ours, decays, momentum_share)
    optimizer.rates.copy_(rates)
    averaging, newest = (TorchsAdamW(beta, rates, decays) for beta in (BETAS[0], 0.0))
    for number in range(1, 30):
        gradient, lr = torch.randn(P) * scale, 0.01 / number
        of_newest, of_average = (one.updated(ours, gradient, lr) for one in (newest, averaging))
        optimizer.update(gradient, lr)
        theirs = torch.lerp(of_newest, of_average, momentum_share)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


class TorchsAdamW:
    """Makes updates of weights, a third of which share a rate and a decay."""

    def __init__(self, beta: float, rates: Tensor, decays: Tensor) -> None:
        self.parts = [torch.empty(P // 3, requires_grad=True) for _ in range(3)]
        self.rates = rates[:: P // 3].tolist()
        groups = [
            {"params": [part], "weight_decay": decay}
            for part, decay in zip(self.parts, (decays / rates)[:: P // 3].tolist(), strict=True)
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(beta, BETAS[1]))

    def updated(self, weights: Tensor, gradient: Tensor, lr: float) -> Tensor:
        """Returns what an update makes of these weights, (P,)."""
        for i, part in enumerate(self.parts):
            part.data = weights.split(P // 3)[i].clone()
            part.grad = gradient.split(P // 3)[i].clone()
            self.optimizer.param_groups[i]["lr"] = lr * self.rates[i]
        self.optimizer.step()
        return torch.cat([part.detach() for part in self.parts])


def test_only_matrices_decay() -> None:
    config = TrainingConfig(batch_size=2, seq_len=3, weight_decay=0.5)
    model = CharRNN(ModelConfig(5, hidden_size=4, num_layers=2))
    learner = Learner(model, config, Workers())
    learner.shares.weights.fill_(1)
    learner.optimizer.update(torch.zeros_like(learner.shares.weights), lr=0.1)
    for weights in learner.model.parameters():
        assert torch.allclose(weights, torch.tensor(0.95 if weights.ndim > 1 else 1.0))


@pytest.mark.parametrize("optimizer", ["qhadamw", "adamw"])
def test_rare_symbols_and_the_output_layer_learn_faster(optimizer: Optimizer) -> None:
    config = TrainingConfig(weight_decay=0, optimizer=optimizer)
    frequencies = np.array([0.4, 0.36 - 1e-8, 0.2304, 0.0096, 1e-8])
    model = CharRNN(ModelConfig(5, hidden_size=4, num_layers=2))
    learner = Learner(model, config, Workers(), frequencies=frequencies)
    weights = dict(learner.model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    learner.optimizer.update(torch.ones_like(learner.shares.weights), lr=0.001)
    rates: dict[str, Any] = dict.fromkeys(weights, 1.0)
    if optimizer == "qhadamw":
        rates |= {"layers.0.W_x": torch.tensor([1, 1, 1.25, 6.1237, 30]), "output.W_y": 2.0}
    for name, weight in weights.items():
        step = 0.001 * rates[name] * torch.ones_like(weight)
        torch.testing.assert_close(before[name] - weight, step, rtol=1e-3, atol=1e-6)


def test_a_run_keeps_how_fast_each_symbol_is_learnt(tmp_path: Path) -> None:
    run(start(tmp_path, text="abab" * 500 + "c" * 5, val_fraction=0.0, steps=2))
    counts = np.array([1001, 1001, 6])  # one more than there are, so that none is 0
    rates = saved_tensors(tmp_path)["optimizer.column_rates"]
    np.testing.assert_allclose(rates, [1, 1, 0.6 * (counts.sum() / 6) ** 0.5], rtol=1e-6)


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
