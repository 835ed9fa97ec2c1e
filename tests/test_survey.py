"""The first pass: what it finds is true of the text, however it comes."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import corpus as corpus_room
from charrnn import survey as survey_room
from charrnn.config import DataConfig
from charrnn.corpus import Corpus, Place
from charrnn.survey import Survey, first_vocabulary, survey
from charrnn.vocabulary import UNKNOWN

few = settings(max_examples=40, deadline=None)
texts = st.text("abcdé漢", min_size=40, max_size=90).filter(lambda text: len(set(text)) > 1)


def surveyed(folder: Path, text: str, **config: Any) -> Survey:
    (folder / "t.txt").write_bytes(text.encode())
    return survey(Corpus([folder / "t.txt"], DataConfig(**config)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("survey")


@few
@given(text=texts, rare=st.integers(1, 12))
def test_rare_characters_are_one_that_is_unknown(folder: Path, text: str, rare: int) -> None:
    found = surveyed(folder, text, min_count=rare)
    kept = {c for c in text if text.count(c) >= rare}
    lost = sum(c not in kept for c in text)
    assert found.unknown_chars == lost
    assert set(found.vocabulary.symbols) == kept | ({UNKNOWN} if lost else set())
    assert found.vocabulary.unknown == (UNKNOWN if lost else None)
    ids = found.vocabulary.encode(text)
    assert found.vocabulary.decode(ids) == "".join(c if c in kept else UNKNOWN for c in text)


@few
@given(text=texts, first=st.integers(1, 100))
@pytest.mark.parametrize("read_bytes", [5, 10**6])
def test_the_vocabulary_may_be_that_of_the_start(
    folder: Path, text: str, first: int, read_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_room, "READ_BYTES", read_bytes)
        found = surveyed(folder, text, vocabulary_from=first)
        early = first_vocabulary(Corpus([folder / "t.txt"], DataConfig()), first)
    known = set(text[:first])
    assert set(found.vocabulary.symbols) == known | {UNKNOWN} == set(early.symbols)
    assert found.unknown_chars == sum(c not in known for c in text)
    assert found.chars == len(text)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_places_are_met_every_so_often(
    folder: Path, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_room, "READ_BYTES", 64)
    monkeypatch.setattr(survey_room, "PLACE_EVERY", 100)
    text = "I had café. " * 100
    found = surveyed(folder, text, unit=unit)
    gaps = [b.chars - a.chars for a, b in zip(found.places, found.places[1:], strict=False)]
    assert len(gaps) > 8 and max(gaps) < 200
    assert found.place_before(found.places[0].chars - 1) == Place()
    for place in found.places:
        assert found.place_before(place.chars) == place
        assert found.place_before(place.chars + 1) == place


def test_what_watches_is_told_the_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_room, "READ_BYTES", 10)
    told: list[int] = []
    text = "é漢 coffee " * 9
    (folder / "t.txt").write_bytes(text.encode())
    found = survey(Corpus([folder / "t.txt"]), told.append)
    assert told == sorted(told) and told[-1] == len(text.encode())
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()
