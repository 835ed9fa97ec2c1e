"""The texts of a training as they are read for the first time: kept, surveyed, or refused.

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
from charrnn.errors import CorpusError, OptionError
from charrnn.text import spool
from charrnn.text.corpus import Corpus
from charrnn.text.formats import compression, kind_of, known_endings
from charrnn.text.recognize import HEAD_BYTES
from charrnn.text.sources import is_stream
from charrnn.text.spool import STDIN_FILE, Spool
from charrnn.text.survey import Survey, survey, survey_start
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
            watched = watching(copy, watch)
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


def watching(text: Corpus | Spool, watch: Watch) -> Callable[[int], None]:
    """Returns what calls ``watch`` with the bytes read so far of a text; see :data:`Watch`."""

    def size_bytes() -> int | None:
        # how much a pipe will send, nobody knows
        return None if isinstance(text, Spool) else text.size_bytes()

    return lambda size: watch(text.name, size, size_bytes)


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


def first_pass(corpus: Corpus, watch: Watch, *, ended: bool) -> Survey:
    """Reads a text for the first time; of one that has not ended, only the start.

    Raises:
        CorpusError: It cannot be read, or is too small.
        OptionError: Its lines should be held out, and it has not ended.
    """
    if ended:
        return survey(corpus, watching(corpus, watch))
    if corpus.config.hold_out == "lines":
        raise OptionError(
            f"--split lines: {corpus.name} has not ended, so none of its lines can be held out: "
            "leave --split out, and name another text with --val-source"
        )
    return survey_start(corpus)


def first_notes(corpus: Corpus, found: Survey) -> list[str]:
    """Returns what the user should know after the first pass, a line each."""
    notes = []
    if found.digest.chars is None:
        notes.append(
            f"more than {spool.SPOOL_BYTES:,} bytes: trained on while it arrives, "
            f"and kept in {corpus.files[0].path}"
        )
    else:
        notes += corpus.notes
    if found.unknown_chars:
        notes.append(f"{found.unknown_chars:,} characters of the text are unknown to the model")
    return notes


def advice_on_order(corpus: Corpus) -> list[str]:
    """Returns what to do about sorted lines, if the tail validates."""
    if corpus.config.hold_out == "lines" or not corpus.config.val_fraction:
        return []
    return [
        f"{corpus.name}: its lines are sorted, so it is the end of the alphabet that validates; "
        "--split lines holds out lines from all of it instead"
    ]


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
