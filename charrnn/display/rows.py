"""Scores of lines and of characters as rows: of text, or of JSON."""

import codecs
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.display.console import escaped, exact_bytes

if TYPE_CHECKING:
    from charrnn.scoring.lines import LineScore
    from charrnn.scoring.reports import CharScore
    from charrnn.text.vocabulary import Piece


def line_rows(
    scores: Sequence["LineScore"], source: str, *, as_json: bool, above: float | None = None
) -> Iterator[bytes]:
    """Yields lines' scores: bits per character, a tab and the unchanged line; or JSON.

    A line in memory gives one row at once, a longer one several parts of it.

    Args:
        scores: of the lines.
        source: the name of their text.
        as_json: whether the rows are JSON.
        above: the bits per character that a line must exceed; None is for all lines.
    """
    row = _json_row if as_json else _text_row
    for score in scores:
        if above is not None and score.bits_per_char <= above:  # never so for NaN
            continue
        if isinstance(score.line, str | bytes):
            yield b"".join(row(score, [score.line], source))
        else:
            yield from row(score, score.line, source)


def _text_row(score: "LineScore", line: Iterable["Piece"], _: str) -> Iterator[bytes]:
    yield b"%.4f\t" % score.bits_per_char
    yield from map(exact_bytes, line)
    yield b"\n"


def _json_row(score: "LineScore", line: Iterable["Piece"], source: str) -> Iterator[bytes]:
    encoding = "utf-8" if _is_utf_8(line) else "base64"
    fields = {
        "bits": score.bits,
        "chars": score.chars,
        "unknown_chars": score.unknown_chars,
        "bits_per_char": None if math.isnan(score.bits_per_char) else score.bits_per_char,
        "line_number": score.number,
        "source": source,
        "encoding": encoding,
    }
    yield json.dumps(fields).encode().removesuffix(b"}") + b', "line": "'
    yield from _as_json(line) if encoding == "utf-8" else _as_base64(line)
    yield b'"}\n'


def _is_utf_8(pieces: Iterable["Piece"]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            decoder.decode(exact_bytes(piece))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _as_json(pieces: Iterable["Piece"]) -> Iterator[bytes]:
    """Yields the inside of a JSON string."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for piece in pieces:
        yield json.dumps(decoder.decode(exact_bytes(piece))).encode()[1:-1]


def _as_base64(pieces: Iterable["Piece"]) -> Iterator[bytes]:
    data = b""
    for piece in pieces:
        data += exact_bytes(piece)
        whole = len(data) - len(data) % 3  # three bytes are four letters
        yield b64encode(data[:whole])
        data = data[whole:]
    yield b64encode(data)


def char_rows(scores: Sequence["CharScore"], *, as_json: bool) -> str:
    """Returns characters' scores as lines of tab-separated fields, escaped; or of JSON."""
    return "".join(_char_row(score, as_json) + "\n" for score in scores)


def _char_row(score: "CharScore", as_json: bool) -> str:
    if as_json:
        fields: dict[str, Any] = {"offset": score.offset, "char": score.symbol}
        fields |= {"bits": score.bits, "rank": score.rank}
        return json.dumps(fields | {"most_probable": score.most_probable})
    symbol, most_probable = escaped(score.symbol), escaped(score.most_probable)
    return f"{score.offset}\t{symbol}\t{score.bits:.4f}\t{score.rank}\t{most_probable}"
