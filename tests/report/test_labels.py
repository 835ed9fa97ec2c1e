"""What a page shows of names and symbols: nothing invisible, nothing that drives it."""

import pytest

from charrnn.report.labels import LONGEST_TEXT, glyphs, label, plain, readable


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        *((" ", "space"), ("\n", "newline"), ("\t", "tab"), ("a", "a"), ("é", "é"), ("\\", "\\")),
        *(("\x1b", "\\x1b"), ("\u202e", "\\u202e"), ("\u200b", "\\u200b"), ("\udcff", "\\xff")),
        *((10, "newline"), (97, "a"), (0, "\\x00"), (200, "\\xc8")),
    ],
)
def test_labels(symbol: str | int, shown: str) -> None:
    assert label(symbol) == shown


def test_each_character_has_something_to_see() -> None:
    assert glyphs("a \n\t\x1b\u202e\udcffé") == ["a", " ", "↵\n", "␉", "␛", "\\u202e", "\\xff", "é"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("aп一".encode(), ["a", "·", "п", "·", "·", "一"]),
        (b"\xd0\xd0\xbf", ["\\xd0", "·", "п"]),
        (b"\xf0\x9fa\xff\xe4\xb8", ["\\xf0", "\\x9f", "a", "\\xff", "\\xe4", "\\xb8"]),
        (b"", []),
    ],
)
def test_a_character_of_several_bytes_stands_in_its_last(data: bytes, shown: list[str]) -> None:
    assert glyphs(data) == shown


def test_names_are_one_line_of_some_length() -> None:
    assert plain("a\nb\x1b\udcff\u202e") == "a·b···"
    assert plain("x" * 10**6) == "x" * LONGEST_TEXT + "…"
    assert plain(7) == "7"


def test_a_text_is_read_as_a_whole() -> None:
    assert readable("a\nb\x00\t") == "a\nb␀␉"
    assert readable(b"\xd0\xbf\xff") == "п\ufffd"
