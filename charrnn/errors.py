"""Where text comes from: files, folders, compressed files, standard input, `datasets`.

A :class:`Corpus` is a list of sources read in order as pieces of text, each at most about a million
characters, in constant memory, from the start or from a place that was met before. It knows nothing
of ids, batches or models.

Plain text is read as it is: line ends are kept, and files are joined by nothing. Where the unit is
the character, a leading byte-order mark is dropped, and noted. Structured files and the Hub go
through `datasets`, streamed as Arrow tables, and every row ends in the separator (a newline).
Standard input that does not end is read as it comes, and kept (:class:`Spool`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__


class CharrnnError(Exception):
    """Base of every error a user can cause; its text is one line for the user."""

    exit_code = 1


class OptionError(CharrnnError):
    """An option's value is out of range, or two options contradict each other."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A source of text is missing, unreadable, empty or too small."""


class EncodingError(CorpusError):
    """Bytes that are not valid in the encoding; names the file and the byte offset."""


class UnknownCharacterError(CharrnnError):
    """Characters that are not in the model's vocabulary; names them."""


class CheckpointError(CharrnnError):
    """A model or training file is missing, damaged, of another format, or cannot be written."""


class RunNotFoundError(CheckpointError):
    """There is no run, or none of that name."""


class RunBusyError(CheckpointError):
    """Another training goes on in the run's folder."""


class TrainingError(CharrnnError):
    """Training cannot go on; what was saved stays."""
