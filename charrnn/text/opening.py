"""Opens the texts of a training: pipes are kept, and refused from their start if they are no text.

The first bytes of a pipe are read as text before more is copied, since it may have no end.
"""

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from charrnn.config import UNIT_NAMES, DataConfig, TrainingConfig
from charrnn.errors import CorpusError
from charrnn.text import spool
from charrnn.text.corpus import Corpus
from charrnn.text.formats import compression, kind_of, known_endings
from charrnn.text.recognize import HEAD_BYTES
from charrnn.text.sources import is_stream
from charrnn.text.spool import STDIN_FILE, Spool
from charrnn.text.vocabulary import Ids, Vocabulary

# called with a text's name, the bytes of UTF-8 read so far, and what tells how many there are
Watch = Callable[[str, int, Callable[[], int | None]], None]

UNIFORM_BYTES = 2**20  # the same one so often, at the start, is no text


def keep_streams(
    sources: Sequence[str],
    config: DataConfig,
    keep_in: Callable[[], Path],
    on_error: contextlib.ExitStack,
    watch: Watch,
) -> dict[int, Spool]:
    """Returns what keeps each source that can be read only once, by the source's number.

    Args:
        sources: what the user typed.
        config: how they are read.
        keep_in: returns the folder for the copies.
        on_error: closes them.
        watch: called while they are copied.

    Raises:
        CorpusError: One cannot be read or not be kept, is no text, or does not end.
    """
    copies = {}
    # training can start before the text has ended if all symbols are already known
    can_start_early = len(sources) == 1 and (config.unit == "byte" or config.vocabulary_from)
    for i, source in enumerate(sources):
        if is_stream(source):
            ending = known_endings(source)
            copies[i] = copy = Spool(source, keep_in() / f"{i or ''}{STDIN_FILE}{ending or '.txt'}")
            on_error.callback(copy.close)
            watched = _watching(copy, watch)
            # what cannot be read before it is whole: compressed files and binary tables
            is_plain = not compression(source) and kind_of(source) not in ("parquet", "arrow")
            limit = spool.SPOOL_BYTES if can_start_early and is_plain else math.inf
            copy.fill(min(HEAD_BYTES, limit), watched)
            if is_plain and copy.size:
                # an error names what is no text; what comes before it is the first piece
                for _ in itertools.islice(Corpus([source], config, {0: copy}).pieces(), 2):
                    pass
            copy.fill(min(UNIFORM_BYTES, limit), watched)
            _refuse_uniform(copy)
            copy.fill(limit, watched)
    return copies


def _watching(copy: Spool, watch: Watch) -> Callable[[int], None]:
    return lambda size: watch(copy.name, size, lambda: None)  # how much will come, nobody knows


def _refuse_uniform(copy: Spool) -> None:
    """Raises an error if a long text begins with nothing but one byte, like /dev/zero."""
    if copy.size < UNIFORM_BYTES:
        return
    with copy.path.open("rb") as stream:
        start = stream.read(UNIFORM_BYTES)
    if start == start[:1] * len(start):
        raise CorpusError(
            f"{copy.name}: its first {len(start):,} bytes are all {start[:1]!r}: "
            "there is nothing to learn; name a text"
        )


def validation_corpus(source: str, config: DataConfig) -> Corpus:
    """Returns another text to validate on.

    Raises:
        CorpusError: There is none, or it can be read only once.
    """
    if is_stream(source):
        raise CorpusError(f"{source}: --val-source must be readable again at a resume: name a file")
    return Corpus([source], config)


def read_validation(corpus: Corpus, vocabulary: Vocabulary) -> tuple[Ids, str, int]:
    """Returns the ids of another text, their hash, and how many unknown characters it has.

    Raises:
        CorpusError: It cannot be read, or has too few characters that are known.
    """
    missing = TrainingConfig.max_val_chars
    parts, unknown = [np.zeros(0, dtype=vocabulary.dtype)], 0
    for piece in corpus.pieces():
        unknown += vocabulary.count_unknown(piece)
        parts.append(vocabulary.encode(piece, "skip")[:missing])
        missing -= len(parts[-1])
        if not missing:
            break
    ids = np.concatenate(parts)
    if len(ids) < 2:
        symbols = f"{UNIT_NAMES[corpus.config.unit]}s"
        raise CorpusError(
            f"{corpus.name}: {len(ids)} known {symbols}; validation needs at least 2: "
            "name a longer text"
        )
    return ids, hashlib.sha256(ids.tobytes()).hexdigest(), unknown
