"""Plain and compressed files and standard input: their bytes arrive, or a named error."""

import bz2
import errno
import gzip
import lzma
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet
import pytest
from backports import zstd as zstd_library
from texts import ODD, error_of, give_stdin, read, read_bytes, read_in_blocks, write

from charrnn.errors import CorpusError
from charrnn.text import compressed
from charrnn.text.compressed import READ_BYTES
from charrnn.text.corpus import Corpus
from charrnn.text.survey import survey

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
    assert read(path, newlines="keep") == text
    assert read_bytes(path) == text.encode()


@each_kind
@pytest.mark.parametrize("size", [1, 7, 100])
def test_compressed_data_is_read_in_blocks_of_any_size(
    tmp_path: Path, kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = COMPRESS[kind](b"a" * 2000)
    path = write(tmp_path / f"a.{kind}", data)
    cut = write(tmp_path / f"cut.{kind}", data[:-9])
    before_the_damage = read(cut, skip_damaged=True)
    read_in_blocks(monkeypatch, size)
    assert read(path) == "a" * 2000
    assert max(map(len, Corpus([path]).pieces())) <= size
    assert read(cut, skip_damaged=True) == before_the_damage


@each_kind
def test_zero_bytes_after_compressed_data_are_padding(tmp_path: Path, kind: str) -> None:
    data = COMPRESS[kind](b"hello\n") + bytes(512)
    assert read(write(tmp_path / f"a.{kind}", data + data)) == "hello\nhello\n"


@each_kind
@pytest.mark.parametrize("more", [b"more", b"\0\0more", b"\xff" * 99])
def test_other_bytes_after_compressed_data_are_a_damage(
    tmp_path: Path, kind: str, more: bytes
) -> None:
    path = write(tmp_path / f"a.{kind}", COMPRESS[kind](b"hello\n") + more)
    assert error_of(path).startswith(f"{path}: damaged or cut short (")
    assert read(path, skip_damaged=True) == "hello\n"


@each_kind
def test_compressed_data_cut_anywhere_is_a_named_error(tmp_path: Path, kind: str) -> None:
    text = "".join(f"I had coffee {i}.\n" for i in range(50))
    data = COMPRESS[kind](text.encode())
    for size in range(len(data)):
        path = write(tmp_path / f"a.{kind}", data[:size])
        assert error_of(path).startswith(f"{path}: damaged or cut short (")
        assert text.startswith(read(path, skip_damaged=True))
    assert read(write(path, data)) == text


def test_a_large_zstd_window_is_read(tmp_path: Path) -> None:
    """As `zstd --long=31` writes it; other readers refuse it."""
    options = {zstd_library.CompressionParameter.window_log: 30}
    data = zstd_library.compress(b"hello\n" * 9, options=options)
    compressor = zstd_library.ZstdCompressor(options=options)  # of unknown size: a whole window
    data += compressor.compress(b"hello\n") + compressor.flush()
    assert read(write(tmp_path / "a.zst", data)) == "hello\n" * 10


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
    whole = COMPRESS[kind](str(list(range(999))).encode())
    data = whole[: len(whole) // 2] if damage == "truncated" else b"just some text\n" * 9
    path = write(tmp_path / f"a.{kind}", data)
    assert re.match(re.escape(str(path)) + ": damaged or cut short .*: get a whole", error_of(path))


# Standard input.


def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ODD * 40_000  # more than one block
    give_stdin(monkeypatch, text.encode())
    assert read("-", newlines="keep") == text
    give_stdin(monkeypatch, text.encode())
    assert read_bytes("-") == text.encode()


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


def test_what_comes_through_a_named_pipe_is_read_at_once(tmp_path: Path) -> None:
    pipe, arrived = tmp_path / "pipe", threading.Event()
    os.mkfifo(pipe)

    def write_lines() -> None:
        with pipe.open("wb", buffering=0) as stream:
            stream.write(b"one\n")
            arrived.wait(10)
            stream.write(b"two\n")

    writer = threading.Thread(target=write_lines)
    writer.start()
    blocks = compressed.byte_blocks(str(pipe), "pipe")
    first = next(blocks)
    arrived.set()
    assert (first, list(blocks)) == (b"one\n", [b"two\n"])
    writer.join()


# Plain files.


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_an_unreadable_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / name, "text")
    monkeypatch.setattr(compressed, "open", refuse, raising=False)
    assert error_of(path).startswith(f"{path}: cannot be read: Permission denied")


def test_a_file_that_is_gone_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    corpus = Corpus([path])
    path.unlink()
    with pytest.raises(CorpusError, match=r"a\.txt: cannot be read: No such file"):
        survey(corpus)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EACCES, "(chmod), or leave it out with --skip-damaged"),
        (errno.EMFILE, "allow more open files (ulimit -n)"),
        (errno.ENOENT, "check the path and the disk"),
    ],
)
def test_a_file_that_the_system_refuses_has_a_remedy_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    path = write(tmp_path / "a.txt", "text")
    monkeypatch.setattr(compressed, "open", refuse, raising=False)
    assert error_of(path).endswith(remedy)


def test_pieces_are_small(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a" * 3 * READ_BYTES)
    assert max(map(len, Corpus([path]).pieces())) <= READ_BYTES


def test_standard_input_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=fail)))
    assert error_of("-").startswith("standard input: cannot be read: Input/output error: ")
