"""Gradients to better weights: AdamW, and the moving average of the weights.

`torch.optim` has an AdamW too, but loads torch's compiler before its first update: a second and
more at the start of every training. A test proves the two equal.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

BETAS = 0.9, 0.99  # decay rates of the moving averages of the gradient and of its square
EPSILON = 1e-8


class AdamW:
    """Adam with decoupled weight decay; only matrices decay.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

    Attributes:
        parameters: what is updated; each must have a gradient at every update.
        exp_avg: the moving average of each one's gradient, of its shape.
        exp_avg_sq: the moving average of each one's squared gradient, of its shape.
        updates: updates made so far.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.exp_avg = [torch.zeros_like(p) for p in self.parameters]
        self.exp_avg_sq = [torch.zeros_like(p) for p in self.parameters]
        self.updates = 0
        self._weight_decay = weight_decay
        self._matrices = [p for p in self.parameters if p.ndim > 1]

    @torch.no_grad()
    def update(self, lr: float) -> None:
        """Moves all parameters by their gradients, at a learning rate, and drops the gradients."""
        self.updates += 1
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        torch._foreach_mul_(self._matrices, 1 - lr * self._weight_decay)
        torch._foreach_lerp_(self.exp_avg, gradients, 1 - BETAS[0])
        torch._foreach_mul_(self.exp_avg_sq, BETAS[1])
        torch._foreach_addcmul_(self.exp_avg_sq, gradients, gradients, 1 - BETAS[1])
        # both averages start at zero: undo how far that still pulls them down
        correction, correction_sq = (1 - beta**self.updates for beta in BETAS)
        denominators = torch._foreach_sqrt(self.exp_avg_sq)
        torch._foreach_div_(denominators, math.sqrt(correction_sq))
        torch._foreach_add_(denominators, EPSILON)
        torch._foreach_addcdiv_(self.parameters, self.exp_avg, denominators, -lr / correction)
        self.zero_grad()

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for parameter in self.parameters:
            parameter.grad = None


@torch.no_grad()
def update_average(averages: list[Tensor], parameters: list[Tensor], updates: int) -> None:
    """Updates the moving average (EMA) of the weights; its window grows to 7 % of the updates.

    Args:
        averages: changed.
        parameters: the weights after an update, in the same order.
        updates: updates made before that one.
    """
    share = 1 / (10 + 0.07 * updates) if updates else 1.0
    torch._foreach_lerp_(averages, parameters, share)
