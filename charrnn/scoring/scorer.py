"""How surprised a model is by each character of a text.

The surprise of a character is -ln of the probability that the model gave it after reading all
characters before it, the first one included; a text's figure is the mean. Lines that are texts of
their own run side by side, padded.

A character that the model does not know has no probability. It can be charged what a sound model
would charge: an escape, once in as many characters as the model was trained on, and then one of
Unicode's code points. The state stays, so that known characters keep their figures.

Shapes: n characters, K lines, S characters of the longest line, L layers, R of a state.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config import OnUnknown
from charrnn.errors import OverflowedError
from charrnn.model.forward import Array, Network, require_finite, start_state, surprise
from charrnn.model.streams import Stop, Stopped, Streams
from charrnn.text.vocabulary import CODE_POINTS, Ids, Piece, Vocabulary

MAX_SIDE_BY_SIDE = 256  # lines
MAX_PADDED = 2**16  # characters of lines that run side by side, padding included

Nats = npt.NDArray[np.float32]
Sums = npt.NDArray[np.float64]


class Encoded(NamedTuple):
    """A text as ids, and what has none."""

    ids: Ids  # (n,)
    chars: int  # symbols that count: all, but for those that are left out
    unknown_chars: int  # characters outside the vocabulary
    unknown_nats: float  # what they are charged, in all


class Scorer:
    """Scores texts with one model; if ``exact``, never as parallel streams.

    Attributes:
        start: the state in which every text starts, (L, 1, R).
        charge: what an unknown character costs, nats; 0 if it is not charged.
        most_at_once: characters of a text that may be scored at once, to show how far it is.
        nats_as_it_was: of a scorer that adapts to the text, what it would have scored without.
    """

    nats_as_it_was: float | None = None
    most_at_once = 2**19

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        *,
        on_unknown: OnUnknown = "error",
        trained_chars: int = 1,
        exact: bool = False,
        stop: Stop = lambda: False,
    ) -> None:
        """Prepares to score.

        Args:
            network: of the model.
            vocabulary: its symbols.
            on_unknown: whether unknown characters are charged, an error, or left out.
            trained_chars: characters of the text that the model was trained on.
            exact: whether all is read in one pass.
            stop: called several times a second; once it is true, scoring ends.
        """
        self.vocabulary, self.on_unknown, self.exact = vocabulary, on_unknown, exact
        self._streams = Streams(network, exact=exact, stop=stop)
        self.start = start_state(network, vocabulary.newline_id)
        self.charge = 0.0
        if on_unknown == "charge":
            # a symbol for unknown characters is the model's own escape
            escape = 1 if vocabulary.unknown is not None else trained_chars
            self.charge = math.log(escape) + math.log(CODE_POINTS)

    @property
    def one_pass(self) -> bool:
        """Whether everything scored so far was read in one pass."""
        return self._streams.one_pass

    def encode(self, text: Piece) -> Encoded:
        """Returns a text's ids, and counts what it has besides.

        Raises:
            UnknownCharacterError: It holds unknown characters, and they are an error.
        """
        ids = self.vocabulary.encode(text, self.on_unknown)
        unknown_chars = self.vocabulary.count_unknown(text)
        charged = self.on_unknown == "charge" and self.vocabulary.unit == "char"
        chars = len(text) if charged else len(ids)
        return Encoded(ids, chars, unknown_chars, unknown_chars * self.charge)

    def nats(self, ids: Ids, state: Array) -> tuple[Nats, Array]:
        """Returns the surprise of each character, (n,), and the state after the last one.

        Raises:
            OverflowedError: It is NaN or infinite.
        """
        (nats,), state = self._streams.read(ids, state, self._streams.network.nats)
        return require_finite(nats), state

    def ranks(self, ids: Ids, state: Array) -> tuple[list[Array], Array]:
        """Returns three figures of each character, (n,), and the state after the last.

        They are the surprise, the rank from 1 up, and which id was the most probable. Errors are
        those of :meth:`nats`.
        """
        figures, state = self._streams.read(ids, state, self._surprise_and_rank)
        require_finite(figures[0])
        return figures, state

    def _surprise_and_rank(self, x: Ids, state: Array) -> tuple[list[Array], Array]:
        logits, after = self._streams.network.predictions(x, state)
        target = np.take_along_axis(logits, x[..., None].astype(np.int64), axis=-1)
        rank, likely = 1 + (logits > target).sum(axis=-1), logits.argmax(axis=-1)
        return [surprise(logits, x), rank, likely], after

    def most_probable(self, state: Array) -> int:
        """Returns which id is the most probable after a state, (L, 1, R)."""
        any_id = np.zeros((1, 1), dtype=self.vocabulary.dtype)
        logits, _ = self._streams.network.predictions(any_id, state)
        return int(require_finite(logits).argmax())

    def sums(self, lines: Sequence[Ids]) -> Sums:
        """Returns the surprise of each line, a text of its own, summed, (lines,).

        Errors are those of :meth:`nats`.
        """
        sums = np.zeros(len(lines), dtype=np.float64)
        not_empty = (i for i, line in enumerate(lines) if len(line))
        by_length = sorted(not_empty, key=lambda i: len(lines[i]))
        while by_length:
            longest = len(lines[by_length[-1]])
            count = max(1, min(MAX_SIDE_BY_SIDE, MAX_PADDED // longest))  # K
            group, by_length = by_length[-count:], by_length[:-count]
            if len(group) == 1:
                nats, _ = self.nats(lines[group[0]], self.start)
                sums[group[0]] = nats.sum(dtype=np.float64)
            else:
                sums[group] = self._sums_side_by_side([lines[i] for i in group])
        return require_finite(sums)

    def _sums_side_by_side(self, lines: Sequence[Ids]) -> Sums:
        lengths = np.array([len(line) for line in lines])
        x = np.zeros((lengths.max(), len(lines)), self.vocabulary.dtype)  # (S, K)
        is_text = np.arange(len(x))[:, None] < lengths  # (S, K), false for the padding
        for column, line in zip(x.T, lines, strict=True):
            column[: len(line)] = line
        start = self.start.repeat(len(lines), axis=1)
        (nats,), _ = self._streams.side_by_side(x, start, self._streams.network.nats)
        sums: Sums = np.where(is_text, nats, 0.0).sum(0, dtype=np.float64)
        return sums

    def carried_sums(self, lines: Sequence[Ids], state: Array) -> tuple[Sums, Array]:
        """Returns the surprise of each line after those before it, summed; the state after all.

        Errors are those of :meth:`nats`.
        """
        nats, state = self.nats(np.concatenate(lines), state)
        sums = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
        return np.diff(sums[np.cumsum([0, *map(len, lines)])]), state


def nats_per_char(
    network: Network, vocabulary: Vocabulary, ids: Ids, stop: Stop = lambda: False
) -> float | None:
    """Returns the mean surprise of ids, scored as a text of their own.

    None if it was stopped; NaN if the network overflows.
    """
    scorer = Scorer(network, vocabulary, stop=stop)
    try:
        return float(scorer.nats(ids, scorer.start)[0].mean(dtype=np.float64))
    except Stopped:
        return None
    except OverflowedError:
        return math.nan
