"""Scores of lines: each is a text of its own, or read after the ones before it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored import chars_of, lines_of, score_of
from small_models import constant_model, model_of
from texts import COFFEE, cut

from charrnn.errors import UnknownCharacterError
from charrnn.scoring import lines as lines_module
from charrnn.scoring import scorer as scorer_module
from charrnn.scoring.lines import LineScorer, usual_of_lines
from charrnn.scoring.reports import score
from charrnn.scoring.scorer import Scorer
from charrnn.text import lines as text_lines
from charrnn.text.lines import LongLine, split_lines
from charrnn.text.vocabulary import Vocabulary


def in_groups(lines: list[Any], size: int) -> list[list[Any]]:
    return [lines[start : start + size] for start in range(0, len(lines), size)]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_line_is_a_text_of_its_own(unit: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines come at once, and run side by side."""
    monkeypatch.setattr(lines_module, "MAX_LINES", 7)
    monkeypatch.setattr(scorer_module, "MAX_PADDED", 600)
    lines: list[Any] = [*COFFEE[:3000].split("\n")[:9], "", "a", COFFEE[:500].replace("\n", " ")]
    vocabulary = Vocabulary.of_text(COFFEE)
    if unit == "byte":
        lines, vocabulary = [line.encode() for line in lines], Vocabulary.of_bytes()
    model = model_of(vocabulary)
    scored = lines_of(Scorer(model, vocabulary), in_groups(lines, size))
    assert [one.line for one in scored] == lines
    assert [one.number for one in scored] == list(range(1, len(lines) + 1))
    for one in scored:
        assert one.chars == len(lines[one.number - 1])
        alone = score_of(Scorer(model, vocabulary), [one.line]) if one.line else None
        assert one.bits == pytest.approx(alone.nats / math.log(2) if alone else 0.0, abs=1e-3)
        assert one.bits_per_char == pytest.approx(alone.bits_per_char if alone else 0.0, abs=1e-5)


@pytest.mark.parametrize("unit", ["char", "byte"])
@settings(deadline=None, max_examples=30)
@given(text=st.text("ab\r\n", max_size=20), places=st.lists(st.integers(0, 99), max_size=4))
def test_the_lines_of_a_text_and_the_whole_agree(unit: str, text: str, places: list[int]) -> None:
    """With their ends, however the text is cut; a carriage return is scored in both."""
    text += "\r\n"
    vocabulary = Vocabulary.of_text("ab\r\n") if unit == "char" else Vocabulary.of_bytes()
    scorer = Scorer(model_of(vocabulary), vocabulary)
    pieces = [vocabulary.to_piece(piece) for piece in cut(text, places)]
    whole, scored = score_of(scorer, pieces), list(split_lines(pieces))
    scores = lines_of(scorer, scored, carry=True, end=True)
    assert sum(one.chars for one in scores) == whole.chars
    assert sum(one.nats for one in scores) == pytest.approx(whole.nats, abs=1e-3)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_carried_lines_are_the_characters_of_one_text(size: int) -> None:
    """With what their newlines cost, they add up to the whole."""
    text = COFFEE[:3000] + "\nthe end"
    vocabulary = Vocabulary.of_text(text)
    model = model_of(vocabulary)
    groups = in_groups(text.split("\n"), size)
    bits = [one.bits for one in chars_of(Scorer(model, vocabulary), [text + "\n"])]
    for end in (False, True):
        start = 0
        for one in lines_of(Scorer(model, vocabulary), groups, carry=True, end=end):
            assert isinstance(one.line, str)
            assert one.chars == len(one.line) + end
            expected = bits[start : start + one.chars]
            assert one.bits == pytest.approx(sum(expected), abs=1e-3)
            start += len(one.line) + 1
        assert start == len(text) + 1


def test_carried_lines_without_newline_in_the_vocabulary() -> None:
    vocabulary = Vocabulary.of_text("abc")
    model = model_of(vocabulary)
    scored = lines_of(Scorer(model, vocabulary), [["ab", ""], ["", "c"]], carry=True)
    bits = [one.bits for one in chars_of(Scorer(model, vocabulary), ["abc"])]
    assert [one.bits for one in scored] == pytest.approx([sum(bits[:2]), 0.0, 0.0, bits[2]])


def test_what_comes_before_an_unknown_line_is_scored() -> None:
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    groups = LineScorer(scorer).score([["a"], ["b", "c", "aXb", "a"]], scorer.start)
    assert [one.line for one in next(groups)[0]] == ["a"]
    assert [one.line for one in next(groups)[0]] == ["b", "c"]
    with pytest.raises(UnknownCharacterError, match=r"^line 4: .*'X'"):
        next(groups)


@pytest.mark.parametrize("carry", [True, False])
def test_carried_lines_hand_on_the_state_others_leave_it(carry: bool) -> None:
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    lines = LineScorer(scorer, carry=carry).score([["I had", "coffee"]], scorer.start)
    ((_, state),) = lines
    _, carried = score(scorer, ["I had\ncoffee\n"], scorer.start)
    np.testing.assert_allclose(state, carried if carry else scorer.start, rtol=1e-5, atol=1e-5)


# --- ends, unknown characters, long lines


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_with_its_end_a_line_is_what_its_whole_sentence_costs(unit: str) -> None:
    """Whether lines run side by side or alone, the empty one too."""
    vocabulary = Vocabulary.of_bytes() if unit == "byte" else Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    for one in lines_of(scorer, [["I had coffee", "", "She"], ["so"]], end=True):
        whole = score_of(scorer, [f"{one.line!s}\n"])
        assert (one.chars, one.bits) == (whole.chars, pytest.approx(whole.nats / math.log(2)))


def test_the_charge_of_three_lines_by_hand() -> None:
    """Of 1/2, 1/4, 1/4; an unknown one is 1 in 1000, and then one of 0x110000 code points."""
    vocabulary = Vocabulary.of_text("ab\n")
    model = constant_model(vocabulary, [0.0, math.log(2), 0.0])  # newline, a, b
    scorer = Scorer(model, vocabulary, on_unknown="charge", trained_chars=1000)
    charge = math.log2(1000) + math.log2(0x110000)
    wanted = [(3, 0, 1 + 1 + 2), (3, 1, 1 + charge + 2), (2, 2, 2 * charge)]
    for end in (False, True):
        scored = lines_of(scorer, [["aab", "a漢b", "\U0010ffff\udc80"]], end=end)
        for one, (chars, unknown_chars, bits) in zip(scored, wanted, strict=True):
            assert (one.chars, one.unknown_chars) == (chars + end, unknown_chars)
            assert one.bits == pytest.approx(bits + 2 * end, abs=1e-5)
            assert one.bits_per_char == pytest.approx(one.bits / one.chars)
    assert charge == pytest.approx(30.053, abs=1e-3)


def test_a_model_with_a_symbol_for_unknown_characters_gives_the_escape_itself() -> None:
    vocabulary = Vocabulary("char", ["a", "\ufffd"], unknown="\ufffd")
    model = constant_model(vocabulary, [0.0, math.log(3)])  # 1/4 and 3/4
    scorer = Scorer(model, vocabulary, on_unknown="charge", trained_chars=1000)
    (one,) = lines_of(scorer, [["a漢"]])
    bits = 2 + math.log2(4 / 3) + math.log2(0x110000)
    assert (one.chars, one.unknown_chars, one.bits) == (2, 1, pytest.approx(bits))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("abé漢\udc80", max_size=5), min_size=1, max_size=9), st.booleans())
def test_lines_the_whole_and_characters_agree_whatever_is_unknown(
    lines: list[str], skip: bool
) -> None:
    """With carried states and ends they are one text; what is known keeps its figures."""
    text = "".join(f"{line}\n" for line in lines)
    vocabulary = Vocabulary.of_text("abé\n")
    how = "skip" if skip else "charge"
    scorer = Scorer(model_of(vocabulary), vocabulary, on_unknown=how, trained_chars=9)
    whole, chars = score_of(scorer, [text]), chars_of(scorer, [text])
    by_line = lines_of(scorer, [lines], carry=True, end=True)
    for one in (whole, *by_line):
        assert math.isfinite(one.nats)
    assert sum(one.nats for one in by_line) == pytest.approx(whole.nats, rel=1e-5)
    assert sum(one.nats for one in chars) == pytest.approx(whole.nats, rel=1e-5)
    assert sum(one.chars for one in by_line) == whole.chars == len(chars)
    unknown = [c for c in text if c in "漢\udc80"]
    assert whole.unknown_chars == sum(one.unknown_chars for one in by_line) == len(unknown)
    if not skip:
        assert whole.chars == len(text) and whole.bytes == len(text.encode("utf-8", "replace"))
        assert whole.unknown_nats == pytest.approx(len(unknown) * math.log(9 * 0x110000))
        known = text.translate(dict.fromkeys(map(ord, "漢\udc80")))
        assert whole.nats - whole.unknown_nats == pytest.approx(score_of(scorer, [known]).nats)


@pytest.mark.parametrize("carry", [True, False])
def test_a_long_line_scores_as_if_it_were_in_memory(
    carry: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "I had\nXX" + COFFEE[:3000].replace("\n", " ") + "X\nShe\n"
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary, on_unknown="charge", trained_chars=9)
    places = list(range(0, len(text), 500))
    for end in (False, True):
        short = lines_of(scorer, split_lines([text]), carry=carry, end=end)
        with monkeypatch.context() as patch:
            patch.setattr(text_lines, "LONG", 1000)
            patch.setattr(text_lines, "PIECE", 700)
            long = lines_of(scorer, split_lines(cut(text, places)), carry=carry, end=end)
        assert [isinstance(one.line, LongLine) for one in long] == [False, True, False]
        for one, other in zip(short, long, strict=True):
            assert (one.number, one.chars, one.unknown_chars) == (
                (other.number, other.chars, other.unknown_chars)
            )
            assert one.bits == pytest.approx(other.bits, rel=1e-5)


def test_an_unknown_character_of_a_long_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONG", 5)
    vocabulary = Vocabulary.of_text("abc")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    with pytest.raises(UnknownCharacterError, match=r"^line 2: .*'X'"):
        lines_of(scorer, split_lines(["a\nabcabc", "X\n"]))


# --- what is usual


def test_what_is_usual_of_lines_is_that_of_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them up to a limit, then every second, third ... of them."""
    vocabulary = Vocabulary.of_text(COFFEE)
    scorer = Scorer(model_of(vocabulary), vocabulary)
    text = COFFEE[:5000]
    bits = [one.bits_per_char for one in lines_of(scorer, split_lines([text]))]
    usual = usual_of_lines(scorer, vocabulary.encode(text))
    assert usual == {"lines": len(bits), "usual_bits_per_char": pytest.approx(max(bits), abs=1e-4)}
    assert usual["usual_bits_per_char"] >= max(bits), "of fewer than a thousand lines, the oddest"
    monkeypatch.setattr(lines_module, "MAX_CHARS", 2000)
    third = usual_of_lines(scorer, vocabulary.encode(text))
    assert third["lines"] == len(bits[::3])
    assert third["usual_bits_per_char"] == pytest.approx(max(bits[::3]), abs=1e-4)


def test_of_many_lines_one_in_a_thousand_is_above_what_is_usual() -> None:
    vocabulary = Vocabulary.of_text("ab\n")
    scorer = Scorer(constant_model(vocabulary, [0.0, 9.0, 0.0]), vocabulary)
    for odd, above in ((3, False), (2, True), (5, False)):
        text = "aaa\n" * (2500 - odd) + "abb\n" * odd
        usual = usual_of_lines(scorer, vocabulary.encode(text))["usual_bits_per_char"]
        assert (usual < 1) == above


def test_of_no_lines_nothing_is_usual() -> None:
    vocabulary = Vocabulary.of_text("abc\n")
    scorer = Scorer(model_of(vocabulary), vocabulary)
    assert usual_of_lines(scorer, vocabulary.encode("abc")) == {}
    assert usual_of_lines(scorer, vocabulary.encode("")) == {}
