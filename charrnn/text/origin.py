"""Where the texts of a training come from: what a training file keeps to find them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.fields import typed


@dataclass(frozen=True)
class Origin:
    """The texts' sources and hashes."""

    sources: list[str]  # as the user named them, but absolute; a copy is relative to the run
    corpus_chars: int | None  # characters of the text; None if it had not ended
    corpus_sha256: str
    val_source: str | None = None  # another text to validate on
    val_sha256: str = ""

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "Origin":
        """Returns the fields that a training file holds, among others.

        Raises:
            TypeError: A field is missing, or of another type.
            ValueError: A number is negative.
        """
        origin = typed(cls, {k: state[k] for k in cls.__annotations__ if k in state})
        if not all(isinstance(source, str) for source in origin.sources):
            raise TypeError("a source that is not a string")
        return origin
