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
from small_models import constant_model, model_of
from torch import Tensor

from charrnn import evaluation
from charrnn.checkpoint import Checkpoint, save
from charrnn.config import ModelConfig
from charrnn.corpus import Piece
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.evaluation import (
    CharScore,
    Score,
    Scorer,
    nats_per_char,
    score,
    score_chars,
    score_lines,
    split_lines,
)
from charrnn.vocabulary import Vocabulary

COFFEE = (DATA / "coffee.txt").read_text()
TEXTS = {
    "English": COFFEE[:1500],
    "Chinese": "今天我和安娜喝咖啡。\n她说：“好！”\n我说不。" * 20,
    "mixed": "é漢\U0001f600a\tb\r\nc\0\n" * 10,
    "no newline": "abcabcbbca" * 9,
}
few = settings(deadline=None, max_examples=60)


def chars_of(*given: Any) -> list[CharScore]:
    """Returns all characters' scores, however they come."""
    return list(itertools.chain.from_iterable(score_chars(*given)))


def lines_scored(*given: Any, **options: Any) -> list[tuple[float, Piece]]:
    """Returns all lines' scores, however they come."""
    return list(itertools.chain.from_iterable(score_lines(*given, **options)))


def in_groups(lines: list[Any], size: int) -> list[list[Any]]:
    return [lines[at : at + size] for at in range(0, len(lines), size)]


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
    result = score(Scorer(model, vocabulary), [text])
    assert (result.chars, result.bytes, result.unknown_chars) == (symbols, size, 0)
    assert result.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)
    assert result.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=2e-5)
    assert result.bits_per_byte == pytest.approx(nats.sum() / math.log(2) / size, abs=2e-5)
    assert nats_per_char(model, vocabulary, vocabulary.encode(text)) == pytest.approx(
        nats.mean(), abs=1e-5
    )
    one_by_one = [one.nats for one in chars_of(Scorer(model, vocabulary), [text])]
    np.testing.assert_allclose(one_by_one, nats, atol=2e-4)


def test_bits_of_known_probabilities() -> None:
    """Of 1/2, 1/4 and 1/4, the text aabc has 1 + 1 + 2 + 2 bits."""
    vocabulary = Vocabulary.of_text("abc")
    model = constant_model(vocabulary, [math.log(2), 0.0, 0.0])
    result = score(Scorer(model, vocabulary), ["aabc"])
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
    result = score(Scorer(model, vocabulary), ["aab"])
    assert result.bits_per_char == pytest.approx(sum(bits) / 3, abs=1e-6)


@pytest.mark.parametrize("symbols", [2, 7, 100])
def test_a_model_that_knows_nothing(symbols: int) -> None:
    vocabulary = Vocabulary("char", [chr(65 + i) for i in range(symbols)])
    model = constant_model(vocabulary, [0.0] * symbols)
    result = score(Scorer(model, vocabulary), ["AB" * 1500])
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
    whole = score(Scorer(model, vocabulary), [text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "SEGMENT", segment)
        result = score(Scorer(model, vocabulary), cut(text, places))
    assert (result.chars, result.bytes) == (whole.chars, whole.bytes) == (len(text), 406)
    assert result.nats == pytest.approx(whole.nats, rel=1e-6)
    rows = list(chars_of(Scorer(model, vocabulary), cut(text, places)))
    assert [row.symbol for row in rows] == list(text)
    assert [row.offset for row in rows] == list(range(len(text)))
    assert sum(row.nats for row in rows) == pytest.approx(whole.nats, rel=1e-6)


@pytest.mark.parametrize("n", [2047, 2048, 5003, 20_000])
def test_parallel_streams_score_what_one_pass_scores(trained: Checkpoint, n: int) -> None:
    text = COFFEE[40_000 : 40_000 + n]
    ids = trained.vocabulary.encode(text, "skip")
    assert len(ids) > n - 5
    parallel = Scorer(trained.model, trained.vocabulary)
    streams = parallel.nats(ids)
    assert parallel.one_pass == (n < 2048)
    pieces = [trained.vocabulary.decode(ids)]
    scorer = Scorer(trained.model, trained.vocabulary, exact=True)
    one_pass = np.array([one.nats for one in chars_of(scorer, pieces)])
    assert scorer.one_pass
    assert streams.shape == one_pass.shape == ids.shape
    assert abs(streams.mean(dtype=float) - one_pass.mean()) / math.log(2) < 0.0005
    assert np.quantile(abs(streams - one_pass), 0.99) < 0.001


class Counter(torch.nn.Module):
    """A model that never forgets: its state tells, for ever, which of two letters came more."""

    config = ModelConfig(2, hidden_size=1, num_layers=1)

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def zero_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, 1)

    def start_state(self, batch_size: int, _: int | None) -> Tensor:
        return self.zero_state(batch_size)

    def hidden(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = state[0] + (2 * x - 1).cumsum(0)[..., None]
        return h, h[-1:]

    def output(self, h: Tensor) -> Tensor:
        sure = self.size * torch.tanh(h / 500)
        return torch.cat([-sure, sure], dim=-1)


@pytest.mark.parametrize("size", [1.0, 0.003], ids=["much", "little, but for ever"])
def test_a_model_that_remembers_more_than_streams_can_know_reads_in_one_pass(size: float) -> None:
    vocabulary = Vocabulary.of_text("ab")
    ids = (np.random.default_rng(0).random(100_000) < 0.7).astype(np.uint8)
    model: Any = Counter(size)
    one_pass, streams = Scorer(model, vocabulary, exact=True), Scorer(model, vocabulary)
    wanted, got = one_pass.nats(ids), streams.nats(ids)
    assert streams.one_pass
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    torch.testing.assert_close(streams.state, one_pass.state)


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


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_line_is_a_text_of_its_own(unit: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines come at once, and run side by side."""
    monkeypatch.setattr(evaluation, "MAX_LINES", 7)
    monkeypatch.setattr(evaluation, "MAX_FILLED", 600)
    lines: list[Any] = [*COFFEE[:3000].split("\n")[:9], "", "a", COFFEE[:500].replace("\n", " ")]
    vocabulary = Vocabulary.of_text(COFFEE)
    if unit == "byte":
        lines, vocabulary = [line.encode() for line in lines], Vocabulary.of_bytes()
    model = model_of(vocabulary)
    scored = lines_scored(Scorer(model, vocabulary), in_groups(lines, size))
    assert [line for _, line in scored] == lines
    for bits, line in scored:
        alone = score(Scorer(model, vocabulary), [line]).bits_per_char if line else 0.0
        assert bits == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_carried_lines_are_the_characters_of_one_text(size: int) -> None:
    """With what their newlines cost, they add up to the whole."""
    text = COFFEE[:3000] + "\nthe end"
    vocabulary = Vocabulary.of_text(text)
    model = model_of(vocabulary)
    groups = in_groups(text.split("\n"), size)
    scored = lines_scored(Scorer(model, vocabulary), groups, carry=True)
    bits = [one.nats / math.log(2) for one in chars_of(Scorer(model, vocabulary), [text])]
    at = 0
    for mean, line in scored:
        expected = np.mean(bits[at : at + len(line)]) if line else 0.0
        assert mean == pytest.approx(expected, abs=1e-4)
        at += len(line) + 1
    assert at == len(text) + 1


def test_carried_lines_without_newline_in_the_vocabulary() -> None:
    vocabulary = Vocabulary.of_text("abc")
    model = model_of(vocabulary)
    scored = lines_scored(Scorer(model, vocabulary), [["ab", ""], ["", "c"]], carry=True)
    bits = [one.nats / math.log(2) for one in chars_of(Scorer(model, vocabulary), ["abc"])]
    assert [mean for mean, _ in scored] == pytest.approx([np.mean(bits[:2]), 0.0, 0.0, bits[2]])


def test_what_comes_before_an_unknown_line_is_scored() -> None:
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    groups = score_lines(scorer, [["a"], ["b", "c", "aXb", "a"]])
    assert [line for _, line in next(groups)] == ["a"]
    assert [line for _, line in next(groups)] == ["b", "c"]
    with pytest.raises(UnknownCharacterError, match=r"^line 4: .*'X'"):
        next(groups)


def test_a_character_is_ranked_by_its_probability(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    reference, text = NumpyModel.read(tmp_path / "model"), COFFEE[:40]
    for at, row in enumerate(chars_of(Scorer(model, vocabulary), [text])):
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
        lambda: score(Scorer(model, vocabulary), pieces),
        lambda: chars_of(Scorer(model, vocabulary), pieces),
        lambda: lines_scored(Scorer(model, vocabulary), [pieces]),
    ):
        with pytest.raises(UnknownCharacterError, match="'X'"):
            scoring()
    result = score(Scorer(model, vocabulary), pieces, "skip")
    known = score(Scorer(model, vocabulary), ["aéb\nc"])
    assert (result.chars, result.bytes, result.unknown_chars) == (5, 6, 5)
    assert result.nats == pytest.approx(known.nats)
    rows = chars_of(Scorer(model, vocabulary), pieces, "skip")
    assert "".join(str(row.symbol) for row in rows) == "aéb\nc"
    assert [row.offset for row in rows] == [0, 2, 5, 8, 9]
    assert math.isnan(lines_scored(Scorer(model, vocabulary), [["XY"]], "skip")[0][0])
    ((bits, line),) = lines_scored(Scorer(model, vocabulary), [["aXéb"]], "skip")
    alone = score(Scorer(model, vocabulary), ["aéb"]).bits_per_char
    assert (bits, line) == (pytest.approx(alone), "aXéb")


def test_byte_models_know_every_text() -> None:
    vocabulary = Vocabulary.of_bytes()
    scorer = Scorer(model_of(vocabulary), vocabulary)
    result = score(scorer, [bytes(range(256)), "é漢".encode()])
    assert (result.chars, result.bytes, result.unknown_chars) == (261, 261, 0)


@pytest.mark.parametrize("pieces", [[], ["XYZ", "é"]], ids=["empty", "unknown"])
@pytest.mark.parametrize("scoring", [score, chars_of])
def test_nothing_to_score_is_a_named_error(scoring: Any, pieces: list[str]) -> None:
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(CorpusError, match="nothing to score"):
        scoring(Scorer(model_of(vocabulary), vocabulary), pieces, "skip")


# --- lines


def flat(groups: Iterable[list[Piece]]) -> list[Piece]:
    return list(itertools.chain.from_iterable(groups))


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
    assert flat(split_lines(cut(text, places))) == lines_of(text)
    data = [piece.encode() for piece in cut(text, places)]
    assert flat(split_lines(data)) == [line.encode() for line in lines_of(text)]


def test_a_carriage_return_without_line_feed_is_text() -> None:
    assert flat(split_lines(["a\rb\n", "c\r"])) == ["a\rb", "c\r"]


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterable[Piece]:
        for piece in ("a", "b\nc\nd", "\n"):
            taken.append(piece)
            yield piece

    assert next(split_lines(pieces())) == ["ab", "c"]
    assert taken == ["a", "b\nc\nd"]
