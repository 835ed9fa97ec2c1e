"""Several models as one: only those that know the same symbols."""

from pathlib import Path

import pytest
from small_models import model_of

from charrnn.errors import CheckpointError
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.mixing import load_all
from charrnn.text.vocabulary import UNKNOWN, Vocabulary

ABC = Vocabulary.of_text("abc")


def saved(path: Path, vocabulary: Vocabulary = ABC, **provenance: object) -> Path:
    checkpoint.save(path, Checkpoint(model_of(vocabulary), vocabulary, dict(provenance)))
    return path


def test_one_model_is_itself(tmp_path: Path) -> None:
    loaded = load_all([saved(tmp_path / "a", chars=9)])
    assert loaded.model is loaded.members[0].model
    assert (loaded.paths, loaded.trained_chars) == ([str(tmp_path / "a")], 9)


def test_an_unknown_character_costs_what_the_smallest_text_says(tmp_path: Path) -> None:
    paths = [saved(tmp_path / name, chars=chars) for name, chars in (("a", 900), ("b", 300))]
    assert load_all(paths).trained_chars == 300


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Vocabulary.of_text("abd"), "'d' only in .*/b and 'c' only in .*/a"),
        (Vocabulary.of_text("abcdefghi"), "'defgh' only in .*/b"),
        (Vocabulary.of_text("ab"), "'c' only in .*/a"),
        (Vocabulary("char", ["a", "b", "c"], unknown="c"), "one has a symbol for unknown"),
        (Vocabulary.of_bytes(), "one is of bytes, the other of characters"),
    ],
)
def test_models_of_different_symbols_are_refused(
    tmp_path: Path, other: Vocabulary, difference: str
) -> None:
    paths = [saved(tmp_path / "a"), saved(tmp_path / "c"), saved(tmp_path / "b", other)]
    with pytest.raises(CheckpointError, match=difference):
        load_all(paths)


def test_models_that_read_line_ends_differently_are_refused(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a", newlines="lf"), saved(tmp_path / "b", newlines="keep")]
    with pytest.raises(CheckpointError, match="line ends"):
        load_all(paths)


def test_a_symbol_for_unknown_ones_may_be_common(tmp_path: Path) -> None:
    vocabulary = Vocabulary("char", sorted({"a", "b", UNKNOWN}), unknown=UNKNOWN)
    paths = [saved(tmp_path / name, vocabulary) for name in "ab"]
    assert load_all(paths).vocabulary.unknown == UNKNOWN
