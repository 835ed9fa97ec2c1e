"""The law of every format: what was written is read, whatever the encoding and the compression."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import read, read_bytes, write

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-7", "gb18030"]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}
# any characters, and often those that formats and line readers treat in a way of their own
CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("\"'\\,;\t\r\n\0\x1a\x85\u2028\ufeff{}[]:#=+- 01"),
)
TEXTS = st.lists(st.text(CHARACTERS), max_size=6)


def as_json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_json_array(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=1)


def as_cells(rows: list[dict[str, Any]], delimiter: str, **more: Any) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0].keys(), delimiter=delimiter, **more)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


WRITE: dict[str, tuple[str, Callable[[list[dict[str, Any]]], str]]] = {
    "JSON lines": ("jsonl", as_json_lines),
    "JSON array": ("json", as_json_array),
    "CSV": ("csv", lambda rows: as_cells(rows, ",")),
    "semicolons": ("csv", lambda rows: as_cells(rows, ";", quoting=csv.QUOTE_ALL)),
    "TSV": ("tsv", lambda rows: as_cells(rows, "\t")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("kind", WRITE)
@settings(max_examples=60, deadline=None)
@given(
    texts=TEXTS.filter(len),
    columns=st.integers(1, 3),
    encoding=st.sampled_from(ENCODINGS),
    ending=st.sampled_from(list(COMPRESS)),
)
def test_rows_come_back_as_they_were_written(
    folder: Path, kind: str, texts: list[str], columns: int, encoding: str, ending: str
) -> None:
    rows = [{"text": text, "n": i, "more": "a b"} for i, text in enumerate(texts)]
    rows = [dict(list(row.items())[:columns]) for row in rows]
    suffix, as_text = WRITE[kind]
    data = COMPRESS[ending](as_text(rows).encode(encoding))
    path = write(folder / f"a.{suffix}{ending}", data)
    more: dict[str, Any] = {"delimiter": ";"} if kind == "semicolons" else {}
    wanted = "".join(text + "|" for text in texts)
    options = {"column": "text", "separator": "|", "encoding": encoding} | more
    assert read(path, newlines="keep", **options) == wanted
    assert read(path, **options) == wanted.replace("\r\n", "\n")
    path.unlink()


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS.filter(len), ending=st.sampled_from(list(COMPRESS)))
def test_rows_of_parquet_come_back(folder: Path, texts: list[str], ending: str) -> None:
    pyarrow.parquet.write_table(pa.table({"text": texts}), folder / "a.parquet")
    path = folder / f"b.parquet{ending}"
    path.write_bytes(COMPRESS[ending]((folder / "a.parquet").read_bytes()))
    wanted = "".join(text + "|" for text in texts)
    assert read(path, separator="|", newlines="keep") == wanted


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(CHARACTERS),
    encoding=st.sampled_from(ENCODINGS),
    ending=st.sampled_from(list(COMPRESS)),
)
def test_plain_text_comes_back(folder: Path, text: str, encoding: str, ending: str) -> None:
    path = write(folder / f"a.txt{ending}", COMPRESS[ending](text.encode(encoding)))
    wanted = text.removeprefix("\ufeff")
    assert read(path, encoding=encoding, newlines="keep") == wanted
    assert read(path, encoding=encoding) == wanted.replace("\r\n", "\n")
    assert read_bytes(path) == text.encode(encoding)
