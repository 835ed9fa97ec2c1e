"""CSV and TSV: the header, the delimiter, the quotes; every row has the cells of the first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from texts import error_of, notes_of, read, read_in_blocks, write

from charrnn.config import DataConfig
from charrnn.text.corpus import Corpus
from charrnn.text.csv_rows import csv_table
from charrnn.text.notes import Notes
from charrnn.text.rows import text_of
from charrnn.text.tables import SAMPLE_ROWS

HEADER = "tables whose first row names the columns"
AS_TEXT = "--format text"


def test_the_header_is_noted_and_can_be_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "I had,1\nmy coffee,2\n")
    assert read(path) == "my coffee\n"
    assert notes_of(path) == [
        f"{HEADER}: 1 ({path}); --no-header reads it as text",
        f"tables read by their column 'I had': 1 ({path})",
    ]
    assert read(path, no_header=True) == "I had\nmy coffee\n"
    assert read(path, no_header=True, column="2") == "1\n2\n"
    assert error_of(path, no_header=True, column="3").endswith(
        "choose --column from '1', '2', or read it as plain text with --format text"
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_found_if_it_is_plain(tmp_path: Path, delimiter: str) -> None:
    rows = f'n{delimiter}text\n1{delimiter}one, two\n2,5{delimiter}"three{delimiter}""four"""\n'
    path = write(tmp_path / "a.csv", rows)
    assert read(path) == f'one, two\nthree{delimiter}"four"\n'
    note = f"tables whose delimiter is {delimiter!r}: 1 ({path}); --delimiter sets another"
    assert note in notes_of(path)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("text\nhello; you\nfoo\n", "hello; you\nfoo\n"),
        ("text\na|b\nc|d\n", "a|b\nc|d\n"),
        ("a;x,text\n1;2,b c\n", "b c\n"),
    ],
)
def test_a_comma_stays_the_delimiter_if_it_may_be(tmp_path: Path, rows: str, text: str) -> None:
    path = write(tmp_path / "a.csv", rows)
    assert read(path, column="text") == text
    assert not any("delimiter" in note for note in notes_of(path, column="text"))


def test_a_row_that_goes_on_after_the_first_lines_does_not_hide_the_delimiter(
    tmp_path: Path,
) -> None:
    rows = "a;1\n" * (SAMPLE_ROWS - 2) + '"b\nc";2\n'
    path = write(tmp_path / "a.csv", "text;n\n" + rows)
    assert read(path, column="text") == "a\n" * (SAMPLE_ROWS - 2) + "b\nc\n"


def test_the_delimiter_that_is_named_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n:text\n1:a,b;c\n")
    assert read(path, delimiter=":") == "a,b;c\n"


# --- rows


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("2,b,c", "row 3 has 3 cells, but the first row has 2: "),
        ("2", "row 3 has 1 cells, but the first row has 2: "),
        ('2,"b" c', "row 3: "),
        ('2,"b', "row 3: "),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_what_stands_before_it_is_read(
    tmp_path: Path, row: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", f"n,text\n1,a b\n{row}\n3,c\n")
    assert error_of(path).startswith(f"{path}: {problem}") and AS_TEXT in error_of(path)
    assert error_of(path, no_header=True, column="2") == error_of(path)
    assert read(path, skip_damaged=True) == "a b\n"
    assert read(path, format="text") == path.read_text()
    if '"' in row:
        assert "--quotes text" in error_of(path)
        assert read(path, quotes="text") == f"a b\n{row[2:]}\nc\n"
    read_in_blocks(monkeypatch, 1)
    assert read(path, skip_damaged=True) == "a b\n"


def test_empty_cells_beyond_the_last_are_counted(tmp_path: Path) -> None:
    """In a table of one column, they may be the text's own commas."""
    path = write(tmp_path / "a.csv", "n,text\n1,a b,,\n2,c d\n")
    assert read(path) == "a b\nc d\n"
    note = f"empty cells left out that the first row lacks: 2 (first in row 2 of {path})"
    assert note in notes_of(path)
    wide = write(tmp_path / "c.csv", "n,text\n1,a b\n2,c,d\n")
    assert not any("empty cells" in note for note in notes_of(wide, skip_damaged=True))
    poem = write(tmp_path / "b.csv", "line\nthe darling buds of May,\n")
    assert "row 2 has 2 cells, but the first row has 1: " in error_of(poem)
    assert read(poem, format="text") == poem.read_text()


def test_blank_lines_are_counted_or_empty_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,text\n1,a\n\n2,b\n\n")
    assert read(path, column="text") == "a\nb\n"
    note = f"blank lines of tables left out: 2 (first in row 3 of {path})"
    assert note in notes_of(path, column="text")
    assert read(write(tmp_path / "b.csv", "text\na\n\nb\n")) == "a\n\nb\n"


@pytest.mark.parametrize("text", ["", "\n", "n,text\n"])
def test_a_table_without_rows_is_empty_and_noted(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.csv", text)
    assert error_of(path).startswith(f"{path}: it is empty")
    assert f"tables without rows: 1 ({path})" in notes_of(path)
    assert read(write(tmp_path / "0.txt", "text"), path) == "text"


def test_blank_lines_before_the_header_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\n\nn,text\n1,a b\n2,c\n3\n")
    assert "row 6 has 1 cells" in error_of(path)
    assert read(path, skip_damaged=True) == "a b\nc\n"
    note = f"blank lines of tables left out: 2 (first in row 1 of {path})"
    assert note in notes_of(path, skip_damaged=True)


@pytest.mark.parametrize("size", [1, 6, 1000])
def test_a_first_line_that_names_the_delimiter_is_heeded(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, size)
    path = write(tmp_path / "a.csv", "sep=;\nn;text\n1;a, b\n")
    assert read(path) == "a, b\n"
    assert f"first lines left out that name the delimiter (sep=): 1 ({path})" in notes_of(path)


def test_columns_without_a_name_have_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,,\na b,1,\n")
    assert read(path) == read(path, column="text") == "a b\n"
    assert read(path, column="2") == "1\n"


def test_a_cell_that_is_almost_a_number_is_seen_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,1" + " " * 300_000 + "x\n")
    assert len(read(path)) == 300_003


def test_lone_carriage_returns_end_no_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\rone\rtwo\r")
    assert "a carriage return ends no line" in error_of(path)
    assert read(path, format="text") == "text\rone\rtwo\r"


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,text\na,b\n")
    assert error_of(path).startswith(f"{path}: row 1 names two columns 'text': ")
    assert read(path, no_header=True, column="2") == "text\nb\n"
    other = write(tmp_path / "b.csv", "a,a,text\n1,2,b\n")
    assert read(other, column="text") == "b\n"


def test_the_only_column_is_text_whatever_it_holds(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "n\n1\n2\n")) == "1\n2\n"


@pytest.mark.parametrize("number", ["-1,234.5", "12,5 %", "1e-5", " 7 "])
def test_a_column_of_numbers_is_none_of_text(tmp_path: Path, number: str) -> None:
    assert read(write(tmp_path / "a.csv", f"n;text\n{number};a b\n")) == "a b\n"


def test_numbers_beside_text_do_not_matter(tmp_path: Path) -> None:
    """A column of numbers is none of text; numerals in one of text stay as they are."""
    path = write(tmp_path / "a.csv", "id,when,text\n7,,007\n8,,1.50\n9,,x\n")
    assert read(path) == "007\n1.50\nx\n"


def test_windows_line_ends_between_rows_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'n,text\r\n1,a\r\n2,"b\r\nc"\r\n')
    assert read(path, column="text", newlines="keep") == "a\nb\r\nc\n"
    assert read(path, column="text") == "a\nb\nc\n"
    note = f"Windows line ends read as newlines: 1 ({path}); --newlines keep keeps them"
    assert note in notes_of(path, column="text")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "gb18030"])
def test_the_encoding_is_heeded(tmp_path: Path, encoding: str) -> None:
    text = "n,text\n1,café\n"
    path = write(tmp_path / "a.csv", text.encode(encoding))
    assert read(path, encoding=encoding) == "café\n"


def test_a_table_in_another_encoding_is_not_told_to_train_on_bytes(tmp_path: Path) -> None:
    """Its rows would be decoded all the same."""
    message = error_of(write(tmp_path / "a.csv", "text\ncafé\n".encode("latin-1")))
    assert message.endswith(", or take --encoding-errors replace")


# --- quotes in TSV


@pytest.mark.parametrize(
    ("cells", "texts", "changed"),
    [
        (['5" pipe', "a"], ['5" pipe', "a"], 0),
        (['"Hi," she said.', '"Hi," I said.'], ['"Hi," she said.', '"Hi," I said.'], 0),
        (['"Hi," she said.', '"Hi"'], ['"Hi," she said.', '"Hi"'], 0),
        (['"a\tb"', "c"], ["a\tb", "c"], 1),
        (['"a\nb"', '"c ""d"""', "e"], ["a\nb", 'c "d"', "e"], 2),
        (['"Hi"', "a"], ["Hi", "a"], 1),
    ],
)
def test_quotes_are_those_of_csv_only_if_all_of_them_can_be(
    tmp_path: Path, cells: list[str], texts: list[str], changed: int
) -> None:
    rows = "".join(f"{i}\t{cell}\n" for i, cell in enumerate(cells))
    path = write(tmp_path / "a.tsv", "n\ttext\n" + rows)
    assert read(path, column="text", separator="|") == "|".join([*texts, ""])
    what = "cells of TSV whose quotes were left out"
    counts = [note for note in notes_of(path, column="text") if note.startswith(what)]
    assert len(counts) == (changed > 0)
    assert all(f": {changed} (" in note and "; --quotes text" in note for note in counts)
    if not any("\t" in cell or "\n" in cell for cell in cells):
        assert read(path, column="text", quotes="text") == "".join(f"{c}\n" for c in cells)


def test_lines_that_quotes_join_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{i}\tgood\n" for i in range(80)) + '90\t"open\n91\tx\n92\ty"\n'
    path = write(tmp_path / "a.tsv", "n\ttext\n" + rows)
    assert read(path).endswith("good\nopen\n91\tx\n92\ty\n")
    note = f"line ends of TSV within quotes, which join lines: 2 (first in row 82 of {path})"
    assert f"{note}; --quotes text keeps them" in notes_of(path)
    assert read(path, quotes="text").endswith('good\n"open\nx\ny"\n')
    same = write(tmp_path / "b.tsv", 'a\ttext\nhi\t"hi"\n')
    note = f"cells of TSV whose quotes were left out: 1 (row 2 of {same})"
    assert f"{note}; --quotes text keeps them" in notes_of(same, column="text")


def test_the_column_does_not_depend_on_how_rows_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{i},hello there\n" for i in range(2, 80))
    path = write(tmp_path / "a.csv", "id,text\n1,\n" + rows)
    whole = read(path)
    read_in_blocks(monkeypatch, 11)
    assert read(path) == whole == "\n" + "hello there\n" * 78


def test_rows_are_let_through_if_no_block_ever_ends_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all of them would be held in memory."""
    row = '"one\nand two"\n'
    read_in_blocks(monkeypatch, len(row))
    path = write(tmp_path / "a.csv", "txt\n" + row * 100)
    assert max(map(len, Corpus([path], DataConfig(column="txt")).pieces())) < 50


def test_settings_that_leave_nothing_open_let_rows_through_as_they_come() -> None:
    taken = []

    def arriving() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield f"{number},row {number}\n"

    config = DataConfig(column="2", delimiter=",", no_header=True)
    table = csv_table(arriving(), config, "a.csv", Notes())
    assert next(text_of(table, config, "a.csv", Notes())) == "row 0\n"
    assert len(taken) <= 2


def test_quotes_that_fit_neither_way_are_an_error_that_offers_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'n\ttext\n1\t"a" b\n2\tc\td\n')
    assert error_of(path).startswith(f"{path}: row 2: ") and "--quotes text" in error_of(path)


# --- settings that mean nothing


@pytest.mark.parametrize("options", [{"delimiter": ";"}, {"no_header": True}, {"quotes": "text"}])
def test_a_table_of_one_kind_among_others_takes_its_settings(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    plain = write(tmp_path / "a.txt", "plain\n")
    table = write(tmp_path / "b.csv", "text;n\nx;1\n")
    options = {"delimiter": ";", "column": "1" if "no_header" in options else "text"} | options
    assert read(plain, table, **options).startswith("plain\n")
