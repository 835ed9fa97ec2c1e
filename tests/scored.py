"""Scores of a text of its own, however they come."""

import itertools
from collections.abc import Iterable, Sequence

from charrnn.scoring import reports
from charrnn.scoring.lines import LineScore, LineScorer
from charrnn.scoring.reports import CharScore, Score
from charrnn.scoring.scorer import Scorer
from charrnn.text.lines import Line
from charrnn.text.vocabulary import Piece


def score_of(scorer: Scorer, pieces: Iterable[Piece]) -> Score:
    """Returns the score of a text."""
    return reports.score(scorer, pieces, scorer.start)[0]


def chars_of(scorer: Scorer, pieces: Iterable[Piece]) -> list[CharScore]:
    """Returns all characters' scores."""
    lists = (scores for scores, _ in reports.score_chars(scorer, pieces, scorer.start))
    return list(itertools.chain.from_iterable(lists))


def lines_of(
    scorer: Scorer, groups: Iterable[Sequence[Line]], *, carry: bool = False, end: bool = False
) -> list[LineScore]:
    """Returns all lines' scores."""
    lists = LineScorer(scorer, carry=carry, end=end).score(groups, scorer.start)
    return list(itertools.chain.from_iterable(rows for rows, _ in lists))
