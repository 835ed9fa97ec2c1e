"""Where the texts of a training come from, and how they are read: kept to open them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config import DataConfig
from charrnn.fields import typed


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
        return origin
