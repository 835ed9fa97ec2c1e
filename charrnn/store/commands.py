"""The commands that make a run and continue it, to be kept and to be copied from a screen."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import option_name
from charrnn.system import quoted

_SHOWN = {"delimiter": {"\t": "tab"}}  # values that a shell would not take as they are


def train_command(sources: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """Returns the words of the command that trains on sources.

    Args:
        sources: as the user named them.
        settings: what the user set, by the field or the option's name; None and False is not set.
    """
    words = ["charrnn", "train", *map(_no_option, sources)]
    for name, value in settings.items():
        if value is None or value is False:
            continue
        option = option_name(name)
        if value is True:
            words.append(option)
            continue
        text = _SHOWN.get(name, {}).get(value) or _argument(name, value)
        words += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return words


def _no_option(source: str) -> str:
    """Returns a source so that it is not taken for an option."""
    return os.path.join(".", source) if source.startswith("-") and source != "-" else source


def _argument(name: str, value: Any) -> str:
    if name not in ("max_time", "save_every_s"):
        return str(value)
    return f"{value:f}".rstrip("0").rstrip(".") + "s"


def larger_limit(limit: str, value: float, reached: float = 0) -> str:
    """Returns the option that lets a run continue as far again as it went.

    Args:
        limit: its name.
        value: of the limit that it had.
        reached: what it has done, in the same unit.
    """
    more: float = 2 * max(value, reached)
    more = int(more) if limit == "steps" or more == int(more) else float(f"{more:.3g}")
    return shell_line(train_command([], {limit: more})[2:])


def exact_path(path: Path) -> Path:
    """Returns the path of a run's folder, or of a file of it, so that no run's name is taken."""
    return path if len(path.parts) > 1 else path.absolute()


def exact(path: Path) -> str:
    """Returns the same as a word of a command."""
    return quoted(exact_path(path))


def resume_command(folder: Path) -> str:
    """Returns the command that continues the run in a folder."""
    return f"charrnn train --resume {exact(folder)}"


def shell_line(words: Sequence[str]) -> str:
    """Returns a command's words as a line for the shell."""
    return " ".join(map(quoted, words))
