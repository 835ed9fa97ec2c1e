"""Gradients to better weights: AdamW, and the moving average of the weights.

`torch.optim` has an AdamW too, but loads torch's compiler before its first update: a second and
more at the start of every training. A test proves the two equal, with all momentum and one rate.

Shapes: P parameters in all, which stand one after another.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import Optimizer

BETAS = 0.9, 0.99  # decay rates of the moving averages of the gradient and of its square
EPSILON = 1e-8

# the share of the moving average in what an update follows; the rest is the newest gradient, which
# the average is late to follow. These constants are found by experiments: tests/bench/README.md
MOMENTUM_SHARES: dict[Optimizer, float] = {"qhadamw": 0.7, "adamw": 1.0}

# learning rates of qhadamw, in times of the others'. A symbol's column of layer 1's W_x has large
# numbers, and learns only where the symbol is read: the rarer it is, the faster, over the root of
# its frequency
W_Y_RATE = 2.0
COLUMN_RATE, LOWEST_COLUMN_RATE, HIGHEST_COLUMN_RATE = 0.6, 1.0, 30.0


def column_rates(frequencies: npt.NDArray[np.float64]) -> Tensor:
    """Returns the learning rates of layer 1's W_x for each symbol, (V,).

    Args:
        frequencies: of each symbol in the text, (V,), none 0; they add up to 1.
    """
    rates = torch.from_numpy(COLUMN_RATE / np.sqrt(frequencies))
    return rates.clamp(LOWEST_COLUMN_RATE, HIGHEST_COLUMN_RATE).float()


class AdamW:
    """Adam with decoupled weight decay, and quasi-hyperbolic momentum if that is chosen.

    Sources: Loshchilov and Hutter, Decoupled weight decay regularization, 2019; Ma and Yarats,
    Quasi-hyperbolic momentum and Adam for deep learning, 2019.

    Attributes:
        weights: what is updated, (P,).
        exp_avg: the moving average of the gradient, (P,).
        exp_avg_sq: the moving average of the squared gradient, (P,).
        rates: each weight's learning rate, in times of the rate of an update, (P,).
        updates: updates made so far.
    """

    def __init__(self, weights: Tensor, weight_decay: Tensor, momentum_share: float = 1.0) -> None:
        """Prepares the first update.

        Args:
            weights: to be updated, (P,).
            weight_decay: of each, (P,), whatever its rate.
            momentum_share: of the moving average in what an update follows.
        """
        self.weights = weights
        self.exp_avg = torch.zeros_like(weights)
        self.exp_avg_sq = torch.zeros_like(weights)
        self.updates = 0
        self.rates = torch.ones_like(weights)
        self._weight_decay, self._momentum_share = weight_decay, momentum_share

    @torch.no_grad()
    def update(self, gradient: Tensor, lr: float) -> None:
        """Moves the weights by a gradient, (P,), at a learning rate."""
        self.updates += 1
        self.weights.mul_(1 - lr * self._weight_decay)
        self.exp_avg.lerp_(gradient, 1 - BETAS[0])
        self.exp_avg_sq.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        # both averages start at zero: undo how far that still pulls them down
        correction, correction_sq = (1 - beta**self.updates for beta in BETAS)
        direction = torch.lerp(gradient, self.exp_avg / correction, self._momentum_share)
        denominator = self.exp_avg_sq.sqrt().div_(math.sqrt(correction_sq)).add_(EPSILON)
        self.weights.addcdiv_(direction.mul_(self.rates), denominator, value=-lr)


@torch.no_grad()
def update_average(average: Tensor, weights: Tensor, updates: int) -> None:
    """Updates the moving average (EMA) of the weights; its window grows to 7 % of the updates.

    Args:
        average: changed, (P,).
        weights: those after an update, (P,).
        updates: updates made before that one.
    """
    average.lerp_(weights, 1 / (10 + 0.07 * updates) if updates else 1.0)
