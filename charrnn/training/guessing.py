"""What a model must be better than: guessing each character by how often it occurs."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.config import UNIT_NAMES, Unit
from charrnn.text.vocabulary import Ids

# a text without any order, such as random bytes, is predicted a little worse than guessed
MUCH_WORSE = 1.05


@dataclass(frozen=True)
class Guessing:
    """How well a text is guessed by symbol frequencies alone, those of the training text.

    Attributes:
        nats: what that costs, nats/char; infinite without a text.
    """

    nats: float

    @classmethod
    def of(cls, shares: npt.NDArray[np.float64], ids: Ids) -> "Guessing":
        """Guesses a text, (n,), by shares of symbols, (V,)."""
        return cls(float(-np.log(shares)[ids].mean()) if len(ids) else math.inf)

    def warnings(self, best_nats: float | None, unit: Unit) -> list[str]:
        """Returns what a user should know if the best model of a training is no better."""
        if best_nats is None or best_nats <= MUCH_WORSE * self.nats:
            return []
        name = UNIT_NAMES[unit]
        best, guessed = (nats / math.log(2) for nats in (best_nats, self.nats))
        return [
            f"the best model takes {best:.3f} bits/{unit}, knowing how often each {name} occurs "
            f"would take {guessed:.3f}: train again with a lower --learning-rate"
        ]
