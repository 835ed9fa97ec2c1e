"""The runs that there are: what their files tell of each.

Nothing of a file is trusted: what is missing or of another type is simply not known.
"""

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard

from charrnn.config import (
    DEFAULT_EPOCHS,
    LIMITS,
    MODEL_FILE,
    TRAINING_FILE,
    ModelConfig,
    Unit,
    member_file,
)
from charrnn.errors import CharrnnError, CheckpointError, RunNotFoundError, refusal
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint, Mixture, mixture_in, nats_in
from charrnn.store.commands import larger_limit, resume_command, shell_line, train_command
from charrnn.store.folder import first_is_missing
from charrnn.store.history import read_history
from charrnn.store.mixing import load_member
from charrnn.store.opened import RunFolder, is_busy

State = Literal["training", "finished", "resumable", "model only", "damaged"]
# in words; a model only can be used, but not be resumed
STATES: dict[State, str] = {
    "training": "training now",
    "finished": "finished",
    "resumable": "can be resumed",
    "model only": "model only",
    "damaged": "damaged",
}


@dataclass(frozen=True, eq=False)
class Run:
    """A run's folder, or a model's file alone, as it was when it was looked at.

    It is also a path, so that a run can be given wherever a run's folder can.
    """

    path: Path  # of the folder, or of the file
    state: State
    changed: datetime  # when the model was written last, UTC
    config: ModelConfig | None = None  # of its model; None if no file can be read
    provenance: Mapping[str, Any] = field(default_factory=dict)  # of its best model
    training_state: Mapping[str, Any] = field(default_factory=dict)  # of its last save
    damage: str = ""  # the errors of the files that cannot be read
    sources: tuple[str, ...] = ()  # as the user named them
    alone: bool = False  # whether it is a model's file

    def __fspath__(self) -> str:
        return str(self.path.absolute())

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.absolute().name

    @property
    def unit(self) -> Unit:
        """What a symbol is."""
        return "char" if self.config is None else self.config.unit

    def number(self, *keys: str) -> float | None:
        """Returns a number of the last save's progress or of the provenance, by its first key."""
        progress = self.training_state.get("progress")
        for kept in (progress if isinstance(progress, dict) else {}, self.provenance):
            for value in map(kept.get, keys):
                if _is_number(value):
                    return value
        return None

    def text(self, key: str) -> str | None:
        """Returns what is kept as text by the last save or the model."""
        kept = self.provenance.get(key, self.training_state.get(key))
        return kept if isinstance(kept, str) else None

    @property
    def mixture(self) -> Mixture | None:
        """What its model tells of the mixture of which it is a member, if it is."""
        return mixture_in(self.provenance)

    @property
    def members(self) -> int:
        """How many models it has, which are used as one."""
        return 1 if self.alone or self.mixture is None else self.mixture.members

    @property
    def best_nats(self) -> float | None:
        """The best model's surprise on the validation text, nats per character."""
        nats = nats_in(self.provenance)
        if self.mixture and not self.alone:
            nats = self.mixture.val_nats_per_char
        if nats is None and "val_nats_per_char" not in self.provenance:
            return self.number("best_nats")  # there is no model
        return nats

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that is kept, by field name: of the model, the text and the training."""
        kept = self.provenance.get("settings")
        kept = kept if isinstance(kept, dict) else {}
        parts = [
            self.training_state.get("data_config", kept.get("data")),
            self.training_state.get("training_config", kept.get("training")),
        ]
        of_training = {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
        return (asdict(self.config) if self.config else {}) | of_training

    @property
    def command(self) -> str | None:
        """The command that made it, as a line for the shell, if that is known."""
        words = self.training_state.get("command")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return None
        return shell_line(words)

    @property
    def resume_command(self) -> str | None:
        """The command that continues it, a finished one to twice its length; None if none does."""
        if not self.training_state:
            return None
        command = resume_command(self.path)
        if self.state != "finished":
            return command
        if self.training_state.get("ended") == "patience":
            return f"{command} {shell_line(train_command([], {'patience': 0})[2:])}"
        return f"{command} {self._larger_limit()}"

    def _larger_limit(self) -> str:
        progress = {"steps": self.number("step"), "max_time": self.number("elapsed_s")}
        for limit in LIMITS:
            value = self.settings.get(limit)
            if _is_number(value):
                return larger_limit(limit, value, progress.get(limit) or 0)
        return larger_limit("epochs", DEFAULT_EPOCHS)

    def history(self) -> list[dict[str, Any]]:
        """Returns the entries of its history, in order; what no training wrote is left out.

        Raises:
            CheckpointError: It cannot be read.
        """
        if not self.path.is_dir():
            return []
        with RunFolder(self.path) as folder:
            return [entry for entry in read_history(folder) if entry is not None]

    def facts(self) -> dict[str, Any]:
        """Returns all that is known, as JSON values; None for what is not."""
        nats = self.best_nats
        model = replace(self, training_state={})  # what its file alone tells
        versions, lines = (self.provenance.get(key) for key in ("versions", "held_out_lines"))
        if self.mixture and not self.alone:
            lines = self.provenance["mixture"].get("held_out_lines")
        return {
            "name": self.name,
            "path": str(self.path),
            "state": self.state,
            "damage": self.damage or None,
            "began": self.text("began"),
            "changed": self.changed.isoformat(timespec="seconds"),
            "sources": list(self.sources),
            "val_source": self.text("val_source"),
            "chars": model.number("chars"),
            "parameters": self.config.parameter_count() if self.config else None,
            "members": self.members,
            "member": self.mixture.member if self.mixture and self.alone else None,
            "step": self.number("step"),
            "best_step": model.number("step"),
            "train_chars_read": self.number("chars", "train_chars_read")
            if self.training_state
            else self.number("train_chars_read"),
            "elapsed_s": self.number("elapsed_s"),
            "val_nats_per_char": nats,
            "val_bits_per_char": None if nats is None else nats / math.log(2),
            "held_out_lines": lines if isinstance(lines, dict) else None,
            "settings": self.settings,
            "text_sha256": self.text("corpus_sha256"),
            "versions": versions if isinstance(versions, dict) else None,
            "command": self.command,
            "resume_command": self.resume_command,
        }


def look_at(path: Path) -> Run:
    """Reads what a run's folder, or a model's file, tells; the files are read whole.

    Raises:
        RunNotFoundError: There is nothing of a run.
    """
    folder = path if path.is_dir() else None
    files = [folder / name for name in (MODEL_FILE, TRAINING_FILE)] if folder else [path]
    busy = folder is not None and is_busy(folder)
    found, errors, changed_s = dict[str, Checkpoint](), list[str](), list[float]()
    for file in files:
        try:
            changed_s.append(os.stat(file).st_mtime)
            read = checkpoint.load(file)
            found["training" if read.training_state else "model"] = read
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            errors.append(refusal(file, "read", error, "check the path"))
        except CharrnnError as error:
            errors.append(str(error))
    if not changed_s and not errors:
        raise RunNotFoundError(f"{path}: there is nothing of a run: name another")
    if folder is None and errors:
        raise CheckpointError(errors[0])
    model, training = found.get("model"), found.get("training")
    if folder:
        errors += _damaged(folder, model)
    best = model or training
    state: State = "damaged" if errors else "resumable" if training else "model only"
    if state == "resumable" and training and _has_ended(training.training_state):
        state = "finished"
    return Run(
        path=path,
        state="training" if busy else state,
        changed=_moment(changed_s[0] if changed_s else 0.0),  # the model's, if there is one
        config=best.model.config if best else None,
        provenance=best.provenance if best else {},
        training_state=training.training_state if training else {},
        damage="; ".join(errors),
        sources=tuple(best.sources) if best else (),
        alone=folder is None,
    )


def _damaged(folder: Path, first: Checkpoint | None) -> list[str]:
    """Returns the errors of members that are missing, cannot be read, or do not belong here."""
    if first is None:
        return [str(first_is_missing(folder))] if (folder / member_file(2)).exists() else []
    errors = []
    for number in range(2, (first.mixture.members if first.mixture else 1) + 1):
        try:
            load_member(folder, number, first)
        except CharrnnError as error:
            errors.append(str(error))
    return errors


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 <= value < math.inf


def _moment(seconds: float) -> datetime:
    """Returns a file's time; the first one of all for what no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _has_ended(state: Mapping[str, Any]) -> bool:
    """Returns whether a training came to its end; earlier versions kept only how far it was."""
    if "ended" in state:
        return state["ended"] in ("done", "patience")
    progress, config = state.get("progress"), state.get("training_config")
    if not isinstance(progress, dict) or not isinstance(config, dict):
        return False
    pairs: list[tuple[Any, Any]] = [
        (progress.get("step"), config.get("steps")),
        (progress.get("done_max_time"), config.get("max_time")),
    ]
    return any(_is_number(a) and _is_number(b) and a >= b for a, b in pairs)


def all_runs(runs: Path, watch: Callable[[int], None] = lambda count: None) -> list[Run]:
    """Returns the runs of a folder, the newest first; calls ``watch`` with how many were read.

    Raises:
        RunNotFoundError: The folder cannot be read.
    """
    try:
        paths = [runs / name for name in os.listdir(runs)]
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL
        return []
    except OSError as error:
        raise RunNotFoundError(refusal(runs, "read", error, "check the path")) from None
    found = []
    for path in sorted(paths):
        if path.is_dir():
            with contextlib.suppress(RunNotFoundError):
                found.append(look_at(path))
                watch(len(found))
    return sorted(found, key=lambda run: run.changed, reverse=True)
