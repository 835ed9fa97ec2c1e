"""A text's lines, as soon as they are complete; a very long one is kept in a temporary file."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from charrnn.errors import CorpusError, reason
from charrnn.text.vocabulary import Piece

LONG = 2**20  # symbols of a line that stays in memory, at most
PIECE = 2**18  # symbols of a longer one that are read at once


class LongLine:
    """A line that is too long for memory, in a file that vanishes with it; iterated in pieces."""

    _file: Any = None

    def add(self, text: Piece) -> None:
        """Continues the line.

        Raises:
            CorpusError: There is no place for it.
        """
        with _named_errors():
            if self._file is None:
                as_it_is = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
                options: Any = {} if isinstance(text, bytes) else {"mode": "w+", **as_it_is}
                self._file = tempfile.TemporaryFile(**options)  # noqa: SIM115
            self._file.write(text)
            self._file.flush()

    def __iter__(self) -> Iterator[Piece]:
        """Yields the line from its start, in pieces."""
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def __del__(self) -> None:
        """Removes the file."""
        if self._file is not None:
            self._file.close()


Line = str | bytes | LongLine  # without its end


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"a line of more than {LONG:,} characters cannot be kept in a temporary file: "
            f"{reason(error)}: free some space, or name another folder in TMPDIR"
        ) from None


class _Begun:
    """A line whose end is still to come."""

    def __init__(self, part: Any) -> None:
        """Begins it with its first part."""
        self._long: LongLine | None = None
        self._parts = [part]
        self._size = len(part)  # of the parts, in symbols

    def add(self, part: Any) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > LONG:
            joined = self._joined()
            self._long = self._long or LongLine()
            self._long.add(joined)
            self._parts, self._size = [joined[:0]], 0

    def end(self) -> Line:
        """Returns the line."""
        last: Piece = self._joined()
        if self._long is None:
            return last
        self._long.add(last)
        return self._long

    def __bool__(self) -> bool:
        return self._long is not None or any(self._parts)

    def _joined(self) -> Any:
        return self._parts[0][:0].join(self._parts)  # of the parts' own type


def split_lines(pieces: Iterable[Piece]) -> Iterator[list[Line]]:
    """Yields a text's lines without their ends: all that a piece completes, as soon as it does.

    Only a line feed ends a line. A carriage return is text, as in the whole text: if Windows line
    ends are read as newlines, the pieces have none of them any more.

    Raises:
        CorpusError: A long line cannot be kept.
    """
    begun: _Begun | None = None
    for piece in pieces:
        line_feed: Any = b"\n" if isinstance(piece, bytes) else "\n"
        first, *others = piece.split(line_feed)
        begun = begun or _Begun(first[:0])
        begun.add(first)
        if others:
            lines = [begun.end(), *others[:-1]]
            begun = _Begun(others[-1])
            yield lines
    if begun:
        yield [begun.end()]
