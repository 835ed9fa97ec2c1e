"""What is saved of a training: the model, the training file, the history.

Each member of a mixture has a model file of its own; all are written at the same moments.

A disk that refuses a file ends no training. What could not be written waits: the best model until
the next save, the history's lines until the next flush.
"""

import contextlib
import platform
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

import charrnn
from charrnn.config import MODEL_FILE, TRAINING_FILE, TrainingConfig, member_file
from charrnn.errors import CheckpointError, MemberError
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.history import History
from charrnn.store.mixing import Loaded, as_member, load_run
from charrnn.store.opened import RunFolder
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import moments
from charrnn.training.events import Evaluated, Stepped
from charrnn.training.learner import Learner
from charrnn.training.progress import Progress

# what decides a run's numbers
VERSIONS = {
    "charrnn": charrnn.__version__,
    "numpy": np.__version__,
    "torch": torch.__version__,
    "safetensors": safetensors.__version__,
    "python": platform.python_version(),
}


class Recorder:
    """Writes a run's files, and reads its training file again."""

    def __init__(
        self,
        folder: RunFolder,
        vocabulary: Vocabulary,
        config: TrainingConfig,
        origin: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> None:
        """Writes nothing yet.

        Args:
            folder: the run's, locked; closed with the recorder.
            vocabulary: of the model.
            config: the settings of the training.
            origin: what a training file keeps to find the text again; JSON values.
            provenance: what every file keeps of the text; JSON values.
        """
        self._folder, self._first_path = folder, folder.path
        self._vocabulary, self._config = vocabulary, config
        self._origin, self._provenance = dict(origin), dict(provenance)
        self._unsaved: dict[str, Checkpoint] = {}  # the best model's files, if the disk refused one
        self._history: History | None = None
        self.mark: Checkpoint | None = None  # where to return to, if that is not the last save

    @property
    def folder(self) -> Path:
        """Where the run's folder is now."""
        return self._folder.path

    @property
    def notes(self) -> list[str]:
        """What the user should know at the end, a line each."""
        if self.folder == self._first_path:
            return []
        return [f"{self._first_path}: the run's folder was moved: it is now {self.folder}"]

    def model_path(self) -> Path:
        """Returns where the best model is now: its file, or of several members the folder.

        Raises:
            CheckpointError: It was removed, or the folder was moved, nobody knows where.
        """
        if self._folder.place is None:
            raise CheckpointError(
                f"{self.folder}: the run's folder was moved, and the system does not tell where: "
                "the whole training is saved in it: find it, and name it"
            )
        return self.folder if self._config.members > 1 else self.folder / MODEL_FILE

    def has_model(self) -> bool:
        """Returns whether the run has a model, with all its members."""
        return all(map(self.has, map(member_file, range(1, self._config.members + 1))))

    def has(self, name: str) -> bool:
        """Returns whether the run has a file, or a link; what no save can have made is none."""
        status = None
        with contextlib.suppress(OSError):
            status = self._folder.status(name)
        return status is not None and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode))

    def open_history(self, progress: Progress) -> None:
        """Opens the history, cut back to where training is.

        Raises:
            CheckpointError: It cannot be read or written.
        """
        self._history = History(self._folder, progress.step, progress.evaluated_step)

    def log(self, event: Stepped | Evaluated) -> None:
        """Adds a line to the history, to be written by the next flush."""
        assert self._history is not None
        name = "step" if isinstance(event, Stepped) else "eval"
        inner = ("progress", "total_steps", "left_s", "model")
        fields = {key: value for key, value in vars(event).items() if key not in inner}
        self._history.append({"event": name, **fields})

    def flush(self, *, to_disk: bool = False) -> None:
        """Writes the history's waiting lines.

        Raises:
            CheckpointError: They cannot be written.
        """
        if self._history is not None:
            self._history.flush(to_disk=to_disk)

    def _provenance_of(self, progress: Progress, nats: float | None) -> dict[str, Any]:
        return {
            **self._provenance,
            "step": progress.step,
            "train_chars_read": progress.chars,
            "val_nats_per_char": nats,
            "settings": {"data": self._origin["data_config"], "training": self._config.kept()},
            "versions": VERSIONS,
        }

    def save_model(self, learner: Learner, progress: Progress, nats: float | None) -> None:
        """Saves the averaged model as the best one, which scored ``nats`` per character, if at all.

        Raises:
            Diverged: The weights are NaN or infinite.
            CheckpointError: It cannot be written; the next :meth:`save` tries again.
        """
        best = self._models(learner, progress, nats)
        self._unsaved = {}
        try:
            self._write_all(best)
        except CheckpointError:
            self._unsaved = {name: moments.copied(model) for name, model in best.items()}
            raise

    def _models(
        self, learner: Learner, progress: Progress, nats: float | None, file: str = MODEL_FILE
    ) -> dict[str, Checkpoint]:
        """Returns the averaged model of each member, by the name of its file.

        The first one, of which a reader learns how many there are, comes last.
        """
        learner.check_finite()
        models, members = {}, len(learner.averages)
        for number in range(members, 0, -1):
            provenance = self._provenance_of(progress, nats)
            if members > 1:
                provenance = as_member(provenance, number, members, nats)
            network = learner.averages[number - 1].in_numpy()
            models[member_file(number, file)] = Checkpoint(network, self._vocabulary, provenance)
        return models

    def _write_all(self, models: Mapping[str, Checkpoint]) -> None:
        for name, model in models.items():
            self._write(name, model)

    def keep_model(self, learner: Learner, progress: Progress) -> None:
        """Saves the averaged model in a file of this step, which stays.

        Raises:
            Diverged: The weights are NaN or infinite.
            CheckpointError: It cannot be written.
        """
        file = f"model-step-{progress.step}.safetensors"
        self._write_all(self._models(learner, progress, None, file))

    def load_model(self) -> Loaded:
        """Returns the best model, or the mixture of all members.

        Raises:
            CheckpointError: It cannot be read, so that the run has none.
        """
        try:
            return load_run(self.folder, self._folder)
        except MemberError:
            raise  # which tells what helps
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; the training is saved: with that file moved away, "
                "charrnn train --resume writes its newest model"
            ) from None

    def complete_model(self, best: Loaded, usual: Mapping[str, Any]) -> None:
        """Saves the best model, or its first member, with what is usual of held-out lines.

        Raises:
            CheckpointError: It cannot be written.
        """
        first, more = best.members[0], {"held_out_lines": usual}
        if best.members[1:]:  # what the mixture has scored
            more = {"mixture": {**first.provenance["mixture"], **more}}
        self._write(MODEL_FILE, replace(first, provenance={**first.provenance, **more}))

    def save(
        self, learner: Learner, progress: Progress, kept: Mapping[str, Any] | None = None
    ) -> None:
        """Saves the whole training, so that it can be resumed exactly from here.

        Args:
            learner: what learns.
            progress: how far it is.
            kept: what else is kept, JSON values by their name in the training state.

        Raises:
            Diverged: The weights are NaN or infinite.
            CheckpointError: It cannot be written.
        """
        learner.check_finite()
        # first: the history must reach as far as the training file
        self.flush(to_disk=True)
        # a training file must not name a best model that was never written
        self._write_all(self._unsaved)
        self._unsaved = {}
        training = moments.take(learner, self._vocabulary, progress)
        training.provenance = self._provenance_of(progress, progress.best_nats)
        training.training_state |= {
            "training_config": self._config.kept(),
            **self._origin,
            **(kept or {}),
        }
        if self.mark is not None:
            moments.add_mark(training, self.mark)
        self._write(TRAINING_FILE, training)

    def _write(self, name: str, content: Checkpoint) -> None:
        self._folder.write_whole(name, checkpoint.to_bytes(content))

    def set_mark(self, learner: Learner, progress: Progress) -> None:
        """Remembers this moment, to return to if training diverges; every save keeps it.

        Raises:
            Diverged: The weights are NaN or infinite.
        """
        learner.check_finite()
        self.mark = moments.copied(moments.take(learner, self._vocabulary, progress))

    def last(self) -> Checkpoint:
        """Returns the moment to return to: the mark, or without one the last save.

        Raises:
            CheckpointError: It cannot be read.
        """
        return self.mark or checkpoint.load(self.folder / TRAINING_FILE, self._folder)

    def close(self) -> None:
        """Writes what can be written of the history, and lets the next training in."""
        with contextlib.suppress(CheckpointError):
            self.flush()
        self._folder.close()
