"""What happens in training, as data; whoever watches decides how to show it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.model.network import CharRNN


@dataclass(frozen=True)
class RunSummary:
    """What will be trained.

    Attributes:
        folder: the run's folder.
        chars: characters (or bytes) of the texts; infinite if they have not ended.
        symbols: V.
        hidden_size: H.
        num_layers: L.
        parameters: trained numbers.
        batch_size: B.
        seq_len: T.
        unit: ``"character"`` or ``"byte"``.
    """

    folder: Path
    chars: float
    symbols: int
    hidden_size: int
    num_layers: int
    parameters: int
    batch_size: int
    seq_len: int
    unit: str


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
        total_steps: updates of the whole training; None if the clock decides.
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
        val_nats_per_char: its surprise; None if there is no validation text.
        best: whether it is the best so far, and was saved.
        model: the averaged model, to sample from at once; training changes it further.
    """

    step: int
    chars: int
    elapsed_s: float
    val_nats_per_char: float | None
    best: bool
    model: "CharRNN"


@dataclass(frozen=True)
class RolledBack:
    """The loss or the weights became NaN or infinite; training is at its last save again.

    Attributes:
        step: updates at that save.
        from_step: updates when it went wrong; the history holds none of those between.
        elapsed_s: seconds of training so far.
        reason: what was seen.
        learning_rate: the new peak of the schedule, half of the one before.
    """

    step: int
    from_step: int
    elapsed_s: float
    reason: str
    learning_rate: float


@dataclass(frozen=True)
class SaveFailed:
    """Something could not be written; training continues, and the next save tries again.

    Attributes:
        step: updates so far.
        elapsed_s: seconds of training so far.
        reason: what, where and why.
    """

    step: int
    elapsed_s: float
    reason: str


@dataclass(frozen=True)
class Finished:
    """Training has ended, and everything is saved.

    Attributes:
        reason: ``"done"``, ``"patience"`` or ``"interrupted"``.
        step: updates in all.
        elapsed_s: seconds of training in all.
        val_nats_per_char: the best model's; None if none was scored.
        model_path: the best model.
    """

    reason: str
    step: int
    elapsed_s: float
    val_nats_per_char: float | None
    model_path: Path


Event = Stepped | Evaluated | RolledBack | SaveFailed | Finished
