"""A long text read as streams: the same as in one pass, or read in one pass."""

import math

import numpy as np
import pytest
from small_models import constant_model, model_of
from texts import COFFEE

from charrnn.config import ModelConfig
from charrnn.model import parallel
from charrnn.model.forward import Array, Forward
from charrnn.model.streams import Stopped, Streams
from charrnn.store.checkpoint import Checkpoint
from charrnn.text.vocabulary import Ids, Vocabulary


def read(network: Forward, ids: Ids, *, exact: bool = False) -> tuple[Array, Array, bool]:
    """Returns the surprise of each character, the state after, and whether one pass was made."""
    streams = Streams(network, exact=exact)
    (nats,), state = streams.read(ids, network.zero_state(1), network.nats)
    return nats, state, streams.one_pass


# --- what streams and one pass agree on


@pytest.mark.parametrize("n", [1, 511, 512, 5003, 20_000])
def test_streams_read_what_one_pass_reads(trained: Checkpoint, n: int) -> None:
    ids = trained.vocabulary.encode(COFFEE[40_000 : 40_000 + n], "skip")
    assert n - 5 < len(ids) <= n
    nats, state, one_pass = read(trained.model, ids)
    wanted, wanted_state, _ = read(trained.model, ids, exact=True)
    assert one_pass == (len(ids) < 512)
    assert nats.shape == ids.shape
    np.testing.assert_allclose(nats, wanted, atol=0.002)
    assert abs(nats.mean(dtype=float) - wanted.mean(dtype=float)) / math.log(2) < 1e-5
    np.testing.assert_allclose(state, wanted_state, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_rounding_only(
    trained: Checkpoint, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = trained.vocabulary.encode(COFFEE[:40_000], "skip")
    wanted, wanted_state, _ = read(trained.model, ids)
    monkeypatch.setattr(parallel, "_threads", threads)
    nats, state, one_pass = read(trained.model, ids)
    assert not one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-4)
    np.testing.assert_allclose(state, wanted_state, atol=1e-5)


def test_each_character_is_read_once_in_its_place() -> None:
    """Whatever their number, and the remainder that makes no stream of its own."""
    vocabulary = Vocabulary.of_text("ab")
    network = constant_model(vocabulary, [math.log(3), 0.0])
    random = np.random.default_rng(0)
    for n in [*range(1, 1200, 37), 70_001]:
        ids = (random.random(n) < 0.5).astype(np.uint8)
        nats, _, _ = read(network, ids)
        np.testing.assert_allclose(nats, np.where(ids == 0, math.log(4 / 3), math.log(4)), 1e-5)


# --- what is not forgotten


def latch() -> Forward:
    """Returns a network that knows for ever whether it has read a "!" since the last "."."""
    vocabulary = Vocabulary.of_text("!.a")
    network = constant_model(vocabulary, [0.0, 0.0, 0.0])
    network.weights["layers.0.W_x"][:] = [[5.0, -5.0, 0.0]]
    network.weights["layers.0.W_h"][:] = 2.0
    network.weights["output.W_y"][:] = [[-3.0], [0.0], [3.0]]
    return network


def test_one_thing_remembered_for_long_is_seen() -> None:
    """The end of the text looks the same to all streams, but the first one has read the "!"."""
    text = np.full(20_000, 2, np.uint8)
    text[[10, 15_000]] = 0, 1
    nats, state, one_pass = read(latch(), text)
    wanted, wanted_state, _ = read(latch(), text, exact=True)
    assert one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-5)
    np.testing.assert_allclose(state, wanted_state, atol=1e-5)


def test_a_small_thing_remembered_beside_a_large_one_is_seen() -> None:
    """A value of a state counts by its own size, and by what it does to the prediction."""
    config = ModelConfig(2, hidden_size=2, num_layers=1, nonlinearity="relu")
    for kept, effect in ((0.5, 8.0), (5e-5, 1e5), (0.5, 0.0)):  # the last may matter later only
        weights = {
            "layers.0.W_x": np.array([[0.0, 0.0], [kept, 0.0]], np.float32),
            "layers.0.W_h": np.array([[0.0, 0.0], [0.0, 1.0]], np.float32),
            "layers.0.b": np.array([1e4, 0.0], np.float32),
            "output.W_y": np.array([[0.0, -effect], [0.0, effect]], np.float32),
            "output.b_y": np.zeros(2, np.float32),
        }
        text = np.ones(20_000, np.uint8)
        text[10] = 0
        nats, _, one_pass = read(Forward(config, weights), text)
        wanted, _, _ = read(Forward(config, weights), text, exact=True)
        assert one_pass
        np.testing.assert_allclose(nats, wanted, atol=1e-4)


def test_a_stream_whose_state_explodes_agrees_with_none_that_does_not() -> None:
    """What the start of the text says keeps the second unit from growing without end."""
    weights = {
        "layers.0.W_x": np.array([[1.0, 0.0], [0.0, 0.0]], np.float32),
        "layers.0.W_h": np.array([[1.0, 0.0], [-10.0, 2.0]], np.float32),
        "layers.0.b": np.array([0.0, 1.0], np.float32),
        "output.W_y": np.array([[0.0, 1.0], [1.0, 0.0]], np.float32),
        "output.b_y": np.zeros(2, np.float32),
    }
    config = ModelConfig(2, hidden_size=2, num_layers=1, nonlinearity="relu")
    text = np.ones(3000, np.uint8)
    text[0] = 0
    nats, _, one_pass = read(Forward(config, weights), text)
    wanted, _, _ = read(Forward(config, weights), text, exact=True)
    assert one_pass
    np.testing.assert_allclose(nats, wanted)
    assert np.isfinite(nats).all()


def counting_lstm(steps: dict[str, float], opens: str = "") -> tuple[Vocabulary, Forward]:
    """Returns an LSTM of one unit whose c changes by as much as each character says, at most 1.

    i, f and o are 1, and the figure depends on h = tanh(c). If a character opens o, no other does.
    """
    vocabulary = Vocabulary.of_text("".join(steps))
    config = ModelConfig(len(vocabulary), hidden_size=1, num_layers=1, cell="lstm")
    weights = {n: np.zeros(s, np.float32) for n, s in config.parameter_shapes().items()}
    weights["layers.0.b"][:] = 40
    weights["layers.0.b"][2] = 0
    for symbol, step in steps.items():
        weights["layers.0.W_x"][2, vocabulary.encode(symbol)[0]] = np.arctanh(step)
    if opens:
        weights["layers.0.b"][3] = -40
        weights["layers.0.W_x"][3, vocabulary.encode(opens)[0]] = 80
    weights["output.W_y"][0] = 3
    return vocabulary, Forward(config, weights)


def test_what_an_lstm_counts_beyond_where_it_matters_makes_no_single_pass() -> None:
    vocabulary, network = counting_lstm({"a": 0.9, "b": 0.8})
    ids = vocabulary.encode("aaab" * 5000)
    nats, state, one_pass = read(network, ids)
    wanted, wanted_state, _ = read(network, ids, exact=True)
    assert not one_pass
    assert wanted_state[0, 0, 1] > 10_000
    np.testing.assert_allclose(nats, wanted, atol=1e-4)
    np.testing.assert_allclose(network.shown(state), network.shown(wanted_state), atol=1e-5)


def test_what_an_lstm_counts_and_shows_soon_is_seen() -> None:
    vocabulary, network = counting_lstm({"a": 0.9, "b": -0.9})
    ids = vocabulary.encode("a" * 300 + ("b" * 90 + "a" * 90) * 99)
    nats, state, one_pass = read(network, ids)
    wanted, wanted_state, _ = read(network, ids, exact=True)
    assert one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-4)
    np.testing.assert_allclose(state, wanted_state, rtol=1e-4)


def test_what_an_lstm_keeps_behind_a_closed_gate_is_seen() -> None:
    """h is 0 all the time but at the end, which shows whether there was an "a" near the start."""
    vocabulary, network = counting_lstm({"a": 0.9, ".": 0.0, "!": 0.0}, opens="!")
    ids = vocabulary.encode("..a" + "." * 20_000 + "!.")
    nats, _, one_pass = read(network, ids)
    wanted, _, _ = read(network, ids, exact=True)
    assert one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-4)
    assert wanted[-1] != pytest.approx(wanted[-3], abs=0.1)


class Counter:
    """A network whose state shows which of two letters came more; unless it fades, for ever."""

    fewest_streams, most_streams, block_numbers = 16, 64, 2**18

    def __init__(self, size: float, fading: float = 1.0) -> None:
        self.config = ModelConfig(2, hidden_size=1, num_layers=1)
        self.size, self.fading = size, fading

    def zero_state(self, batch_size: int) -> Array:
        return np.zeros((1, batch_size, 1))

    def shown(self, state: Array) -> Array:
        return state

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        return [], self.nats(x, state)[1]

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        h, nats = state[0, :, 0], []
        for x_t in x.astype(float):
            sure = self.size * np.tanh(h / 500)
            nats.append(np.log1p(np.exp(np.where(x_t == 1, -2 * sure, 2 * sure))))
            h = self.fading * h + 2 * x_t - 1
        return [np.reshape(nats, x.shape)], h[None, :, None]

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        return self.size * np.tanh(state[..., None] / 500), self.advance(x, state)[1]


@pytest.mark.parametrize("size", [1.0, 0.003], ids=["much", "little, but for ever"])
def test_a_network_that_never_forgets_reads_in_one_pass(size: float) -> None:
    ids = (np.random.default_rng(0).random(20_000) < 0.7).astype(np.uint8)
    network = Counter(size)
    one_pass, streams = Streams(network, exact=True), Streams(network)
    (wanted,), state = one_pass.read(ids, network.zero_state(1), network.nats)
    (nats,), state_of_streams = streams.read(ids, network.zero_state(1), network.nats)
    assert streams.one_pass
    np.testing.assert_allclose(nats, wanted, atol=1e-5)
    np.testing.assert_allclose(state_of_streams, state)


@pytest.mark.parametrize("fading", [0.5, 0.9, 0.98])
def test_the_slower_a_network_forgets_the_longer_it_is_warmed_up(
    fading: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, lengths = Counter(1.0, fading), []
    advance = network.advance
    monkeypatch.setattr(network, "advance", lambda x, h: (lengths.append(len(x)), advance(x, h))[1])
    ids = (np.random.default_rng(0).random(20_000) < 0.7).astype(np.uint8)
    streams = Streams(network)
    _, state = streams.read(ids, network.zero_state(1), network.nats)
    assert not streams.one_pass
    assert max(lengths) == {0.5: 64, 0.9: 256, 0.98: 1024}[fading]
    _, wanted = Streams(network, exact=True).read(ids, network.zero_state(1), network.nats)
    np.testing.assert_allclose(state, wanted, rtol=1e-4)


# --- nothing


def test_after_nothing_the_state_is_the_one_before() -> None:
    network = model_of(Vocabulary.of_text("ab"))
    ids, state = np.zeros(0, np.uint8), network.zero_state(1) + 0.5
    (nats,), after = Streams(network).read(ids, state, network.nats)
    assert nats.shape == (0,)
    np.testing.assert_array_equal(after, state)


# --- stopping


@pytest.mark.parametrize("calls", [0, 3])
def test_reading_stops_once_stop_returns_true(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again and again, also within one long text."""
    monkeypatch.setattr(parallel, "_threads", 1)
    vocabulary = Vocabulary.of_text(COFFEE)
    asked = iter(range(10**6))
    network, ids = model_of(vocabulary), np.tile(vocabulary.encode(COFFEE), 10)
    streams = Streams(network, stop=lambda: next(asked) >= calls)
    with pytest.raises(Stopped):
        streams.read(ids, network.zero_state(1), network.nats)
    assert next(asked) == calls + 1
