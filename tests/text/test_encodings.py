"""Bytes that are not valid in the encoding: named, replaced and counted; and what is advised."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import error_of, notes_of, read, read_bytes, read_in_blocks, write

from charrnn.errors import EncodingError
from charrnn.text.compressed import READ_BYTES

few = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encodings")


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


WESTERN = "I had \u201ccoffee\u201d \u2014 caf\xe9 au lait. "
HINTS = {
    "cp1252": (WESTERN, "name its encoding with --encoding (cp1252 fits)"),
    "latin-1": ("caf\xe9 au lait, s\xed. ", "name its encoding with --encoding (latin-1 fits)"),
    "cp1251": ("привет, мир. ", "name its encoding with --encoding (cp1251, gb18030, "),
    "shift_jis": ("日本語の文。", "name its encoding with --encoding (cp1251, gb18030, shift_jis"),
}


@pytest.mark.parametrize("encoding", HINTS)
def test_the_encoding_that_is_offered_reads_the_text(tmp_path: Path, encoding: str) -> None:
    text, hint = HINTS[encoding]
    path = write(tmp_path / "a.txt", (text * 9).encode(encoding))
    message = error_of(path)
    assert f": {hint}" in message
    assert message.endswith(", or take --encoding-errors replace, or train with --unit byte")
    assert read(path, encoding=encoding) == text * 9
    assert read(path, encoding_errors="replace")
    assert read_bytes(path) == path.read_bytes()


def test_no_other_encoding_is_offered_for_a_few_bad_bytes_in_sound_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "日本語の文。".encode() * 9 + b"\x93" + "日本語".encode() * 9)
    assert ": mend the text (most of it is valid), or take" in error_of(path)


def test_no_encoding_is_offered_for_what_holds_zero_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", b"I had caf\xe9\0" * 9)
    assert ": name a text, as this may be a binary file, or take" in error_of(path)


@few
@given(st.binary(max_size=40), st.sampled_from(["utf-8", "ascii", "gb18030", "utf-16-le"]))
def test_replaced_bytes_are_counted(folder: Path, data: bytes, encoding: str) -> None:
    path = write(folder / "a.txt", b"..." + data)
    more: dict[str, str] = {"encoding": encoding, "encoding_errors": "replace", "newlines": "keep"}
    text = read(path, **more)
    assert text == (b"..." + data).decode(encoding, "replace")
    counts = [note for note in notes_of(path, **more) if note.startswith("invalid bytes")]
    if encoding in ("utf-8", "ascii"):
        replaced = text.count("\ufffd") - data.decode(encoding, "ignore").count("\ufffd")
        assert len(counts) == (replaced > 0)
        assert all(f"replaced by U+FFFD: {replaced} (" in note for note in counts)


@pytest.mark.parametrize(
    ("encoding", "data"), [("utf-7", b"ab +2AA- c"), ("unicode_escape", rb"ab \ud800 c")]
)
def test_an_encoding_cannot_produce_half_a_character(
    tmp_path: Path, encoding: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.txt", data)
    assert re.match(
        r".*: after 0 characters: half a character \(U\+D800, ", error_of(path, encoding=encoding)
    )
    assert read(path, encoding=encoding, encoding_errors="replace") == "ab \ufffd c"
    kept = read(path, encoding=encoding, encoding_errors="surrogateescape")
    assert kept.encode("utf-8", "surrogateescape") == b"ab \xed\xa0\x80 c"
    read_in_blocks(monkeypatch, 1)
    assert ": after 3 characters: half a character" in error_of(path, encoding=encoding)
