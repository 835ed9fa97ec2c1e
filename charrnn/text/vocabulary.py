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
from charrnn.fields import read_json

Ids = npt.NDArray[Any]  # of a text, in the smallest unsigned integer type that holds them all
Piece = str | bytes  # some consecutive text: characters, or bytes if the unit is the byte

CODE_POINTS = 0x110000
UNKNOWN = "\ufffd"  # the one symbol for all characters that a vocabulary leaves out, if it does
_SHOWN_UNKNOWN = 5


def _code_points(text: str) -> Ids:
    """Returns the code point of each character: uint8 for ASCII text, uint32 otherwise."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _utf_8(text: Piece, on_unknown: OnUnknown) -> bytes:
    """Returns a text's bytes; lone surrogates stand for invalid bytes, or else are unknown."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        if on_unknown != "error":
            return "".join(c for c in text if not "\ud800" <= c <= "\udfff").encode()
        raise UnknownCharacterError(
            f"{text[error.start]!r} cannot be written as UTF-8: "
            "leave unknown characters out with --on-unknown skip"
        ) from None


class CharacterSet:
    """How often each character was seen, collected piece by piece."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)  # by code point

    def add(self, text: str) -> None:
        """Counts every character of a text."""
        counts = np.bincount(_code_points(text))
        self._counts[: len(counts)] += counts

    def vocabulary(self, min_count: int = 1, *, open_ended: bool = False) -> "Vocabulary":
        """Returns the vocabulary of the characters seen, sorted by code point.

        Those seen less often than ``min_count`` become :data:`UNKNOWN`; so do those that may come
        later, if the text is open-ended.
        """
        symbols = [chr(code) for code in np.flatnonzero(self._counts >= min_count)]
        if not open_ended and len(symbols) == np.count_nonzero(self._counts):
            return Vocabulary("char", symbols)
        return Vocabulary("char", sorted({*symbols, UNKNOWN}), unknown=UNKNOWN)

    def outside(self, vocabulary: "Vocabulary") -> int:
        """Returns how many of the characters counted are none of a vocabulary's symbols."""
        inside = self._counts[[ord(str(symbol)) for symbol in vocabulary.symbols]]
        return int(self._counts.sum() - inside.sum())


class Vocabulary:
    """A one-to-one map between symbols and ids ``0 .. V-1``.

    Attributes:
        symbols: each id's symbol in order: one-character strings, or integers 0 to 255.
        unknown: the symbol that stands for all other characters; None: they are an error.
        dtype: the smallest unsigned integer type that holds every id.
    """

    def __init__(
        self, unit: Unit, symbols: Iterable[str | int], *, unknown: str | None = None
    ) -> None:
        self.unit, self.unknown = unit, unknown
        self.symbols: tuple[str | int, ...] = tuple(symbols)
        self.dtype = np.min_scalar_type(max(len(self.symbols) - 1, 0))
        codes = [ord(s) if isinstance(s, str) else s for s in self.symbols]
        self._codes = np.array(codes, dtype=np.uint32)
        # code -> id; V stands for an unknown character, and so does the last entry for all beyond
        self._table = np.full(max(codes, default=0) + 2, len(codes), np.min_scalar_type(len(codes)))
        self._table[codes] = np.arange(len(codes))
        self._unknown_id = None if unknown is None else self.symbols.index(unknown)
        self._newline = self.symbols.index("\n" if unit == "char" else 10) if 10 in codes else None

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
        symbols = sorted({*map(str, self.symbols), *map(str, other.symbols)})
        return Vocabulary("char", symbols, unknown=self.unknown)

    def __len__(self) -> int:
        """Returns V, the number of symbols."""
        return len(self.symbols)

    @property
    def newline_id(self) -> int | None:
        """The id of a line feed; None if the vocabulary has none."""
        return self._newline

    def encode(self, text: Piece, on_unknown: OnUnknown = "error") -> Ids:
        r"""Returns the ids of a text.

        Args:
            text: characters; a byte vocabulary takes bytes too, and reads characters as UTF-8.
            on_unknown: ``"skip"`` leaves unknown characters out. Otherwise they get the
                vocabulary's symbol for them; if it has none, ``"error"`` raises, and ``"charge"``
                leaves them out, too.

        Returns:
            One id per symbol, (n,), without those that were left out.

        Raises:
            UnknownCharacterError: The text holds characters outside the vocabulary.
        """
        if self.unit == "byte":
            return np.frombuffer(_utf_8(text, on_unknown), dtype=np.uint8)
        assert isinstance(text, str), "a character vocabulary reads characters"
        ids = self._look_up(text)
        known = ids < len(self.symbols)
        if not known.all():
            if self._unknown_id is not None and on_unknown != "skip":
                ids[~known] = self._unknown_id
            elif on_unknown == "error":
                raise UnknownCharacterError(self._describe_unknown(text))
            else:
                ids = ids[known]
        return ids.astype(self.dtype, copy=False)

    def _look_up(self, text: str) -> Ids:
        """Returns each character's id, (n,); V for an unknown one."""
        return np.asarray(self._table.take(_code_points(text), mode="clip"))

    def known(self, text: Piece) -> npt.NDArray[np.bool_]:
        """Returns whether each character of a text is one of the symbols, (n,)."""
        if isinstance(text, bytes):
            return np.ones(len(text), dtype=np.bool_)
        return self._look_up(text) < len(self.symbols)

    def count_unknown(self, text: Piece) -> int:
        """Returns how many characters of a text are none of the symbols."""
        return 0 if self.unit == "byte" else int((~self.known(text)).sum())

    def decode(self, ids: Iterable[int] | Ids) -> Piece:
        """Returns the text of ids: characters, or bytes if the unit is the byte."""
        codes = self._codes[np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), int)]
        if self.unit == "byte":
            return bytes(codes.astype(np.uint8))
        return bytes(codes.astype("<u4")).decode("utf-32-le", "surrogatepass")

    def to_piece(self, text: Piece, on_unknown: OnUnknown = "error") -> Piece:
        """Returns a text as :meth:`decode` would: characters for a byte vocabulary as UTF-8.

        Raises:
            UnknownCharacterError: It cannot be written as UTF-8.
        """
        return _utf_8(text, on_unknown) if self.unit == "byte" else text

    def to_json(self) -> str:
        """Returns the symbols as a JSON array in the order of their ids, for a checkpoint."""
        return json.dumps(self.symbols)

    @classmethod
    def from_json(cls, unit: Unit, text: str, unknown: str | None = None) -> "Vocabulary":
        """Reads what :meth:`to_json` wrote.

        Raises:
            CheckpointError: The text is not a JSON array of different symbols of that unit.
        """
        try:
            symbols = read_json(text)
        except ValueError:
            raise CheckpointError("its vocabulary is not JSON") from None
        ok = isinstance(symbols, list)
        if unit == "byte":
            ok = ok and symbols == list(range(256)) and all(type(s) is int for s in symbols)
        else:
            ok = ok and all(isinstance(s, str) and len(s) == 1 for s in symbols)
            ok = ok and len(set(symbols)) == len(symbols) >= 2
            # half a character is no text, and cannot be written
            ok = ok and not any("\ud800" <= s <= "\udfff" for s in symbols)
        if not ok:
            raise CheckpointError(f"its vocabulary is not a JSON array of different {unit}s")
        if unknown is not None and unknown not in symbols:
            raise CheckpointError("its vocabulary lacks the symbol for unknown characters")
        return cls(unit, symbols, unknown=unknown)

    def _describe_unknown(self, text: str) -> str:
        symbols = set(self.symbols)
        unknown = list(dict.fromkeys(c for c in text if c not in symbols))
        names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:_SHOWN_UNKNOWN])
        more = len(unknown) - _SHOWN_UNKNOWN
        names += f" and {more} more" if more > 0 else ""
        return (
            f"the model does not know {names}; it was trained on {len(self)} other characters: "
            "leave unknown ones out with --on-unknown skip"
        )
