"""Characters or bytes to ids and back.

Knows nothing of files or models. A symbol's id is its rank: characters sort by code point, bytes by
value. The byte vocabulary always has all 256.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config import OnUnknown, Unit
from charrnn.errors import CheckpointError, UnknownCharacterError

Ids = npt.NDArray[Any]
"""Ids of a text, in the smallest unsigned integer type that holds the vocabulary."""

CODE_POINTS = 0x110000
_SHOWN_UNKNOWN = 5


def _code_points(text: str) -> Ids:
    """Returns the code point of each character: uint8 for ASCII text, uint32 otherwise."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _utf_8(text: str | bytes, on_unknown: OnUnknown) -> bytes:
    """Returns a text's bytes; lone surrogates are bytes that were no UTF-8, or else unknown."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        if on_unknown == "skip":
            kept = "".join(c for c in text if not "\ud800" <= c <= "\udfff")
            return kept.encode()
        raise UnknownCharacterError(
            f"{text[error.start]!r} is no character of UTF-8: "
            "leave unknown ones out with --on-unknown skip"
        ) from None


class CharacterSet:
    """The set of characters seen so far, collected piece by piece."""

    def __init__(self) -> None:
        """Starts with no character."""
        self._seen = np.zeros(CODE_POINTS, dtype=bool)

    def add(self, text: str) -> None:
        """Adds every character of a text."""
        codes = _code_points(text)
        if codes.dtype == np.uint8:
            self._seen[:128] |= np.bincount(codes, minlength=128).astype(bool)
        else:
            self._seen[codes] = True

    def vocabulary(self) -> "Vocabulary":
        """Returns the vocabulary of all characters seen, sorted by code point."""
        return Vocabulary("char", [chr(code) for code in np.flatnonzero(self._seen)])


class Vocabulary:
    """A one-to-one map between symbols and ids ``0 .. V-1``.

    Attributes:
        unit: what a symbol is, ``"char"`` or ``"byte"``.
        symbols: each id's symbol in order: one-character strings, or integers 0 to 255.
        dtype: the smallest unsigned integer type that holds every id.
    """

    def __init__(self, unit: Unit, symbols: Iterable[str] | Iterable[int]) -> None:
        """Makes the map.

        Args:
            unit: what a symbol is.
            symbols: each id's symbol, in order and all different.
        """
        self.unit = unit
        self.symbols: tuple[str | int, ...] = tuple(symbols)
        self.dtype = np.min_scalar_type(max(len(self.symbols) - 1, 0))
        codes = [ord(s) if isinstance(s, str) else s for s in self.symbols]
        self._codes = np.array(codes, dtype=np.uint32)
        # code -> id + 1; 0 stands for an unknown character
        self._table = np.zeros(max(codes, default=0) + 2, dtype=np.min_scalar_type(len(codes)))
        self._table[codes] = np.arange(1, len(codes) + 1)
        self._ids = (np.maximum(self._table, 1) - 1).astype(self.dtype)
        self._newline = int(self._table[10]) - 1 if len(self._table) > 10 else -1

    @classmethod
    def of_bytes(cls) -> "Vocabulary":
        """Returns the vocabulary of all 256 bytes."""
        return cls("byte", range(256))

    @classmethod
    def of_text(cls, text: str) -> "Vocabulary":
        """Returns the vocabulary of the characters of one text."""
        characters = CharacterSet()
        characters.add(text)
        return characters.vocabulary()

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """Returns the vocabulary of the symbols of both, of one unit."""
        assert self.unit == other.unit, "characters and bytes"
        if self.unit == "byte":
            return self
        return Vocabulary.of_text("".join(map(str, self.symbols + other.symbols)))

    def __len__(self) -> int:
        """Returns V, the number of symbols."""
        return len(self.symbols)

    @property
    def newline_id(self) -> int | None:
        """The id of a line feed; None where the vocabulary has none."""
        return None if self._newline < 0 else self._newline

    def encode(self, text: str | bytes, on_unknown: OnUnknown = "error") -> Ids:
        r"""Returns the ids of a text.

        Args:
            text: characters; a byte vocabulary takes bytes too, and reads characters as UTF-8.
            on_unknown: ``"error"`` raises; ``"skip"`` leaves unknown characters out.

        Returns:
            One id per symbol, shape ``(n,)``; shorter than the text by what was left out.

        Raises:
            UnknownCharacterError: The text holds characters outside the vocabulary.
        """
        if self.unit == "byte":
            return np.frombuffer(_utf_8(text, on_unknown), dtype=np.uint8)
        assert isinstance(text, str), "a character vocabulary reads characters"
        codes = _code_points(text)
        if codes.size == 0:
            return np.zeros(0, dtype=self.dtype)
        # code points past the table's end fall on its last entry, which is unknown
        if int(codes.max()) >= len(self._table):
            codes = np.minimum(codes, len(self._table) - 1)
        known = self._table[codes] > 0
        if known.all():
            return self._ids[codes]
        if on_unknown == "error":
            raise UnknownCharacterError(self._describe_unknown(text))
        return self._ids[codes[known]]

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """Returns the text of ids; bytes that are no UTF-8 become U+FFFD."""
        data = self.decode_bytes(ids)
        if self.unit == "byte":
            return data.decode("utf-8", "replace")
        return data.decode("utf-32-le", "surrogatepass")

    def decode_bytes(self, ids: Iterable[int] | Ids) -> bytes:
        """Returns the raw bytes of ids: the bytes themselves, or characters as UTF-32-LE."""
        codes = self._codes[np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), int)]
        return bytes(codes.astype(np.uint8) if self.unit == "byte" else codes.astype("<u4"))

    def to_json(self) -> str:
        """Returns the symbols as a JSON array in the order of their ids, for a checkpoint."""
        return json.dumps(self.symbols)

    @classmethod
    def from_json(cls, unit: Unit, text: str) -> "Vocabulary":
        """Reads what :meth:`to_json` wrote.

        Raises:
            CheckpointError: The text is not a JSON array of different symbols of that unit.
        """
        try:
            symbols = json.loads(text)
        except (ValueError, RecursionError):
            raise CheckpointError("its vocabulary is not JSON") from None
        if unit == "byte":
            ok = symbols == list(range(256)) and all(type(s) is int for s in symbols)
        else:
            ok = isinstance(symbols, list) and all(
                isinstance(s, str) and len(s) == 1 for s in symbols
            )
            ok = ok and len(set(symbols)) == len(symbols) >= 2
        if not ok:
            raise CheckpointError(f"its vocabulary is not a JSON array of different {unit}s")
        return cls(unit, symbols)

    def _describe_unknown(self, text: str) -> str:
        known = set(self.symbols)
        unknown = list(dict.fromkeys(character for character in text if character not in known))
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:_SHOWN_UNKNOWN])
        more = len(unknown) - _SHOWN_UNKNOWN
        names += f" and {more} more" if more > 0 else ""
        return (
            f"the model does not know {names}; it was trained on {len(self)} other characters: "
            "leave unknown ones out with --on-unknown skip"
        )
