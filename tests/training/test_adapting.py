"""Learning while scoring: never from what is to be scored, and never much worse than before."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import model_of
from torch import nn

from charrnn.config import GATES
from charrnn.model.forward import Array, Forward
from charrnn.model.network import CharRNN
from charrnn.scoring.scorer import Scorer
from charrnn.scoring.weighing import Weighing
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.training import adapting
from charrnn.training.adapting import SEGMENT, AdaptingScorer

VOCABULARY = Vocabulary.of_text("\n abcdefgh")
TEXT = "a bad cab faced a hag\n" * 40
IDS = VOCABULARY.encode(TEXT)


@pytest.fixture(scope="module", params=["tanh", "relu", "gru", "lstm"])
def network(request: pytest.FixtureRequest) -> Forward:
    torch.manual_seed(1)
    kind = {"cell": request.param} if request.param in GATES else {"nonlinearity": request.param}
    return model_of(VOCABULARY, hidden_size=16, num_layers=2, **kind)


def adapted(network: Forward, ids: Ids, pieces: int = 1, **options: float) -> Array:
    """Returns the surprise of each character, scored in so many pieces."""
    scorer = AdaptingScorer([network], VOCABULARY, **options)
    state, parts = scorer.start, []
    for part in np.array_split(ids, pieces):
        nats, state = scorer.nats(part, state)
        parts.append(nats)
    return np.concatenate(parts)


def as_it_was(network: Forward, ids: Ids) -> Array:
    scorer = Scorer(network, VOCABULARY, exact=True)
    return scorer.nats(ids, scorer.start)[0]


def test_it_learns_what_repeats(network: Forward) -> None:
    nats = adapted(network, IDS)
    assert nats[-200:].mean() < as_it_was(network, IDS)[-200:].mean() - 0.5


def test_nothing_is_learnt_before_the_first_segment_was_scored(network: Forward) -> None:
    nats = adapted(network, IDS)
    assert nats[:SEGMENT] == pytest.approx(as_it_was(network, IDS)[:SEGMENT], abs=1e-4)
    assert nats[SEGMENT : 2 * SEGMENT] != pytest.approx(
        as_it_was(network, IDS)[SEGMENT : 2 * SEGMENT], abs=1e-4
    )


def test_a_segments_step_is_down_the_gradient_of_its_mean_surprise(network: Forward) -> None:
    """From the state before it, whose h predicts its first character."""
    scorer = AdaptingScorer([network], VOCABULARY, rate=0.01)
    _, state = scorer.nats(IDS[:SEGMENT], scorer.start)
    model = CharRNN.of(scorer.adapted()[0])
    scorer.nats(IDS[SEGMENT : 2 * SEGMENT], state)
    _, between = network.hidden(IDS[:SEGMENT, None], scorer.start)
    x = torch.from_numpy(IDS[SEGMENT : 2 * SEGMENT].astype(np.int64))
    start = torch.from_numpy(between)
    hs, _ = model.hidden(x[:, None], start)
    h = torch.cat([start[-1:, :, :16], hs[:-1]])[:, 0]
    nn.functional.cross_entropy(model.output(h), x).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        wanted = parameter - scorer.rate * parameter.grad
        np.testing.assert_allclose(
            scorer.adapted()[0].weights[name], wanted.detach().numpy(), atol=1e-6
        )


@pytest.mark.parametrize("place", [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 300])
def test_no_character_is_scored_by_what_has_seen_it(network: Forward, place: int) -> None:
    """Nor anything after it: another text from there on changes nothing before."""
    other = IDS.copy()
    other[place:] = (other[place:] + 3) % len(VOCABULARY)
    before, changed = adapted(network, IDS)[:place], adapted(network, other)[:place]
    assert before == pytest.approx(changed, abs=1e-5)


@pytest.mark.parametrize("length", [0, 10, SEGMENT, 200, 333])
def test_the_probabilities_of_all_next_symbols_add_up_to_1(network: Forward, length: int) -> None:
    start = IDS[:length]
    p = [
        math.exp(-adapted(network, np.append(start, symbol).astype(IDS.dtype))[-1])
        for symbol in range(len(VOCABULARY))
    ]
    assert sum(p) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("pieces", [2, 7, 100, len(IDS)])
def test_a_text_may_come_in_pieces(pieces: int) -> None:
    torch.manual_seed(1)
    network = model_of(VOCABULARY, hidden_size=16)
    assert adapted(network, IDS, pieces) == pytest.approx(adapted(network, IDS), abs=2e-3)


def test_each_text_is_scored_by_the_model_as_it_was(network: Forward) -> None:
    scorer = AdaptingScorer([network], VOCABULARY)
    one, _ = scorer.nats(IDS, scorer.start)
    again, after = scorer.nats(IDS, scorer.start)
    assert (one == again).all()
    more, _ = scorer.nats(IDS, after)
    assert more.mean() < again.mean(), "the same text, continued"


def test_the_models_own_weights_stay(network: Forward) -> None:
    before = {name: weight.copy() for name, weight in network.weights.items()}
    scorer = AdaptingScorer([network], VOCABULARY)
    scorer.nats(IDS, scorer.start)
    assert all((network.weights[name] == before[name]).all() for name in before)
    changed = scorer.adapted()[0].weights
    assert any((changed[name] != before[name]).any() for name in before)


@settings(deadline=None, max_examples=25)
@given(
    rate=st.floats(-3, 6).map(lambda power: 10.0**power),
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 700),
)
def test_it_is_never_much_worse_than_without(rate: float, seed: int, length: int) -> None:
    """Of any text, at any rate: ln 3 nats in all, and next to nothing for each segment."""
    torch.manual_seed(1)
    network = model_of(VOCABULARY, hidden_size=12)
    ids = np.random.default_rng(seed).integers(len(VOCABULARY), size=length).astype(IDS.dtype)
    scorer = AdaptingScorer([network], VOCABULARY, rate=rate)
    nats, _ = scorer.nats(ids, scorer.start)
    # besides, 1/1000 of the weight is kept for each that is behind, in each segment
    allowed = math.log(3) + 2e-3 * (1 + length / SEGMENT) + 1e-4 * length
    assert nats.sum(dtype=float) <= as_it_was(network, ids).sum(dtype=float) + allowed
    assert scorer.nats_as_it_was == pytest.approx(as_it_was(network, ids).sum(), rel=1e-4)


def test_a_rate_that_is_too_high_is_lowered_until_it_helps(network: Forward) -> None:
    scorer = AdaptingScorer([network], VOCABULARY, rate=1000.0)
    ids = np.tile(IDS, 4)
    nats, _ = scorer.nats(ids, scorer.start)
    assert scorer.rate < 100
    assert nats[-200:].mean() < as_it_was(network, ids)[-200:].mean() - 0.3


def test_a_new_beginning_is_the_model_as_it_was_where_it_is_now(
    network: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its state after all that was read."""
    scored: list[Array] = []

    class Recorded(Weighing):
        def nats(self, *args: Array) -> tuple[Array, Array]:
            both, alone = super().nats(*args)
            scored.append(alone)
            return both, alone

    monkeypatch.setattr(adapting, "Weighing", Recorded)
    scorer = AdaptingScorer([network], VOCABULARY, rate=1000.0)
    state = scorer.start
    while scorer.rate == 1000.0:
        _, state = scorer.nats(IDS[:SEGMENT], state)
    scorer.nats(IDS[:SEGMENT], state)
    as_it_was, again = scored[-1]
    assert again == pytest.approx(as_it_was, abs=1e-5)


def test_numbers_that_overflow_are_a_rate_that_is_too_high() -> None:
    torch.manual_seed(1)
    network = model_of(VOCABULARY, hidden_size=16, nonlinearity="relu")
    scorer = AdaptingScorer([network], VOCABULARY, rate=1e38)
    nats, _ = scorer.nats(IDS, scorer.start)
    assert scorer.rate == 1e38 / 2 ** ((len(IDS) // SEGMENT) // 2), "every second segment"
    assert np.isfinite(nats).all()


# --- several models


@pytest.fixture(scope="module")
def pair() -> list[Forward]:
    """Two networks of different shapes and cells."""
    torch.manual_seed(1)
    return [
        model_of(VOCABULARY, hidden_size=12, num_layers=2),
        model_of(VOCABULARY, hidden_size=8, cell="lstm"),
    ]


def test_each_member_learns_by_itself_what_it_would_alone(pair: list[Forward]) -> None:
    together = AdaptingScorer(pair, VOCABULARY)
    together.nats(IDS[: 3 * SEGMENT], together.start)
    for network, changed in zip(pair, together.adapted(), strict=True):
        alone = AdaptingScorer([network], VOCABULARY)
        alone.nats(IDS[: 3 * SEGMENT], alone.start)
        for name, weight in alone.adapted()[0].weights.items():
            np.testing.assert_allclose(changed.weights[name], weight, atol=1e-6)


def test_a_mixture_that_adapts_scores_fairly_in_any_pieces(pair: list[Forward]) -> None:
    def last(ids: Ids, pieces: int) -> float:
        scorer = AdaptingScorer(pair, VOCABULARY)
        state = scorer.start
        for part in np.array_split(ids, pieces):
            nats, state = scorer.nats(part, state)
        return float(nats[-1])

    start = IDS[:150]
    texts = [np.append(start, symbol).astype(IDS.dtype) for symbol in range(len(VOCABULARY))]
    assert sum(math.exp(-last(ids, 1)) for ids in texts) == pytest.approx(1, abs=1e-4)
    assert last(texts[0], 13) == pytest.approx(last(texts[0], 1), abs=1e-4)


def test_a_mixture_begins_again_if_its_rate_is_too_high(pair: list[Forward]) -> None:
    scorer = AdaptingScorer(pair, VOCABULARY, rate=1000.0)
    nats, _ = scorer.nats(np.tile(IDS, 4), scorer.start)
    assert scorer.rate < 100
    assert nats[-200:].mean() < scorer.nats_as_it_was / (4 * len(IDS)) - 0.3


def test_a_trained_model_gains_on_text_of_its_kind(trained: Checkpoint) -> None:
    from texts import DATA

    text = (Path(DATA) / "coffee.txt").read_text()[40_000:80_000]
    scorer = AdaptingScorer([trained.model], trained.vocabulary, on_unknown="skip")
    ids = scorer.encode(text).ids
    nats, _ = scorer.nats(ids, scorer.start)
    assert nats.sum() < scorer.nats_as_it_was - 0.02 * len(ids)
