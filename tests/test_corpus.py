"""Laws of the corpus: text arrives as it is, wherever it comes from, or an error says why not."""

import bz2
import csv
import glob
import gzip
import hashlib
import io
import json
import lzma
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import corpus
from charrnn.config import DataConfig
from charrnn.corpus import READ_BYTES, Corpus, Place, Spool, run_name
from charrnn.errors import CorpusError, EncodingError
from charrnn.survey import survey

few = settings(max_examples=40, deadline=None)
ODD = "a\r\nb\rc\n\nd\u2028e\x85f\0g\tcafe\u0301 \u00e9\u4e2d\U0001f600\ufeff\x1a end"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def read(*sources: str | Path, **config: Any) -> str:
    """Returns the characters of sources, in one text."""
    pieces = list(Corpus(sources, DataConfig(**config)).pieces())
    assert all(isinstance(piece, str) and piece for piece in pieces)
    return "".join(map(str, pieces))


def read_bytes(*sources: str | Path) -> bytes:
    """Returns the bytes of sources, in one."""
    return b"".join(
        piece for piece in Corpus(sources, DataConfig(unit="byte")).pieces() if type(piece) is bytes
    )


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ENCODINGS = ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "shift_jis", "utf-7"]


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_reading_starts_at_any_place_that_was_met(
    encoding: str, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are rare in an encoding whose decoder has a memory."""
    monkeypatch.setattr(corpus, "READ_BYTES", 7)
    text = "I had café.\r\nShe said: só!\n" * 3
    text = text if encoding != "shift_jis" else "今日は珈琲を飲んだ。\n" * 3
    first = write(tmp_path / "a", ("\ufeff" * (encoding == "utf-8") + text).encode(encoding))
    paths = [first, write(tmp_path / "b", b""), write(tmp_path / "c", text.encode(encoding))]
    config: dict[str, Any] = {"unit": unit, "encoding": encoding}
    met = list(Corpus(paths, DataConfig(**config)).pieces_and_places())
    empty: Any = b"" if unit == "byte" else ""
    whole = empty.join(piece for piece, _ in met)
    places = [place for _, place in met if place is not None]
    if unit == "byte" or encoding in ("utf-8", "latin-1", "cp1252", "utf-16-le"):
        assert len(places) > 10 and {place.file for place in places} == {0, 2}
    for place in places:
        rest = empty.join(Corpus(paths, DataConfig(**config)).pieces(place))
        assert rest == whole[place.chars :]


def test_a_byte_order_mark_is_noted(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "\ufeffI had".encode()) for name in "ab"]
    text = Corpus(paths)
    assert "".join(map(str, text.pieces())) == "I hadI had"
    assert text.marked == [str(path) for path in paths]
    assert list(text.pieces()) and len(text.marked) == 2


def test_rows_end_in_the_separator(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", '{"t": "I\\nhad"}\n{"t": null}\n{"t": "é漢"}\n')
    assert read(rows) == "I\nhad\n\né漢\n"
    assert read(rows, separator="") == "I\nhadé漢"
    assert read(rows, separator="<|é|>\0") == "I\nhad<|é|>\0<|é|>\0é漢<|é|>\0"
    only = DataConfig(unit="byte", separator="|")
    assert b"".join(map(bytes, Corpus([rows], only).pieces())) == "I\nhad||é漢|".encode()


def test_a_dataset_in_the_hubs_layout_is_read_by_its_parts(tmp_path: Path) -> None:
    for part, text in (("train", "I had coffee."), ("test", "She said so.")):
        write(tmp_path / "data" / f"{part}-00000.jsonl", json.dumps({"text": text}) + "\n")
    assert read(f"hf:{tmp_path}") == "I had coffee.\n"
    assert read(f"hf:{tmp_path}", split="test", separator="|") == "She said so.|"
    assert "cannot be opened" in error_of(f"hf:{tmp_path}", split="no-such-part")


def test_runs_within_a_folder_are_no_text(tmp_path: Path) -> None:
    """So a run in the folder that it learns from can be resumed."""
    write(tmp_path / "a.txt", "I had coffee.\n")
    for name in ("model.safetensors", "history.jsonl", "stdin.txt"):
        write(tmp_path / "runs" / "a" / name, "{}")
    assert read(tmp_path) == "I had coffee.\n"
    assert read(f"{glob.escape(str(tmp_path))}/**") == "I had coffee.\n"
    assert read(tmp_path / "runs" / "a" / "stdin.txt") == "{}"  # unless it is named


@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_what_stands_before_a_wrong_byte_is_read(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "READ_BYTES", cut)
    path = write(tmp_path / "t", "\ufeffI had café".encode() + b"\xff and")
    pieces = Corpus([path]).pieces()
    text = ""
    with pytest.raises(EncodingError, match=r"not valid utf-8 at byte 14: .*--encoding-errors"):
        for piece in pieces:
            text += str(piece)
    assert text == "I had café"
    assert read(path, encoding_errors="replace") == "I had café\ufffd and"
    assert read(path, encoding_errors="surrogateescape") == "I had café\udcff and"


def error_of(*sources: str | Path, **config: Any) -> str:
    """Returns the one line that says why sources cannot be used."""
    with pytest.raises(CorpusError) as raised:
        survey(Corpus(sources, DataConfig(**config)))
    message = str(raised.value)
    assert "\n" not in message
    return message


# Plain text.


@few
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_is(folder: Path, text: str) -> None:
    path = write(folder / "any.txt", text)
    assert read(path) == text.removeprefix("\ufeff")
    assert read_bytes(path) == text.encode()


def test_odd_characters_arrive_as_they_are(tmp_path: Path) -> None:
    assert read(write(tmp_path / "odd.txt", ODD)) == ODD


def test_a_byte_order_mark_is_dropped_at_each_file_s_start_only(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "\ufeffa\ufeffb") for name in ("1.txt", "2.txt")]
    assert read(*paths) == "a\ufeffba\ufeffb"


@pytest.mark.parametrize("shift", range(5))
@pytest.mark.parametrize("character", ["é", "中", "\U0001f600", "\r\n", "e\u0301", "\ufeff"])
def test_a_character_may_straddle_two_reads(tmp_path: Path, character: str, shift: int) -> None:
    text = "a" * (READ_BYTES - shift) + character + "b"
    assert read(write(tmp_path / "a.txt", text)) == text


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "gb18030", "shift_jis"]
)
@pytest.mark.parametrize("shift", range(4))
def test_other_encodings(tmp_path: Path, encoding: str, shift: int) -> None:
    text = "." * shift + "日本語の文。\r\n" * 100_000  # 1.4 MB and more
    assert read(write(tmp_path / "a.txt", text.encode(encoding)), encoding=encoding) == text


def test_latin_1_reads_any_bytes(tmp_path: Path) -> None:
    data = bytes(range(256))
    assert read(write(tmp_path / "a.txt", data), encoding="latin-1") == data.decode("latin-1")


# Bytes that are not valid.

BAD_BYTES = [
    b"\xff",
    b"\x80",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf5\x80\x80\x80",
    b"\xe4\xb8",
    b"\xf0\x9f",
]


@few
@given(
    prefix=st.text(st.characters(exclude_categories=["Cs"])),
    padding=st.one_of(st.just(0), st.integers(READ_BYTES - 8, READ_BYTES + 8)),
    bad=st.sampled_from(BAD_BYTES),
    rest=st.sampled_from([b"", b"a", b"a" * 10]),
)
def test_an_invalid_byte_is_named_with_its_place(
    folder: Path, prefix: str, padding: int, bad: bytes, rest: bytes
) -> None:
    valid = b"a" * padding + prefix.encode()
    path = write(folder / "bad.txt", valid + bad + rest)
    with pytest.raises(EncodingError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: not valid utf-8 at byte {len(valid)}: ")
    assert "--encoding" in message


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("utf-16", b"\x00\xdc"), ("utf-16", b"a"), ("ascii", b"\x80"), ("gb18030", b"\xff")],
)
@pytest.mark.parametrize("more", [0, READ_BYTES])
def test_an_invalid_byte_of_another_encoding(
    tmp_path: Path, encoding: str, bad: bytes, more: int
) -> None:
    valid = ("abc" + "a" * more).encode(encoding)
    path = write(tmp_path / "bad.txt", valid + bad)
    with pytest.raises(EncodingError, match=f"not valid {encoding} at byte {len(valid)}: "):
        read(path, encoding=encoding)


def test_the_file_with_the_invalid_byte_is_named(tmp_path: Path) -> None:
    good = write(tmp_path / "1.txt", "good " * 100)
    bad = write(tmp_path / "2.txt", b"caf\xe9 au lait")
    assert error_of(good, bad).startswith(f"{bad}: not valid utf-8 at byte 3: ")


# Several files.


def test_files_are_read_in_the_order_given_and_joined_by_nothing(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.txt", "one"), write(tmp_path / "b.txt", "two\n")
    assert read(b, a) == "two\none"
    assert read(a, a) == "oneone"


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
    names = [str(Path(file).relative_to(library)) for file in corpus.files]
    assert names == ["Z.txt", "a.md", "b.txt", "sub/c", "sub/deep/d.txt"]
    assert read(library) == "".join(f"<{name}>" for name in names)
    assert corpus.skipped == [str(library / "image.png")]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*.txt", "<Z.txt><b.txt>"),
        ("**/*.txt", "<Z.txt><b.txt><sub/deep/d.txt>"),
        ("[ab].*", "<a.md><b.txt>"),
        ("?.md", "<a.md>"),
        ("*", "<Z.txt><a.md><b.txt>"),
    ],
)
def test_a_glob(library: Path, pattern: str, text: str) -> None:
    assert read(f"{library}/{pattern}") == text


def test_a_hidden_folder_that_is_named_is_read(library: Path) -> None:
    assert read(library / ".git") == "hidden"


@pytest.mark.parametrize("name", ["a[1].txt", "a*.txt", "-", "hf:x", "a b\u2028.txt"])
def test_a_file_with_an_odd_name(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path / name, "text")) == "text"


def test_a_folder_of_text_in_another_encoding(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "zero bytes are text here".encode("utf-16"))
    assert read(tmp_path, encoding="utf-16") == "zero bytes are text here"


# Compressed files.


def zstd(data: bytes) -> bytes:
    """Compresses data in one frame."""
    compressed: bytes = pa.compress(data, "zstd", asbytes=True)
    return compressed


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
each_kind = pytest.mark.parametrize("kind", COMPRESS)


@each_kind
def test_a_compressed_file_reads_like_a_plain_one(tmp_path: Path, kind: str) -> None:
    text = ODD * 20_000
    path = write(tmp_path / f"a.txt.{kind}", COMPRESS[kind](text.encode()))
    assert read(path) == read(tmp_path) == text
    assert read_bytes(path) == text.encode()


@each_kind
def test_compressed_parts_may_be_put_end_to_end(tmp_path: Path, kind: str) -> None:
    part = COMPRESS[kind](b"hello\n")
    assert read(write(tmp_path / f"a.{kind}", part + part)) == "hello\nhello\n"


@each_kind
def test_the_place_of_an_invalid_byte_counts_decompressed_bytes(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", COMPRESS[kind](b"a" * 5000 + b"\xff"))
    assert error_of(path).startswith(f"{path}: not valid utf-8 at byte 5000: ")


@each_kind
@pytest.mark.parametrize("damage", ["truncated", "not compressed"])
def test_a_damaged_compressed_file_is_a_named_error(tmp_path: Path, kind: str, damage: str) -> None:
    whole = COMPRESS[kind](bytes(range(256)) * 9)
    data = whole[: len(whole) // 2] if damage == "truncated" else b"just some text\n" * 9
    path = write(tmp_path / f"a.{kind}", data)
    assert re.match(re.escape(str(path)) + ": damaged or cut short .*: get a whole", error_of(path))


# Rows.

ROWS = ["hello", "a\nb", "", "x,y", 'quo"te', "é中\U0001f600e\u0301", " spaced ", "1", "tab\there"]


def write_rows(folder: Path, rows: list[str]) -> dict[str, Path]:
    """Writes rows of a number and a text in every structured format."""
    paths = {kind: folder / f"rows.{kind}" for kind in ("jsonl", "ndjson", "csv", "tsv", "parquet")}
    for kind in ("jsonl", "ndjson"):
        lines = (json.dumps({"n": i, "text": row}) + "\n" for i, row in enumerate(rows))
        write(paths[kind], "".join(lines))
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        with paths[kind].open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerow(["n", "text"])
            writer.writerows(enumerate(rows))
    table = pa.table({"n": list(range(len(rows))), "text": rows})
    pyarrow.parquet.write_table(table, paths["parquet"])
    return paths


@pytest.mark.parametrize(
    "rows",
    [ROWS, [f"row {i}" for i in range(5000)], ["a", "NA", "null", "None", "nan"]],
    ids=["odd", "many", "words for nothing"],
)
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "csv", "tsv", "parquet"])
def test_rows_are_the_same_in_every_format(tmp_path: Path, rows: list[str], kind: str) -> None:
    path = write_rows(tmp_path, rows)[kind]
    wanted = "".join(row + "\n" for row in rows)
    assert read(path) == read(path, column="text") == wanted
    assert read_bytes(path) == wanted.encode()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_numerals_in_a_text_column_are_text(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path, ["007", "1.50", "12"])[kind]
    assert read(path, column="text") == "007\n1.50\n12\n"


def test_rows_without_a_text_are_empty_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": null}\n{"text": "b"}\n')
    assert read(path) == "a\n\nb\n"


def test_compressed_rows_are_rows(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    assert read(write(tmp_path / "a.jsonl.gz", gzip.compress(plain.read_bytes()))) == "a\nb\n"


def test_a_structured_file_with_an_odd_name(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a[1].jsonl", '{"text": "a"}\n')) == "a\n"


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 7, "title": "t", "body": "b"}\n')
    assert read(path, column="body") == "b\n"
    assert read(path, column="id") == "7\n"
    assert error_of(path) == f"{path}: 2 text columns: choose --column from ['title', 'body']"
    assert (
        error_of(path, column="text")
        == f"{path}: no column 'text': choose --column from ['id', 'title', 'body']"
    )
    numbers = write(tmp_path / "b.jsonl", '{"id": 7}\n')
    assert error_of(numbers) == f"{numbers}: 0 text columns: choose --column from ['id']"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow"])
@pytest.mark.parametrize("content", [b"", b'{"text": \n\xff\xff', b"\0\1\2"])
def test_a_damaged_structured_file_is_a_named_error(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = write(tmp_path / f"a.{suffix}", content)
    assert str(path) in error_of(path)


def test_a_name_on_the_hub_without_a_network() -> None:
    message = error_of("hf:nobody/has-this")
    assert message.startswith("hf:nobody/has-this: cannot be opened: ")
    assert "network" in message


# Standard input.


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Puts bytes on standard input, once."""
    buffer = io.BufferedReader(io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer))


def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ODD * 40_000  # more than one block
    give_stdin(monkeypatch, text.encode())
    assert read("-") == text
    give_stdin(monkeypatch, text.encode())
    assert read_bytes("-") == text.encode()


def test_standard_input_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b"caf\xe9\r\n")
    path = tmp_path / "stdin.txt"
    spool = Spool("-", path)
    spool.fill()
    assert spool.ended
    assert path.read_bytes() == b"caf\xe9\r\n"
    with pytest.raises(CorpusError, match="cannot keep standard input: No such file"):
        Spool("-", tmp_path / "no" / "stdin.txt")


@pytest.mark.parametrize("limit", [0, 1, 3000, 10**6])
@pytest.mark.parametrize("start", [0, 1, 2999, 5000])
def test_what_comes_later_follows_what_was_kept(
    limit: int, start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "READ_BYTES", 1000)
    data = bytes(i % 251 for i in range(7777))
    give_stdin(monkeypatch, data)
    spool = Spool("-", tmp_path / "kept")
    spool.fill(limit)
    assert spool.ended == (limit > len(data))
    text = Corpus([tmp_path / "kept"], DataConfig(unit="byte"), spool=spool)
    place = Place(start, 0, start)
    if start <= (tmp_path / "kept").stat().st_size:
        assert b"".join(map(bytes, text.pieces(place))) == data[start:]
    else:
        assert b"".join(map(bytes, text.pieces())) == data
    assert (tmp_path / "kept").read_bytes() == data
    assert b"".join(map(bytes, text.pieces(place))) == data[start:]  # once more


def test_a_disk_that_cannot_keep_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"I had coffee.")
    with pytest.raises(CorpusError, match="cannot keep standard input: No space left"):
        Spool("-", Path("/dev/full")).fill()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"caf\xe9 " * 40, "not valid utf-8 at byte 3"),
        (b"", "it is empty"),
        (b"short", "5 characters"),
        (b"a" * 99, "its 99 characters are all 'a'"),
    ],
    ids=["invalid", "empty", "short", "one character"],
)
def test_errors_call_standard_input_by_its_name(
    monkeypatch: pytest.MonkeyPatch, data: bytes, problem: str
) -> None:
    give_stdin(monkeypatch, data)
    assert error_of("-").startswith(f"standard input: {problem}")


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input" in error_of("-")
    with pytest.raises(CorpusError):
        Spool("-", tmp_path / "stdin.txt")


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


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.txt", "text")
    monkeypatch.setattr(Path, "open", refuse)
    assert error_of(path).startswith(f"{path}: cannot be read: Permission denied")


def test_a_file_that_is_gone_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    corpus = Corpus([path])
    path.unlink()
    with pytest.raises(CorpusError, match=r"a\.txt: cannot be read: No such file"):
        survey(corpus)


@pytest.mark.parametrize("name", ["", "/*", "/*.md", "/**/x"])
def test_a_folder_or_glob_without_text(tmp_path: Path, name: str) -> None:
    write(tmp_path / "image.png", b"\x89PNG\0\0")
    write(tmp_path / ".hidden.txt", "hidden")
    assert error_of(f"{tmp_path}{name}").startswith(f"{tmp_path}{name}: no text files")


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
    assert error_of(*paths).startswith("2 files: 24 characters; ")
    assert survey(Corpus([*paths, *paths])).chars == 48


# The first pass.


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("files", [1, 3])
def test_the_survey_counts_hashes_and_keeps_the_text(tmp_path: Path, unit: Any, files: int) -> None:
    text, cut = ODD * 50, len(ODD) * 25
    parts = [text] if files == 1 else [text[:cut], "", text[cut:]]
    paths = [write(tmp_path / f"{i}.txt", part) for i, part in enumerate(parts)]
    found = survey(Corpus(paths, DataConfig(unit=unit)))
    whole: Any = text if unit == "char" else text.encode()
    assert found.chars == len(whole)
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.text is not None
    assert whole[:0].join(found.text) == whole
    wanted = sorted(set(text)) if unit == "char" else range(256)
    assert found.vocabulary.symbols == tuple(wanted)


@pytest.mark.parametrize(("chars", "kept"), [(1023, True), (1024, True), (1025, False)])
def test_a_text_of_more_than_a_block_is_not_kept(tmp_path: Path, chars: int, kept: bool) -> None:
    path = write(tmp_path / "a.txt", ("ab" * chars)[:chars])
    found = survey(Corpus([path], DataConfig(block_chars=1024)))
    assert found.chars == chars
    assert (found.text is not None) == kept


def test_the_hash_tells_a_changed_text(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.txt", "ab" * 50), write(tmp_path / "b.txt", "ba" * 50)
    hashes = [survey(Corpus([path])).sha256 for path in (a, b, a)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_corpus_is_read_the_same_each_time(library: Path) -> None:
    corpus = Corpus([library])
    assert list(corpus.pieces()) == list(corpus.pieces())


def test_pieces_are_small(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a" * 3 * READ_BYTES)
    assert max(map(len, Corpus([path]).pieces())) <= READ_BYTES


def test_pieces_of_long_rows_are_small(tmp_path: Path) -> None:
    line = json.dumps({"text": "a" * 10_000}) + "\n"
    path = write(tmp_path / "a.jsonl", line * 400)
    assert max(map(len, Corpus([path]).pieces())) <= READ_BYTES


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


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_one_symbol_over_several_blocks_is_nothing_to_learn(tmp_path: Path, unit: Any) -> None:
    path = write(tmp_path / "a.txt", b"a" * (READ_BYTES + 9))
    assert "nothing to learn" in error_of(path, unit=unit)
    path.write_bytes(path.read_bytes() + b"b")
    assert survey(Corpus([path], DataConfig(unit=unit))).chars == READ_BYTES + 10
