"""What a user asks of a training, on the command line or in Python; checked without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn.config import TRAINING_FILE, check
from charrnn.errors import OptionError
from charrnn.store.folder import check_name, find_run, is_free


@dataclass(frozen=True)
class Asked:
    """A training as it is asked for; settings are those that the user set, by field name.

    Raises:
        OptionError: A setting is out of range, or two do not go together.
    """

    sources: Sequence[str]  # texts; or one run, if it shall be resumed and has no name
    runs: Path  # the folder of all runs
    name: str | None = None  # of the run
    resume: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)  # of DataConfig
    model: Mapping[str, Any] = field(default_factory=dict)  # of ModelConfig
    training: Mapping[str, Any] = field(default_factory=dict)  # of TrainingConfig
    val_source: str | None = None  # another text to validate on
    init_from: str | None = None  # a model to take the weights from
    keep_characters: bool = False  # also those of its characters that the text does not have

    def __post_init__(self) -> None:
        """Checks everything that can be checked before a file is read."""
        check(self.changes)
        if self.name == "":
            check_name(self.name)
        if self.val_source is not None and "val_fraction" in self.data:
            raise OptionError("--val-source and --val-fraction: give one of them")
        if self.val_source is not None and self.data.get("hold_out") == "lines":
            raise OptionError("--val-source and --split lines: give one of them")
        if self.keep_characters and not self.init_from:
            raise OptionError("--keep-characters: goes with --init-from")
        if not self.resume and not self.sources:
            raise OptionError("train: no SOURCE: name a file, a folder, or - for standard input")
        if self.resume:
            self._check_resume()

    def _check_resume(self) -> None:
        if self.name is None:
            for option, value in (
                ("--init-from", self.init_from),
                ("--val-source", self.val_source),
            ):
                if value is not None:
                    raise OptionError(f"--resume and {option}: name the run, too: --name NAME")
            if len(self.sources) > 1:
                raise OptionError(
                    "--resume: name one run; or texts, and their run with --name NAME"
                )
        for path in map(Path, self.sources):
            is_text = path.suffix != ".safetensors" and path.is_file()
            if self.name is None and is_text:
                raise OptionError(f"--resume: {path} is a text: name the run, too: --name NAME")
            if self.name is not None and (path / TRAINING_FILE).exists():
                raise OptionError(f"--resume and --name: {path} is a run, too: name one")

    @property
    def changes(self) -> dict[str, Any]:
        """All settings that the user set."""
        return {**self.data, **self.model, **self.training}

    @property
    def texts(self) -> Sequence[str]:
        """The sources that are texts: none if they name a run."""
        return () if self.resume and self.name is None else self.sources

    def training_file(self) -> Path | None:
        """Returns the training file to resume; None if a new run is to be started.

        Raises:
            RunNotFoundError: There is none.
        """
        if not self.resume:
            return None
        if self.name is not None and self.sources and is_free(self.runs / self.name):
            return None
        return find_run(self.runs, self.name or next(iter(self.sources), None), TRAINING_FILE)
