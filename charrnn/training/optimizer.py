"""Gradients to better weights: AdamW, the schedule of its rate, the running average.

`torch.optim` has an AdamW too, but loads torch's compiler before its first update: a second and
more at the start of every training. A test proves the two equal.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from charrnn.config import TrainingConfig

BETAS = 0.9, 0.99
"""How much of the gradient's mean, and of its square's, is kept at each update."""

EPSILON = 1e-8


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Returns the rate at a share of the training: a linear rise, then half a cosine down.

    Args:
        config: peak, warm-up and final share.
        progress: 0 at the start, 1 at the end.
    """
    if progress < config.warmup:
        return config.learning_rate * (0.01 + 0.99 * progress / config.warmup)
    fall = min((progress - config.warmup) / (1 - config.warmup), 1.0)
    low = config.final_learning_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * fall)))


class AdamW:
    """Adam with decoupled weight decay; only matrices decay.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

    Attributes:
        parameters: what is updated.
        means: the running mean of each one's gradient, of its shape.
        squares: the running mean of each one's squared gradient, of its shape.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        """Prepares the first update.

        Args:
            parameters: what to update; each has its gradient when :meth:`update` is called.
            weight_decay: share of a matrix that an update at rate 1 takes away.
        """
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self._weight_decay = weight_decay
        self._matrices = [p for p in self.parameters if p.ndim > 1]

    @torch.no_grad()
    def update(self, rate: float, number: int) -> None:
        """Moves all parameters by their gradients, and forgets the gradients.

        Args:
            rate: the learning rate.
            number: which update this is, from 1 on.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        torch._foreach_mul_(self._matrices, 1 - rate * self._weight_decay)
        torch._foreach_lerp_(self.means, gradients, 1 - BETAS[0])
        torch._foreach_mul_(self.squares, BETAS[1])
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - BETAS[1])
        # both means start at zero: undo how far that still pulls them down
        mean_scale, square_scale = (1 - beta**number for beta in BETAS)
        sizes = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(sizes, math.sqrt(square_scale))
        torch._foreach_add_(sizes, EPSILON)
        torch._foreach_addcdiv_(self.parameters, self.means, sizes, -rate / mean_scale)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Makes the next gradients start from nothing."""
        for parameter in self.parameters:
            parameter.grad = None


@torch.no_grad()
def move_average(averages: list[Tensor], parameters: list[Tensor], number: int) -> None:
    """Moves the averages of the weights towards them; their memory grows to 7 % of the training.

    Args:
        averages: changed.
        parameters: the weights after an update, in the same order.
        number: which update that was, from 0 on.
    """
    share = 1 / (10 + 0.07 * number) if number else 1.0
    torch._foreach_lerp_(averages, parameters, share)
