"""Scoring: the figures are the reference's, and every character is counted once."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_model import NumpyModel
from scored import chars_of, score_of
from small_models import constant_model, model_of
from texts import COFFEE, cut

from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.sampling.generate import Sample
from charrnn.scoring import reports
from charrnn.scoring.reports import Score, continuation_bits, score, score_chars
from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.store.checkpoint import Checkpoint, save
from charrnn.text.vocabulary import Vocabulary

TEXTS = {
    "English": COFFEE[:1500],
    "Chinese": "今天我和安娜喝咖啡。\n她说：“好！”\n我说不。" * 20,
    "mixed": "é漢\U0001f600a\tb\r\nc\0\n" * 10,
    "no newline": "abcabcbbca" * 9,
}
few = settings(deadline=None, max_examples=60)


# --- the figures


@pytest.mark.parametrize(
    "kind", [{}, {"nonlinearity": "relu"}, {"cell": "gru"}, {"cell": "lstm"}], ids=str
)
@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_figures_are_the_references(
    tmp_path: Path, text: str, unit: str, kind: dict[str, str]
) -> None:
    vocabulary = Vocabulary.of_bytes() if unit == "byte" else Vocabulary.of_text(text)
    model = model_of(vocabulary, **kind)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    nats = NumpyModel.read(tmp_path / "model").nats(text)
    symbols, size = len(text.encode()) if unit == "byte" else len(text), len(text.encode())
    result = score_of(Scorer(model, vocabulary), [text])
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
    result = score_of(Scorer(model, vocabulary), ["aabc"])
    assert result.bits_per_char == pytest.approx(1.5, abs=1e-6)
    assert result.nats == pytest.approx(6 * math.log(2), abs=1e-5)
    assert result.perplexity == pytest.approx(2**1.5, abs=1e-5)


def test_bits_of_one_neuron_by_hand() -> None:
    """h = tanh(x + h / 2) with x = 1 for a, -1 for b; logits (h, -h); no newline: starts at 0."""
    vocabulary = Vocabulary.of_text("ab")
    model = constant_model(vocabulary, [0.0, 0.0])
    model.weights["layers.0.W_x"][:] = [[1.0, -1.0]]
    model.weights["layers.0.W_h"][:] = 0.5
    model.weights["output.W_y"][:] = [[1.0], [-1.0]]
    h_1 = math.tanh(1.0)
    h_2 = math.tanh(1.0 + h_1 / 2)
    bits = [math.log2(1 + math.exp(-2 * h)) for h in (0.0, h_1, -h_2)]  # of a, a, b
    result = score_of(Scorer(model, vocabulary), ["aab"])
    assert result.bits_per_char == pytest.approx(sum(bits) / 3, abs=1e-6)


@pytest.mark.parametrize("symbols", [2, 7, 100])
def test_a_model_that_knows_nothing(symbols: int) -> None:
    vocabulary = Vocabulary("char", [chr(65 + i) for i in range(symbols)])
    model = constant_model(vocabulary, [0.0] * symbols)
    result = score_of(Scorer(model, vocabulary), ["AB" * 1500])
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
    whole = score_of(Scorer(model, vocabulary), [text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "SEGMENT", segment)
        result = score_of(Scorer(model, vocabulary), cut(text, places))
    assert (result.chars, result.bytes) == (whole.chars, whole.bytes) == (len(text), 406)
    assert result.nats == pytest.approx(whole.nats, rel=1e-6)
    rows = list(chars_of(Scorer(model, vocabulary), cut(text, places)))
    assert [row.symbol for row in rows] == list(text)
    assert [row.offset for row in rows] == list(range(len(text)))
    assert sum(row.nats for row in rows) == pytest.approx(whole.nats, rel=1e-6)


# --- character by character


def test_a_character_is_ranked_by_its_probability(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    reference, text = NumpyModel.read(tmp_path / "model"), COFFEE[:40]
    for offset, row in enumerate(chars_of(Scorer(model, vocabulary), [text])):
        logits = reference.logits_after(text[:offset])
        order = np.argsort(-logits)
        assert row.most_probable == reference.symbols[order[0]]
        assert row.rank == 1 + list(order).index(reference.ids(text[offset])[0])


# --- what the model does not know, and nothing


def test_unknown_characters_are_charged_an_error_or_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "SEGMENT", 3)  # so that every piece counts
    vocabulary = Vocabulary.of_text("abcé\n")
    model = model_of(vocabulary)
    pieces = ["aXé漢", "YbX\U0010ffff", "\nc"]
    for scoring in (score_of, chars_of):
        with pytest.raises(UnknownCharacterError, match="'X'"):
            scoring(Scorer(model, vocabulary), pieces)
    skipping = Scorer(model, vocabulary, on_unknown="skip")
    result = score_of(skipping, pieces)
    without_unknown = score_of(skipping, ["aéb\nc"])
    assert (result.chars, result.bytes, result.unknown_chars) == (5, 6, 5)
    assert (result.nats, result.unknown_nats) == (pytest.approx(without_unknown.nats), 0.0)
    rows = chars_of(skipping, pieces)
    assert "".join(str(row.symbol) for row in rows) == "aéb\nc"
    assert [row.offset for row in rows] == [0, 2, 5, 8, 9]
    charging = Scorer(model, vocabulary, on_unknown="charge", trained_chars=50)
    result = score_of(charging, pieces)
    assert (result.chars, result.bytes, result.unknown_chars) == (10, 16, 5)
    assert result.unknown_nats == pytest.approx(5 * math.log(50 * 0x110000))
    assert result.nats - result.unknown_nats == pytest.approx(without_unknown.nats)


def test_an_unknown_character_has_a_row_of_its_own() -> None:
    """Its rank is after all others; it leaves the state, and so what is most probable."""
    vocabulary = Vocabulary.of_text("abcé\n")
    scorer = Scorer(model_of(vocabulary), vocabulary, on_unknown="charge", trained_chars=50)
    text = "XaYYbéZ"
    rows = chars_of(scorer, [text])
    assert [row.symbol for row in rows] == list(text)
    assert [row.offset for row in rows] == list(range(7))
    known = chars_of(scorer, ["abé", "b"])  # the last one for what is probable after the é
    for row, at in zip(rows, (0, 0, 1, 1, 1, 2, 3), strict=True):
        assert row.most_probable == known[at].most_probable
        if row.symbol in ("X", "Y", "Z"):
            assert (row.rank, row.nats) == (6, pytest.approx(math.log(50 * 0x110000)))
        else:
            assert (row.rank, row.nats) == (known[at].rank, pytest.approx(known[at].nats))
    # whatever lies between two pieces
    assert [row.nats for row in chars_of(scorer, list(text))] == pytest.approx(
        [row.nats for row in rows], rel=1e-4
    )


def test_byte_models_know_every_text() -> None:
    vocabulary = Vocabulary.of_bytes()
    scorer = Scorer(model_of(vocabulary), vocabulary)
    result = score_of(scorer, [bytes(range(256)), "é漢".encode()])
    assert (result.chars, result.bytes, result.unknown_chars) == (261, 261, 0)


@pytest.mark.parametrize("pieces", [[], ["XYZ", "é"]], ids=["empty", "unknown"])
@pytest.mark.parametrize("scoring", [score_of, chars_of])
def test_nothing_to_score_is_a_named_error(scoring: Any, pieces: list[str]) -> None:
    vocabulary = Vocabulary.of_text("abc")
    with pytest.raises(CorpusError, match="nothing to score"):
        scoring(Scorer(model_of(vocabulary), vocabulary, on_unknown="skip"), pieces)


# --- the state goes in and comes out


@pytest.mark.parametrize("place", [1, 700, 1999])
def test_a_text_in_two_parts_is_scored_as_one(place: int) -> None:
    """However it is reported, the state after the first part is where the second starts."""
    text = COFFEE[:2000]
    vocabulary = Vocabulary.of_text(text)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    parts = text[:place], text[place:]
    first, state = score(scorer, [parts[0]], scorer.start)
    second, _ = score(scorer, [parts[1]], state)
    whole, end = score(scorer, [text], scorer.start)
    assert (first + second).nats == pytest.approx(whole.nats, rel=1e-6)
    by_char, state = [], scorer.start
    for part in parts:
        for scores, after in score_chars(scorer, [part], state):
            by_char += [one.nats for one in scores]
            state = after
    assert by_char == pytest.approx([one.nats for one in chars_of(scorer, [text])], abs=1e-4)
    np.testing.assert_allclose(state, end, rtol=1e-4, atol=1e-5)


# --- samples


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_sample_costs_what_its_text_costs_after_its_prompt(unit: str) -> None:
    vocabulary = Vocabulary.of_bytes() if unit == "byte" else Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    samples = [
        Sample(prompt, text, seed)
        for seed, (prompt, text) in enumerate(
            [("I had", " coffee."), ("I had", " no"), ("", "So"), ("I had", ""), ("She", "\n")]
        )
    ]
    scored = list(continuation_bits(scorer, samples))
    assert [sample for sample, _ in scored] == samples
    for sample, bits in scored:
        state = scorer.start
        if sample.prompt:
            _, state = score(scorer, [sample.prompt], state)
        if sample.text:
            assert bits == pytest.approx(score(scorer, [sample.text], state)[0].bits_per_char)
        else:
            assert bits is None


def test_a_prompt_of_several_samples_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    lengths: list[int] = []
    nats = scorer.nats
    monkeypatch.setattr(
        scorer, "nats", lambda ids, state: (lengths.append(len(ids)), nats(ids, state))[1]
    )
    samples = [Sample("I had coffee", "a" * n, n) for n in (1, 2, 3)]
    assert len(list(continuation_bits(scorer, samples))) == 3
    assert lengths == [12, 1, 2, 3]


def test_unknown_characters_of_a_prompt_are_an_error_or_left_out_of_its_samples() -> None:
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    with pytest.raises(UnknownCharacterError, match="'X'"):
        next(continuation_bits(scorer, [Sample("aXb", "c", 0)]))
    scorer = Scorer(model_of(vocabulary), vocabulary, on_unknown="skip")
    (_, skipped), (_, plain) = continuation_bits(
        scorer, [Sample("aXb", "c", 0), Sample("ab", "c", 0)]
    )
    assert skipped == plain
