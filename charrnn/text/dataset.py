"""The training text, the validation text, the vocabulary, and how to find them again."""

import glob
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import DataConfig, TrainingConfig
from charrnn.errors import CorpusError
from charrnn.fields import typed
from charrnn.text.corpus import Corpus, Place
from charrnn.text.sources import HUB_PREFIX, is_stream
from charrnn.text.spool import Spool
from charrnn.text.survey import Survey, first_vocabulary, survey
from charrnn.text.vocabulary import Ids, Vocabulary

Watch = Callable[[Corpus, int], None]

SPOOL_BYTES = 2**26
"""Standard input of more than this is trained on as it comes, where the vocabulary is known."""


def _notes_on(corpus: Corpus, known: Survey) -> list[str]:
    """Returns what the user should know of a text, a line each."""
    notes = []
    if known.chars is None:
        kept = corpus.files[0]
        notes.append(f"more than {SPOOL_BYTES:,} bytes: trained on as it comes, and kept in {kept}")
    if corpus.skipped:
        notes.append(f"{len(corpus.skipped)} binary files skipped, {corpus.skipped[0]} first")
    if corpus.marked:
        notes.append(f"byte-order mark left out: {', '.join(corpus.marked[:3])}")
    if known.unknown_chars:
        notes.append(f"{known.unknown_chars:,} characters of the text are unknown to the model")
    return notes


def _can_do_without_an_end(data: DataConfig) -> bool:
    return data.unit == "byte" or data.vocabulary_from is not None


def _first_look(corpus: Corpus, spool: Spool | None, watch: Watch) -> Survey:
    """Reads a corpus once, or as much as its vocabulary needs of one that has no end yet."""
    if spool is None or spool.ended:
        return survey(corpus, lambda size_bytes: watch(corpus, size_bytes))
    if corpus.config.unit == "byte":
        return Survey(None, Vocabulary.of_bytes())
    assert corpus.config.vocabulary_from is not None
    return Survey(None, first_vocabulary(corpus, corpus.config.vocabulary_from))


def _validation(source: str, data: DataConfig, vocabulary: Vocabulary) -> tuple[Ids, str, int]:
    """Returns the ids of another text, their hash, and how many unknown characters it has."""
    limit = TrainingConfig.max_val_chars
    if is_stream(source):
        raise CorpusError(f"{source}: --val-source is read again at a resume: name a file")
    parts, missing = [np.zeros(0, dtype=vocabulary.dtype)], 0
    for piece in Corpus([source], data).pieces():
        missing += vocabulary.count_unknown(piece)
        parts.append(vocabulary.encode(piece, "skip")[:limit])
        limit -= len(parts[-1])
        if not limit:
            break
    ids = np.concatenate(parts)
    if len(ids) < 2:
        raise CorpusError(f"{source}: {len(ids)} known characters; validation needs at least 2")
    return ids, hashlib.sha256(ids.tobytes()).hexdigest(), missing


@dataclass(frozen=True)
class _Origin:
    """What a training file tells, to find the text again.

    Attributes:
        sources: as the user named them; paths are absolute, a kept copy is relative to the run.
        corpus_chars: characters of the text; None where it had no end.
        corpus_sha256: its hash.
        asked: settings that were asked for and did not fit the text.
        stamps: size and time of change of each file; None where one is no local file.
        places: where reading can start.
        val_source: another text that validates.
        val_sha256: its hash.
    """

    sources: list[str]
    corpus_chars: int | None
    corpus_sha256: str
    asked: dict[str, Any]
    stamps: list[list[int]] | None = None
    places: list[list[int]] = field(default_factory=list)
    val_source: str | None = None
    val_sha256: str = ""

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "_Origin":
        """Returns what a training state tells.

        Raises:
            TypeError: It is of another type.
            ValueError: It makes no sense.
        """
        origin = typed(cls, {k: state[k] for k in cls.__annotations__ if k in state})
        if not all(isinstance(source, str) for source in origin.sources):
            raise TypeError("a source that is no text")
        for place in origin.places:
            if len(place) != 3 or not all(type(n) is int and n >= 0 for n in place):
                raise ValueError(f"a place of {place!r:.100}")
        return origin


def _known_again(corpus: Corpus, origin: _Origin, vocabulary: Vocabulary, watch: Watch) -> Survey:
    """Returns what was known of the text; a large one is not read again where no file has changed.

    Raises:
        CorpusError: It is another text now.
    """
    then = origin.corpus_chars
    if then is None:
        return Survey(None, vocabulary)
    if then > corpus.config.block_chars and origin.stamps and corpus.stamps() == origin.stamps:
        places = tuple(Place(*place) for place in origin.places)
        return Survey(then, vocabulary, origin.corpus_sha256, None, places)
    now = survey(corpus, lambda size_bytes: watch(corpus, size_bytes))
    if (now.chars, now.sha256) != (then, origin.corpus_sha256):
        chars = f"{now.chars:,} characters" if now.chars != then else "other characters"
        raise CorpusError(
            f"{corpus.name}: the text has changed since the run began ({then:,} characters then, "
            f"{chars} now): restore it, or start a new run"
        )
    return replace(now, vocabulary=vocabulary)  # which may have more characters than the text


def _absolute(source: str) -> str:
    """Returns a source so that it is found from any folder: a path or a glob, but no Hub name."""
    if source.startswith(HUB_PREFIX) and not Path(source).exists():
        return source
    if Path(source).exists():
        return str(Path(source).absolute())
    return os.path.join(glob.escape(os.getcwd()), source)
