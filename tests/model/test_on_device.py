"""A network in torch is read as the one in NumPy."""

import numpy as np
import pytest
from small_samples import LETTERS, model_of

from charrnn.config import GATES, Cell
from charrnn.model import parallel
from charrnn.model.network import CharRNN
from charrnn.model.on_device import OnDevice
from charrnn.model.parallel import divide
from charrnn.model.streams import Streams


@pytest.mark.parametrize("cell", GATES)
def test_a_network_on_a_device_is_read_as_in_numpy(cell: Cell) -> None:
    network = model_of(LETTERS, cell=cell)
    on_device = OnDevice(CharRNN.of(network).eval())
    x = np.random.default_rng(0).integers(len(LETTERS), size=(40, 3)).astype(np.uint8)
    state = np.random.default_rng(1).random(network.zero_state(3).shape, np.float32)
    assert on_device.config == network.config
    np.testing.assert_array_equal(on_device.zero_state(3), network.zero_state(3))
    for method in ("predictions", "nats", "advance"):
        ours, after = getattr(on_device, method)(x, state)
        wanted, wanted_after = getattr(network, method)(x, state)
        np.testing.assert_allclose(ours, wanted, atol=1e-5)
        np.testing.assert_allclose(after, wanted_after, atol=1e-5)


@pytest.mark.parametrize("n", [5000, 5120])
def test_a_text_is_scored_on_a_device_as_in_numpy(n: int) -> None:
    """Also if nothing is left over for the last stream."""
    network = model_of(LETTERS)
    for name in network.weights:
        if name.endswith("W_h"):
            network.weights[name][:] *= 0.8
    ids = np.random.default_rng(0).integers(len(LETTERS), size=n).astype(np.uint8)
    on_device = OnDevice(CharRNN.of(network).eval())
    streams = Streams(on_device)
    (nats,), state = streams.read(ids, on_device.zero_state(1), on_device.nats)
    assert not streams.one_pass
    (wanted,), wanted_state = Streams(network).read(ids, network.zero_state(1), network.nats)
    np.testing.assert_allclose(nats, wanted, atol=1e-4)
    np.testing.assert_allclose(state, wanted_state, atol=1e-5)


def test_all_streams_are_read_at_once_on_a_device() -> None:
    """Threads would only wait for it."""
    parallel.set_threads(16)
    on_device = OnDevice(CharRNN.of(model_of(LETTERS)))
    parts = divide(256, on_device.fewest_streams, on_device.most_streams)
    assert parts == [slice(0, 256)]
