"""What a file is by its first bytes, if it is no text: an archive, a document, another encoding."""

import codecs
import contextlib
import tarfile
from typing import NamedTuple

from charrnn.text.compressed import decompress_start

HEAD_BYTES = 8192  # that show what a file is
_SHORTEST_WIDE = 32  # bytes whose zeros show an encoding


class Thing(NamedTuple):
    """Something that is no text."""

    name: str
    remedy: str
    is_table: bool = False  # which is read if its name says so


UNPACK = "unpack it, and name the folder"
SAVE_AS_TEXT = "save it as plain text, and name that"
NAME_A_TEXT = "name a text, or train on its bytes with --unit byte"

_ZIP, _OPEN_DOCUMENT = b"PK\3\4", b"mimetypeapplication/vnd.oasis.opendocument"
_EPUB = b"mimetypeapplication/epub+zip"
# where the bytes stand, the bytes, and what has them there
_MAGIC = (
    (30, _EPUB, Thing("an EPUB book", SAVE_AS_TEXT)),
    (30, _OPEN_DOCUMENT, Thing("an OpenDocument file", SAVE_AS_TEXT)),
    (0, _ZIP, Thing("a zip archive", UNPACK)),
    (0, b"PK\5\6", Thing("a zip archive", UNPACK)),
    (257, b"ustar", Thing("a tar archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Thing("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", Thing("a rar archive", UNPACK)),
    (0, b"!<arch>\n", Thing("an ar archive", UNPACK)),
    (0, b"%PDF-", Thing("a PDF document", SAVE_AS_TEXT)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Thing("an Office document", SAVE_AS_TEXT)),
    (0, b"{\\rtf", Thing("an RTF document", SAVE_AS_TEXT)),
    (60, b"BOOKMOBI", Thing("a Kindle book", SAVE_AS_TEXT)),
    (0, b"PAR1", Thing("a Parquet table", "let its name end in .parquet", is_table=True)),
    (0, b"ARROW1\0\0", Thing("an Arrow table", "let its name end in .arrow", is_table=True)),
    (0, b"SQLite format 3\0", Thing("an SQLite database", "export a table of it as CSV")),
    (0, b"\x89PNG\r\n\x1a\n", Thing("a PNG image", NAME_A_TEXT)),
    (0, b"\xff\xd8\xff", Thing("a JPEG image", NAME_A_TEXT)),
    (0, b"\x7fELF", Thing("a program", NAME_A_TEXT)),
)
# the same, the ending of its name, and the program that makes it
_COMPRESSED = (
    (0, b"\x1f\x8b\x08", ".gz", "a gzip"),
    (4, b"1AY&SY", ".bz2", "a bzip2"),
    (0, b"\xfd7zXZ\0", ".xz", "an xz"),
    (0, b"\x28\xb5\x2f\xfd", ".zst", "a zstd"),
)


def recognize(head: bytes) -> Thing | None:
    """Returns what begins with these bytes; None if it may be a text."""
    for start, magic, kind in _MAGIC:
        if head.startswith(magic, start):
            return _office(head) or kind if magic == _ZIP else kind
    for start, magic, ending, program in _COMPRESSED:
        if head.startswith(magic, start):
            if _is_tar(decompress_start(head, ending)):
                return Thing(f"{program}-compressed tar archive", UNPACK)
            return Thing(f"{program}-compressed file", "decompress it first")
    return Thing("a tar archive", UNPACK) if _is_tar(head) else None


def _office(head: bytes) -> Thing | None:
    """Returns the document that a zip archive is, by the files in it."""
    if b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        return Thing("an Office document (.docx, .xlsx, .pptx)", SAVE_AS_TEXT)
    return None


def _is_tar(head: bytes) -> bool:
    """Returns whether a tar archive's first header is there, by its checksum."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def is_ascii_based(encoding: str) -> bool:
    """Returns whether an encoding is made of ASCII bytes; in others, zero bytes are text."""
    return "a".encode(encoding) == b"a"


def wide_encoding(data: bytes) -> str | None:
    """Returns the encoding of a text whose characters have two or four bytes.

    It shows by its byte-order mark, or by its zero bytes: those of ASCII characters stand in every
    second place, or in three of four. UTF-16 shows if a tenth of its characters is ASCII.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(data) < _SHORTEST_WIDE:
        return None
    zeros = [data[start::4].count(0) / (len(data) // 4) for start in range(4)]
    for order, (first, second, third, fourth) in (("le", zeros), ("be", zeros[::-1])):
        name = None
        if third > 0.9 and fourth > 0.9 and first < 0.1:
            name = f"utf-32-{order}"
        elif second + fourth > 0.2 and first + third < (second + fourth) / 10:
            name = f"utf-16-{order}"
        if name is not None:
            with contextlib.suppress(UnicodeError):  # samples of a sound may look like that, too
                codecs.getincrementaldecoder(name)().decode(data)
                return name
    return None
