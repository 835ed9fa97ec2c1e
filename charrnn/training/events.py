"""What happens in training, as data; whoever watches decides how to show it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from charrnn.config import ModelConfig, Precision, TrainingConfig, Unit

if TYPE_CHECKING:
    from charrnn.model.forward import Predictor

Reason = Literal["done", "patience", "interrupted"]  # why a training ended


@dataclass(frozen=True)
class RunSummary:
    """What will be trained."""

    folder: Path
    chars: float  # characters (or bytes) of the texts; infinite if they have not ended
    symbols: int  # V
    shape: str  # units, layers and cell, as in `ModelConfig.shape`
    parameters: int  # trained numbers, of each member
    batch_size: int  # B
    seq_len: int  # T
    unit: Unit
    precision: Precision = "fp32"
    members: int = 1  # models that train together

    @classmethod
    def of(
        cls, folder: Path, model: ModelConfig, training: TrainingConfig, chars: float
    ) -> "RunSummary":
        """Returns the summary of settings that were fitted to ``chars`` characters."""
        return cls(
            folder=folder,
            chars=chars,
            symbols=model.vocab_size,
            shape=model.shape,
            parameters=model.parameter_count(),
            batch_size=training.batch_size,
            seq_len=training.seq_len,
            unit=model.unit,
            precision=training.precision,
            members=training.members,
        )


@dataclass(frozen=True)
class Stepped:
    """Some updates were made."""

    step: int  # updates so far
    chars: int  # characters read so far
    elapsed_s: float  # seconds of training so far, evaluations included
    train_nats_per_char: float  # mean over updates since the last such event, and over members
    learning_rate: float  # of the last update
    chars_per_second: float  # since the last such event, evaluations and saves excluded
    progress: float  # share of the training that is done, 0 to 1
    total_steps: int | None  # updates of the whole training; None if the clock decides
    left_s: float  # seconds of training that are left, as far as anybody knows


@dataclass(frozen=True)
class Evaluated:
    """The averaged model, or the mixture of several, was scored on the validation text."""

    step: int
    chars: int
    elapsed_s: float
    val_nats_per_char: float | None  # None if there is no validation text
    best: bool  # whether it is the best so far, and was saved
    model: "Predictor"  # to sample from at once; training changes it further


@dataclass(frozen=True)
class RolledBack:
    """The loss or the weights became NaN or infinite; training is at an earlier step again."""

    step: int  # updates at that step
    from_step: int  # updates when it went wrong; the history holds none of those between
    elapsed_s: float
    reason: str
    learning_rate: float  # the new peak of the schedule, half of the one before


@dataclass(frozen=True)
class SaveFailed:
    """Something could not be written; training continues, and the next save tries again."""

    step: int
    elapsed_s: float
    reason: str  # what, where and why
    final: bool = False  # no save will ever succeed, and training ends with this as its error


@dataclass(frozen=True)
class Finished:
    """Training has ended, and everything is saved."""

    reason: Reason
    step: int
    elapsed_s: float
    val_nats_per_char: float | None  # the best model's; None if none was scored
    model_path: Path  # the best model; the run's folder if it has several members


Event = Stepped | Evaluated | RolledBack | SaveFailed | Finished
