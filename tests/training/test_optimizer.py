"""The optimiser is torch's own; the average follows."""

import pytest
import torch
from torch import Tensor

from charrnn.training.optimizer import AdamW, update_average

SHAPES = [(5, 3), (4,), (7, 1), (1,)]


def drawn(scale: float = 1.0) -> list[Tensor]:
    """Returns tensors of all shapes, the first stored by columns."""
    first, *others = (torch.randn(shape) * scale for shape in SHAPES)
    return [first.T.contiguous().T, *others]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_an_update_is_that_of_torchs_adamw(weight_decay: float, scale: float) -> None:
    ours = drawn()
    theirs = [t.clone().requires_grad_() for t in ours]
    groups = [
        {"params": [t for t in theirs if t.ndim > 1], "weight_decay": weight_decay},
        {"params": [t for t in theirs if t.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW(ours, weight_decay)
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    for number in range(1, 30):
        rate = 0.01 / number
        for group in reference.param_groups:
            group["lr"] = rate
        for one, other, gradient in zip(ours, theirs, drawn(scale), strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        optimizer.update(rate)
        reference.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-7)


def test_an_update_forgets_its_gradients() -> None:
    parameters = drawn()
    optimizer = AdamW(parameters, 0.0)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.update(0.1)
    assert all(parameter.grad is None for parameter in parameters)


def test_the_average_begins_with_the_first_weights_and_varies_less() -> None:
    average, weights = [torch.zeros(1000)], [torch.randn(1000) + 5]
    update_average(average, weights, 0)
    assert torch.equal(average[0], weights[0])
    for number in range(1, 500):
        weights = [torch.randn(1000) + 5]
        update_average(average, weights, number)
    assert float(average[0].mean()) == pytest.approx(5, abs=0.05)
    # about (10 + 0.07 n) updates count: the spread falls with the root of twice as many
    assert float(average[0].std()) == pytest.approx((2 * 45) ** -0.5, rel=0.15)
