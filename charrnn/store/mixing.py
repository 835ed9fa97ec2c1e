"""Several models that are used as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.config import Newlines
from charrnn.errors import CheckpointError
from charrnn.model.forward import Predictor
from charrnn.model.mixture import Mixture
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Vocabulary

MOST_SHOWN = 5  # symbols in a message


@dataclass(frozen=True)
class Loaded:
    """A model, or the mixture of several, as it is used."""

    model: Predictor
    vocabulary: Vocabulary
    newlines: Newlines  # what Windows line ends are read as
    trained_chars: int  # of the smallest text of any of them
    members: Sequence[Checkpoint]

    @property
    def paths(self) -> list[str]:
        """Where the models were read."""
        return [str(member.path) for member in self.members]


def load_all(paths: Sequence[Path]) -> Loaded:
    """Reads one model or more.

    Raises:
        CheckpointError: One cannot be read, or they are of different symbols.
        TooLargeError: One needs more memory than there is.
    """
    return as_one([checkpoint.load(path) for path in paths])


def as_one(members: Sequence[Checkpoint]) -> Loaded:
    """Returns models as one.

    Raises:
        CheckpointError: They are of different symbols.
    """
    first = members[0]
    for other in members[1:]:
        _check_alike(first, other)
    return Loaded(
        Mixture([member.model for member in members]) if members[1:] else first.model,
        first.vocabulary,
        first.newlines,
        min(member.trained_chars for member in members),
        members,
    )


def _check_alike(first: Checkpoint, other: Checkpoint) -> None:
    """Raises CheckpointError if two models do not read and predict the same symbols."""
    where = f"{other.path} and {first.path}"
    a, b = first.vocabulary, other.vocabulary
    if a.unit != b.unit:
        raise CheckpointError(
            f"{where}: one is of bytes, the other of characters: take models of one"
        )
    if a.symbols != b.symbols or a.unknown != b.unknown:
        only = [
            sorted(map(str, set(one.symbols) - set(two.symbols))) for one, two in ((b, a), (a, b))
        ]
        shown = " and ".join(
            f"{''.join(symbols[:MOST_SHOWN])!r} only in {one.path}"
            for symbols, one in zip(only, (other, first), strict=True)
            if symbols
        )
        shown = shown or "one has a symbol for unknown ones"
        raise CheckpointError(
            f"{where}: they know different characters ({shown}): train both on the same text"
        )
    if first.newlines != other.newlines:
        raise CheckpointError(
            f"{where}: they read Windows line ends in different ways: train both alike"
        )
