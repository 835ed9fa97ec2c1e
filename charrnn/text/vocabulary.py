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
UNKNOWN = "\ufffd"
"""The one symbol for all characters that a vocabulary leaves out, where it has one."""
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
    """The set of characters seen so far, collected piece by piece, and how often each was seen."""

    def __init__(self, *, counted: bool = False) -> None:
        """Starts with no character.

        Args:
            counted: count them; else :meth:`vocabulary` knows only whether one was seen.
        """
        # of each code point, how often it was seen; or just whether
        self._counts: Ids = np.zeros(CODE_POINTS, dtype=np.int64 if counted else np.uint8)
        self._counted = counted
        self._seen_ascii = b""

    def add(self, text: str) -> None:
        """Adds every character of a text."""
        if self._counted:
            codes = _code_points(text)
            counts = np.bincount(codes)
            self._counts[: len(counts)] += counts
        elif text.isascii():
            # what is new is found by taking out what is known: no text is looked at twice
            new = bytes(set(text.encode("ascii").translate(None, self._seen_ascii)))
            self._seen_ascii += new
            self._counts[list(new)] = 1
        else:
            codes = _code_points(text)
            # looking up is faster than noting
            if not self._counts.take(codes, mode="clip").all():
                self._counts[codes] = 1

    def vocabulary(self, min_count: int = 1, *, open_ended: bool = False) -> "Vocabulary":
        """Returns the vocabulary of the characters seen, sorted by code point.

        Args:
            min_count: characters seen less often are unknown, and become :data:`UNKNOWN`.
            open_ended: others may come later, and become it too.
        """
        kept = [chr(code) for code in np.flatnonzero(self._counts >= min_count)]
        if not open_ended and not self.rare(min_count):
            return Vocabulary("char", kept)
        return Vocabulary("char", sorted({*kept, UNKNOWN}), unknown=UNKNOWN)

    def outside(self, vocabulary: "Vocabulary") -> int:
        """Returns how many characters of the text were seen, each, that are none of its symbols."""
        counts = self._counts.copy()
        counts[[ord(str(symbol)) for symbol in vocabulary.symbols]] = 0
        return int(counts.sum())

    def rare(self, min_count: int) -> int:
        """Returns how many characters of the text were seen, each, but less often than that."""
        few = (self._counts > 0) & (self._counts < min_count)
        return int(self._counts[few].sum())


class Vocabulary:
    """A one-to-one map between symbols and ids ``0 .. V-1``.

    Attributes:
        unit: what a symbol is, ``"char"`` or ``"byte"``.
        symbols: each id's symbol in order: one-character strings, or integers 0 to 255.
        unknown: the symbol that stands for all characters that are none of them; None: an error.
        dtype: the smallest unsigned integer type that holds every id.
    """

    def __init__(
        self,
        unit: Unit,
        symbols: Iterable[str] | Iterable[int],
        *,
        unknown: str | None = None,
    ) -> None:
        """Makes the map.

        Args:
            unit: what a symbol is.
            symbols: each id's symbol, in order and all different.
            unknown: one of them.
        """
        self.unit, self.unknown = unit, unknown
        self.symbols: tuple[str | int, ...] = tuple(symbols)
        self.dtype = np.min_scalar_type(max(len(self.symbols) - 1, 0))
        codes = [ord(s) if isinstance(s, str) else s for s in self.symbols]
        self._codes = np.array(codes, dtype=np.uint32)
        # code -> id; V stands for an unknown character, and so does the last entry for all beyond
        self._table = np.full(max(codes, default=0) + 2, len(codes), np.min_scalar_type(len(codes)))
        self._table[codes] = np.arange(len(codes))
        self._unknown_id = None if unknown is None else self.symbols.index(unknown)
        # the same for ASCII alone: bytes can be looked up faster, and what is unknown taken out
        self._ascii = bytes(code for code in codes if code < 128)
        ids = self._table.take(range(128), mode="clip")
        if self._unknown_id is not None:
            ids[ids == len(codes)] = self._unknown_id
        ids = ids.clip(max=255).astype(
            np.uint8
        )  # of 256 symbols, an unknown one is never looked up
        self._ascii_ids = bytes(ids) + bytes(128) if self.dtype == np.uint8 else None
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
        """The id of a line feed; None where the vocabulary has none."""
        return self._newline

    def encode(self, text: str | bytes, on_unknown: OnUnknown = "error") -> Ids:
        r"""Returns the ids of a text.

        Args:
            text: characters; a byte vocabulary takes bytes too, and reads characters as UTF-8.
            on_unknown: ``"error"`` raises, unless the vocabulary has a symbol for them;
                ``"skip"`` leaves unknown characters out.

        Returns:
            One id per symbol, shape ``(n,)``; shorter than the text by what was left out.

        Raises:
            UnknownCharacterError: The text holds characters outside the vocabulary.
        """
        if self.unit == "byte":
            return np.frombuffer(_utf_8(text, on_unknown), dtype=np.uint8)
        assert isinstance(text, str), "a character vocabulary reads characters"
        if on_unknown == "error" and self._ascii_ids is not None and text.isascii():
            data = text.encode("ascii")
            if self.unknown is not None or not data.translate(None, self._ascii):
                return np.frombuffer(data.translate(self._ascii_ids), dtype=np.uint8)
        ids = self._look_up(text)
        known = ids < len(self.symbols)
        if not known.all():
            if on_unknown == "skip":
                ids = ids[known]
            elif self._unknown_id is not None:
                ids[~known] = self._unknown_id
            else:
                raise UnknownCharacterError(self._describe_unknown(text))
        return ids.astype(self.dtype, copy=False)

    def _look_up(self, text: str) -> Ids:
        """Returns each character's id; V for an unknown one."""
        return np.asarray(self._table.take(_code_points(text), mode="clip"))

    def count_unknown(self, text: str | bytes) -> int:
        """Returns how many characters of a text are none of the symbols."""
        if self.unit == "byte" or isinstance(text, bytes):
            return 0
        return int((self._look_up(text) == len(self.symbols)).sum())

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
    def from_json(cls, unit: Unit, text: str, unknown: str | None = None) -> "Vocabulary":
        """Reads what :meth:`to_json` wrote.

        Args:
            unit: what a symbol is.
            text: the JSON.
            unknown: the symbol for all others.

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
        if unknown is not None and unknown not in symbols:
            raise CheckpointError("its vocabulary lacks the symbol for unknown characters")
        return cls(unit, symbols, unknown=unknown)

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
