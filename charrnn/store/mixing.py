"""Several models that are used as one: of several runs, or the members of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.config import MODEL_FILE, Newlines, member_file
from charrnn.errors import CheckpointError, MemberError, refusal
from charrnn.model import mixture
from charrnn.model.forward import Predictor
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.opened import RunFolder
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
    held_out_lines: tuple[int, float] | None = None  # see `Checkpoint`; of several runs unknown
    named: int = 1  # runs or files

    @property
    def paths(self) -> list[str]:
        """Where the models were read."""
        return [str(member.path) for member in self.members]

    @property
    def place(self) -> str:
        """Where the only run or file is that was named, and how many members it has."""
        first, count = self.members[0].path, len(self.members)
        return f"{first.parent} ({count} members)" if count > 1 else str(first)


def load_all(paths: Sequence[Path]) -> Loaded:
    """Reads one model or more: files, or runs' folders with all their members.

    Raises:
        CheckpointError: One cannot be read, or they are of different symbols.
        TooLargeError: One needs more memory than there is.
    """
    loaded = [
        load_run(path) if path.is_dir() else as_one([checkpoint.load(path)]) for path in paths
    ]
    if len(loaded) == 1:
        return loaded[0]
    return replace(as_one([m for one in loaded for m in one.members]), named=len(loaded))


def load_run(path: Path, folder: RunFolder | None = None) -> Loaded:
    """Reads a run's model; of several members, which may be of different moments, the mixture.

    Args:
        path: its folder.
        folder: the same, if it is open: only the files' names count then.

    Raises:
        CheckpointError: A member is missing or cannot be read, or they do not go together.
        TooLargeError: One needs more memory than there is.
    """
    first = checkpoint.load(path / MODEL_FILE, folder)
    count = first.mixture.members if first.mixture else 1
    members = [load_member(path, number, first, folder) for number in range(2, count + 1)]
    loaded = as_one([first, *members])
    if first.mixture:
        return replace(loaded, held_out_lines=first.mixture.held_out_lines)
    return loaded


def as_member(
    provenance: Mapping[str, Any], member: int, members: int, nats: float | None
) -> dict[str, Any]:
    """Returns the provenance of a member of a mixture, whose figure is not this one's.

    Args:
        provenance: of a model alone.
        member: which one it is, from 1 up.
        members: how many there are.
        nats: what the mixture scored on the validation text, nats/char, if it was scored.
    """
    mixture = {"member": member, "members": members, "val_nats_per_char": nats}
    return {**provenance, "val_nats_per_char": None, "mixture": mixture}


def save_all(place: Path, models: Sequence[Checkpoint]) -> None:
    """Writes one model to a file, or several as the members of a mixture into a folder.

    The first one, of which a reader learns how many there are, comes last.

    Raises:
        CheckpointError: It cannot be written.
    """
    alone = [{k: v for k, v in m.provenance.items() if k != "mixture"} for m in models]
    if len(models) == 1:
        checkpoint.save(place, replace(models[0], provenance=alone[0]))
        return
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise CheckpointError(refusal(place, "made", error, "name another folder")) from None
    for number in range(len(models), 0, -1):
        provenance = as_member(alone[number - 1], number, len(models), None)
        model = replace(models[number - 1], provenance=provenance)
        checkpoint.save(place / member_file(number), model)


def load_member(
    path: Path, number: int, first: Checkpoint, folder: RunFolder | None = None
) -> Checkpoint:
    """Reads a further member of a run.

    Args:
        path: the run's folder.
        number: which member, from 2 up.
        first: the first member.
        folder: as for :func:`load_run`.

    Raises:
        MemberError: It is missing, cannot be read, or is of another training.
        TooLargeError: It needs more memory than there is.
    """
    assert first.mixture is not None
    file, count = path / member_file(number), first.mixture.members
    try:
        member = checkpoint.load(file, folder)
        if not _belongs(member, number, first):
            raise CheckpointError(f"{file}: it is of another training")
    except CheckpointError as error:
        why = str(error).removeprefix(f"{file}: ").split(":")[0]
        raise MemberError(
            f"{file} (member {number} of {count}): {why}: with this file moved away, "
            "resuming the training writes all members again; or name another member's file alone"
        ) from None
    return member


def _belongs(member: Checkpoint, number: int, first: Checkpoint) -> bool:
    """Returns whether a file is a member of the first one's training, of whatever moment."""
    its, wanted = member.mixture, first.mixture
    if its is None or wanted is None or member.training_state:
        return False
    in_place = its.member == number and its.members == wanted.members
    return in_place and _training(member) == _training(first)


def _training(member: Checkpoint) -> tuple[object, ...]:
    """Returns what stays the same in a training, also when it is resumed."""
    settings = member.provenance.get("settings")
    training = settings.get("training") if isinstance(settings, dict) else None
    seed = training.get("seed") if isinstance(training, dict) else None
    return member.model.config, member.provenance.get("chars"), seed


def as_one(members: Sequence[Checkpoint]) -> Loaded:
    """Returns models as one.

    Raises:
        CheckpointError: They are of different symbols.
    """
    first = members[0]
    for other in members[1:]:
        _check_alike(first, other)
    return Loaded(
        mixture.as_one([member.model for member in members]),
        first.vocabulary,
        first.newlines,
        min(member.trained_chars for member in members),
        members,
        None if members[1:] else first.held_out_lines,
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
