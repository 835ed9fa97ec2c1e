"""Names and symbols as a page shows them: nothing is invisible, nothing can drive the page."""

import codecs

from charrnn.text.vocabulary import Piece

LONGEST_TEXT = 2000  # characters of a name or a value that are shown
_NAMED = {" ": "space", "\n": "newline", "\t": "tab"}
_PICTURES = 0x2400  # Unicode has pictures of the first 32 control characters


def plain(value: object) -> str:
    """Returns a name or a value as one line of printable characters, cut if it is very long."""
    text = str(value)
    line = "".join(c if c.isprintable() else "·" for c in text[:LONGEST_TEXT])
    return line + "…" * (len(text) > LONGEST_TEXT)


def label(symbol: str | int) -> str:
    """Returns what to call a character, or a byte, in a list."""
    if isinstance(symbol, str) and _is_byte(symbol):
        symbol = ord(symbol) - 0xDC00
    if isinstance(symbol, int):
        if symbol >= 128:
            return f"\\x{symbol:02x}"
        symbol = chr(symbol)
    return _NAMED.get(symbol) or (symbol if symbol.isprintable() else repr(symbol)[1:-1])


def glyphs(text: Piece) -> list[str]:
    """Returns what to show in a passage for each character or byte of a text.

    A character of several bytes stands in the place of its last one, a dot in those before.
    """
    if isinstance(text, str):
        return [_glyph(character) for character in text]
    shown, waiting = ["·"] * len(text), list[int]()  # places of bytes of no character yet
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for place, byte in enumerate(text):
        waiting.append(place)
        for character in decoder.decode(bytes([byte]), final=place == len(text) - 1):
            size = 1 if _is_byte(character) else len(character.encode())
            shown[waiting[size - 1]] = _glyph(character)
            del waiting[:size]
    return shown


def _is_byte(character: str) -> bool:
    """Returns whether a lone surrogate stands for an invalid byte."""
    return "\udc80" <= character <= "\udcff"


def _glyph(character: str) -> str:
    if character == "\n":
        return "↵\n"
    if character < " ":
        return chr(_PICTURES + ord(character))
    return character if character.isprintable() else label(character)


def readable(text: Piece) -> str:
    """Returns a text to be read as a whole: control characters but newlines as pictures."""
    characters = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return "".join(c if c == "\n" else _glyph(c) for c in characters)
