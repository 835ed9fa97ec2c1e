"""Scores of a text, however they come."""

import itertools
from typing import Any

from charrnn.scoring.reports import CharScore, score_chars, score_lines
from charrnn.text.corpus import Piece


def chars_of(*given: Any) -> list[CharScore]:
    """Returns all characters' scores, however they come."""
    return list(itertools.chain.from_iterable(score_chars(*given)))


def lines_scored(*given: Any, **options: Any) -> list[tuple[float, Piece]]:
    """Returns all lines' scores, however they come."""
    return list(itertools.chain.from_iterable(score_lines(*given, **options)))
