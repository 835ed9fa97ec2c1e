"""Bytes to characters: encodings, invalid bytes, line ends."""

import codecs
import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from charrnn.config import DataConfig
from charrnn.errors import EncodingError
from charrnn.text.recognize import wide_encoding

# what is noted of a text, and advice
INVALID = "invalid bytes replaced by U+FFFD"
ESCAPED, NAME_ENCODING = "invalid bytes read as unknown characters", "--encoding names another"
WINDOWS, KEEP_NEWLINES = "Windows line ends read as newlines", "--newlines keep keeps them"
_SURROGATE = re.compile("[\ud800-\udfff]")
_COUNTING = "charrnn.replace"  # an error handler: as "replace", but counts
_replaced = 0  # by that handler, ever
_AROUND = 4096  # bytes on both sides of an invalid one that show the encoding


def _replace_and_count(error: UnicodeError) -> tuple[str, int]:
    global _replaced
    assert isinstance(error, UnicodeDecodeError)
    _replaced += 1
    return "\ufffd", error.end


codecs.register_error(_COUNTING, _replace_and_count)


def decode(
    blocks: Iterable[bytes],
    config: DataConfig,
    name: str,
    count: Callable[[int], None],
    advice: str = "",
) -> Iterator[str]:
    """Yields the text of one file's bytes; a character may straddle two blocks.

    Args:
        blocks: the bytes.
        config: the encoding, and what invalid bytes become.
        name: what to call the file in a message.
        count: called with the number of invalid bytes (or sequences of them) that were replaced
            or escaped.
        advice: what else than naming the encoding helps against invalid bytes.

    Raises:
        EncodingError: Bytes are not valid in the encoding; all text before them was yielded.
    """
    errors = _COUNTING if config.encoding_errors == "replace" else config.encoding_errors
    codec = codecs.lookup(config.encoding)
    decoder = codecs.getincrementaldecoder(config.encoding)(errors)
    whole = codec.name.startswith(("utf-8", "utf-16", "utf-32"))  # never decode a lone surrogate
    offset, chars = 0, 0  # bytes and characters of the file before this block
    for block in itertools.chain(blocks, [b""]):  # the empty one is the end
        pending = len(decoder.getstate()[0])  # bytes of a character that the last block began
        before = _replaced
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            invalid = getattr(error, "start", 0)  # counted from the pending bytes on
            place, text = max(invalid - pending, 0), ""
            with contextlib.suppress(UnicodeError):
                text = decoder.decode(block[:place])
            yield text
            around = block[max(place - _AROUND, 0) : place + _AROUND]
            raise EncodingError(
                f"{name}: not valid {config.encoding} at byte {offset - pending + invalid}: "
                f"{_remedy(around, config.encoding)}{advice and ', or '}{advice}"
            ) from None
        count(_replaced - before)
        if errors == "surrogateescape" and has_halves(text):
            count(len(_SURROGATE.findall(text)))
        if not whole:
            text = whole_characters(text, config, f"{name}: after {chars:,} characters", count)
            chars += len(text)
        yield text
        offset += len(block)


def has_halves(text: str) -> bool:
    """Returns whether a text has lone surrogates, which are no characters but half of one."""
    try:
        text.encode("utf-8")  # faster than a search
    except UnicodeEncodeError:
        return True
    return False


def whole_characters(text: str, config: DataConfig, name: str, count: Callable[[int], None]) -> str:
    """Returns a text without lone surrogates.

    Some encodings can produce them, and JSON can; they are handled as invalid bytes are. Arguments
    and errors are those of :func:`decode`.
    """
    if not has_halves(text):
        return text
    if config.encoding_errors == "replace":
        text, halves = _SURROGATE.subn("\ufffd", text)
        count(halves)
        return text
    if config.encoding_errors == "surrogateescape":
        return _SURROGATE.sub(_as_bytes, text)
    half = _SURROGATE.findall(text)[0]
    raise EncodingError(
        f"{name}: half a character (U+{ord(half):04X}, a lone surrogate): "
        "mend the text, or take --encoding-errors replace"
    )


def _as_bytes(match: re.Match[str]) -> str:
    """Returns a lone surrogate as those that stand for its bytes; one that does so itself stays."""
    if "\udc80" <= match[0] <= "\udcff":
        return match[0]
    return match[0].encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def _remedy(data: bytes, encoding: str) -> str:
    """Returns what to do about bytes that are not valid in an encoding."""
    if codecs.lookup(encoding).name == "utf-8":
        sequences = sum(not c.isascii() for c in data.decode("utf-8", "ignore"))
        if sequences > data.decode("utf-8", "replace").count("\ufffd"):
            return "mend the text (most of it is valid)"
    if (fitting := _fitting(data)) is not None:
        return f"name its encoding with --encoding ({fitting} fits)"
    if b"\0" in data:
        return "name a text, as this may be a binary file"
    return "name its encoding with --encoding (cp1251, gb18030, shift_jis, utf-16 ...)"


def _fitting(data: bytes) -> str | None:
    """Returns an encoding in which bytes may be a text."""
    if (name := wide_encoding(data)) is not None:
        return name
    if 4 * sum(byte >= 0x80 for byte in data) > len(data):  # no language in Latin letters
        return None
    # latin-1 has control characters where cp1252 has quotes and dashes
    name = "cp1252" if any(0x80 <= byte < 0xA0 for byte in data) else "latin-1"
    try:
        data.decode(name)
    except UnicodeError:
        return None
    return None if b"\0" in data else name


def lf_only(text: str, count: Callable[[int], None]) -> str:
    """Returns a text with newlines for its Windows line ends; counts as :func:`with_newlines`."""
    count(text.count("\r\n"))
    return text.replace("\r\n", "\n")


def with_newlines(pieces: Iterable[str], count: Callable[[int], None]) -> Iterator[str]:
    r"""Yields a text in which each Windows line end, ``\r\n``, is a newline.

    ``count`` is called with the number of line ends changed. A ``\r`` alone stays.
    """
    held = ""  # a \r whose \n may come with the next piece
    for piece in pieces:
        if held or "\r" in piece:
            piece = held + piece
            held = "\r" if piece.endswith("\r") else ""
            piece = piece.removesuffix("\r")
            piece = lf_only(piece, count)
        yield piece
    if held:
        yield held
