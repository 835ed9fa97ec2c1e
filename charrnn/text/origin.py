"""Where the texts of a training come from, and how they are read: kept to open them again."""

import glob
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.config import COPY_FILE, DataConfig
from charrnn.errors import CorpusError
from charrnn.fields import typed
from charrnn.system import quoted
from charrnn.text.formats import HUB_PREFIX
from charrnn.text.sources import absolute, is_stream, shown


@dataclass(frozen=True)
class Origin:
    """The texts' sources and hashes, and how they are read and cut."""

    data_config: DataConfig
    sources: list[str]  # as the user named them, but absolute; a copy is relative to the run
    corpus_chars: int | None  # characters of the text; None if it had not ended
    corpus_sha256: str
    val_source: str | None = None  # another text to validate on
    val_sha256: str = ""
    kept_bytes: int = 0  # of a copy that had not ended: what the run had read of it
    kept_sha256: str = ""  # and their hash
    reader: int = 2  # the rules by which tables and folders were read; 1: as at first

    @property
    def provenance(self) -> dict[str, Any]:
        """What a model tells of its text, JSON values."""
        return {"chars": self.corpus_chars, "newlines": self.data_config.newlines}

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "Origin":
        """Returns the fields that a training file holds, among others.

        Raises:
            TypeError: A field is missing, or of another type.
            ValueError: A number is negative.
            OptionError: A setting is out of range.
        """
        values = {"reader": 1, **{key: state[key] for key in cls.__annotations__ if key in state}}
        data_config = values.get("data_config")
        if isinstance(data_config, dict):  # earlier versions kept all line ends
            data_config = {"newlines": "keep"} | data_config
        data_config = typed(DataConfig, data_config)
        origin = typed(cls, {**values, "data_config": data_config})
        if not all(isinstance(source, str) for source in origin.sources):
            raise TypeError("a source that is not a string")
        for source in [*origin.sources, *filter(None, [origin.val_source])]:
            if not (is_copy(source) or source.startswith(HUB_PREFIX) or os.path.isabs(source)):
                raise ValueError(f"{source!r} is neither absolute nor a file of the run")
        # nothing shows that a text which had not ended is the one that the run has read
        if origin.corpus_chars is None and not (
            len(origin.sources) == 1 and is_copy(origin.sources[0])
        ):
            raise ValueError("its text had not ended, and is not kept in the run's folder")
        return origin

    def moved(self, sources: Sequence[str], val_source: str | None, folder: Path) -> "Origin":
        """Returns where the texts are now: where the user says, or where they were; same hashes.

        Args:
            sources: as the user names them; none of them: where they were. A pipe stands for the
                copy that the run has of it.
            val_source: the text to validate on; None: where it was.
            folder: the run's.

        Raises:
            CorpusError: The text is gone, or the run has another kind of text.
        """
        options = f"--resume --name {quoted(folder.absolute())}"
        _check_there(() if sources else self.sources, "text", f"PLACE {options}")
        if val_source is None and self.val_source is not None:
            _check_there([self.val_source], "validation text", f"--val-source PLACE {options}")
        if val_source is not None and self.val_source is None:
            raise CorpusError("--val-source: the run has none: leave it out")
        places = []
        for source, before in itertools.zip_longest(sources, self.sources[: len(sources)]):
            if not is_stream(source):
                places.append(absolute(source))
            elif before is not None and is_copy(before):
                places.append(before)
            elif len(sources) == 1 and (copies := _copies(folder)):  # it was a file meanwhile
                places.append(copies[0])
            else:
                raise CorpusError(
                    f"{shown(source)}: the run began with {before or 'other texts'}: name that"
                )
        if self.corpus_chars is None and places not in ([], self.sources):
            raise CorpusError(f"{sources[0]}: the run keeps its text in its folder: leave it out")
        return replace(
            self,
            sources=places or self.sources,
            val_source=self.val_source if val_source is None else absolute(val_source),
        )

    def paths(self, folder: Path) -> list[str]:
        """Returns where the sources are now: the copies in the run's folder, the others as named.

        Raises:
            CorpusError: One is no file or folder, but what never ends, or can be read only once.
        """
        paths = [os.path.join(folder, name) if is_copy(name) else name for name in self.sources]
        for path in paths:
            if is_stream(path) or (self.corpus_chars is None and os.path.islink(path)):
                raise CorpusError(
                    f"{path}: it is not the text that the run began with, but a link, a named pipe "
                    f"or a device: restore it, or start a new run"
                )
        return paths


def _check_there(sources: Iterable[str], what: str, words: str) -> None:
    """Raises CorpusError if a text is gone; ``words`` are those of the command that names it."""
    for path in filter(os.path.isabs, sources):
        if not (os.path.lexists(path) or glob.has_magic(path)):
            raise CorpusError(
                f"{path}: the run's {what} is gone: if it was moved, name its new place: "
                f"charrnn train {words}"
            )


def _copies(folder: Path) -> list[str]:
    return sorted(filter(is_copy, os.listdir(folder)))


def is_copy(source: str) -> bool:
    """Returns whether a source is the name of a copy in the run's folder."""
    return COPY_FILE.fullmatch(source) is not None
