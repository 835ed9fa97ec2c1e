"""Every setting, its default and its range, in one place.

Four frozen dataclasses: what the model is, where its text comes from, how it is trained, how it is
sampled. The command line, the documentation and the tests read the defaults here. No torch.

A field ``hidden_size`` is the option ``--hidden-size``. A value out of range raises
:class:`~charrnn.errors.OptionError`, which names the option, the value and the range.
"""

import bisect
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, Piece, Place
from charrnn.text.vocabulary import CharacterSet, Vocabulary

MIN_CORPUS_CHARS = 32
"""Characters (or bytes) below which there is nothing to learn and nothing to validate on."""


def check_corpus_size(name: str, chars: int) -> None:
    """Checks that a corpus is large enough to train on at all.

    Args:
        name: how to call the corpus in the message.
        chars: its size, in characters (or bytes).

    Raises:
        CorpusError: It is too small; says how much is needed.
    """
    if chars < MIN_CORPUS_CHARS:
        raise CorpusError(
            f"{name}: {chars} characters; training needs at least {MIN_CORPUS_CHARS}: "
            "use a longer text"
        )


PLACE_EVERY = 2**22
"""Characters between two places that are remembered."""


@dataclass(frozen=True)
class Survey:
    """What is known of a corpus before it is trained on.

    Attributes:
        chars: characters of the corpus (bytes where the unit is the byte); None where it has no
            end yet.
        vocabulary: its symbols.
        sha256: hash of the whole text, as UTF-8; tells whether a corpus changed.
        text: the pieces themselves where the corpus fits in one block, else None.
        places: where reading can start, in order.
        unknown_chars: characters of the text that are none of the symbols.
    """

    chars: int | None
    vocabulary: Vocabulary
    sha256: str = ""
    text: tuple[Piece, ...] | None = None
    places: tuple[Place, ...] = ()
    unknown_chars: int = 0

    def place_before(self, chars: int) -> Place:
        """Returns the last place that is no later than so many characters."""
        number = bisect.bisect_right(self.places, chars, key=lambda place: place.chars)
        return self.places[number - 1] if number else Place()


def survey(corpus: Corpus, watch: Callable[[int], None] = lambda size_bytes: None) -> Survey:
    """Reads a whole corpus once: counts it, hashes it and collects its vocabulary.

    Args:
        corpus: the text.
        watch: told again and again how many bytes of UTF-8 were read.

    Raises:
        CorpusError: It is empty, too small, or has only one distinct character.
    """
    config = corpus.config
    first_chars = config.vocabulary_from
    characters = CharacterSet(counted=config.min_count > 1 or first_chars is not None)
    later = CharacterSet(counted=True)  # what comes after the characters of the vocabulary
    chars, size, digest = 0, 0, hashlib.sha256()
    places: list[Place] = []
    kept: list[Piece] | None = []
    first: Any = None
    uniform = True  # so far all symbols are the first one
    for piece, place in corpus.pieces_and_places():
        first = first or piece[:1]
        uniform = uniform and not piece.strip(first)
        if isinstance(piece, str):
            left = len(piece) if first_chars is None else max(first_chars - chars, 0)
            characters.add(piece[:left])
            if left < len(piece):
                later.add(piece[left:])
        data = piece.encode("utf-8", "replace") if isinstance(piece, str) else piece
        digest.update(data)
        chars += len(piece)
        size += len(data)
        if place is not None and chars >= PLACE_EVERY * (len(places) + 1):
            places.append(place)
        if kept is not None:
            kept.append(piece)
            if chars > config.block_chars:
                kept = None
        watch(size)
    if chars == 0:
        raise CorpusError(f"{corpus.name}: it is empty: name a source that holds text")
    check_corpus_size(corpus.name, chars)
    if uniform:
        raise CorpusError(
            f"{corpus.name}: its {chars} characters are all {first!r}: "
            "there is nothing to learn; use a text of at least two distinct characters"
        )
    text = None if kept is None else tuple(kept)
    if config.unit == "byte":
        return Survey(chars, Vocabulary.of_bytes(), digest.hexdigest(), text, tuple(places))
    vocabulary = characters.vocabulary(config.min_count, open_ended=first_chars is not None)
    unknown = characters.rare(config.min_count) + later.outside(vocabulary)
    return Survey(chars, vocabulary, digest.hexdigest(), text, tuple(places), unknown)


def first_vocabulary(corpus: Corpus, chars: int) -> Vocabulary:
    """Returns the vocabulary of a text's first so many characters; all others are unknown."""
    characters = CharacterSet(counted=True)
    for piece in corpus.pieces():
        assert isinstance(piece, str)
        characters.add(piece[:chars])
        chars -= len(piece)
        if chars <= 0:
            break
    return characters.vocabulary(corpus.config.min_count, open_ended=True)
