"""A passage: the figures are those of the scores, the states those of the steps."""

import numpy as np
import pytest
from scored import chars_of
from small_models import constant_model, model_of
from texts import COFFEE

from charrnn.errors import OverflowedError, UnknownCharacterError
from charrnn.model.forward import Forward
from charrnn.scoring.passage import MOST_PROBABLE, Passage, read_passage
from charrnn.scoring.scorer import Scorer
from charrnn.text.vocabulary import UNKNOWN, Vocabulary

KNOWN = Vocabulary.of_text(COFFEE)
VOCABULARIES = {
    "characters": KNOWN,
    "bytes": Vocabulary.of_bytes(),
    "no newline": Vocabulary.of_text("abcdefghijklmnopqrstuvwxyz I"),
    "one unknown": Vocabulary("char", sorted({*map(str, KNOWN.symbols), UNKNOWN}), unknown=UNKNOWN),
}
TEXTS = ["I had coffee.\nшI hшшad\x00 co\udcffffeeш", "I had coffee", "шш", ""]


def passage_of(model: Forward, vocabulary: Vocabulary, text: str) -> tuple[Passage, Scorer]:
    scorer = Scorer(model, vocabulary, on_unknown="charge", trained_chars=100, exact=True)
    return read_passage(scorer, model, text), scorer


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
def test_figures_are_those_of_the_scores(vocabulary: Vocabulary, cell: str, text: str) -> None:
    model = model_of(vocabulary, cell=cell)
    model.block_numbers = 5 * len(vocabulary)  # five characters at a time
    passage, scorer = passage_of(model, vocabulary, text)
    scores = chars_of(scorer, [text]) if text else []
    assert len(scores) == len(passage.text)
    np.testing.assert_allclose(passage.bits, [score.bits for score in scores], atol=1e-4)
    assert passage.ranks.tolist() == [score.rank for score in scores]
    first = [vocabulary.symbols[i] for i in passage.likely[:, 0]]
    assert first == [score.most_probable for score in scores]


def test_probabilities_are_those_of_the_most_probable() -> None:
    vocabulary = Vocabulary.of_text("abcdefg")
    wanted = np.array([0.1, 0.3, 0.05, 0.25, 0.02, 0.08, 0.2])
    passage, _ = passage_of(constant_model(vocabulary, np.log(wanted)), vocabulary, "ag")
    order = np.argsort(-wanted)[:MOST_PROBABLE]
    assert passage.likely.tolist() == [order.tolist()] * 2
    np.testing.assert_allclose(passage.probabilities, [wanted[order]] * 2, atol=1e-6)
    np.testing.assert_allclose(passage.bits, -np.log2([0.1, 0.2]), atol=1e-6)
    assert passage.ranks.tolist() == [4, 3]


def test_a_small_vocabulary_has_fewer_than_five() -> None:
    passage, _ = passage_of(model_of(vocabulary := Vocabulary.of_text("ab")), vocabulary, "aba")
    np.testing.assert_allclose(passage.probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "kind", [{}, {"nonlinearity": "relu"}, {"cell": "gru"}, {"cell": "lstm"}], ids=str
)
def test_states_are_those_after_each_character(kind: dict[str, str]) -> None:
    """Of an LSTM, h and c."""
    model = model_of(KNOWN, num_layers=3, **kind)
    text = "I hшad"
    passage, scorer = passage_of(model, KNOWN, text)
    assert passage.states.shape == (len(text), 3, model.config.state_size)
    h = list(scorer.start[:, 0])
    for character, states in zip(text, passage.states, strict=True):
        if character != "ш":  # which leaves the state
            _, h = model.step(KNOWN.encode(character)[0], h)
        np.testing.assert_allclose(states, np.stack(h), atol=1e-5)


def test_a_model_that_overflows_is_a_named_error() -> None:
    model = model_of(KNOWN, nonlinearity="relu")
    for weight in model.weights.values():
        weight[...] = 1e20
    with pytest.raises(OverflowedError):
        passage_of(model, KNOWN, COFFEE[:40])


def test_unknown_characters_may_be_an_error() -> None:
    with pytest.raises(UnknownCharacterError):
        read_passage(Scorer(model := model_of(KNOWN), KNOWN), model, "шш")
