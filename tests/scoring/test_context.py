"""How far a model remembers: each point of the curve is the reference's figure."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy_model import NumpyModel
from scored import chars_of
from small_models import model_of
from texts import COFFEE

from charrnn.errors import CorpusError
from charrnn.scoring import context
from charrnn.scoring.context import ContextScore, context_curve, enough_context, first_ids
from charrnn.scoring.scorer import Scorer
from charrnn.store.checkpoint import Checkpoint, save
from charrnn.text.vocabulary import Vocabulary


def test_of_what_is_before_a_context_nothing_is_known(tmp_path: Path) -> None:
    """Without newline in the vocabulary, the reference too starts from the zero state."""
    text = COFFEE[:60].replace("\n", " ")[:50]
    vocabulary = Vocabulary.of_text(text)
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    reference = NumpyModel.read(tmp_path / "model")
    curve = context_curve(model, vocabulary.encode(text))
    assert [point.context for point in curve] == [0, 1, 2, 4, 8, 16]
    for point in curve:
        k = point.context
        bits = [reference.nats(text[t - k : t + 1])[-1] / math.log(2) for t in range(16, 50)]
        assert point.bits_per_char == pytest.approx(np.mean(bits), abs=1e-4)
        error = np.std(bits, ddof=1) / math.sqrt(len(bits))
        assert point.standard_error == pytest.approx(error, rel=1e-3)


def test_how_far_the_curve_is_can_be_watched() -> None:
    text = COFFEE[:300]
    vocabulary = Vocabulary.of_text(text)
    watched: list[tuple[int, float]] = []

    def watch(context: int, share: float) -> None:
        watched.append((context, share))

    curve = context_curve(model_of(vocabulary), vocabulary.encode(text), watch=watch)
    contexts, shares = zip(*watched, strict=True)
    assert contexts == tuple(point.context for point in curve)
    assert shares[0] == 0 and sorted(shares) == list(shares) and 0.4 < shares[-1] < 1


def test_the_whole_context_is_the_plain_score() -> None:
    text = COFFEE[:300].replace("\n", " ")
    vocabulary = Vocabulary.of_text(text)
    model = model_of(vocabulary)
    *_, whole = context_curve(model, vocabulary.encode(text), positions=1)
    rows = chars_of(Scorer(model, vocabulary), [text])
    assert whole.context == 128
    assert whole.bits_per_char == pytest.approx(rows[128].nats / math.log(2), abs=1e-4)
    assert whole.standard_error == 0


def test_more_context_is_no_worse(trained: Checkpoint) -> None:
    ids = trained.vocabulary.encode(COFFEE[40_000:50_000], "skip")
    curve = context_curve(trained.model, ids)
    bits = [point.bits_per_char for point in curve]
    assert [point.context for point in curve][-1] == 1024
    assert bits[0] > bits[1] + 0.5 > bits[-1] + 0.5
    assert all(more < less + 0.05 for less, more in itertools.pairwise(bits))


@pytest.mark.parametrize("text", ["", "a", "ab"])
def test_a_context_curve_needs_a_text(text: str) -> None:
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(CorpusError, match=r"context curve needs at least 3"):
        context_curve(model_of(vocabulary), vocabulary.encode(text))


def test_first_ids_joins_pieces() -> None:
    vocabulary = Vocabulary.of_text("abc")
    assert first_ids(map(vocabulary.encode, ["ab", "c", "a"])).tolist() == [0, 1, 2, 0]
    assert first_ids([]).tolist() == []


def test_of_an_endless_text_the_start_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MAX_CHARS", 5)
    vocabulary = Vocabulary.of_text("abc")
    assert first_ids(map(vocabulary.encode, itertools.repeat("abc"))).tolist() == [0, 1, 2, 0, 1]


def test_enough_is_the_shortest_context_within_1_percent_of_the_best() -> None:
    bits = [(0, 5.0), (1, 3.0), (2, 2.02), (4, 2.0), (8, 2.03)]
    assert enough_context([ContextScore(k, b, 0.1) for k, b in bits]) == 2


def test_long_contexts_may_be_left_out() -> None:
    vocabulary = Vocabulary.of_text("ab")
    ids = vocabulary.encode("ab" * 200)
    curve = context_curve(model_of(vocabulary), ids, longest=16)
    assert [point.context for point in curve] == [0, 1, 2, 4, 8, 16]
