"""A mixture: the mean of its members' logits, however it is read."""

import numpy as np
import pytest
from small_models import model_of

from charrnn.config import Cell
from charrnn.model.forward import Array, Forward, start_state
from charrnn.model.mixture import Mixture
from charrnn.model.streams import Streams
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_text("\n abcdefgh")
IDS = VOCABULARY.encode("a bad cab faced a hag\n" * 60)


@pytest.fixture(scope="module")
def members() -> list[Forward]:
    """Networks of different sizes and cells."""
    shapes: list[tuple[int, int, Cell]] = [
        (8, 1, "rnn"),
        (12, 3, "rnn"),
        (5, 2, "lstm"),
        (7, 2, "gru"),
        (6, 1, "lstm"),
    ]
    return [
        model_of(VOCABULARY, hidden_size=size, num_layers=layers, cell=cell)
        for size, layers, cell in shapes
    ]


def probabilities(network: Forward | Mixture, ids: Array) -> Array:
    start = start_state(network, VOCABULARY.newline_id)
    logits, _ = network.predictions(ids[:, None], start)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True))


def test_it_predicts_the_geometric_mean_of_the_probabilities(members: list[Forward]) -> None:
    wanted = np.exp(np.mean([np.log(probabilities(member, IDS)) for member in members], axis=0))
    wanted /= wanted.sum(-1, keepdims=True)
    assert probabilities(Mixture(members), IDS) == pytest.approx(wanted, abs=1e-6)


def test_no_character_is_more_surprising_than_to_its_members_on_average(
    members: list[Forward],
) -> None:
    """A geometric mean of probabilities adds up to 1 at most."""
    *each, mixed = (
        network.nats(IDS[:, None], network.zero_state(1))[0][0]
        for network in [*members, Mixture(members)]
    )
    assert (mixed <= np.mean(each, axis=0) + 1e-5).all()
    assert mixed.mean() < np.mean(each) - 0.01


def test_its_states_are_those_of_its_members_side_by_side(members: list[Forward]) -> None:
    x = IDS[:60].reshape(20, 3)
    mixed = Mixture(members)
    states, after = mixed.states(x, mixed.zero_state(3))
    assert np.array_equal(after, mixed.advance(x, mixed.zero_state(3))[1])
    assert np.array_equal(states[-1], after)
    of_each = [member.states(x, member.zero_state(3))[0] for member in members]  # (T, L, B, H)
    rows = [np.moveaxis(states, 2, 1).reshape(20, 3, -1) for states in of_each]
    assert np.array_equal(states[:, 0], np.concatenate(rows, axis=2))


def test_one_network_and_the_same_twice_are_that_network(members: list[Forward]) -> None:
    wanted = probabilities(members[1], IDS)
    for same in ([members[1]], [members[1]] * 2):
        assert probabilities(Mixture(same), IDS) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_step_by_step_it_predicts_the_same(members: list[Forward], batch: int | None) -> None:
    mixture = Mixture(members)
    x = IDS[: 30 * (batch or 1)].reshape(30, -1)
    wanted, after = mixture.predictions(x, mixture.zero_state(x.shape[1]))
    state = list(mixture.zero_state(x.shape[1]) if batch else mixture.zero_state(1)[:, 0])
    for x_t, logits in zip(x, wanted, strict=True):
        got = mixture.logits(state[-1])
        assert got == pytest.approx(logits if batch else logits[0], abs=1e-5)
        stepped, state = mixture.step(x_t if batch else int(x_t[0]), state)
        assert stepped == pytest.approx(mixture.logits(state[-1]))
    assert state[0] == pytest.approx(after[0] if batch else after[0, 0], abs=1e-5)


def test_all_ways_to_read_end_in_the_same_state(members: list[Forward]) -> None:
    mixture = Mixture(members)
    x, start = IDS[:40].reshape(20, 2), mixture.zero_state(2)
    nats, after = mixture.nats(x, start)
    none, advanced = mixture.advance(x, start)
    assert none == [] and nats[0].shape == (20, 2)
    assert (after == advanced).all()
    first, middle = mixture.nats(x[:7], start)
    rest, end = mixture.nats(x[7:], middle)
    assert np.concatenate([first[0], rest[0]]) == pytest.approx(nats[0], abs=1e-5)
    assert end == pytest.approx(after, abs=1e-5)


def test_a_long_text_is_read_as_streams(members: list[Forward]) -> None:
    mixture, ids = Mixture(members), np.tile(IDS, 8)
    side_by_side, exact = Streams(mixture), Streams(mixture, exact=True)
    (one,), state = side_by_side.read(ids, mixture.zero_state(1), mixture.nats)
    (other,), end = exact.read(ids, mixture.zero_state(1), mixture.nats)
    assert not side_by_side.one_pass
    assert one == pytest.approx(other, abs=1e-3)
    assert state == pytest.approx(end, abs=1e-3)
