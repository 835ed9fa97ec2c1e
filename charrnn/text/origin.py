"""Where the texts of a training come from: what a training file keeps to find them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.fields import typed


@dataclass(frozen=True)
class Origin:
    """The texts' sources and hashes.

    Attributes:
        sources: as the user named them; paths are absolute, a kept copy is relative to the run.
        corpus_chars: characters of the text; None if it had not ended.
        corpus_sha256: its hash.
        val_source: another text that validates.
        val_sha256: its hash.
    """

    sources: list[str]
    corpus_chars: int | None
    corpus_sha256: str
    val_source: str | None = None
    val_sha256: str = ""

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "Origin":
        """Returns what a training file holds among other things.

        Raises:
            TypeError: A field is missing, or of another type.
            ValueError: A number is negative.
        """
        origin = typed(cls, {k: state[k] for k in cls.__annotations__ if k in state})
        if not all(isinstance(source, str) for source in origin.sources):
            raise TypeError("a source that is no text")
        return origin
