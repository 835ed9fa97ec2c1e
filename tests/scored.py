"""Scores of a text of its own, however they come."""

import itertools
from collections.abc import Iterable, Sequence

from charrnn.config import OnUnknown
from charrnn.scoring import reports
from charrnn.scoring.reports import CharScore, Score
from charrnn.scoring.scorer import Scorer
from charrnn.text.vocabulary import Piece


def score_of(scorer: Scorer, pieces: Iterable[Piece], on_unknown: OnUnknown = "error") -> Score:
    """Returns the score of a text."""
    return reports.score(scorer, pieces, scorer.start, on_unknown)[0]


def chars_of(
    scorer: Scorer, pieces: Iterable[Piece], on_unknown: OnUnknown = "error"
) -> list[CharScore]:
    """Returns all characters' scores."""
    lists = (scores for scores, _ in reports.score_chars(scorer, pieces, scorer.start, on_unknown))
    return list(itertools.chain.from_iterable(lists))


def lines_scored(
    scorer: Scorer,
    groups: Iterable[Sequence[Piece]],
    on_unknown: OnUnknown = "error",
    *,
    carry: bool = False,
) -> list[tuple[float, Piece]]:
    """Returns all lines' scores."""
    lists = reports.score_lines(scorer, groups, scorer.start, on_unknown, carry=carry)
    return list(itertools.chain.from_iterable(rows for rows, _ in lists))
