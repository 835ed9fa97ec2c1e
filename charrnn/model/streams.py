"""A long text read as streams side by side, because what is long past is forgotten.

One stream can't be divided over time: h_t needs h_{t-1}. So a text is cut into K streams. Each but
the first is warmed up: it starts from the zero state and reads the last characters of the stream
before. That stream ends with the same characters, but has read more before them. If both end in
the same state, and predict the same, what came earlier is forgotten. If not, the warm-up is made
longer; if none is long enough, the text is read in one pass. What an LSTM counts in c may grow for
ever, far beyond where it changes h; so c counts by tanh(c), and both states must predict alike as
many more characters as the warm-up has. (What a c that large would show only later is not seen.)

A prompt is read so too, without figures: its state is that of the last stream.

Shapes: n characters, K streams, S characters of one stream, V vocabulary, L layers, R of
a layer's state.
"""

from collections.abc import Callable

import numpy as np

from charrnn.model.forward import Array, Network, overflow_allowed
from charrnn.model.parallel import Ended, divide, in_threads
from charrnn.text.vocabulary import Ids

WARM_UPS = (64, 256, 1024)  # characters; the next one is tried if the one before was too short
LENGTH = 4  # a stream is at least this many warm-ups long
SHORTEST = 2 * LENGTH * WARM_UPS[0]  # characters of a text that is read as streams
MAX_STREAMS = 256

# of two values of the same state, or two logits, the largest difference: by rounding it is 1e-5
SAME, SAME_SHARE = 1e-4, 1e-5  # absolute, and as a share of the value

Stop = Callable[[], bool]  # called several times a second; once it is true, reading ends
# of ids, (S, K), and the state before, (L, K, R): some figures of each id, (S, K), the state after
Measure = Callable[[Ids, Array], tuple[list[Array], Array]]


class Stopped(Exception):
    """Whoever reads does not want the result any more."""


class Streams:
    """Reads texts with one network.

    Attributes:
        network: the network.
        one_pass: whether everything read so far was read in one pass.
    """

    def __init__(
        self, network: Network, *, exact: bool = False, stop: Stop = lambda: False
    ) -> None:
        """If ``exact``, reads every text in one pass; ``stop`` is called by several threads."""
        self.network, self.one_pass = network, True
        # with gates, none was ever seen to forget within the shortest
        self._warm_ups = () if exact else WARM_UPS[1 if network.config.gates > 1 else 0 :]
        self._stop = stop

    def read(self, ids: Ids, state: Array, measure: Measure) -> tuple[list[Array], Array]:
        """Reads a text of n characters.

        Args:
            ids: (n,).
            state: before the first character, (L, 1, R).
            measure: what is wanted of each character: a method of the network.

        Returns:
            Each figure, (n,), and the state after the last character, (L, 1, R).

        Raises:
            Stopped: ``stop`` returned true.
        """
        if (result := self._as_streams(ids, state, measure)) is not None:
            return result
        figures, state = self.side_by_side(ids[:, None], state, measure)
        return [figure[:, 0] for figure in figures], state

    def _as_streams(
        self, ids: Ids, state: Array, measure: Measure
    ) -> tuple[list[Array], Array] | None:
        """Returns what `read` does; None if the text is too short, or no warm-up long enough."""
        for warm_up in self._warm_ups:
            streams = min(MAX_STREAMS, len(ids) // (LENGTH * warm_up))  # K
            if streams < 2:
                break
            length = len(ids) // streams  # S
            main = ids[: streams * length].reshape(streams, length).T  # (S, K)
            zero = self.network.zero_state(streams - 1)
            _, warm = self.side_by_side(main[-warm_up:, :-1], zero, self.network.advance)
            states = np.concatenate([state, warm], axis=1)  # (L, K, R)
            figures, states = self.side_by_side(main, states, measure)
            if self._agree(states[:, :-1], warm, main[:warm_up, 1:]):
                self.one_pass = False
                figures = [figure.T.reshape(-1) for figure in figures]  # in the order of the text
                state, rest = states[:, -1:], ids[streams * length :]
                if len(rest):  # n - S K characters continue the last stream
                    end, state = self.side_by_side(rest[:, None], state, measure)
                    pairs = zip(figures, end, strict=True)
                    figures = [np.concatenate([figure, more[:, 0]]) for figure, more in pairs]
                return figures, state
        return None

    @overflow_allowed
    def _agree(self, states: Array, warm: Array, x: Ids) -> bool:
        """Returns whether two states, (L, K, R), are the same, and predict ids x, (T, K), alike."""
        logits, warm_logits = (self.network.predictions(x[:1], each)[0] for each in (states, warm))
        shown, warm_shown = map(self.network.shown, (states, warm))
        if not (_same(shown, warm_shown) and _same(logits, warm_logits)):
            return False
        if _same(states, warm):
            return True  # so all that follows will be the same
        (nats,), after = self.side_by_side(x, states, self.network.nats)
        (warm_nats,), warm_after = self.side_by_side(x, warm, self.network.nats)
        return _same(nats, warm_nats) and _same(
            self.network.shown(after), self.network.shown(warm_after)
        )

    def side_by_side(self, x: Ids, state: Array, measure: Measure) -> tuple[list[Array], Array]:
        """Reads K texts of S characters each.

        Args:
            x: ids, (S, K).
            state: before the first characters, (L, K, R).
            measure: as for `read`.

        Returns:
            Each figure, (S, K), and the state after the last characters, (L, K, R).
        """
        parts = in_threads(
            lambda part, ended: self._blocks(x[:, part], state[:, part], measure, ended),
            divide(x.shape[1], self.network.fewest_streams, self.network.most_streams),
        )
        figures = zip(*(figures for figures, _ in parts), strict=True)
        return (
            [np.concatenate(figure, axis=1) for figure in figures],
            np.concatenate([after for _, after in parts], axis=1),
        )

    def _blocks(
        self, x: Ids, state: Array, measure: Measure, ended: Ended
    ) -> tuple[list[Array], Array]:
        """Does what `side_by_side` does, in one thread, a block of time steps after the other."""
        config = self.network.config
        widest = x.shape[1] * max(config.vocab_size, config.gates * config.hidden_size)
        steps = max(1, min(4096, self.network.block_numbers // widest))
        figures: list[Array] = []
        for start in range(0, max(len(x), 1), steps):
            if ended() or self._stop():
                raise Stopped
            block = slice(start, start + steps)
            parts, state = measure(x[block], state)
            # allocated once: small arrays that live until the end would fragment the memory
            figures = figures or [np.empty(x.shape, part.dtype) for part in parts]
            for figure, part in zip(figures, parts, strict=True):
                figure[block] = part
        return figures, state


def _same(one: Array, other: Array) -> bool:
    return np.allclose(one, other, SAME_SHARE, SAME)
