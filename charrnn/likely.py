"""What was likely meant by a name that does not exist, and names as words of a message."""

import os
from collections.abc import Iterable, Sequence

from charrnn.system import quoted

MOST_LISTED = 10  # names in a message


def likely(word: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Returns the names that are like a word, but for upper case; the closest first, two at most.

    ``cutoff`` is how alike they must be, from 0 to 1.
    """
    from difflib import get_close_matches  # at need: for the start of the program

    by_lower = {name.lower(): name for name in sorted(names, reverse=True)}
    return [by_lower[near] for near in get_close_matches(word.lower(), by_lower, 2, cutoff)]


def likely_paths(path: str) -> list[str]:
    """Returns existing paths that are like one that does not exist: its last part, or one other."""
    folder, name = os.path.split(path)
    if not name or (folder and not os.path.isdir(folder)):
        folders = likely_paths(folder) if name and folder != path else []
        paths = (os.path.join(other, name) for other in folders)
        return [path for path in paths if os.path.exists(path)]
    try:
        names = [other for other in os.listdir(folder or ".") if not other.startswith(".")]
    except (OSError, ValueError):
        return []
    return [os.path.join(folder, other) for other in likely(name, names)]


def did_you_mean(names: Sequence[str], otherwise: str) -> str:
    """Returns the question whether one of some names was meant; without any, what to do else."""
    words = [quoted(name) for name in names]
    return f"did you mean {or_list(words)}?" if names else otherwise


def or_list(names: Sequence[str]) -> str:
    """Returns names as an enumeration: ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def listed(names: Sequence[str]) -> str:
    """Returns names as words of a shell, in a list that stays short."""
    first = ", ".join(quoted(name) for name in names[:MOST_LISTED])
    more = len(names) - MOST_LISTED
    return f"{first} and {more:,} more" if more > 0 else first
