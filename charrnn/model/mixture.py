"""Several networks as one, whose logits are the mean of theirs.

Its probabilities are then proportional to the geometric mean of theirs, which was better than the
arithmetic mean on each of three texts (``tests/bench/README.md``), and is never worse for a
character than the members' mean surprise. Its state is that of all members side by side, as one
layer, (1, B, S): of each member L x R numbers. So whatever reads with one network reads with it.

Shapes: T time, B batch, V vocabulary, L layers, M members, R numbers of a member's layer, S of the
mixture's state.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from charrnn.model.forward import Array, Forward, Predictor, overflow_allowed, surprise
from charrnn.text.vocabulary import Ids


class Mixture:
    """The mean of M networks of the same symbols; also a :class:`~charrnn.model.forward.Predictor`.

    Attributes:
        config: the shapes of the largest member.
        members: the networks.
    """

    def __init__(self, members: Sequence[Forward]) -> None:
        assert len({member.config.vocab_size for member in members}) == 1, "the same symbols"
        self.members = list(members)
        self.config = max((m.config for m in members), key=lambda config: config.hidden_size)
        self.fewest_streams, self.most_streams = Forward.fewest_streams, Forward.most_streams
        self.block_numbers = Forward.block_numbers
        shapes = [(m.config.num_layers, m.config.state_size) for m in members]
        self._shapes = shapes  # L and R of each
        self._ends = np.cumsum([layers * size for layers, size in shapes]).tolist()

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state of having read nothing, zeros of (1, B, S)."""
        return self._joined([member.zero_state(batch_size) for member in self.members])

    def _joined(self, states: Iterable[Array]) -> Array:
        """Returns the members' states, (L, B, R) each, as one, (1, B, S)."""
        rows = [state.swapaxes(0, 1).reshape(state.shape[1], -1) for state in states]
        return np.concatenate(rows, axis=1)[None]

    def _parts(self, state: Array) -> list[Array]:
        """Returns each member's state, (..., L R), of one, (..., S)."""
        return np.split(state, self._ends[:-1], axis=-1)

    def apart(self, state: Array) -> list[Array]:
        """Returns each member's state, (L, B, R), of one, (1, B, S)."""
        return [
            part.reshape(len(part), layers, size).swapaxes(0, 1)
            for part, (layers, size) in zip(self._parts(state[0]), self._shapes, strict=True)
        ]

    def shown(self, state: Array) -> Array:
        """Returns what a state, (1, B, S), shows of itself; see :meth:`Forward.shown`."""
        pairs = zip(self.members, self.apart(state), strict=True)
        return self._joined([member.shown(part) for member, part in pairs])

    def step(self, x_t: Ids | int, state: Iterable[Array]) -> tuple[Array, list[Array]]:
        """Reads one character of each sample; see :meth:`Forward.step`.

        Args:
            x_t: ids, (B,); or one id.
            state: before it, one array, (B, S); or of one sample (S,).

        Returns:
            The logits of the character after it, (B, V) or (V,), and the state after it.
        """
        (packed,) = state
        logits, after = [], []
        for member, part, (layers, size) in zip(
            self.members, self._parts(packed), self._shapes, strict=True
        ):
            of_layers = np.split(part, range(size, layers * size, size), axis=-1)
            member_logits, h = member.step(x_t, of_layers)
            logits.append(member_logits)
            after += h
        return mean(logits), [np.concatenate(after, axis=-1)]

    def states(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the states after each of x, (T, 1, B, S), and the one after the last, (1, B, S).

        It is what :meth:`Forward.states` returns for its layers.
        """
        pairs = zip(self.members, self.apart(state), strict=True)
        states, after = zip(*(member.states(x, part) for member, part in pairs), strict=True)
        T, _, B, _ = states[0].shape
        rows = [part.swapaxes(1, 2).reshape(T, B, -1) for part in states]
        return np.concatenate(rows, axis=2)[:, None], self._joined(after)

    def logits(self, h: Array) -> Array:
        """Returns logits, (B, V) or (V,), for a state, (B, S) or (S,)."""
        tops = (
            part[..., -size:] for part, (_, size) in zip(self._parts(h), self._shapes, strict=True)
        )
        pairs = zip(self.members, tops, strict=True)
        return mean([member.logits(top) for member, top in pairs])

    def advance(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns no figures, and the state after."""
        pairs = zip(self.members, self.apart(state), strict=True)
        return [], self._joined([member.advance(x, part)[1] for member, part in pairs])

    def predictions(self, x: Ids, state: Array) -> tuple[Array, Array]:
        """Returns the logits for each of x, given all before it, (T, B, V), and the state after."""
        pairs = zip(self.members, self.apart(state), strict=True)
        logits, after = zip(*(member.predictions(x, part) for member, part in pairs), strict=True)
        return mean(logits), self._joined(after)

    def nats(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns one figure, -ln of the probability of each of x, (T, B), and the state after."""
        logits, after = self.predictions(x, state)
        return [surprise(logits, x)], after


def as_one(networks: Sequence[Forward]) -> Predictor:
    """Returns a network alone as it is, and several as a mixture."""
    return Mixture(networks) if len(networks) > 1 else networks[0]


def states_of(network: Predictor, state: Array) -> list[Array]:
    """Returns the state of each member of a mixture, (L, B, R); of a network alone, its own."""
    return network.apart(state) if isinstance(network, Mixture) else [state]


@overflow_allowed
def mean(logits: Sequence[Array]) -> Array:
    """Returns the mean of M logits, (..., V) each."""
    total: Array = np.add.reduce(logits)
    total /= len(logits)
    return total
