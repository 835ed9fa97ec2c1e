"""Rows of tables: the same text in every format."""

import csv
import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from texts import error_of, notes_of, read, read_bytes, write

from charrnn.config import DataConfig
from charrnn.text.compressed import READ_BYTES
from charrnn.text.corpus import Corpus


def test_rows_end_in_the_separator(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", '{"t": "I\\nhad"}\n{"t": null}\n{"t": "é漢"}\n')
    assert read(rows) == "I\nhad\né漢\n"
    assert read(rows, separator="") == "I\nhadé漢"
    assert read(rows, rows, separator="") == "I\nhadé漢" * 2
    assert read(rows, separator="<|é|>\0") == "I\nhad<|é|>\0é漢<|é|>\0"
    only = DataConfig(unit="byte", separator="|")
    assert b"".join(map(bytes, Corpus([rows], only).pieces())) == "I\nhad|é漢|".encode()


def test_a_dataset_in_the_hubs_layout_is_read_by_its_parts(tmp_path: Path) -> None:
    for part, text in (("train", "I had coffee."), ("test", "She said so.")):
        write(tmp_path / "data" / f"{part}-00000.jsonl", json.dumps({"text": text}) + "\n")
    assert read(f"hf:{tmp_path}") == "I had coffee.\n"
    assert read(f"hf:{tmp_path}", split="test", separator="|") == "She said so.|"
    assert "cannot be opened" in error_of(f"hf:{tmp_path}", split="no-such-part")


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


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("x.tsv.d/a.csv", ","), ("a.tsv.csv", ","), ("a.csv.TSV", "\t"), ("x.csv/a.csv.tsv.gz", "\t")],
)
def test_the_ending_of_the_file_decides_where_rows_are_cut(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    data = f"n{delimiter}text\n1{delimiter}hello there friend\n".encode()
    path = write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    assert read(path) == "hello there friend\n"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_numerals_in_a_text_column_are_text(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path, ["007", "1.50", "12"])[kind]
    assert read(path, column="text") == "007\n1.50\n12\n"


def test_rows_without_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": null}\n{"text": ""}\n{}\n')
    corpus = Corpus([path])
    assert "".join(map(str, corpus.pieces())) == "a\n\n"
    assert f"rows without text left out: 2 (first in row 2 of {path})" in corpus.notes


def test_compressed_rows_are_rows(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    assert read(write(tmp_path / "a.jsonl.gz", gzip.compress(plain.read_bytes()))) == "a\nb\n"


def test_a_structured_file_with_an_odd_name(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a[1].jsonl", '{"text": "a"}\n')) == "a\n"


def test_columns_of_parquet_may_be_objects_and_dictionaries(tmp_path: Path) -> None:
    words = pa.array(["a", "b"]).dictionary_encode()
    table = pa.table({"n": [1, 2], "words": words, "message": [{"text": "x"}, {"text": "y"}]})
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, path)
    assert read(path) == "a\nb\n"
    assert read(path, column="message.text") == "x\ny\n"
    assert "choose --column from 'message.text'" in error_of(path, column="message")


def test_rows_of_parquet_are_numbered_through(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a"] * 5000 + [None]}), path)
    assert f"rows without text left out: 1 (row 5001 of {path})" in notes_of(path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()], ids=str)
def test_invalid_bytes_in_parquet_are_named_by_their_row(tmp_path: Path, kind: pa.DataType) -> None:
    words = pa.array([b"caf\xc3\xa9", b"caf\xe9"], pa.binary()).view(kind)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": words, "n": [1, 2]}), path)
    assert error_of(path, column="text").startswith(f"{path}: row 2: not valid utf-8 at byte 3")
    replaced = {"column": "text", "encoding_errors": "replace"}
    assert read(path, **replaced) == "café\ncaf\ufffd\n"
    assert notes_of(path, **replaced) == [f"invalid bytes replaced by U+FFFD: 1 ({path}: row 2)"]


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 7, "title": "t", "body": "b"}\n')
    assert read(path, column="body") == "b\n"
    assert read(path, column="id") == "7\n"
    choose, otherwise = "choose --column from", "or read it as plain text with --format text"
    assert error_of(path) == f"{path}: 2 text columns: {choose} 'title', 'body', {otherwise}"
    message = f"{path}: no column 'text': {choose} 'id', 'title', 'body', {otherwise}"
    assert error_of(path, column="text") == message
    numbers = write(tmp_path / "b.jsonl", '{"id": 7, "n": 1, "tags": ["a"]}\n')
    assert error_of(numbers) == f"{numbers}: no text columns: {choose} 'id', 'n', {otherwise}"


@pytest.mark.parametrize(
    ("column", "values", "texts"),
    [
        ("s", [{"t": "one", "n": 1}, None], ["one"]),
        ("i", [1, 2], ["1", "2"]),
        ("f", [1.5, None], ["1.5"]),
        ("b", [True, False], ["true", "false"]),
        ("d", [datetime.date(2024, 1, 2)], ["2024-01-02"]),
        ("y", [b"caf\xc3\xa9"], ["café"]),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_the_only_column_is_read_whatever_its_type(
    tmp_path: Path, kind: str, column: str, values: list[Any], texts: list[str]
) -> None:
    table, path = pa.table({column: values}), tmp_path / f"a.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    assert read(path) == "".join(text + "\n" for text in texts)
    other = table.append_column("id", pa.array(range(len(table))))
    if column == "s" and kind == "parquet":
        pyarrow.parquet.write_table(other, path)
        assert read(path) == "one\n"


def test_strings_of_parquet_that_are_not_valid_follow_the_settings(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"caf\xe9"], pa.binary()).view(pa.string())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": bad}), path)
    place = f"{path}: row 2: not valid utf-8 at byte 3"
    assert error_of(path) == f"{place}: take --encoding-errors replace"
    assert read(path, encoding_errors="replace") == "good\ncaf\ufffd\n"
    assert read(path, skip_damaged=True) in ("", "good\n")


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


def test_pieces_of_long_rows_are_small(tmp_path: Path) -> None:
    line = json.dumps({"text": "a" * 10_000}) + "\n"
    path = write(tmp_path / "a.jsonl", line * 400)
    assert max(map(len, Corpus([path]).pieces())) <= READ_BYTES
