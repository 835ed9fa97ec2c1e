"""Gradients to better weights: an update of Adam's kind, and the moving average of the weights.

`torch.optim` has AdamW, but loads torch's compiler before its first update: a second and more at
the start of every training. A test proves ours equal to a mean of two of torch's.

Shapes: P parameters in all, which stand one after another.
"""

import math

import torch
from torch import Tensor

BETAS = 0.9, 0.99  # decay rates of the moving averages of the gradient and of its square
EPSILON = 1e-8

# the share of the moving average in what an update follows; the rest is the newest gradient, which
# an average of ten is late to follow
MOMENTUM_SHARE = 0.7

# learning rates in times of the others'; the constants here are found by experiments, in
# tests/bench/README.md. A character's column of layer 1's W_x has large numbers, and is seldom read
RATES = {"layers.0.W_x": 30.0, "output.W_y": 2.0}


class QHAdamW:
    """Adam with decoupled weight decay and quasi-hyperbolic momentum.

    Sources: Loshchilov and Hutter, Decoupled weight decay regularization, 2019; Ma and Yarats,
    Quasi-hyperbolic momentum and Adam for deep learning, 2019.

    Attributes:
        weights: what is updated, (P,).
        exp_avg: the moving average of the gradient, (P,).
        exp_avg_sq: the moving average of the squared gradient, (P,).
        updates: updates made so far.
    """

    def __init__(self, weights: Tensor, rates: Tensor, weight_decay: Tensor) -> None:
        """Prepares the first update.

        Args:
            weights: to be updated, (P,).
            rates: each one's learning rate, in times of the rate of an update, (P,).
            weight_decay: of each, (P,), whatever its rate.
        """
        self.weights = weights
        self.exp_avg = torch.zeros_like(weights)
        self.exp_avg_sq = torch.zeros_like(weights)
        self.updates = 0
        self._rates, self._weight_decay = rates, weight_decay

    @torch.no_grad()
    def update(self, gradient: Tensor, lr: float) -> None:
        """Moves the weights by a gradient, (P,), at a learning rate."""
        self.updates += 1
        self.weights.mul_(1 - lr * self._weight_decay)
        self.exp_avg.lerp_(gradient, 1 - BETAS[0])
        self.exp_avg_sq.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        # both averages start at zero: undo how far that still pulls them down
        correction, correction_sq = (1 - beta**self.updates for beta in BETAS)
        direction = torch.lerp(gradient, self.exp_avg / correction, MOMENTUM_SHARE)
        denominator = self.exp_avg_sq.sqrt().div_(math.sqrt(correction_sq)).add_(EPSILON)
        self.weights.addcdiv_(direction.mul_(self._rates), denominator, value=-lr)


@torch.no_grad()
def update_average(average: Tensor, weights: Tensor, updates: int) -> None:
    """Updates the moving average (EMA) of the weights; its window grows to 7 % of the updates.

    Args:
        average: changed, (P,).
        weights: those after an update, (P,).
        updates: updates made before that one.
    """
    average.lerp_(weights, 1 / (10 + 0.07 * updates) if updates else 1.0)
