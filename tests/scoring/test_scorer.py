"""The scorer: parallel streams return what one pass returns, or it reads in one pass."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scored import chars_of
from small_models import model_of
from texts import COFFEE
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Vocabulary


@pytest.mark.parametrize("n", [2047, 2048, 5003, 20_000])
def test_parallel_streams_score_what_one_pass_scores(trained: Checkpoint, n: int) -> None:
    text = COFFEE[40_000 : 40_000 + n]
    ids = trained.vocabulary.encode(text, "skip")
    assert len(ids) > n - 5
    parallel = Scorer(trained.model, trained.vocabulary)
    streams, _ = parallel.nats(ids, parallel.start)
    assert parallel.one_pass == (n < 2048)
    pieces = [trained.vocabulary.decode(ids)]
    scorer = Scorer(trained.model, trained.vocabulary, exact=True)
    one_pass = np.array([one.nats for one in chars_of(scorer, pieces)])
    assert scorer.one_pass
    assert streams.shape == one_pass.shape == ids.shape
    assert abs(streams.mean(dtype=float) - one_pass.mean()) / math.log(2) < 0.0005
    assert np.quantile(abs(streams - one_pass), 0.99) < 0.001


class Counter(torch.nn.Module):
    """A model that never forgets: its state shows, for ever, which of two letters came more."""

    config = ModelConfig(2, hidden_size=1, num_layers=1)

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def zero_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, 1)

    def start_state(self, batch_size: int, _: int | None) -> Tensor:
        return self.zero_state(batch_size)

    def hidden(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = state[0] + (2 * x - 1).cumsum(0)[..., None]
        return h, h[-1:]

    def output(self, h: Tensor) -> Tensor:
        sure = self.size * torch.tanh(h / 500)
        return torch.cat([-sure, sure], dim=-1)


@pytest.mark.parametrize("size", [1.0, 0.003], ids=["much", "little, but for ever"])
def test_a_model_that_remembers_more_than_streams_can_know_reads_in_one_pass(size: float) -> None:
    vocabulary = Vocabulary.of_text("ab")
    ids = (np.random.default_rng(0).random(100_000) < 0.7).astype(np.uint8)
    model: Any = Counter(size)
    one_pass, streams = Scorer(model, vocabulary, exact=True), Scorer(model, vocabulary)
    wanted, state = one_pass.nats(ids, one_pass.start)
    nats, state_of_streams = streams.nats(ids, streams.start)
    assert streams.one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-5)
    torch.testing.assert_close(state_of_streams, state)


@pytest.mark.parametrize("place", [1, 2, 700, 1999])
def test_the_state_is_carried_from_piece_to_piece(place: int) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer, ids = Scorer(model_of(vocabulary), vocabulary), vocabulary.encode(COFFEE[:2000])
    wanted, wanted_state = scorer.nats(ids, scorer.start)
    first, between = scorer.nats(ids[:place], scorer.start)
    second, state = scorer.nats(ids[place:], between)
    np.testing.assert_allclose(np.concatenate([first, second]), wanted, atol=1e-4)
    torch.testing.assert_close(state, wanted_state)


def test_scoring_leaves_the_state_that_it_starts_from() -> None:
    """So that two texts may start from one state, and a scorer keeps no state of what it read."""
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer, ids = Scorer(model_of(vocabulary), vocabulary), vocabulary.encode(COFFEE[:5000])
    start = scorer.start.clone()
    nats, _ = scorer.nats(ids, scorer.start)
    torch.testing.assert_close(scorer.start, start, rtol=0, atol=0)
    np.testing.assert_array_equal(scorer.nats(ids, scorer.start)[0], nats)


def test_of_nothing_nothing_is_scored() -> None:
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    nats, state = scorer.nats(vocabulary.encode(""), scorer.start)
    assert len(nats) == 0
    assert state is scorer.start


def test_the_state_after_streams_is_that_of_the_last_character(trained: Checkpoint) -> None:
    ids = trained.vocabulary.encode(COFFEE[:5000])
    scorer = Scorer(trained.model, trained.vocabulary)
    _, state_of_streams = scorer.nats(ids, scorer.start)
    assert not scorer.one_pass
    state = scorer.start
    for start in range(0, 5000, 1000):
        _, state = scorer.nats(ids[start : start + 1000], state)
    torch.testing.assert_close(state_of_streams, state, atol=0.01, rtol=0.01)


@pytest.mark.parametrize("calls", [0, 3])
def test_scoring_stops_once_stop_returns_true(calls: int) -> None:
    """It is asked again and again, also within one long text."""
    vocabulary = Vocabulary.of_text(COFFEE)
    asked = iter(range(100))
    ids = np.tile(vocabulary.encode(COFFEE), 10)
    assert (
        nats_per_char(model_of(vocabulary), vocabulary, ids, lambda: next(asked) >= calls) is None
    )
    assert next(asked) == calls + 1
