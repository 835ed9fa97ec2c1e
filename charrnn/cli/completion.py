"""What bash is offered for a word: names as words that bash takes for them.

Typer hands out names as they are, and takes the words of bash for those of a program. But bash
cuts them at ``=`` and ``:``, and puts what it is offered into the line as it stands.
"""

import os
import re
import shlex
from typing import Any

from typer import _completion_classes

# Typer exports none of this, and has it in all versions that are allowed
_typer: Any = _completion_classes


class Bash(_completion_classes.BashComplete):
    """The completion for bash."""

    _cut, _quote = "", ""  # what bash has cut off of the word; the quote with which it begins

    def get_completion_args(self) -> tuple[list[str], str]:
        """Returns the words before the one to complete, and that one, as the program gets them."""
        typed, number = os.environ["COMP_WORDS"], int(os.environ["COMP_CWORD"])
        words = typed.split("\n") if "\n" in typed else typed.split(" ")
        words = [*words[:number], *words[number : number + 1]] or [""]
        if len(words) <= number:
            words.append("")
        whole: list[str] = []
        for i, word in enumerate(words):
            if word == "=" and whole[-1:] and whole[-1].startswith("--"):
                if i == number:
                    whole.append("")  # --option=
            elif whole and (word == ":" or words[i - 1] == ":"):
                whole[-1] += word
            else:
                whole.append(word)
        *before, last = whole
        self._quote = last[:1] if last[:1] in ("'", '"') else ""
        incomplete = _unquoted(last)
        self._cut = incomplete[: incomplete.rfind(":") + 1] if words[-1] != last else ""
        return [_unquoted(word) for word in before[1:]], incomplete

    def format_completion(self, item: Any) -> str:
        """Returns what bash puts in place of the word."""
        value = str(item.value).removeprefix(self._cut)
        if self._quote == "'":  # bash itself ends a quote
            return value.replace("'", r"'\''")
        special = r'(["$`\\])' if self._quote else r"([^\w@%+=:,./-])"
        return re.sub(special, r"\\\1", value)


def _unquoted(word: str) -> str:
    for closed in (word, word + "'", word + '"', word + "\\"):
        try:
            return "".join(shlex.split(closed))
        except ValueError:  # a quote is open
            continue
    return word


def offer_words_of_bash() -> None:
    """Lets bash get what it takes for one word."""
    _typer.add_completion_class(Bash, "bash")
