"""What happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import TrainingError
from charrnn.model.network import CharRNN

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Stepped:
    """Some updates were made.

    Attributes:
        step: updates so far.
        chars: characters read so far.
        elapsed_s: seconds of training so far, evaluations included.
        train_nats_per_char: mean over the updates since the last such event.
        learning_rate: of the last update.
        chars_per_second: since the last such event, evaluations and saves excluded.
        progress: share of the training that is done, 0 to 1.
        total_steps: updates of the whole training; None where the clock decides.
    """

    step: int
    chars: int
    elapsed_s: float
    train_nats_per_char: float
    learning_rate: float
    chars_per_second: float
    progress: float
    total_steps: int | None


@dataclass(frozen=True)
class Evaluated:
    """The averaged model was scored on the validation text.

    Attributes:
        step: updates so far.
        chars: characters read so far.
        elapsed_s: seconds of training so far.
        val_nats_per_char: its surprise; None where the corpus keeps no validation text.
        best: whether it is the best so far, and was saved.
        model: the averaged model, to sample from at once; it goes on changing.
    """

    step: int
    chars: int
    elapsed_s: float
    val_nats_per_char: float | None
    best: bool
    model: CharRNN


@dataclass(frozen=True)
class Finished:
    """Training has ended, and everything is saved.

    Attributes:
        reason: ``"done"``, ``"patience"`` or ``"interrupted"``.
        step: updates in all.
        elapsed_s: seconds of training in all.
        val_nats_per_char: the best model's; None where none was scored.
        model_path: the best model.
    """

    reason: str
    step: int
    elapsed_s: float
    val_nats_per_char: float | None
    model_path: Path


@dataclass(frozen=True)
class WentBack:
    """The numbers had left all bounds: training is at its last saved moment again, and slower.

    Attributes:
        step: updates at that moment.
        from_step: updates when it went wrong; the history holds none of those between.
        elapsed_s: seconds of training so far.
        reason: what was seen.
        learning_rate: the new peak of the schedule.
    """

    step: int
    from_step: int
    elapsed_s: float
    reason: str
    learning_rate: float


@dataclass(frozen=True)
class SaveFailed:
    """Something could not be written; training goes on, and tries again at the next save.

    Attributes:
        step: updates so far.
        elapsed_s: seconds of training so far.
        reason: what, where and why.
    """

    step: int
    elapsed_s: float
    reason: str


Event = Stepped | Evaluated | WentBack | SaveFailed | Finished


class _Diverged(TrainingError):
    """Something is no finite number any more; training goes back, or ends."""


@dataclass(frozen=True)
class RunSummary:
    """What is said of a training before it starts."""

    folder: Path
    chars: int | None
    symbols: int
    hidden_size: int
    num_layers: int
    parameters: int
    batch_size: int
    seq_len: int
    unit: str

    def line(self) -> str:
        """Returns it as one line."""
        text = "a text without end" if self.chars is None else f"{self.chars:,} {self.unit}s"
        return (
            f"{self.folder}: {text}, {self.symbols:,} distinct; "
            f"{self.hidden_size} x {self.num_layers} model, {self.parameters:,} parameters; "
            f"batch {self.batch_size} x {self.seq_len}"
        )
