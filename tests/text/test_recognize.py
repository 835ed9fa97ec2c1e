"""What is no text, such as archives and documents: refused by name, or skipped and counted."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from backports import zstd
from texts import error_of, notes_of, read, read_bytes, write

from charrnn.text.corpus import Corpus

TEXT = b"I had coffee today with Anna.\n" * 50


def tar_of(name: str, format: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return stream.getvalue()


def zip_of(*names: str, first: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, first or TEXT)
    return stream.getvalue()


TAR = tar_of("a.txt")
OLD_TAR = TAR[:257] + bytes(255) + TAR[512:]  # of a time before it had a name in its header
OLD_TAR = (
    OLD_TAR[:148] + b"%06o\0 " % (sum(OLD_TAR[:512]) - sum(OLD_TAR[148:156]) + 256) + OLD_TAR[156:]
)
THINGS = {
    "a.tar": (TAR, "a tar archive: unpack it"),
    "old.tar": (OLD_TAR, "a tar archive: unpack it"),
    "a.txt": (TAR, "a tar archive: unpack it"),
    "a.tar.gz": (gzip.compress(TAR), "a tar archive: unpack it"),
    "a.tar.bz2": (bz2.compress(TAR), "a tar archive: unpack it"),
    "a.tar.xz": (lzma.compress(TAR), "a tar archive: unpack it"),
    "a.tar.zst": (zstd.compress(TAR), "a tar archive: unpack it"),
    "a.tgz": (gzip.compress(TAR), "a gzip-compressed tar archive: unpack it"),
    "a.txz": (lzma.compress(TAR), "an xz-compressed tar archive: unpack it"),
    "a.zip": (zip_of("a.txt"), "a zip archive: unpack it"),
    "empty.zip": (zip_of(), "a zip archive: unpack it"),
    "a.docx": (zip_of("[Content_Types].xml", "word/document.xml"), "an Office document"),
    "b.docx": (zip_of("_rels/.rels", "word/document.xml"), "an Office document"),
    "a.epub": (zip_of("mimetype", "x.html", first=b"application/epub+zip"), "an EPUB book"),
    "a.odt": (
        zip_of("mimetype", first=b"application/vnd.oasis.opendocument.text"),
        "an OpenDocument file: save it as plain text",
    ),
    "a.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + TEXT, "a PDF document: save it as plain text"),
    "a.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + TEXT, "an Office document"),
    "gzipped": (gzip.compress(TEXT), "a gzip-compressed file: decompress it first"),
    "bzipped": (bz2.compress(TEXT), "a bzip2-compressed file: decompress it first"),
    "zstd.txt": (zstd.compress(TEXT), "a zstd-compressed file: decompress it first"),
    "rows.txt": (b"PAR1" + TEXT, "a Parquet table: let its name end in .parquet"),
}
things = pytest.mark.parametrize(
    ("name", "data", "thing"), [(k, *v) for k, v in THINGS.items()], ids=list(THINGS)
)


@things
@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_what_is_no_text_is_named(
    tmp_path: Path, name: str, data: bytes, thing: str, errors: str
) -> None:
    path = write(tmp_path / name, data)
    assert error_of(path, encoding_errors=errors).startswith(f"{path}: no text, but {thing}")


@things
def test_in_a_folder_it_is_skipped_and_counted(
    tmp_path: Path, name: str, data: bytes, thing: str
) -> None:
    write(tmp_path / "0.txt", TEXT)
    path = write(tmp_path / "sub" / name, data)
    corpus = Corpus([tmp_path])
    assert "".join(map(str, corpus.pieces())) == TEXT.decode()
    what = thing.split(":")[0]
    assert len(corpus.notes) == 1
    assert corpus.notes[0].startswith(f"files skipped that are no text, but {what}")
    assert corpus.notes[0].endswith(f": 1 ({path})")


def test_a_table_under_a_wrong_format_is_told_to_leave_it_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", b"PAR1" + TEXT)
    assert error_of(path, format="csv").endswith("a Parquet table: leave --format out")


def test_a_text_of_two_bytes_a_character_in_a_folder_is_skipped_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", TEXT)
    path = write(tmp_path / "b.txt", TEXT.decode().encode("utf-16-le"))
    assert notes_of(tmp_path) == [f"files in utf-16-le skipped: 1 ({path})"]


def test_bytes_are_taken_from_any_file(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", THINGS["a.zip"][0])
    write(tmp_path / "b.mid", b"MThd\0\0\0\6\xff\0")
    assert read_bytes(tmp_path) == THINGS["a.zip"][0] + b"MThd\0\0\0\6\xff\0"


@pytest.mark.parametrize(
    "text", ["PK is a postcode", "BZh, he said", "ustar" * 100, "%PDF", "\x1f"]
)
def test_a_text_that_begins_like_one_is_read(tmp_path: Path, text: str) -> None:
    assert read(write(tmp_path / "a", text)) == text


# --- encodings of two and four bytes


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text", ["I had coffee.\n", "我有 a 咖啡 cup.\n", "Я пью кофе, да.\n", "日 本 語\n"]
)
def test_wide_encodings_are_named_and_the_remedy_works(
    tmp_path: Path, encoding: str, text: str
) -> None:
    for errors in ("strict", "replace"):
        path = write(tmp_path / "a.txt", (text * 20).encode(encoding))
        message = error_of(path, encoding_errors=errors)
        assert message == f"{path}: not utf-8, but {encoding}: take --encoding {encoding}"
        assert read(path, encoding=encoding) == text * 20
    marked = write(tmp_path / "b.txt", ("\ufeff" + text * 20).encode(encoding))
    assert error_of(marked).endswith(f"take --encoding {encoding[:6]}")
    assert read(marked, encoding=encoding[:6]) == text * 20


def test_what_only_looks_like_a_wide_encoding_is_not_named_so(tmp_path: Path) -> None:
    lone_surrogate = b"\0\xd8"
    path = write(tmp_path / "a.bin", b"a\0" * 20 + lone_surrogate + b"a\0" * 20)
    assert "utf-16" not in error_of(path).partition("cp1251")[0]


def test_a_text_with_some_zero_bytes_is_text(tmp_path: Path) -> None:
    text = "I had\0 coffee\0\0 today " * 9
    assert read(write(tmp_path / "a.txt", text)) == text
