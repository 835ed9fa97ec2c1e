"""The members of a training: models of different seeds that learn at once and are used as one."""

from dataclasses import dataclass

import torch

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.network import CharRNN


@dataclass(frozen=True)
class Member:
    """A model at the start of its training."""

    model: CharRNN
    generator: torch.Generator = torch.default_generator  # draws its masks of dropout


def drawn(model: ModelConfig, training: TrainingConfig) -> list[Member]:
    """Draws each member's weights from its own seed: the k-th is what seed + k makes alone.

    The first one's random numbers are torch's own, as those of a single model are.
    """
    members = []
    for k in reversed(range(training.members)):
        torch.manual_seed(training.seed + k)
        drawn = CharRNN(model)
        generator = torch.default_generator
        if k > 0:
            generator = torch.Generator()
            generator.set_state(torch.get_rng_state())
        members.append(Member(drawn, generator))
    return members[::-1]


def prefix(member: int) -> str:
    """Returns what stands before a member's names, from 0 up, in a training file."""
    return f"members.{member + 1}." if member else ""
