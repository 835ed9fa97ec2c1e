"""The training text, the validation text, the vocabulary, and how to find them again.

The wings above know of texts only what a :class:`Dataset` offers: nothing of sources, copies of
pipes, first passes or hashes.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from charrnn.config import UNIT_NAMES, DataConfig, TrainingConfig
from charrnn.errors import CorpusError, OptionError
from charrnn.text.chunks import Reader
from charrnn.text.corpus import Corpus
from charrnn.text.holdout import LinesHeldOut, corpus_of
from charrnn.text.origin import Origin
from charrnn.text.settings import refuse_unused
from charrnn.text.sources import absolute, is_stream, plain_name
from charrnn.text.spool import SPOOL_BYTES, keep_streams
from charrnn.text.survey import Survey, digest, survey, survey_start
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

# called with a text's name, the bytes of UTF-8 read so far, and what tells how many there are
Watch = Callable[[str, int, Callable[[], int | None]], None]


def ignore(name: str, done_bytes: int, size_bytes: Callable[[], int | None]) -> None:
    """Does nothing: the watch of those who do not watch."""


def run_name(sources: Sequence[str]) -> str:
    """Returns a run's name for its sources: the first one's, without folder and suffixes."""
    return "stdin" if is_stream(sources[0]) else plain_name(sources[0])


class Dataset:
    """The texts of one training, as ids.

    Attributes:
        name: what to call the training text in a message.
        train_chars: characters of the training text; infinite if it has not ended yet.
        val_chars: characters of the validation text.
        origin: how to find the texts again.
        notes: what the user should know of the texts, a line each.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        origin: Origin,
        *,
        text: Sequence[Piece] | None = None,
        validation: Ids | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Puts together what :meth:`open` and :meth:`reopen` find.

        Args:
            corpus: the text; read again for every epoch unless ``text`` is all of it.
            vocabulary: its symbols.
            origin: how to find it again.
            text: the pieces of a text that fits in one block.
            validation: ids of another text to validate on: then all of the corpus trains.
            notes: what the user should know of it.
        """
        self.config, self.vocabulary, self.origin = corpus.config, vocabulary, origin
        self.name, self.notes = corpus.name, list(notes)
        self._corpus, self._validation = corpus, validation
        self._ids: Ids | None = None
        if text is not None:
            self._ids = np.concatenate([vocabulary.encode(piece) for piece in text])
        chars = origin.corpus_chars
        self.train_chars = math.inf if chars is None else chars
        self.val_chars = 0 if validation is None else len(validation)
        if validation is None and chars is not None:
            cut = corpus if isinstance(corpus, LinesHeldOut) else self.config
            train_chars = cut.train_chars(chars)
            self.train_chars, self.val_chars = train_chars, chars - train_chars

    @classmethod
    def open(
        cls,
        sources: Sequence[str],
        config: DataConfig,
        keep_in: Callable[[], Path],
        *,
        val_source: str | None = None,
        extra: Vocabulary | None = None,
        watch: Watch = ignore,
    ) -> "Dataset":
        """Opens texts for the first time, and reads them once.

        Args:
            sources: files, folders, globs, ``-`` for standard input, ``hf:NAME``.
            config: how to read and cut them.
            keep_in: returns the folder for copies of sources that can be read only once.
            val_source: another text to validate on, instead of the tail of this one.
            extra: symbols to know besides those of the text.
            watch: called while the text is read.

        Raises:
            CorpusError: A text cannot be read, or is too small.
            OptionError: A setting means nothing for it.
        """
        with contextlib.ExitStack() as on_error:
            copies = keep_streams(sources, config, keep_in, on_error)
            corpus = corpus_of(sources, config, copies)
            other = None if val_source is None else _validation_corpus(val_source, config)
            refuse_unused(config, [corpus, *([other] if other else [])])
            ended = all(copy.ended for copy in copies.values())
            first_pass = _first_pass(corpus, watch, ended=ended)
            vocabulary, notes = first_pass.vocabulary, _notes(corpus, first_pass)
            if first_pass.is_sorted and other is None:
                notes += _advice_on_order(corpus)
            if extra is not None:
                vocabulary = vocabulary.union(extra)
            validation, val_sha256 = None, ""
            if val_source is not None and other is not None:
                validation, val_sha256, unknown = _read_validation(other, vocabulary)
                notes += other.notes
                if unknown:
                    notes.append(
                        f"{val_source}: {unknown:,} characters unknown to the model left out"
                    )
                val_source = absolute(val_source)
            # a copy is named relative to the run, which may be moved
            again = [
                copies[i].path.name if i in copies else absolute(s) for i, s in enumerate(sources)
            ]
            whole = first_pass.digest
            origin = Origin(config, again, whole.chars, whole.sha256, val_source, val_sha256)
            dataset = cls(
                corpus, vocabulary, origin, text=whole.text, validation=validation, notes=notes
            )
            on_error.pop_all()
            return dataset

    @classmethod
    def reopen(
        cls,
        origin: Origin,
        vocabulary: Vocabulary,
        folder: Path,
        watch: Watch = ignore,
    ) -> "Dataset":
        """Opens texts again that a training began with, in the run's folder or where they were.

        Raises:
            CorpusError: A text is gone, or it is another text now.
        """
        corpus, text = corpus_of(origin.paths(folder), origin.data_config), None
        if origin.corpus_chars is not None:
            now = digest(corpus, _watching(corpus, watch))
            if (now.chars, now.sha256) != (origin.corpus_chars, origin.corpus_sha256):
                same_size = now.chars == origin.corpus_chars
                symbols = f"{UNIT_NAMES[origin.data_config.unit]}s"
                earlier = ", or an earlier version read it otherwise" if origin.reader < 2 else ""
                raise CorpusError(
                    f"{corpus.name}: the text has changed since the run began{earlier} "
                    f"({origin.corpus_chars:,} {symbols} then, "
                    f"{'other' if same_size else f'{now.chars:,}'} {symbols} now): "
                    "restore it, or start a new run (--init-from takes the weights)"
                )
            text = now.text
        validation = None
        if origin.val_source is not None:
            other = _validation_corpus(origin.val_source, origin.data_config)
            validation, sha256, _ = _read_validation(other, vocabulary)
            if sha256 != origin.val_sha256:
                raise CorpusError(
                    f"{origin.val_source}: the text has changed since the run began: "
                    "restore it, or start a new run"
                )
        return cls(corpus, vocabulary, origin, text=text, validation=validation)

    def read(self, start: int = 0) -> Iterator[Ids]:
        """Yields the corpus's ids from character ``start`` on, in arrays of any size.

        Raises:
            CorpusError: A source cannot be read.
        """
        if self._ids is not None:
            yield self._ids[start:]
            return
        for piece in self._corpus.pieces():
            if start < len(piece):
                yield self.vocabulary.encode(piece[start:])
            start = max(start - len(piece), 0)

    def validation(self, limit: int) -> Ids:
        """Returns the ids of the validation text, (n,), at most ``limit`` from its start."""
        if self._validation is not None:
            return self._validation[:limit]
        if not self.val_chars:
            return np.zeros(0, dtype=self.vocabulary.dtype)
        return Reader(self.read(int(self.train_chars))).read(min(self.val_chars, limit))

    def holds(self, chars: int) -> bool:
        """Returns whether a text that has not ended may have so many characters by now."""
        size_bytes = self._corpus.size_bytes()
        return size_bytes is None or chars <= size_bytes

    @property
    def late_notes(self) -> list[str]:
        """What should be known of a text that had not ended when it was opened, as far as read."""
        return self._corpus.notes if self.origin.corpus_chars is None else []

    def close(self) -> None:
        """Closes a source that may still send text."""
        self._corpus.close()


def _watching(corpus: Corpus, watch: Watch) -> Callable[[int], None]:
    return lambda size_bytes: watch(corpus.name, size_bytes, corpus.size_bytes)


def _first_pass(corpus: Corpus, watch: Watch, *, ended: bool) -> Survey:
    if ended:
        return survey(corpus, _watching(corpus, watch))
    if corpus.config.hold_out == "lines":
        raise OptionError(
            f"--split lines: {corpus.name} has not ended, so none of its lines can be held out: "
            "leave --split out, and name another text with --val-source"
        )
    return survey_start(corpus)


def _notes(corpus: Corpus, first_pass: Survey) -> list[str]:
    notes = []
    if first_pass.digest.chars is None:
        notes.append(
            f"more than {SPOOL_BYTES:,} bytes: trained on while it arrives, "
            f"and kept in {corpus.files[0].path}"
        )
    else:
        notes += corpus.notes
    if first_pass.unknown_chars:
        notes.append(
            f"{first_pass.unknown_chars:,} characters of the text are unknown to the model"
        )
    return notes


def _advice_on_order(corpus: Corpus) -> list[str]:
    """Returns what to do about sorted lines, if the tail validates."""
    if corpus.config.hold_out == "lines" or not corpus.config.val_fraction:
        return []
    return [
        f"{corpus.name}: its lines are sorted, so it is the end of the alphabet that validates; "
        "--split lines holds out lines from all of it instead"
    ]


def _validation_corpus(source: str, config: DataConfig) -> Corpus:
    if is_stream(source):
        raise CorpusError(f"{source}: --val-source must be readable again at a resume: name a file")
    return Corpus([source], config)


def _read_validation(corpus: Corpus, vocabulary: Vocabulary) -> tuple[Ids, str, int]:
    """Returns the ids of another text, their hash, and how many unknown characters it has."""
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
