"""The training text, the validation text, the vocabulary, and how to find them again.

The wings above know of texts only what a :class:`Dataset` offers: nothing of sources, copies of
pipes, first passes or hashes.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config import UNIT_NAMES, DataConfig
from charrnn.errors import CorpusError
from charrnn.system import quoted
from charrnn.text.chunks import Reader
from charrnn.text.corpus import Corpus
from charrnn.text.holdout import LinesHeldOut, corpus_of
from charrnn.text.opening import Watch as Watch
from charrnn.text.opening import (
    advice_on_order,
    first_notes,
    first_pass,
    keep_streams,
    read_validation,
    validation_corpus,
    watching,
)
from charrnn.text.origin import Origin
from charrnn.text.settings import refuse_unused
from charrnn.text.sources import absolute, is_stream, plain_name
from charrnn.text.spool import check_copy
from charrnn.text.survey import MARK_CHARS, Digest, digest, marked
from charrnn.text.vocabulary import Ids, Piece, Vocabulary

COUNTED_CHARS = 2**20  # for the share of each symbol


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
        digest: Digest | None = None,
        validation: Ids | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Puts together what :meth:`open` and :meth:`reopen` find.

        Args:
            corpus: the text; read again for every epoch unless it fits in one block.
            vocabulary: its symbols.
            origin: how to find it again.
            digest: what the text was when it was read first.
            validation: ids of another text to validate on: then all of the corpus trains.
            notes: what the user should know of it.
        """
        self.config, self.vocabulary, self.origin = corpus.config, vocabulary, origin
        self.name, self.notes = corpus.name, list(notes)
        self._corpus, self._validation = corpus, validation
        self._ids: Ids | None = None
        if digest is not None and digest.text is not None:
            self._ids = np.concatenate([vocabulary.encode(piece) for piece in digest.text])
        self._marks = () if digest is None else digest.marks
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
            copies = keep_streams(sources, config, keep_in, on_error, watch)
            corpus = corpus_of(sources, config, copies)
            other = None if val_source is None else validation_corpus(val_source, config)
            refuse_unused(config, [corpus, *([other] if other else [])])
            ended = all(copy.ended for copy in copies.values())
            found = first_pass(corpus, watch, ended=ended)
            vocabulary, notes = found.vocabulary, first_notes(corpus, found)
            if found.is_sorted and other is None:
                notes += advice_on_order(corpus)
            if extra is not None:
                vocabulary = vocabulary.union(extra)
            validation, val_sha256 = None, ""
            if val_source is not None and other is not None:
                validation, val_sha256, unknown = read_validation(other, vocabulary)
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
            whole = found.digest
            origin = Origin(config, again, whole.chars, whole.sha256, val_source, val_sha256)
            dataset = cls(
                corpus, vocabulary, origin, digest=whole, validation=validation, notes=notes
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
        corpus, now = corpus_of(origin.paths(folder), origin.data_config), None
        if origin.corpus_chars is not None:
            now = digest(corpus, watching(corpus, watch))
            if (now.chars, now.sha256) != (origin.corpus_chars, origin.corpus_sha256):
                same_size = now.chars == origin.corpus_chars
                symbols = f"{UNIT_NAMES[origin.data_config.unit]}s"
                earlier = ", or an earlier version read it otherwise" if origin.reader < 2 else ""
                raise CorpusError(
                    f"{corpus.name}: the text has changed since the run began{earlier} "
                    f"({origin.corpus_chars:,} {symbols} then, "
                    f"{'other' if same_size else f'{now.chars:,}'} {symbols} now): "
                    f"restore it, or start a new run on it, with --init-from {quoted(folder)}"
                )
        elif origin.kept_bytes:
            path = Path(corpus.files[0].path)
            size, sha256 = check_copy(path, origin.kept_bytes, origin.kept_sha256)
            origin = replace(origin, kept_bytes=size, kept_sha256=sha256)
        validation = None
        if origin.val_source is not None:
            other = validation_corpus(origin.val_source, origin.data_config)
            validation, sha256, _ = read_validation(other, vocabulary)
            if sha256 != origin.val_sha256:
                raise CorpusError(
                    f"{origin.val_source}: the text has changed since the run began: "
                    f"restore it, or start a new run, with --init-from {quoted(folder)}"
                )
        return cls(corpus, vocabulary, origin, digest=now, validation=validation)

    def read(self, start: int = 0) -> Iterator[Ids]:
        """Yields the corpus's ids from character ``start`` on, in arrays of any size.

        Raises:
            CorpusError: A source cannot be read, or has changed; all before was as it had been.
        """
        if self._ids is not None:
            yield self._ids[start:]
            return
        pieces = self._corpus.pieces()
        for piece in self._unchanged(pieces) if self._marks else pieces:
            if start < len(piece):
                yield self.vocabulary.encode(piece[start:])
            start = max(start - len(piece), 0)

    def _unchanged(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Yields a text from mark to mark, each compared with the first pass before."""
        for number, (piece, _, mark) in enumerate(marked(pieces)):
            if self._marks[number : number + 1] != (mark,):
                symbols = f"{UNIT_NAMES[self.config.unit]}s"
                raise CorpusError(
                    f"{self.name}: the text has changed since training began, after "
                    f"{number * MARK_CHARS:,} {symbols} or more: restore it, then --resume"
                )
            yield piece

    def keep(self) -> dict[str, Any]:
        """Flushes the copy of a text that has not ended to the disk.

        Returns:
            What a training file that is saved now keeps of it, fields of :class:`Origin`.

        Raises:
            CheckpointError: The disk refuses.
        """
        if self.origin.corpus_chars is not None:
            return {}
        if (copy := self._corpus.files[0].spool) is not None:
            copy.flush()
            self.origin = replace(self.origin, kept_bytes=copy.size, kept_sha256=copy.sha256)
        return {"kept_bytes": self.origin.kept_bytes, "kept_sha256": self.origin.kept_sha256}

    def validation(self, limit: int) -> Ids:
        """Returns the ids of the validation text, (n,), at most ``limit`` from its start."""
        if self._validation is not None:
            return self._validation[:limit]
        if not self.val_chars:
            return np.zeros(0, dtype=self.vocabulary.dtype)
        return Reader(self.read(int(self.train_chars))).read(min(self.val_chars, limit))

    @functools.cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """Each symbol's share of the training text, or of its first 2^20 characters, (V,).

        None is 0. Of a text that has not ended, only those characters are counted that its symbols
        are from, for no others need have arrived.
        """
        chars = min(self.train_chars, COUNTED_CHARS)
        if math.isinf(self.train_chars):
            chars = self.config.vocabulary_from or 0
        ids = Reader(self.read()).read(int(chars))
        counts = np.bincount(ids, minlength=len(self.vocabulary)) + 1
        shares: npt.NDArray[np.float64] = counts / counts.sum()
        return shares

    def holds(self, chars: int) -> bool:
        """Returns whether a text that has not ended may have so many characters by now."""
        size_bytes = self._corpus.size_bytes()
        return size_bytes is None or chars <= size_bytes

    @property
    def late_notes(self) -> list[str]:
        """What should be known of a text that had not ended when it was opened, as far as read."""
        if self.origin.corpus_chars is not None:
            return []
        copy = self._corpus.files[0].spool
        return [*self._corpus.notes, *([copy.note] if copy is not None and copy.note else [])]

    def close(self) -> None:
        """Closes a source that may still send text."""
        self._corpus.close()
