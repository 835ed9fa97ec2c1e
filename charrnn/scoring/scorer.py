"""How surprised a model is by each character of a text.

The surprise of a character is -ln of the probability that the model gave it after reading all
characters before it, the first one included; a text's figure is the mean. Lines that are texts of
their own run side by side, padded.

Shapes: n characters, K lines, S characters of the longest line, L layers, H hidden.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.model.forward import Array, Network, start_state, surprise
from charrnn.model.streams import Stop, Stopped, Streams
from charrnn.text.vocabulary import Ids, Vocabulary

MAX_SIDE_BY_SIDE = 256  # lines
MAX_PADDED = 2**16  # characters of lines that run side by side, padding included

Nats = npt.NDArray[np.float32]


class Scorer:
    """Scores texts with one model; if ``exact``, never as parallel streams.

    Attributes:
        start: the state in which every text starts, (L, 1, H).
    """

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        *,
        exact: bool = False,
        stop: Stop = lambda: False,
    ) -> None:
        self.vocabulary, self.exact = vocabulary, exact
        self._streams = Streams(network, exact=exact, stop=stop)
        self.start = start_state(network, vocabulary.newline_id)

    @property
    def one_pass(self) -> bool:
        """Whether everything scored so far was read in one pass."""
        return self._streams.one_pass

    def nats(self, ids: Ids, state: Array) -> tuple[Nats, Array]:
        """Returns the surprise of each character, (n,), and the state after the last one."""
        (nats,), state = self._streams.read(ids, state, self._streams.network.nats)
        return nats, state

    def ranks(self, ids: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns three figures of each character, (n,), and the state after the last.

        They are the surprise, the rank from 1 up, and which id was the most probable.
        """
        return self._streams.read(ids, state, self._surprise_and_rank)

    def _surprise_and_rank(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        logits, after = self._streams.network.predictions(x, state)
        target = np.take_along_axis(logits, x[..., None].astype(np.int64), axis=-1)
        rank, likely = 1 + (logits > target).sum(axis=-1), logits.argmax(axis=-1)
        return [surprise(logits, x), rank, likely], after

    def means(self, lines: Sequence[Ids]) -> Nats:
        """Returns the mean surprise of each line, a text of its own, (lines,); NaN if empty."""
        means = np.full(len(lines), np.nan, dtype=np.float32)
        not_empty = (i for i, line in enumerate(lines) if len(line))
        by_length = sorted(not_empty, key=lambda i: len(lines[i]))
        while by_length:
            longest = len(lines[by_length[-1]])
            count = max(1, min(MAX_SIDE_BY_SIDE, MAX_PADDED // longest))  # K
            group, by_length = by_length[-count:], by_length[:-count]
            if len(group) == 1:
                nats, _ = self.nats(lines[group[0]], self.start)
                means[group[0]] = nats.mean(dtype=np.float64)
            else:
                means[group] = self._means_side_by_side([lines[i] for i in group])
        return means

    def _means_side_by_side(self, lines: Sequence[Ids]) -> npt.NDArray[np.float64]:
        lengths = np.array([len(line) for line in lines])
        x = np.zeros((lengths.max(), len(lines)), self.vocabulary.dtype)  # (S, K)
        is_text = np.arange(len(x))[:, None] < lengths  # (S, K), false for the padding
        for column, line in zip(x.T, lines, strict=True):
            column[: len(line)] = line
        start = self.start.repeat(len(lines), axis=1)
        (nats,), _ = self._streams.side_by_side(x, start, self._streams.network.nats)
        sums = np.where(is_text, nats, 0.0).sum(0, dtype=np.float64)
        means: npt.NDArray[np.float64] = sums / lengths
        return means

    def carried_means(
        self, lines: Sequence[Ids], state: Array
    ) -> tuple[npt.NDArray[np.float64], Array]:
        """Returns each line's mean surprise after the lines before it, and the state after all.

        The newline after each line is read, but not scored. The mean of an empty line is NaN.
        """
        newline = self.vocabulary.newline_id
        end = np.array([] if newline is None else [newline], dtype=self.vocabulary.dtype)
        ids = np.concatenate([part for line in lines for part in (line, end)])
        nats, state = self.nats(ids, state)
        sums = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
        lengths = np.array([len(line) for line in lines])
        ends = np.cumsum(lengths + len(end)) - len(end)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            return (sums[ends] - sums[ends - lengths]) / lengths, state


def nats_per_char(
    network: Network, vocabulary: Vocabulary, ids: Ids, stop: Stop = lambda: False
) -> float | None:
    """Returns the mean surprise of ids, scored as a text of their own; None if stopped."""
    scorer = Scorer(network, vocabulary, stop=stop)
    with contextlib.suppress(Stopped):
        return float(scorer.nats(ids, scorer.start)[0].mean(dtype=np.float64))
    return None
