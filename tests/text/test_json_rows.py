"""JSON lines and arrays: a string is itself; other values are counted, or errors by their row."""

import json
from pathlib import Path
from typing import Any

import pytest
from texts import error_of, notes_of, read, read_in_blocks, write

LEFT_OUT, WRITTEN = "rows without text left out", "values that are no strings written as text"
AS_TEXT = "mend the row, or read it as plain text with --format text"


def lines_of(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_strings_are_themselves_whatever_stands_beside_them(tmp_path: Path) -> None:
    """Readers that guess a column's type rewrite all of it for one number."""
    texts = ['say "hi"\n', "2024-01-01", "2024-01-01T10:00:00Z", "1.0", "true", "null", "\\n", ""]
    path = write(tmp_path / "a.jsonl", lines_of({"text": 7}, *({"text": text} for text in texts)))
    assert read(path, separator="|") == "|".join(["7", *texts, ""])
    assert f"{WRITTEN}: 1 (row 1 of {path})" in notes_of(path)


@pytest.mark.parametrize(
    "source",
    ["7", "-1.50", "1e400", "12345678901234567890.125", "9" * 5000, "true", "false", "1E5"],
    ids=lambda source: source[:12],
)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_numbers_and_booleans_are_written_as_the_source_writes_them(
    tmp_path: Path, source: str, form: str
) -> None:
    rows = f'{{"text": {source}}}'
    path = write(tmp_path / f"a.{form}", f"[{rows}]" if form == "json" else rows)
    assert read(path, column="text") == source + "\n"
    assert notes_of(path, column="text") == [f"{WRITTEN}: 1 (row 1 of {path})"]


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
@pytest.mark.parametrize("column", ["text", "message.text"])
@pytest.mark.parametrize("size", [10, 1000])
def test_rows_without_text_are_left_out_however_many_come_first(
    tmp_path: Path, value: Any, column: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, size)
    outer = column.split(".")[0]
    empty = {"id": 1} if value is ... else {outer: None}
    full = {"text": "at last"} if outer == "text" else {"message": {"text": "at last"}}
    path = write(tmp_path / "a.jsonl", lines_of(*[empty] * 3000, full, empty))
    assert read(path, column=column) == "at last\n"
    assert notes_of(path, column=column) == [f"{LEFT_OUT}: 3,001 (first in row 1 of {path})"]


def test_an_empty_string_is_an_empty_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of({"text": "a"}, {"text": ""}, {"text": "b"}))
    assert read(path) == "a\n\nb\n"


NESTED = {"id": 1, "message": {"role": "user", "content": {"text": "hi"}, "parts": ["x"]}}


def test_a_column_reaches_into_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of(NESTED))
    assert read(path, column="message.content.text") == "hi\n"
    assert read(path, column="message.role") == "user\n"
    dotted = write(tmp_path / "b.jsonl", lines_of({"a.b": "dotted", "a": {"b": "inner"}}))
    assert read(dotted, column="a.b") == "dotted\n"


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("message", "row 1: column 'message' holds an object, no text: "),
        ("message.content", "row 1: column 'message.content' holds an object, no text: "),
        ("message.parts", "row 1: column 'message.parts' holds a list, no text: "),
        ("text", "no column 'text': "),
        ("message.text", "no column 'message.text': "),
        (None, "2 text columns: "),
    ],
)
def test_the_columns_that_an_error_offers_can_be_read(
    tmp_path: Path, column: str | None, problem: str
) -> None:
    path = write(tmp_path / "a.jsonl", lines_of(NESTED))
    message = error_of(path, column=column)
    assert message.startswith(f"{path}: {problem}choose --column from ")
    assert message.endswith(", or read it as plain text with --format text")
    assert read(path, format="text") == path.read_text()
    offered = message.split("from ")[1].split(", or ")[0].replace("'", "").split(", ")
    readable = [name for name in offered if name != "message.parts"]
    assert "message.content.text" in readable
    assert all(read(path, column=name) for name in readable)


def test_the_only_text_is_taken_also_from_within_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of({"id": 1, "body": {"text": "hi", "n": 2}}))
    assert read(path) == "hi\n"
    assert notes_of(path) == [f"tables read by their column 'body.text': 1 ({path})"]
    above = write(tmp_path / "b.jsonl", lines_of({"text": "top", "meta": {"source": "web"}}))
    assert read(above) == "top\n"


# --- rows that are none


@pytest.mark.parametrize(
    "bad", ['{"text": "b', "[1]", '"b"', '{"text": "b"} {"text": "c"}', "text", "[" * 100_000]
)
def test_a_line_that_is_no_object_is_named_and_what_stands_before_it_is_read(
    tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n\n  \n' + bad + '\n{"text": "d"}\n')
    message = error_of(path)
    assert message.startswith(f"{path}: row 4") and message.endswith(AS_TEXT)
    assert read(path, format="text") == path.read_text()
    assert read(path, skip_damaged=True) == "a\n"
    read_in_blocks(monkeypatch, 30)
    assert error_of(path) == message


def test_a_first_row_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\n{"text": "a"')
    assert error_of(path).startswith(f"{path}: row 2: no JSON")
    assert read(write(tmp_path / "b.txt", "b\n"), path, skip_damaged=True) == "b\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_array_is_read_in_pieces_of_any_size(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, size)
    rows = [{"n": i, "text": "é\\\u2028" * i, "more": [{"a": None}]} for i in range(20)]
    path = write(tmp_path / "a.json", "\ufeff \n" + json.dumps(rows, indent=size % 5) + "\n ")
    assert read(path, column="text", separator="|") == "".join(str(r["text"]) + "|" for r in rows)


@pytest.mark.parametrize(
    ("bad", "row"),
    [
        ('[{"text": "a"}, {"text": "b', 2),
        ('[{"text": "a"}, {"text": x}]', 2),
        ('[{"text": "a"}, 7]', 2),
        ('[{"text": "a"}', 2),
        ('[{"text": "a"},', 2),
    ],
)
def test_an_array_that_is_damaged_is_named_by_its_row(tmp_path: Path, bad: str, row: int) -> None:
    path = write(tmp_path / "a.json", bad)
    assert error_of(path).startswith(f"{path}: row {row}")
    assert read(path, skip_damaged=True) == "a\n"
    assert read(path, format="text") == bad


@pytest.mark.parametrize("size", [7, 1000])
def test_more_after_an_array_is_no_row(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, size)
    path = write(tmp_path / "a.json", '[{"text": "a"}]' + " " * 20 + "x")
    assert "more text after its array" in error_of(path)


@pytest.mark.parametrize("text", ['{"a": "b"}', '["a", "b"]', "[]", "[", "", '"a"', "[[{}]]"])
def test_json_that_is_no_array_of_rows_is_plain_text(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", text)
    assert read(path) == text
    what = "JSON files that are no array of objects, read as plain text"
    assert notes_of(path) == [f"{what}: 1 ({path}); --format jsonl reads lines of objects"]
    for settings in ({"format": "json"}, {"column": "a"}):
        assert ": no array of objects: " in error_of(path, **settings)
    other = write(tmp_path / "b.txt", "b")
    assert read(path, other) == (f"{text}\nb" if text else "b")


# --- half characters


def test_half_a_character_follows_the_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of({"text": "ok\U0001f600"}, {"text": "x\ud800y"}))
    message = error_of(path)
    assert message.startswith(f"{path}: row 2: half a character (U+D800, a lone surrogate): ")
    assert read(path, encoding_errors="replace") == "ok\U0001f600\nx\ufffdy\n"
    note = f"invalid characters replaced by U+FFFD: 1 ({path})"
    assert note in notes_of(path, encoding_errors="replace")
    assert read(path, encoding_errors="surrogateescape").encode("utf-8", "surrogateescape")


def test_an_encoding_that_cannot_ignore_errors_is_no_traceback(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"text": "a"}]')
    assert read(path, encoding="idna")
