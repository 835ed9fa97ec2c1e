"""The first pass over a corpus: its size, its vocabulary, its hash."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn.errors import CorpusError
from charrnn.text.chunks import Piece
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import CharacterSet, Vocabulary

MIN_CORPUS_CHARS = 32  # below that, there is nothing to learn and nothing to validate on


@dataclass(frozen=True)
class Survey:
    """What the first pass finds."""

    chars: int | None  # characters (or bytes) of the corpus; None if it has not ended
    vocabulary: Vocabulary
    sha256: str = ""  # of the whole text as UTF-8: whether a corpus has changed
    text: tuple[Piece, ...] | None = None  # all pieces, if the corpus fits in one block
    unknown_chars: int = 0  # characters of the text that are none of the symbols


def survey(corpus: Corpus, watch: Callable[[int], None] = lambda size_bytes: None) -> Survey:
    """Reads a whole corpus once: counts it, hashes it and collects its vocabulary.

    ``watch`` is called with the bytes of UTF-8 read so far.

    Raises:
        CorpusError: It is empty, too small, or has only one distinct character.
    """
    config = corpus.config
    first_chars = config.vocabulary_from
    characters = CharacterSet()
    later = CharacterSet()  # what comes after the first N characters, if only they are known
    chars, size, digest = 0, 0, hashlib.sha256()
    text: list[Piece] | None = []
    first: Any = None
    uniform = True  # so far all symbols are the first one
    for piece in corpus.pieces():
        first = first or piece[:1]
        uniform = uniform and not piece.strip(first)
        data = piece
        if isinstance(piece, str):
            split = len(piece) if first_chars is None else max(first_chars - chars, 0)
            characters.add(piece[:split])
            later.add(piece[split:])
            data = piece.encode("utf-8", "replace")
        digest.update(data)  # type: ignore[arg-type]
        chars += len(piece)
        size += len(data)
        if text is not None:
            text.append(piece)
            if chars > config.block_chars:
                text = None
        watch(size)
    if chars == 0:
        raise CorpusError(f"{corpus.name}: it is empty: name a source that holds text")
    if chars < MIN_CORPUS_CHARS:
        raise CorpusError(
            f"{corpus.name}: {chars} characters; training needs at least {MIN_CORPUS_CHARS}: "
            "use a longer text"
        )
    if uniform:
        raise CorpusError(
            f"{corpus.name}: its {chars} characters are all {first!r}: "
            "there is nothing to learn; use a text of at least two distinct characters"
        )
    if config.unit == "byte":
        vocabulary, unknown = Vocabulary.of_bytes(), 0
    else:
        vocabulary = characters.vocabulary(config.min_count, open_ended=first_chars is not None)
        unknown = characters.outside(vocabulary) + later.outside(vocabulary)
    pieces = None if text is None else tuple(text)
    return Survey(chars, vocabulary, digest.hexdigest(), pieces, unknown)


def survey_start(corpus: Corpus) -> Survey:
    """Returns what can be known of a text that has not ended: its symbols.

    They are all bytes, or the characters of its start; all others are unknown.
    """
    missing = corpus.config.vocabulary_from
    if corpus.config.unit == "byte":
        return Survey(None, Vocabulary.of_bytes())
    assert missing is not None, "a text without an end, and no limit to its vocabulary"
    characters = CharacterSet()
    for piece in corpus.pieces():
        assert isinstance(piece, str)
        characters.add(piece[:missing])
        missing -= len(piece)
        if missing <= 0:
            break
    return Survey(None, characters.vocabulary(corpus.config.min_count, open_ended=True))
