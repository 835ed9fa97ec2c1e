"""The exception tree: every error a user can cause.

Each message is one line that names what went wrong, where, and the remedy. The command line
prints it and exits with the class's exit code; nothing here is ever shown as a traceback.

    CharrnnError                exit code 1
    ├── OptionError             exit code 2: an option's value is out of range
    ├── CorpusError             a source of text cannot be used
    │   ├── DamagedError        a file is cut short, broken or unreadable
    │   │   └── EncodingError   its bytes are not valid in the encoding
    │   └── NothingToScoreError it has no character that the model knows
    ├── UnknownCharacterError   a text holds characters that the model never saw
    ├── OverflowedError         a model predicts nothing: its numbers became NaN or infinite
    ├── CheckpointError         a model or training file cannot be read or written
    │   ├── RunNotFoundError    there is no such run
    │   ├── RunBusyError        another training is running in it
    │   └── RunRemovedError     its folder was removed while it trained
    ├── TooLargeError           a model needs more memory than there is
    └── TrainingError           training cannot continue
"""

import errno


class CharrnnError(Exception):
    """Base of every error a user can cause; its text is one line for the user."""

    exit_code = 1


class OptionError(CharrnnError):
    """An option's value is out of range, or two options contradict each other."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A source of text is missing, unreadable, empty or too small."""


class DamagedError(CorpusError):
    """A file that is cut short, broken or unreadable; all before the damage can be read."""


class EncodingError(DamagedError):
    """Bytes that are not valid in the encoding; names the file and the byte offset."""


class NothingToScoreError(CorpusError):
    """A text is empty, too short or wholly unknown to the model."""


class UnknownCharacterError(CharrnnError):
    """Characters that are not in the model's vocabulary; names them."""


class OverflowedError(CharrnnError):
    """A model's numbers became NaN or infinite, so that it predicts nothing."""


class CheckpointError(CharrnnError):
    """A model or training file is missing, damaged, of another format, or cannot be written."""


class MemberError(CheckpointError):
    """A further member of a run is missing, damaged, or of another training."""


class RunNotFoundError(CheckpointError):
    """There is no run, or none of that name."""


class RunBusyError(CheckpointError):
    """Another training is running in the run's folder."""


class RunRemovedError(CheckpointError):
    """The run's folder was removed while it trained; nothing of it can be saved any more."""


class TooLargeError(CharrnnError):
    """A model surely needs more memory than there is; names both sizes."""


class TrainingError(CharrnnError):
    """Training cannot continue; what was saved stays."""


def reason(error: BaseException) -> str:
    """Returns why something failed, as one short line without a path."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__


# the name of each error: a system may lack some
_REMEDIES = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some space of your quota",
    "EFBIG": "allow larger files (ulimit -f)",
    "EACCES": "change the permissions of it or of its folder (chmod)",
    "EPERM": "change the permissions of it or of its folder (chmod)",
    "EROFS": "mount the file system for writing",
    "ENAMETOOLONG": "choose a shorter name",
    "EMFILE": "allow more open files (ulimit -n)",
    "ENFILE": "end some other programs",
    "EIO": "check the disk",
}
_REMEDY_OF = {
    getattr(errno, name): remedy for name, remedy in _REMEDIES.items() if hasattr(errno, name)
}


def refusal(where: object, what: str, error: Exception, otherwise: str) -> str:
    """Returns the line for what the system refuses: where, what, why, and the remedy.

    Args:
        where: the file, folder or stream.
        what: what cannot be done with it: "read", "written".
        error: what the system reported.
        otherwise: what helps if the error itself does not tell.
    """
    remedy = _REMEDY_OF.get(getattr(error, "errno", None) or 0, otherwise)
    return f"{where}: cannot be {what}: {reason(error)}: {remedy}"
