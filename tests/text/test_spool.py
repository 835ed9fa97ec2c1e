"""Standard input that is kept while it is read."""

import hashlib
import io
import os
import re
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from texts import error_of, give_stdin, read_in_blocks
from waiting import fed_pipe

from charrnn.config import DataConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.text import spool
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.spool import Spool, check_copy


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
def test_what_comes_later_follows_what_was_kept(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 1000)
    data = bytes(i % 251 for i in range(7777))
    give_stdin(monkeypatch, data)
    spool = Spool("-", tmp_path / "kept")
    spool.fill(limit)
    assert spool.ended == (limit > len(data))
    text = Corpus(["-"], DataConfig(unit="byte"), {0: spool})
    assert text.name == "standard input"
    for _ in range(2):  # once more from what was kept
        assert b"".join(map(bytes, text.pieces())) == data
        assert (tmp_path / "kept").read_bytes() == data


def test_a_disk_that_cannot_keep_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"I had coffee.")
    with pytest.raises(CorpusError, match="cannot keep standard input: No space left"):
        Spool("-", Path("/dev/full")).fill()


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input" in error_of("-")
    with pytest.raises(CorpusError):
        Spool("-", tmp_path / "stdin.txt")


def test_a_source_that_cannot_be_read_is_no_matter_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(spool, "open", refuse, raising=False)
    with pytest.raises(CorpusError, match=r"^pipe: cannot be read: Permission denied: .*chmod"):
        Spool("pipe", tmp_path / "stdin.txt")


# --- nothing yet is not the end

PIECES = [b"I had ", b"co" * 9999, b"ffee"]


@pytest.fixture
def non_blocking_stdin(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Makes standard input a pipe into which something comes only when it is waited for."""
    stdin = open(fed_pipe(monkeypatch, PIECES), "rb")  # noqa: SIM115
    request.addfinalizer(stdin.close)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))


def read_by_spool(folder: Path) -> bytes:
    kept = Spool("-", folder / "stdin.txt")
    kept.fill()
    return kept.path.read_bytes()


def read_by_corpus(_: Path) -> bytes:
    return b"".join(map(bytes, Corpus(["-"], DataConfig(unit="byte")).pieces()))


@pytest.mark.usefixtures("non_blocking_stdin")
@pytest.mark.parametrize("read", [read_by_spool, read_by_corpus])
def test_a_non_blocking_pipe_is_waited_for(read: Callable[[Path], bytes], tmp_path: Path) -> None:
    assert read(tmp_path) == b"".join(PIECES)


# --- a text without an end

Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 100 GB with little left, and pipes that are long from 20,000 bytes on."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(100e9, 99.5e9, 0.5e9))
    monkeypatch.setattr(spool, "SPOOL_BYTES", 20_000)
    read_in_blocks(monkeypatch, 1000)


@pytest.mark.usefixtures("full")
def test_a_text_without_end_stops_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"y\n" * 10**6)
    with pytest.raises(CorpusError) as raised:
        Dataset.open(["-"], DataConfig(), lambda: tmp_path)
    message = str(raised.value)
    assert re.match("standard input: .* 21,000 bytes, .* only 0.50 GB left", message)
    assert all(word in message for word in ("head -c", "--unit byte", "--vocabulary-from"))


@pytest.mark.usefixtures("full")
def test_a_short_text_is_kept_on_a_full_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"y\n" * 10_000)
    assert Dataset.open(["-"], DataConfig(), lambda: tmp_path).origin.corpus_chars == 20_000


@pytest.mark.usefixtures("full")
def test_a_text_that_is_trained_on_while_it_arrives_is_cut_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"y\n" * 10**6)
    opened = Dataset.open(["-"], DataConfig(unit="byte"), lambda: tmp_path)
    assert sum(map(len, opened.read())) == 21_000
    assert sum(map(len, opened.read())) == 21_000
    assert "0.50 GB left: the rest of it is not read" in opened.late_notes[-1]


def test_copying_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_blocks(monkeypatch, 5000)
    give_stdin(monkeypatch, b"y\n" * 10_000)
    seen = []
    Dataset.open(
        ["-"], DataConfig(), lambda: tmp_path, watch=lambda name, size, _: seen.append((name, size))
    )
    assert seen[:4] == [("standard input", size) for size in (5000, 10_000, 15_000, 20_000)]


class Endless(io.RawIOBase):
    """A pipe that never ends, of which not much may be read."""

    def __init__(self, block: bytes) -> None:
        self._block, self.taken = block, 0

    def read(self, size: int = -1) -> bytes:
        self.taken += len(self._block)
        assert self.taken <= 2**21, "it is copied"
        return self._block


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (b"\0" * 65536, r"its first 1,048,576 bytes are all b'\\x00'"),
        (b"\n" * 65536, r"its first 1,048,576 bytes are all b'\\n'"),
        (bytes(range(256)) * 256, "not valid utf-8 at byte 128"),
        (b"%PDF-1.7" * 9999, "a PDF document"),
    ],
    ids=["zeros", "newlines", "random", "document"],
)
def test_what_is_no_text_is_not_copied(
    block: bytes, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(block)))
    with pytest.raises(CorpusError, match=f"^standard input: .*{problem}"):
        Dataset.open(["-"], DataConfig(), lambda: tmp_path)


# --- what a save counts on


def test_a_copy_must_begin_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, text = tmp_path / "stdin.txt", bytes(range(256)) * 4
    path.write_bytes(text)
    read_in_blocks(monkeypatch, 100)
    for size in (0, 1, 100, 150, 1024):
        sha256 = hashlib.sha256(text[:size]).hexdigest()
        assert check_copy(path, size, sha256) == (1024, hashlib.sha256(text).hexdigest())
    with pytest.raises(CorpusError, match=r"another text .* within its first 150 bytes"):
        check_copy(path, 150, hashlib.sha256(text[:149]).hexdigest())
    with pytest.raises(CorpusError, match="cut short: 1,024 of the 1,025 bytes"):
        check_copy(path, 1025, "")


def test_a_copy_that_cannot_be_flushed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    give_stdin(monkeypatch, b"I had coffee.")
    kept = Spool("-", tmp_path / "stdin.txt")
    kept.fill(1)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match=r"stdin.txt: .* error: check the disk$"):
        kept.flush()
    kept.close()
