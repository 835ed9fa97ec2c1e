"""Laws of all tables that are read as they come: groups, limits, and what a sample decides."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from texts import error_of, notes_of, read, read_in_blocks, write

from charrnn.config import DataConfig
from charrnn.text import json_rows, tables
from charrnn.text.csv_rows import csv_table
from charrnn.text.json_rows import json_array, json_lines
from charrnn.text.notes import Notes
from charrnn.text.rows import text_of
from charrnn.text.tables import SAMPLE_ROWS, Table

CONFIG = DataConfig(column="text")
ROW = {"jsonl": '{{"text": "{}"}}\n', "json": '{{"text": "{}"}}, ', "csv": "{},1\n"}
START = {"jsonl": "\n\n\n", "json": "[", "csv": "text,n\n"}
TABLE: dict[str, Callable[[Iterator[str]], Table]] = {
    "jsonl": lambda pieces: json_lines(pieces, "a"),
    "json": lambda pieces: json_array(pieces, "a"),
    "csv": lambda pieces: csv_table(pieces, CONFIG, "a", Notes()),
}
TOO_LONG = {
    "jsonl": "line 5 is too long",
    "json": "row 2: no JSON (Unterminated string",
    "csv": "line 3 is too long",
}
each_kind = pytest.mark.parametrize("kind", ROW)


@each_kind
def test_rows_are_passed_on_before_the_last_has_come(kind: str) -> None:
    """So memory is constant, and a pipe is read as it comes."""
    come = 0

    def pieces() -> Iterator[str]:
        nonlocal come
        yield START[kind]
        for come in range(100 * SAMPLE_ROWS):
            yield ROW[kind].format(come)

    text = text_of(TABLE[kind](pieces()), CONFIG, "a", Notes())
    assert "".join(next(text) for _ in range(3)).startswith("0\n1\n2\n")
    assert come < 2 * SAMPLE_ROWS


@each_kind
def test_a_row_that_does_not_end_is_a_damage(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 10)
    rows = ROW[kind].format("a") + ROW[kind].format("b" * 200)
    path = write(
        tmp_path / f"a.{kind}", (START[kind] + rows).removesuffix(", ") + "]" * (kind == "json")
    )
    assert read(path, column="text") == "a\n" + "b" * 200 + "\n"
    for module in (tables, json_rows):
        monkeypatch.setattr(module, "LONGEST_ROW", 100)
    assert error_of(path, column="text").startswith(f"{path}: {TOO_LONG[kind]}")
    assert read(path, column="text", skip_damaged=True) == "a\n"


@pytest.mark.parametrize(
    ("name", "rows", "last"),
    [
        ("a.jsonl", ['{"text": "a"}\n'], '{"other": "b"}\n'),
        ("a.csv", ["text;n\n", *["a;1\n"] * SAMPLE_ROWS], "b;2;\n"),
        ("a.csv", ["text,when\n", "a,\n", "a,\n"], "b,2\n"),
    ],
)
def test_only_the_first_rows_decide_however_the_bytes_come(
    tmp_path: Path, name: str, rows: list[str], last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = "".join(rows * (SAMPLE_ROWS if len(rows) == 1 else 1))
    path = write(tmp_path / name, start + last * 3)
    text, notes = read(path), sorted(notes_of(path))
    assert text.startswith("a\na\n")
    read_in_blocks(monkeypatch, 5)
    assert (read(path), sorted(notes_of(path))) == (text, notes)
