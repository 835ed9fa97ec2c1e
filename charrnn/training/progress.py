"""How far a training is: what changes in it, except tensors."""

from dataclasses import dataclass, field

from charrnn.config import MOST
from charrnn.text.batches import Position

MAX_ROLLBACKS = 5  # each halves the learning rate


@dataclass
class Progress:
    """Numbers that a training file keeps as JSON.

    Times are seconds of training, evaluations included. With a time budget, they are those of whole
    commands.
    """

    step: int = 0  # updates so far
    chars: int = 0  # characters read so far
    elapsed_s: float = 0.0
    starts_s: float = 0.0  # of these, until the first update of each command, if they count
    position: Position = field(default_factory=Position)  # where the next batch starts
    best_nats: float | None = None  # the best validation figure, nats/char; None if there is none
    evaluations_since_best: int = 0
    evaluated_step: int = 0  # the step of the last evaluation
    evaluated_s: float = 0.0  # when it ended
    eval_s: float = 0.0  # how long it took
    setbacks: int = 0  # rollbacks (version 1 names them so); each halves the learning rate
    done_max_time: float | None = None  # the time budget that was used up, if one was
    log_nats: float = 0.0  # surprise of the characters read since the last log line, summed
    log_chars: int = 0  # how many they are
    log_start_s: float = 0.0  # when they began; evaluations and saves since then are left out

    def check(self) -> None:
        """Checks what was read from a file.

        Raises:
            ValueError: A number is larger than any training makes it.
        """
        if self.setbacks > MAX_ROLLBACKS:
            raise ValueError(f"{self.setbacks} rollbacks")
        numbers = {**vars(self), **vars(self.position)}
        for name in numbers.keys() - {"position", "best_nats", "log_nats"}:
            if (numbers[name] or 0) > MOST:
                raise ValueError(f"{name} is {numbers[name]}")
