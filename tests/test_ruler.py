"""The ruler: a model of the grammar's corpus comes near its known entropy, and never below it.

If it does come below, something leaks: a target in the input, a validation text in training, a
character that is not scored.
"""

import math
from pathlib import Path

import pytest
from grammar_module import DATA, load_grammar
from scored import chars_of, score_of

from charrnn.config import DataConfig
from charrnn.scoring.scorer import Scorer
from charrnn.store.checkpoint import load
from charrnn.training.events import Finished
from charrnn.training.start import Request, start

grammar = load_grammar()
STEPS = 4500


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"batch_size": 16, "learning_rate": 5e-3, "steps": STEPS, "eval_every": STEPS // 3}
    request = Request(
        [str(DATA / "grammar.txt")],
        tmp_path_factory.mktemp("runs"),
        training=options,
        model={"hidden_size": 96, "num_layers": 2, "dropout": 0.0},
    )
    *_, last = start(request).events()
    assert isinstance(last, Finished)
    return last.model_path


def held_out() -> str:
    """The whole sentences of the corpus's tail, which the model was not trained on."""
    text = (DATA / "grammar.txt").read_text()
    cut = DataConfig().train_chars(len(text))
    return text[text.index("\n", cut) + 1 :]


@pytest.mark.parametrize("text", [held_out(), grammar.draw_corpus(seed=1, chars=100_000)])
def test_a_trained_model_comes_within_5_percent_above_the_true_entropy_and_never_below(
    trained: Path, text: str
) -> None:
    checkpoint = load(trained)
    bits_per_char = score_of(Scorer(checkpoint.model, checkpoint.vocabulary), [text]).bits_per_char
    # the grammar's own code length of this very text: nothing can beat it but by chance
    true_bits_per_char = grammar.bits(text) / len(text)
    assert true_bits_per_char * 0.998 < bits_per_char < true_bits_per_char * 1.05
    # the sampling error of a text of this size is below 2 %
    assert grammar.entropy_bits_per_char() * 0.98 < bits_per_char


def test_training_and_scoring_report_the_same_validation(trained: Path) -> None:
    checkpoint = load(trained)
    text = (DATA / "grammar.txt").read_text()
    tail = text[DataConfig().train_chars(len(text)) :]
    nats = score_of(Scorer(checkpoint.model, checkpoint.vocabulary), [tail]).nats_per_char
    assert checkpoint.provenance["val_nats_per_char"] == pytest.approx(nats, abs=1e-5)


def bits_of_last_words(trained: Path, *, first_words: bool) -> dict[int, float]:
    """Returns, by distance, the mean bits of the last words that the first words decide.

    Args:
        trained: the model.
        first_words: whether it may see them.
    """
    checkpoint = load(trained)
    bits_by_distance: dict[int, list[float]] = {}
    for line in grammar.draw_corpus(seed=2, chars=60_000).splitlines(keepends=True):
        for ending in grammar.endings(line):
            start = 0 if first_words else line.index(" ") + 1
            text = line[start : ending.offset + ending.length]
            scores = chars_of(Scorer(checkpoint.model, checkpoint.vocabulary), [text])
            nats = sum(one.nats for one in scores[-ending.length :])
            bits_by_distance.setdefault(ending.distance, []).append(nats / math.log(2))
    return {distance: sum(bits) / len(bits) for distance, bits in sorted(bits_by_distance.items())}


def test_what_only_the_first_word_decides_costs_its_3_bits_if_it_is_not_seen(
    trained: Path,
) -> None:
    """Eight first words decide the last, at any distance: less would be a leak."""
    seen = bits_of_last_words(trained, first_words=True)
    unseen = bits_of_last_words(trained, first_words=False)
    assert list(seen) == list(unseen) == [1, 2, 4, 8, 16]
    assert min(unseen.values()) > 2.8  # 3, but for the luck of the draw
    assert all(seen[distance] < unseen[distance] + 0.1 for distance in seen)
