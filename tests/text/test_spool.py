"""Standard input that is kept while it is read."""

import sys
from pathlib import Path

import pytest
from texts import error_of, give_stdin, read_in_blocks

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.spool import Spool


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
