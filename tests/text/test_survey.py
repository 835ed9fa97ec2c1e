"""The first pass: what is counted, what is kept, and which text is enough to learn from."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import ODD, error_of, read_in_blocks, write

from charrnn.config import DataConfig
from charrnn.text.compressed import READ_BYTES
from charrnn.text.corpus import Corpus
from charrnn.text.survey import (
    MIN_CORPUS_CHARS,
    Survey,
    survey,
    survey_start,
)
from charrnn.text.vocabulary import UNKNOWN

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
    result = surveyed(folder, text, min_count=rare)
    frequent = {c for c in text if text.count(c) >= rare}
    lost = sum(c not in frequent for c in text)
    assert result.unknown_chars == lost
    assert set(result.vocabulary.symbols) == frequent | ({UNKNOWN} if lost else set())
    assert result.vocabulary.unknown == (UNKNOWN if lost else None)
    ids = result.vocabulary.encode(text)
    assert result.vocabulary.decode(ids) == "".join(c if c in frequent else UNKNOWN for c in text)


@few
@given(text=texts, first=st.integers(1, 100))
@pytest.mark.parametrize("read_bytes", [5, 10**6])
def test_the_vocabulary_may_be_that_of_the_start(
    folder: Path, text: str, first: int, read_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        read_in_blocks(patch, read_bytes)
        result = surveyed(folder, text, vocabulary_from=first)
        early = survey_start(Corpus([folder / "t.txt"], DataConfig(vocabulary_from=first)))
    symbols = set(text[:first])
    assert set(result.vocabulary.symbols) == symbols | {UNKNOWN} == set(early.vocabulary.symbols)
    assert result.unknown_chars == sum(c not in symbols for c in text)
    assert result.digest.chars == len(text)


def test_the_callback_is_called_with_the_bytes_read_so_far(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 10)
    sizes: list[int] = []
    text = "é漢 coffee " * 9
    (folder / "t.txt").write_bytes(text.encode())
    result = survey(Corpus([folder / "t.txt"]), sizes.append)
    assert sizes == sorted(sizes) and sizes[-1] == len(text.encode())
    assert result.digest.sha256 == hashlib.sha256(text.encode()).hexdigest()


# Texts with nothing to learn.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty: "),
        ("\ufeff", "it is empty: "),
        ("a short text", "12 characters; training needs at least 32: "),
        ("\n" * 50, "its 50 characters are all '\\n': "),
    ],
)
def test_a_text_with_nothing_to_learn(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "a.txt", text)
    assert error_of(path).startswith(f"{path}: {problem}")


def test_the_size_that_counts_is_that_of_all_files(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "a short text") for name in ("a.txt", "b.txt")]
    assert error_of(*paths).startswith("2 files: 25 characters; ")
    assert survey(Corpus([*paths, *paths])).digest.chars == 51


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_one_symbol_over_several_blocks_is_nothing_to_learn(tmp_path: Path, unit: Any) -> None:
    path = write(tmp_path / "a.txt", b"a" * (READ_BYTES + 9))
    assert "nothing to learn" in error_of(path, unit=unit)
    path.write_bytes(path.read_bytes() + b"b")
    assert survey(Corpus([path], DataConfig(unit=unit))).digest.chars == READ_BYTES + 10


@pytest.mark.parametrize("chars", [0, 1, MIN_CORPUS_CHARS - 1])
def test_a_corpus_may_be_too_small(tmp_path: Path, chars: int) -> None:
    path = write(tmp_path / "a.txt", ("ab" * chars)[:chars])
    assert re.search("it is empty" if chars == 0 else f"a.txt: {chars} characters", error_of(path))
    write(path, "ab" * (MIN_CORPUS_CHARS // 2))
    assert survey(Corpus([path])).digest.chars == MIN_CORPUS_CHARS


# The first pass.


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("files", [1, 3])
def test_the_survey_counts_hashes_and_keeps_the_text(tmp_path: Path, unit: Any, files: int) -> None:
    text = (ODD.replace("\r\n", "") + "\n") * 50
    parts = [text] if files == 1 else [text[: len(text) // 2], "", text[len(text) // 2 :]]
    paths = [write(tmp_path / f"{i}.txt", part) for i, part in enumerate(parts)]
    result = survey(Corpus(paths, DataConfig(unit=unit)))
    whole: Any = text if unit == "char" else text.encode()
    assert result.digest.chars == len(whole)
    assert result.digest.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert result.digest.text is not None
    assert whole[:0].join(result.digest.text) == whole
    wanted = sorted(set(text)) if unit == "char" else range(256)
    assert result.vocabulary.symbols == tuple(wanted)


@pytest.mark.parametrize(("chars", "in_memory"), [(1023, True), (1024, True), (1025, False)])
def test_a_text_of_more_than_a_block_is_not_kept(
    tmp_path: Path, chars: int, in_memory: bool
) -> None:
    path = write(tmp_path / "a.txt", ("ab" * chars)[:chars])
    result = survey(Corpus([path], DataConfig(block_chars=1024)))
    assert result.digest.chars == chars
    assert (result.digest.text is not None) == in_memory


def test_a_changed_text_has_another_hash(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.txt", "ab" * 50), write(tmp_path / "b.txt", "ba" * 50)
    hashes = [survey(Corpus([path])).digest.sha256 for path in (a, b, a)]
    assert hashes[0] == hashes[2] != hashes[1]
