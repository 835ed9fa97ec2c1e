"""The commands that make a run and continue it, to be kept and to be copied from a screen."""

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
    words = ["charrnn", "train", *sources]
    for name, value in settings.items():
        if value is None or value is False:
            continue
        words.append(option_name(name))
        if value is not True:
            words.append(_SHOWN.get(name, {}).get(value) or _argument(name, value))
    return words


def _argument(name: str, value: Any) -> str:
    seconds = name in ("max_time", "save_every_s")
    shown = f"{value:.12g}" if isinstance(value, float) else str(value)
    return shown + "s" * seconds


def resume_command(folder: Path) -> str:
    """Returns the command that continues the run in a folder."""
    return f"charrnn train --resume {quoted(folder)}"


def shell_line(words: Sequence[str]) -> str:
    """Returns a command's words as a line for the shell."""
    return " ".join(map(quoted, words))
