"""Folders and globs: every file once, and what is skipped is said."""

import glob
import os
from pathlib import Path
from typing import Any

import pytest
from texts import error_of, notes_of, read, write

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus

LINKS = "links skipped that lead to what is read anyway"


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with links to itself, to its parent, to a folder elsewhere and to a file."""
    top = tmp_path / "top"
    write(top / "a" / "1.txt", "one\n")
    write(top / "a" / "b" / "2.txt", "two\n")
    write(tmp_path / "elsewhere" / "3.txt", "three\n")
    (top / "a" / "self").symlink_to(top / "a")
    (top / "a" / "b" / "up").symlink_to("..")
    (top / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (top / "a" / "0.txt").symlink_to("1.txt")
    return top


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt", "/a/**/*", "/**/**"])
def test_linked_folders_are_read_once(linked: Path, pattern: str) -> None:
    source = linked if not pattern else f"{glob.escape(str(linked))}{pattern}"
    assert read(source) == "one\ntwo\nthree\n"
    assert any(note.startswith(f"{LINKS}: 3 (first in {linked}/a/") for note in notes_of(source))


def test_a_file_has_the_name_that_needs_no_link_or_else_the_first(tmp_path: Path) -> None:
    top = tmp_path / "top"
    write(top / "m" / "1.txt", "one")
    write(tmp_path / "elsewhere" / "2.txt", "two")
    for name in "bdhkqt":
        (top / name).symlink_to(top / "m")
        (top / f"{name}2").symlink_to(tmp_path / "elsewhere")
    names = [str(Path(file.path).relative_to(top)) for file in Corpus([top]).files]
    assert names == ["b2/2.txt", "m/1.txt"]


def test_links_that_lead_nowhere_and_pipes_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a\n")
    (tmp_path / "b.txt").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path) == "a\n"
    note = f"dead links, pipes and the like skipped: 2 (first in {tmp_path}/"
    assert notes_of(tmp_path)[0].startswith(note)


def test_a_linked_folder_is_named_by_its_link(linked: Path) -> None:
    assert read(linked / "a" / "more") == "three\n"
    assert read(f"{linked}/*/more/*.txt") == "three\n"


@pytest.mark.parametrize("source", ["", "/*/*", "/**", "/**/x.txt"])
def test_a_folder_that_cannot_be_read_is_an_error_or_skipped(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "open" / "x.txt", "open\n")
    write(tmp_path / "locked" / "x.txt", "locked\n")
    listed = os.listdir

    def refuse(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    locked = f"{tmp_path}/locked"
    message = error_of(f"{tmp_path}{source}")
    assert message.startswith(f"{locked}: cannot be read: Permission denied: ")
    assert "--skip-damaged" in message
    notes = notes_of(f"{tmp_path}{source}", skip_damaged=True)
    assert f"folders skipped that cannot be read: 1 ({locked})" in notes


def test_a_run_that_keeps_standard_input_is_no_text(tmp_path: Path) -> None:
    """A new run's folder may lie in the folder that it learns from."""
    write(tmp_path / "a.txt", "a\n")
    write(tmp_path / "runs" / "new" / "stdin.txt", "from a pipe\n")

    class Kept:
        path = tmp_path / "runs" / "new" / "stdin.txt"

        def blocks(self) -> Any:
            yield self.path.read_bytes()

    both = Corpus([tmp_path, "-"], copies={1: Kept()})  # type: ignore[dict-item]
    assert "".join(map(str, both.pieces())) == "a\nfrom a pipe\n"


def test_spaces_that_cut_a_name_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "My first Book.txt", "text")
    with pytest.raises(CorpusError) as raised:
        Corpus(["other.txt", "My", "first", "Book.txt"])
    assert str(raised.value).startswith("other.txt: no such file")
    with pytest.raises(CorpusError, match=r"^My: .*put quotes around 'My first Book\.txt'"):
        Corpus(["My", "first", "Book.txt"])
    assert read("My first Book.txt") == "text"


def test_a_damaged_file_stops_a_folder_or_is_left_out(tmp_path: Path) -> None:
    for name, text in (("1.txt", "one\n"), ("2.txt", b"tw\xff\n"), ("3.txt", "three\n")):
        write(tmp_path / name, text)
    message = error_of(tmp_path)
    assert message.startswith(f"{tmp_path}/2.txt: not valid utf-8 at byte 2: ")
    assert message.endswith("or go on without the rest of the file with --skip-damaged")
    assert read(tmp_path, skip_damaged=True) == "one\ntw\nthree\n"
    notes = notes_of(tmp_path, skip_damaged=True)
    assert notes[0] == f"damaged files, left out from their damage on: 1 ({tmp_path}/2.txt)"
