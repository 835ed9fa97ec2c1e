"""A long text read as streams side by side, on the assumption that what is long past is forgotten.

One stream can't be divided over time: h_t needs h_{t-1}. So a text is cut into K streams, and each
but the first is warmed up, from the zero state, on the last characters before it. Whether that was
enough, the stream before shows: it reads the same characters after all of its own. If both end in
the same state, what came before these characters is forgotten, and the streams together are the
text. If not, they are warmed up longer, and at last the text is read in one pass.

The start of a sample asks the same question: is the end of a prompt enough?

Shapes: n characters, K streams, S characters of one stream, L layers, H hidden.
"""

from collections.abc import Callable

import numpy as np

from charrnn.model.forward import Array, Network
from charrnn.model.parallel import Ended, divide, in_threads
from charrnn.text.vocabulary import Ids

WARM_UPS = (64, 256, 1024)  # characters; the next one is tried if the one before was too short
STREAM = 4  # warm-ups that a stream is long, at least
MAX_STREAMS = 256
SAME_STATE = 1e-4  # of values that tanh keeps below 1; relu's may be larger, and so may this
READ_WHOLE = 2**14  # characters; of a longer prompt, the end is read first

NUMBERS = 2**18  # of the largest array of a block, so that it fits into a processor's cache

Stop = Callable[[], bool]  # called several times a second; once it is true, reading ends
# of ids, (S, K), and the state before, (L, K, H): some figures of each id, (S, K), the state after
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
        """If ``exact``, never reads a text as streams; any of the threads asks ``stop``."""
        self.network, self.one_pass = network, True
        self._warm_ups = () if exact else WARM_UPS
        self._stop = stop

    def read(self, ids: Ids, state: Array, measure: Measure) -> tuple[list[Array], Array]:
        """Reads a text of n > 0 characters.

        Args:
            ids: (n,).
            state: before the first character, (L, 1, H).
            measure: what is wanted of each character: a method of the network.

        Returns:
            Each figure, (n,), and the state after the last character, (L, 1, H).

        Raises:
            Stopped: ``stop`` returned true.
        """
        if (result := self._as_streams(ids, state, measure)) is not None:
            self.one_pass = False
            return result
        figures, state = self.side_by_side(ids[:, None], state, measure)
        return [figure[:, 0] for figure in figures], state

    def state_after(self, ids: Ids, state: Array) -> Array:
        """Returns the state after a text, (n,); of a long one only the end is read, if it can be.

        It can if its streams show, at many places, that what is long past is forgotten.
        """
        end = ids[-READ_WHOLE:]
        if len(end) < len(ids):
            result = self._as_streams(end, self.network.zero_state(1), self.network.advance)
            if result is not None:
                return result[1]
        return self.read(ids, state, self.network.advance)[1] if len(ids) else state

    def _as_streams(
        self, ids: Ids, state: Array, measure: Measure
    ) -> tuple[list[Array], Array] | None:
        """Returns what `read` does; None if the text is too short, or no warm-up long enough."""
        for warm_up in self._warm_ups:
            streams = min(MAX_STREAMS, len(ids) // (STREAM * warm_up))  # K
            if streams < 2:
                break
            length = len(ids) // streams  # S
            rest = ids[streams * length :]  # n - S K characters, which continue the last stream
            main = ids[: streams * length].reshape(streams, length).T  # (S, K)
            zero = self.network.zero_state(streams - 1)
            _, warm = self.side_by_side(main[-warm_up:, :-1], zero, self.network.advance)
            states = np.concatenate([state, warm], axis=1)  # (L, K, H)
            figures, states = self.side_by_side(main, states, measure)
            difference = np.abs(states[:, :-1] - warm).max()
            if difference <= SAME_STATE * max(1.0, np.abs(warm).max()):
                last, state = self.side_by_side(rest[:, None], states[:, -1:], measure)
                return [
                    np.concatenate([figure.T.reshape(-1), end[:, 0]])
                    for figure, end in zip(figures, last, strict=True)
                ], state
        return None

    def side_by_side(self, x: Ids, state: Array, measure: Measure) -> tuple[list[Array], Array]:
        """Reads K texts of S characters each.

        Args:
            x: ids, (S, K).
            state: before the first characters, (L, K, H).
            measure: as for `read`.

        Returns:
            Each figure, (S, K), and the state after the last characters, (L, K, H).
        """
        parts = in_threads(
            lambda part, ended: self._blocks(x[:, part], state[:, part], measure, ended),
            divide(x.shape[1], self.network.rows),
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
        widest = x.shape[1] * max(config.vocab_size, config.hidden_size)
        steps = max(1, min(4096, NUMBERS // widest))
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
