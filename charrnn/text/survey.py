"""The first pass over a corpus: its size, its hash, its vocabulary."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.config import UNIT_NAMES
from charrnn.errors import CorpusError
from charrnn.text.chunks import segments
from charrnn.text.corpus import Corpus
from charrnn.text.order import AlphabeticalOrder
from charrnn.text.vocabulary import CharacterSet, Piece, Vocabulary

MARK_CHARS = 2**20  # symbols between two marks of a text
MIN_CORPUS_CHARS = 32  # below that, there is nothing to learn and nothing to validate on


@dataclass(frozen=True)
class Digest:
    """What shows whether a corpus has changed; nothing of one that has not ended."""

    chars: int | None = None  # characters (or bytes)
    sha256: str = ""  # of the whole text as UTF-8
    text: tuple[Piece, ...] | None = None  # all pieces, if the corpus fits in one block
    marks: tuple[bytes, ...] = ()  # the hash up to each mark, and up to the end


@dataclass(frozen=True)
class Survey:
    """What the first pass finds."""

    digest: Digest
    vocabulary: Vocabulary
    unknown_chars: int = 0  # characters of the text that are none of the symbols
    is_sorted: bool = False  # whether its lines are in order of the alphabet


def marked(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bytes, bytes]]:
    """Yields a text from mark to mark, as pieces of :data:`MARK_CHARS` symbols.

    Yields:
        A piece, its bytes of UTF-8, and the hash of the text up to its end.
    """
    sha256 = hashlib.sha256()
    for piece in segments(pieces, MARK_CHARS):
        data = piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        sha256.update(data)
        yield piece, data, sha256.digest()


def digest(
    corpus: Corpus,
    watch: Callable[[int], None] = lambda size_bytes: None,
    look: Callable[[Piece, int], None] = lambda piece, chars_before: None,
) -> Digest:
    """Reads a whole corpus once: counts and hashes it.

    Args:
        corpus: the text.
        watch: called with the bytes of UTF-8 read so far.
        look: called with each piece, and the characters before it.

    Raises:
        CorpusError: It cannot be read, is empty or too small.
    """
    chars, size = 0, 0
    marks: list[bytes] = []
    text: list[Piece] | None = []
    for piece, data, mark in marked(corpus.pieces()):
        look(piece, chars)
        marks.append(mark)
        chars += len(piece)
        size += len(data)
        if text is not None:
            text.append(piece)
            if chars > corpus.config.block_chars:
                text = None
        watch(size)
    if chars == 0:
        raise CorpusError(f"{corpus.name}: it is empty: name a source that holds text")
    if chars < MIN_CORPUS_CHARS:
        raise CorpusError(
            f"{corpus.name}: {chars} {UNIT_NAMES[corpus.config.unit]}s; "
            f"training needs at least {MIN_CORPUS_CHARS}: use a longer text"
        )
    whole = None if text is None else tuple(text)
    return Digest(chars, marks[-1].hex(), whole, tuple(marks))


def survey(corpus: Corpus, watch: Callable[[int], None] = lambda size_bytes: None) -> Survey:
    """Reads a whole corpus once, and collects its vocabulary; arguments as :func:`digest`.

    Raises:
        CorpusError: It cannot be read, is empty or too small, or has only one distinct character.
    """
    config = corpus.config
    characters = CharacterSet()
    later = CharacterSet()  # what comes after the first N characters, if only they are known
    order = AlphabeticalOrder()
    first: Any = None
    uniform = True  # so far all symbols are the first one

    def look(piece: Piece, chars_before: int) -> None:
        nonlocal first, uniform
        order.look(piece)
        first = first or piece[:1]
        uniform = uniform and not piece.strip(first)
        if isinstance(piece, str):
            limit = config.vocabulary_from
            split = len(piece) if limit is None else max(limit - chars_before, 0)
            characters.add(piece[:split])
            later.add(piece[split:])

    whole = digest(corpus, watch, look)
    if uniform:
        symbols = f"{UNIT_NAMES[config.unit]}s"
        raise CorpusError(
            f"{corpus.name}: its {whole.chars} {symbols} are all {first!r}: "
            f"there is nothing to learn; use a text of at least two distinct {symbols}"
        )
    if config.unit == "byte":
        return Survey(whole, Vocabulary.of_bytes(), is_sorted=order.is_sorted)
    open_ended = config.vocabulary_from is not None
    vocabulary = characters.vocabulary(config.min_count, open_ended=open_ended)
    unknown_chars = characters.outside(vocabulary) + later.outside(vocabulary)
    return Survey(whole, vocabulary, unknown_chars, order.is_sorted)


def survey_start(corpus: Corpus) -> Survey:
    """Returns what can be known of a text that has not ended: its symbols.

    They are all bytes, or the characters of its start; all others are unknown.
    """
    missing = corpus.config.vocabulary_from
    if corpus.config.unit == "byte":
        return Survey(Digest(), Vocabulary.of_bytes())
    assert missing is not None, "a text without an end, and no limit to its vocabulary"
    characters = CharacterSet()
    for piece in corpus.pieces():
        assert isinstance(piece, str)
        characters.add(piece[:missing])
        missing -= len(piece)
        if missing <= 0:
            break
    return Survey(Digest(), characters.vocabulary(corpus.config.min_count, open_ended=True))
