"""Where text comes from: files, folders, globs; what is refused; and what a run is called."""

import glob
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import error_of, read, write

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import run_name

few = settings(max_examples=40, deadline=None)


# Files, folders, globs.


def test_runs_within_a_folder_are_no_text(tmp_path: Path) -> None:
    """So a run in the folder that it learns from can be resumed."""
    write(tmp_path / "a.txt", "I had coffee.\n")
    for name in ("model.safetensors", "history.jsonl", "stdin.txt"):
        write(tmp_path / "runs" / "a" / name, "{}")
    assert read(tmp_path) == "I had coffee.\n"
    assert read(f"{glob.escape(str(tmp_path))}/**") == "I had coffee.\n"
    write(tmp_path / "more" / "b" / "b.txt", "She said so.\n")
    assert read(f"{glob.escape(str(tmp_path))}/*/*/*.txt") == "She said so.\n"
    assert read(tmp_path / "runs" / "a" / "stdin.txt") == "{}"  # unless it is named


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with text at several depths, and much that is not text."""
    for name in ("b.txt", "a.md", "sub/c", "sub/deep/d.txt", "Z.txt"):
        write(tmp_path / name, f"<{name}>")
    for name in (".hidden", ".git/config", "sub/.cache/e.txt"):
        write(tmp_path / name, "hidden")
    write(tmp_path / "image.png", b"\x89PNG\0\0")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_is_read_sorted_and_deep_without_hidden_and_binary_files(library: Path) -> None:
    corpus = Corpus([library])
    names = [str(Path(file).relative_to(library)) for file, *_ in corpus.files]
    assert names == ["Z.txt", "a.md", "b.txt", "sub/c", "sub/deep/d.txt"]
    assert read(library) == "\n".join(f"<{name}>" for name in names)
    assert corpus.notes == [
        f"files skipped that are no text, but a binary file: 1 ({library / 'image.png'})"
    ]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*.txt", "<Z.txt>\n<b.txt>"),
        ("**/*.txt", "<Z.txt>\n<b.txt>\n<sub/deep/d.txt>"),
        ("**/d*", "<sub/deep/d.txt>"),
        ("**/deep/*", "<sub/deep/d.txt>"),
        ("s*/**", "<sub/c>\n<sub/deep/d.txt>"),
        ("[ab].*", "<a.md>\n<b.txt>"),
        ("?.md", "<a.md>"),
        ("*", "<Z.txt>\n<a.md>\n<b.txt>"),
    ],
)
def test_a_glob(library: Path, pattern: str, text: str) -> None:
    assert read(f"{library}/{pattern}") == text


def test_a_hidden_folder_that_is_named_is_read(library: Path) -> None:
    assert read(library / ".git") == "hidden"


@pytest.mark.parametrize("name", ["a[1].txt", "a*.txt", "-", "hf:x", "a b\u2028.txt"])
def test_a_file_with_an_odd_name(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path / name, "text")) == "text"


def test_a_file_whose_name_looks_like_one_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("hf:x"), "text")
    assert read("hf:x") == "text"


def test_a_folder_of_text_in_another_encoding(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "zero bytes are text here".encode("utf-16"))
    assert read(tmp_path, encoding="utf-16") == "zero bytes are text here"


# Sources that cannot be used.


def test_no_source() -> None:
    with pytest.raises(CorpusError, match="no source of text"):
        Corpus([])


@pytest.mark.parametrize(
    "name",
    ["missing.txt", "missing/", "a\0b", "x" * 5000],
    ids=["file", "folder", "NUL", "too long"],
)
def test_a_missing_file(name: str) -> None:
    assert error_of(name).startswith(f"{name}: ")


def test_an_empty_name_is_not_the_current_folder(story: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(story.parent)
    error_of("")


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    assert "no such file" in error_of(tmp_path / "link.txt")


@pytest.mark.parametrize("name", ["", "/*", "/*.md", "/**/x"])
def test_a_folder_or_glob_without_text(tmp_path: Path, name: str) -> None:
    write(tmp_path / "image.png", b"\x89PNG\0\0")
    write(tmp_path / ".hidden.txt", "hidden")
    problem = "no file matches" if "x" in name or "md" in name else "no text files"
    assert error_of(f"{tmp_path}{name}").startswith(f"{tmp_path}{name}: {problem}")


# Sources that are read again.


def test_a_corpus_is_read_the_same_each_time(library: Path) -> None:
    corpus = Corpus([library])
    assert list(corpus.pieces()) == list(corpus.pieces())


# The name of a run.


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("story.txt", "story"),
        ("data/story.txt.gz", "story"),
        ("data/old stories/", "old-stories"),
        ("/data/日本.txt", "日本"),
        ("a--b_c.txt", "a--b_c"),
        ("-", "stdin"),
        ("hf:someone/tiny-stories", "tiny-stories"),
        ("hf:someone/wikitext:wikitext-2-v1", "wikitext-wikitext-2-v1"),
        ("data/*.txt", "corpus"),
        (".txt", "corpus"),
        ("/", "corpus"),
    ],
)
def test_run_name(source: str, name: str) -> None:
    assert run_name([source, "another.txt"]) == name


@few
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_run_name_is_one_plain_folder_name(source: str) -> None:
    assert re.fullmatch(r"\w(?:[\w-]*\w)?", run_name([source]))


def test_a_run_in_this_folder_is_named_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "novels").mkdir()
    monkeypatch.chdir(tmp_path / "novels")
    assert run_name(["."]) == "novels"
