"""A moment of a training, to return to exactly: as tensors and JSON, and back to what learns.

A training file is one such moment; it may hold an earlier one, the mark, to roll back to.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from charrnn.errors import CheckpointError, reason
from charrnn.fields import typed
from charrnn.model.forward import Forward
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.batches import Position
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.learner import Learner
from charrnn.training.members import Member, prefix
from charrnn.training.progress import Progress

_ROLLBACK = "rollback."  # before the names of a mark's tensors in a training file


def take(learner: Learner, vocabulary: Vocabulary, progress: Progress) -> Checkpoint:
    """Returns what :func:`restore` needs; the tensors are those that training changes."""
    model, tensors = learner.model.in_numpy(), learner.tensors()
    for member, generator in enumerate(learner.shares.generators):
        tensors[f"{prefix(member)}random_state"] = generator.get_state().numpy()
    for name in model.weights:
        del tensors[name]
    return Checkpoint(model, vocabulary, {}, {"progress": asdict(progress)}, tensors)


def copied(moment: Checkpoint) -> Checkpoint:
    """Returns a copy that training does not change."""
    weights, tensors = (
        {name: tensor.copy() for name, tensor in each.items()}
        for each in (moment.model.weights, moment.tensors)
    )
    return replace(moment, model=Forward(moment.model.config, weights), tensors=tensors)


def add_mark(training: Checkpoint, mark: Checkpoint) -> None:
    """Adds an earlier moment to a training file; nothing if it is the same moment."""
    progress = mark.training_state["progress"]
    if progress["step"] != training.training_state["progress"]["step"]:
        training.training_state["rollback"] = progress
        tensors = {**mark.model.weights, **mark.tensors}
        training.tensors |= {_ROLLBACK + name: tensor for name, tensor in tensors.items()}


def take_mark(saved: Checkpoint) -> Checkpoint | None:
    """Takes the moment to return to out of a training file that was read; None if it has none.

    Raises:
        CheckpointError: The file is not whole.
    """
    names = [name for name in saved.tensors if name.startswith(_ROLLBACK)]
    tensors = {name.removeprefix(_ROLLBACK): saved.tensors.pop(name) for name in names}
    progress = saved.training_state.pop("rollback", None)
    if progress is None:
        return None
    try:
        weights = {name: tensors.pop(name) for name in saved.model.weights}
    except KeyError as error:
        raise not_whole(saved.path, error) from None
    model = Forward(saved.model.config, weights)
    return replace(saved, model=model, training_state={"progress": progress}, tensors=tensors)


def restore(saved: Checkpoint, learner: Learner) -> Progress:
    """Takes a learner, and torch's random numbers, back to a save; returns how far that was.

    Raises:
        CheckpointError: The file is not whole.
    """
    try:
        progress = dict(saved.training_state["progress"])
        position = typed(Position, progress.pop("position"))
        restored = typed(Progress, {**progress, "position": position})
        restored.check()
        learner.restore({**saved.model.weights, **saved.tensors}, restored.step)
        for member, generator in enumerate(learner.shares.generators):
            generator.set_state(torch.tensor(saved.tensors[f"{prefix(member)}random_state"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise not_whole(saved.path, error) from None
    return restored


def others_of(saved: Checkpoint, count: int) -> list[Member]:
    """Returns the members of a training file after the first one, still to be restored.

    Raises:
        CheckpointError: One is missing, or has other shapes.
    """
    members, shapes = [], saved.model.config.parameter_shapes()
    for member in range(1, count):
        weights = {}
        for name, shape in shapes.items():
            tensor = saved.tensors.get(prefix(member) + name)
            if tensor is None or tensor.dtype != np.float32 or tensor.shape != shape:
                raise not_whole(saved.path, f"tensor {prefix(member)}{name} is missing or differs")
            weights[name] = tensor
        model = CharRNN.of(Forward(saved.model.config, weights))
        members.append(Member(model, torch.Generator()))
    return members


def not_whole(path: Path, why: object) -> CheckpointError:
    """Returns the error for a training file in which something is missing or wrong."""
    shown = reason(why) if isinstance(why, BaseException) else why
    return CheckpointError(f"{path}: not a whole training file ({shown}): start a new run")
