"""Laws of the corpus: text arrives as it is, wherever it comes from, or there is a named error."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import (
    ODD,
    cut,
    give_stdin,
    notes_of,
    read,
    read_bytes,
    read_in_blocks,
    write,
)

from charrnn.config import DataConfig, option_name
from charrnn.errors import EncodingError, OptionError
from charrnn.text.compressed import READ_BYTES
from charrnn.text.corpus import Corpus
from charrnn.text.settings import open_all, refuse_unused
from charrnn.text.spool import Spool

few = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def test_a_byte_order_mark_is_noted(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "\ufeffI had".encode()) for name in "ab"]
    text = Corpus(paths)
    for _ in range(2):  # however often it is read
        assert "".join(map(str, text.pieces())) == "I had\nI had"
        assert text.notes[0] == f"byte-order marks left out: 2 (first in {paths[0]})"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_what_stands_before_a_wrong_byte_is_read(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, size)
    path = write(tmp_path / "t", "\ufeffI had café".encode() + b"\xff and")
    pieces = Corpus([path]).pieces()
    text = ""
    with pytest.raises(EncodingError, match=r"not valid utf-8 at byte 14: .*--encoding-errors"):
        for piece in pieces:
            text += str(piece)
    assert text == "I had café"
    assert read(path, encoding_errors="replace") == "I had café\ufffd and"
    assert read(path, encoding_errors="surrogateescape") == "I had café\udcff and"


# Plain text.


@few
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_is(folder: Path, text: str) -> None:
    path = write(folder / "any.txt", text)
    assert read(path, newlines="keep") == text.removeprefix("\ufeff")
    assert read(path) == text.removeprefix("\ufeff").replace("\r\n", "\n")
    assert read_bytes(path) == text.encode()


def test_odd_characters_arrive_as_they_are(tmp_path: Path) -> None:
    assert read(write(tmp_path / "odd.txt", ODD), newlines="keep") == ODD


def test_a_byte_order_mark_is_dropped_at_each_file_s_start_only(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "\ufeffa\ufeffb") for name in ("1.txt", "2.txt")]
    assert read(*paths) == "a\ufeffb\na\ufeffb"


@pytest.mark.parametrize("shift", range(5))
@pytest.mark.parametrize("character", ["é", "中", "\U0001f600", "\r\n", "e\u0301", "\ufeff"])
def test_a_character_may_straddle_two_reads(tmp_path: Path, character: str, shift: int) -> None:
    text = "a" * (READ_BYTES - shift) + character + "b"
    assert read(write(tmp_path / "a.txt", text), newlines="keep") == text
    assert read(tmp_path / "a.txt") == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "gb18030", "shift_jis"]
)
@pytest.mark.parametrize("shift", range(4))
def test_other_encodings(tmp_path: Path, encoding: str, shift: int) -> None:
    text = "." * shift + "日本語の文。\r\r" * 100_000  # 1.4 MB and more
    assert read(write(tmp_path / "a.txt", text.encode(encoding)), encoding=encoding) == text


def test_latin_1_reads_any_bytes(tmp_path: Path) -> None:
    data = bytes(range(256))
    assert read(write(tmp_path / "a.txt", data), encoding="latin-1") == data.decode("latin-1")


# Line ends.


@few
@given(st.text(st.sampled_from("a\r\n")), st.integers(1, 5))
def test_windows_line_ends_are_read_as_newlines_and_counted(
    folder: Path, text: str, size: int
) -> None:
    path = write(folder / "lines.txt", text + "a")
    with pytest.MonkeyPatch.context() as patch:
        read_in_blocks(patch, size)
        assert read(path) == text.replace("\r\n", "\n") + "a"
        count = text.count("\r\n")
        note = f"Windows line ends read as newlines: {count} ({'first in ' * (count > 1)}{path})"
        assert notes_of(path) == [f"{note}; --newlines keep keeps them"] * (count > 0)
        assert read(path, newlines="keep") == text + "a"
        assert read_bytes(path) == path.read_bytes()


# Settings that mean nothing for the sources.


@pytest.mark.parametrize(
    ("name", "settings", "hint"),
    [
        ("a.txt", {"column": "x"}, "plain text: leave it out, or say with --format"),
        ("a.txt", {"separator": "|"}, "plain text: leave it out, or say with --format"),
        ("a.txt", {"delimiter": ";"}, "plain text: leave it out, or say with --format"),
        ("a.txt", {"no_header": True}, "plain text: leave it out, or say with --format"),
        ("a.txt", {"split": "test"}, "plain text: leave it out"),
        ("a.jsonl", {"quotes": "text"}, "jsonl: leave it out"),
        ("a.jsonl", {"delimiter": ";"}, "jsonl: leave it out"),
        ("a.jsonl.gz", {"split": "test"}, "jsonl: leave it out"),
        ("a.csv", {"format": "text", "column": "x"}, "plain text: leave it out"),
        ("a.parquet", {"encoding": "latin-1"}, "parquet: leave it out"),
        ("a.txt", {"unit": "byte", "encoding": "latin-1"}, "bytes: leave it out"),
        ("a.txt", {"unit": "byte", "encoding_errors": "replace"}, "bytes: leave it out"),
        ("a.txt", {"unit": "byte", "newlines": "keep"}, "bytes: leave it out"),
        ("a.txt", {"unit": "byte", "min_count": 2}, "bytes: leave it out"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], hint: str
) -> None:
    path = write(tmp_path / name, "text")
    config = DataConfig(**settings)
    with pytest.raises(OptionError) as raised:
        open_all([str(path)], config, "")
    option = next(option_name(key) for key in reversed(settings))
    assert str(raised.value).startswith(f"{option}: {path}: it means nothing for {hint}")
    assert "say with --format" not in str(raised.value) or name == "a.txt"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.txt", {"encoding": "latin-1"}),
        ("a.txt", {"unit": "byte", "encoding_errors": "surrogateescape"}),  # a command's own
        ("a.txt", {"format": "csv", "column": "x", "no_header": True}),
        ("a.jsonl", {"unit": "byte", "encoding": "latin-1"}),
        ("a.jsonl", {"column": "x", "separator": "", "encoding_errors": "replace"}),
        ("hf:x", {"split": "test", "column": "x"}),
    ],
)
def test_a_setting_that_means_something_is_taken(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    path = name if name.startswith("hf:") else str(write(tmp_path / name, "text"))
    open_all([path], DataConfig(**settings), "")
    other = str(write(tmp_path / "other.txt", "text"))
    refuse_unused(DataConfig(**settings), [Corpus([other]), Corpus([path])])


# Several files.


@pytest.mark.parametrize(("name", "size"), [("a.txt", 12), ("a.txt.gz", None), ("a.jsonl", None)])
def test_the_size_is_known_if_all_is_plain_text(
    tmp_path: Path, name: str, size: int | None
) -> None:
    paths = [write(tmp_path / other, "123456") for other in ("plain.txt", name)]
    assert Corpus(paths).size_bytes() == size


def test_files_are_read_in_the_order_given_and_joined_by_a_newline(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.txt", "one"), write(tmp_path / "b.txt", "two\n")
    empty = write(tmp_path / "c.txt", "")
    assert read(b, a) == read(b, empty, a) == "two\none"
    assert read(a, a) == read(a, empty, a) == "one\none"
    assert read_bytes(a, a) == b"oneone"
    corpus = Corpus([a, b, a, a])
    assert "".join(map(str, corpus.pieces())) == "one\ntwo\none\none"
    assert corpus.notes == [
        f"newlines put after files that lack one at their end: 2 (first in {a})"
    ]


@few
@given(st.text(st.sampled_from("ab\n\r\u2028")), st.lists(st.integers(0, 99), max_size=4))
def test_how_lines_are_cut_into_files_does_not_matter(
    folder: Path, text: str, cuts: list[int]
) -> None:
    lines = [line + "\n" for line in text.split("\n")]
    parts = ["".join(part) for part in cut(lines, cuts)]
    paths = [write(folder / f"{i}.txt", part) for i, part in enumerate(parts)]
    assert read(*paths, newlines="keep") == text + "\n"


def test_an_error_names_what_was_typed_not_the_copy_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"I had caf\xe9")
    spool = Spool("-", tmp_path / "copy")
    spool.fill()
    with pytest.raises(EncodingError, match=r"^standard input: not valid utf-8 at byte 9"):
        list(Corpus(["-"], copies={0: spool}).pieces())
