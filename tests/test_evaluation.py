"""Scoring: the figures are the outsider's, and every character is counted once."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy_model import NumpyModel

from charrnn import evaluation
from charrnn.checkpoint import Checkpoint, load, save
from charrnn.config import DataConfig, ModelConfig
from charrnn.corpus import Piece
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.evaluation import (
    Score,
    Scorer,
    context_curve,
    nats_per_char,
    read_ids,
    score,
    score_chars,
    score_lines,
    split_lines,
)
from charrnn.model import CharRNN
from charrnn.runs import new_trainer
from charrnn.vocabulary import Vocabulary

COFFEE = (DATA / "coffee.txt").read_text()
TEXTS = {
    "English": COFFEE[:1500],
    "Chinese": "今天我和安娜喝咖啡。\n她说：“好！”\n我说不。" * 20,
    "mixed": "é漢\U0001f600a\tb\r\nc\0\n" * 10,
    "no newline": "abcabcbbca" * 9,
}
few = settings(deadline=None, max_examples=60)


def model_of(vocabulary: Vocabulary, **options: Any) -> CharRNN:
    """Returns a model that is often wrong, and sure of it."""
    config = ModelConfig(len(vocabulary), vocabulary.unit, **{"hidden_size": 8, **options})
    model = CharRNN(config).eval()
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.normal_()
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model that has read the first 30,000 characters twice."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text").write_text(COFFEE[:30_000])
    torch.set_num_threads(1)
    training = {"batch_size": 8, "seq_len": 32, "epochs": 2.0, "eval_every": 10**6}
    options = {"hidden_size": 32}
    trainer = new_trainer(
        [str(folder / "text")],
        folder,
        None,
        DataConfig(),
        training,
        options,
        validate=nats_per_char,
    )
    *_, finished = trainer.events()
    return load(finished.model_path)


# --- the figures


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_figures_are_the_outsiders(tmp_path: Path, text: str, unit: str, nonlinearity: str) -> None:
    vocabulary = Vocabulary.of_bytes() if unit == "byte" else Vocabulary.of_text(text)
    model = model_of(vocabulary, nonlinearity=nonlinearity)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    nats = NumpyModel.read(tmp_path / "model").nats(text)
    symbols, size = len(text.encode()) if unit == "byte" else len(text), len(text.encode())
    result = score(model, vocabulary, [text])
    assert (result.chars, result.bytes, result.unknown_chars) == (symbols, size, 0)
    assert result.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)
    assert result.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=2e-5)
    assert result.bits_per_byte == pytest.approx(nats.sum() / math.log(2) / size, abs=2e-5)
    assert nats_per_char(model, vocabulary, vocabulary.encode(text)) == pytest.approx(
        nats.mean(), abs=1e-5
    )
    one_by_one = [one.nats for one in score_chars(model, vocabulary, [text])]
    np.testing.assert_allclose(one_by_one, nats, atol=2e-4)


def constant_model(vocabulary: Vocabulary, b_y: Iterable[float]) -> CharRNN:
    model = CharRNN(ModelConfig(len(vocabulary), hidden_size=1, num_layers=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output.b_y.copy_(torch.tensor(list(b_y)))
    return model


def test_bits_of_known_probabilities() -> None:
    """Of 1/2, 1/4 and 1/4, the text aabc has 1 + 1 + 2 + 2 bits."""
    vocabulary = Vocabulary.of_text("abc")
    model = constant_model(vocabulary, [math.log(2), 0.0, 0.0])
    result = score(model, vocabulary, ["aabc"])
    assert result.bits_per_char == pytest.approx(1.5, abs=1e-6)
    assert result.nats == pytest.approx(6 * math.log(2), abs=1e-5)
    assert result.perplexity == pytest.approx(2**1.5, abs=1e-5)


def test_bits_of_one_neuron_by_hand() -> None:
    """h = tanh(x + h / 2) with x = 1 for a, -1 for b; logits (h, -h); no newline: starts at 0."""
    vocabulary = Vocabulary.of_text("ab")
    model = constant_model(vocabulary, [0.0, 0.0])
    with torch.no_grad():
        model.layers[0].W_x.copy_(torch.tensor([[1.0, -1.0]]))
        model.layers[0].W_h.fill_(0.5)
        model.output.W_y.copy_(torch.tensor([[1.0], [-1.0]]))
    h_1 = math.tanh(1.0)
    h_2 = math.tanh(1.0 + h_1 / 2)
    bits = [math.log2(1 + math.exp(-2 * h)) for h in (0.0, h_1, -h_2)]  # of a, a, b
    assert score(model, vocabulary, ["aab"]).bits_per_char == pytest.approx(sum(bits) / 3, abs=1e-6)


@pytest.mark.parametrize("symbols", [2, 7, 100])
def test_a_model_that_knows_nothing(symbols: int) -> None:
    vocabulary = Vocabulary("char", [chr(65 + i) for i in range(symbols)])
    model = constant_model(vocabulary, [0.0] * symbols)
    result = score(model, vocabulary, ["AB" * 1500])
    assert result.bits_per_char == pytest.approx(math.log2(symbols), abs=1e-6)
    assert result.perplexity == pytest.approx(symbols, rel=1e-6)


@few
@given(nats=st.floats(0.0, 1e5), chars=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_figures_agree_with_each_other(nats: float, chars: int, more: int) -> None:
    figures = Score(chars, chars + more, nats)
    assert figures.nats_per_char * chars == pytest.approx(nats)
    assert figures.bits_per_char * chars == pytest.approx(figures.bits_per_byte * figures.bytes)
    if figures.bits_per_char < 1000:
        assert figures.perplexity == pytest.approx(2**figures.bits_per_char)
    assert math.isfinite(figures.perplexity)


# --- every character once


def cut(text: Any, places: list[int]) -> list[Any]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    return [piece for piece in pieces if piece]


@settings(deadline=None, max_examples=25)
@given(places=st.lists(st.integers(0, 999), max_size=8), segment=st.integers(1, 500))
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_pieces_change_nothing(unit: str, places: list[int], segment: int) -> None:
    text: Any = COFFEE[:401] + "é漢"
    vocabulary = Vocabulary.of_text(text)
    if unit == "byte":
        text, vocabulary = text.encode(), Vocabulary.of_bytes()
    torch.manual_seed(1)
    model = model_of(vocabulary)
    whole = score(model, vocabulary, [text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "SEGMENT", segment)
        result = score(model, vocabulary, cut(text, places))
    assert (result.chars, result.bytes) == (whole.chars, whole.bytes) == (len(text), 406)
    assert result.nats == pytest.approx(whole.nats, rel=1e-6)
    rows = list(score_chars(model, vocabulary, cut(text, places)))
    assert [row.symbol for row in rows] == list(text)
    assert [row.offset for row in rows] == list(range(len(text)))
    assert sum(row.nats for row in rows) == pytest.approx(whole.nats, rel=1e-6)


@pytest.mark.parametrize("n", [2047, 2048, 5003, 20_000])
def test_parallel_streams_score_what_one_pass_scores(trained: Checkpoint, n: int) -> None:
    text = COFFEE[40_000 : 40_000 + n]
    ids = trained.vocabulary.encode(text, "skip")
    assert len(ids) > n - 5
    streams = Scorer(trained.model, trained.vocabulary).nats(ids)
    pieces = [trained.vocabulary.decode(ids)]
    one_pass = np.array(
        [one.nats for one in score_chars(trained.model, trained.vocabulary, pieces)]
    )
    assert streams.shape == one_pass.shape == ids.shape
    assert abs(streams.mean(dtype=float) - one_pass.mean()) / math.log(2) < 0.0005
    assert np.quantile(abs(streams - one_pass), 0.99) < 0.001


@pytest.mark.parametrize("at", [1, 2, 700, 1999])
def test_the_state_is_carried_from_piece_to_piece(at: int) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model, ids = model_of(vocabulary), vocabulary.encode(COFFEE[:2000])
    whole, parts = Scorer(model, vocabulary), Scorer(model, vocabulary)
    wanted = whole.nats(ids)
    in_two = np.concatenate([parts.nats(ids[:at]), parts.nats(ids[at:])])
    np.testing.assert_allclose(in_two, wanted, atol=1e-4)
    torch.testing.assert_close(parts.state, whole.state)
    parts.restart()
    np.testing.assert_allclose(parts.nats(ids[:9]), wanted[:9], atol=1e-4)


def test_the_state_after_streams_is_that_of_the_last_character(trained: Checkpoint) -> None:
    ids = trained.vocabulary.encode(COFFEE[:5000])
    streams, one_pass = (Scorer(trained.model, trained.vocabulary) for _ in range(2))
    streams.nats(ids)
    for start in range(0, 5000, 1000):
        one_pass.nats(ids[start : start + 1000])
    torch.testing.assert_close(streams.state, one_pass.state, atol=0.01, rtol=0.01)


# --- line by line, character by character


def test_a_line_is_a_text_of_its_own() -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary)
    lines = [*COFFEE[:3000].split("\n")[:9], "", "a"]
    scored = list(score_lines(model, vocabulary, lines))
    assert [line for _, line in scored] == lines
    for bits, line in scored:
        alone = score(model, vocabulary, [line]).bits_per_char if line else 0.0
        assert bits == pytest.approx(alone, abs=1e-6)


def test_a_character_is_ranked_by_its_probability(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    reference, text = NumpyModel.read(tmp_path / "model"), COFFEE[:40]
    for at, row in enumerate(score_chars(model, vocabulary, [text])):
        logits = reference.logits_after(text[:at])
        order = np.argsort(-logits)
        assert row.most_probable == reference.symbols[order[0]]
        assert row.rank == 1 + list(order).index(reference.ids(text[at])[0])


# --- what the model does not know, and nothing


def test_unknown_characters_are_an_error_or_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "SEGMENT", 3)  # so that every piece counts
    vocabulary = Vocabulary.of_text("abcé\n")
    model = model_of(vocabulary)
    pieces = ["aXé漢", "YbX\U0010ffff", "\nc"]
    for scoring in (
        lambda: score(model, vocabulary, pieces),
        lambda: read_ids(vocabulary, pieces),
        lambda: list(score_chars(model, vocabulary, pieces)),
        lambda: list(score_lines(model, vocabulary, pieces)),
    ):
        with pytest.raises(UnknownCharacterError, match="'X'"):
            scoring()
    result = score(model, vocabulary, pieces, "skip")
    known = score(model, vocabulary, ["aéb\nc"])
    assert (result.chars, result.bytes, result.unknown_chars) == (5, 6, 5)
    assert result.nats == pytest.approx(known.nats)
    rows = list(score_chars(model, vocabulary, pieces, "skip"))
    assert "".join(str(row.symbol) for row in rows) == "aéb\nc"
    ((bits, line),) = score_lines(model, vocabulary, ["aXéb"], "skip")
    assert (bits, line) == (pytest.approx(score(model, vocabulary, ["aéb"]).bits_per_char), "aXéb")


def test_byte_models_know_every_text() -> None:
    vocabulary = Vocabulary.of_bytes()
    result = score(model_of(vocabulary), vocabulary, [bytes(range(256)), "é漢".encode()])
    assert (result.chars, result.bytes, result.unknown_chars) == (261, 261, 0)


@pytest.mark.parametrize("pieces", [[], ["XYZ", "é"]], ids=["empty", "unknown"])
@pytest.mark.parametrize("scoring", [score, lambda *given: list(score_chars(*given))])
def test_nothing_to_score_is_a_named_error(scoring: Any, pieces: list[str]) -> None:
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(CorpusError, match="nothing to score"):
        scoring(model_of(vocabulary), vocabulary, pieces, "skip")


# --- lines


def lines_of(text: str) -> list[str]:
    """The reference: line feeds end lines, and take a carriage return before them along."""
    *ended, rest = text.split("\n")
    return [line.removesuffix("\r") for line in ended] + [rest] * bool(rest)


@few
@given(
    text=st.text("ab\r\n\x0b\u2028", max_size=20), places=st.lists(st.integers(0, 99), max_size=6)
)
@example(text="a\r\nb", places=[2])
@example(text="a\n\nb\r\r\n\n", places=[1, 2, 3, 4])
def test_lines_however_the_text_is_cut(text: str, places: list[int]) -> None:
    assume(not text.endswith("\r"))
    assert list(split_lines(cut(text, places))) == lines_of(text)
    data = [piece.encode() for piece in cut(text, places)]
    assert list(split_lines(data)) == [line.encode() for line in lines_of(text)]


def test_a_carriage_return_without_line_feed_is_text() -> None:
    assert list(split_lines(["a\rb\n", "c\r"])) == ["a\rb", "c\r"]


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterable[Piece]:
        for piece in ("a", "b\nc", "\n"):
            taken.append(piece)
            yield piece

    assert next(iter(split_lines(pieces()))) == "ab"
    assert taken == ["a", "b\nc"]


# --- the context curve


def test_a_context_is_a_text_of_its_own(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model, text = model_of(vocabulary), COFFEE[:50]
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    reference = NumpyModel.read(tmp_path / "model")
    curve = context_curve(model, vocabulary, vocabulary.encode(text))
    assert [point.context for point in curve] == [0, 1, 2, 4, 8, 16]
    for point in curve:
        k = point.context
        bits = [reference.nats(text[at - k : at + 1])[-1] / math.log(2) for at in range(16, 50)]
        assert point.bits_per_char == pytest.approx(np.mean(bits), abs=1e-4)
        error = np.std(bits, ddof=1) / math.sqrt(len(bits))
        assert point.standard_error == pytest.approx(error, rel=1e-3)


def test_the_whole_context_is_the_plain_score() -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model, text = model_of(vocabulary), COFFEE[:300]
    *_, whole = context_curve(model, vocabulary, vocabulary.encode(text), positions=1)
    rows = list(score_chars(model, vocabulary, [text]))
    assert whole.context == 128
    assert whole.bits_per_char == pytest.approx(rows[128].nats / math.log(2), abs=1e-4)
    assert whole.standard_error == 0


def test_more_context_is_no_worse(trained: Checkpoint) -> None:
    ids = trained.vocabulary.encode(COFFEE[40_000:50_000], "skip")
    curve = context_curve(trained.model, trained.vocabulary, ids)
    bits = [point.bits_per_char for point in curve]
    assert [point.context for point in curve][-1] == 1024
    assert bits[0] > bits[1] + 0.5 > bits[-1] + 0.5
    assert all(more < less + 0.05 for less, more in itertools.pairwise(bits))


@pytest.mark.parametrize("text", ["", "a", "ab"])
def test_a_context_curve_needs_a_text(text: str) -> None:
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(CorpusError, match=r"context curve needs at least 3"):
        context_curve(model_of(vocabulary), vocabulary, vocabulary.encode(text))


def test_read_ids_joins_pieces() -> None:
    vocabulary = Vocabulary.of_text("abc")
    assert read_ids(vocabulary, ["ab", "c", "a"]).tolist() == [0, 1, 2, 0]
    assert read_ids(vocabulary, []).tolist() == []
