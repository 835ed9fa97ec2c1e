"""The scorer: every character's surprise once, and the state goes in and comes out."""

import numpy as np
import pytest
from small_models import model_of
from texts import COFFEE

from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.text.vocabulary import Vocabulary


@pytest.mark.parametrize("place", [1, 2, 700, 1999])
def test_the_state_is_carried_from_piece_to_piece(place: int) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer, ids = Scorer(model_of(vocabulary), vocabulary), vocabulary.encode(COFFEE[:2000])
    wanted, wanted_state = scorer.nats(ids, scorer.start)
    first, between = scorer.nats(ids[:place], scorer.start)
    second, state = scorer.nats(ids[place:], between)
    np.testing.assert_allclose(np.concatenate([first, second]), wanted, atol=1e-3)
    np.testing.assert_allclose(state, wanted_state, atol=1e-4)


def test_scoring_leaves_the_state_that_it_starts_from() -> None:
    """So that two texts may start from one state, and a scorer keeps no state of what it read."""
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer, ids = Scorer(model_of(vocabulary), vocabulary), vocabulary.encode(COFFEE[:5000])
    start = scorer.start.copy()
    nats, _ = scorer.nats(ids, scorer.start)
    np.testing.assert_array_equal(scorer.start, start)
    np.testing.assert_array_equal(scorer.nats(ids, scorer.start)[0], nats)


def test_of_nothing_nothing_is_scored() -> None:
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    nats, state = scorer.nats(vocabulary.encode(""), scorer.start)
    assert len(nats) == 0
    np.testing.assert_array_equal(state, scorer.start)


def test_a_score_that_is_stopped_is_none() -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model, ids = model_of(vocabulary), vocabulary.encode(COFFEE)
    assert nats_per_char(model, vocabulary, ids, lambda: True) is None
    whole = nats_per_char(model, vocabulary, ids, lambda: False)
    scorer = Scorer(model, vocabulary)
    assert whole == pytest.approx(scorer.nats(ids, scorer.start)[0].mean(dtype=float))


def test_all_figures_of_a_character_are_of_the_same_one() -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer, ids = Scorer(model_of(vocabulary), vocabulary), vocabulary.encode(COFFEE[:3000])
    nats, state = scorer.nats(ids, scorer.start)
    (same_nats, rank, likely), same_state = scorer.ranks(ids, scorer.start)
    np.testing.assert_array_equal(same_nats, nats)
    np.testing.assert_array_equal(same_state, state)
    np.testing.assert_array_equal(rank == 1, likely == ids)
    assert nats[rank == 1].max() < np.log(len(vocabulary))
