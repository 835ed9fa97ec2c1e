"""The forms in which ``charrnn eval`` scores a source, and writes the scores as they are made."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from charrnn.cli.shell import text_output, write
from charrnn.display import scores
from charrnn.display.console import exact_bytes, note
from charrnn.display.progress import Bar
from charrnn.errors import NothingToScoreError, OverflowedError, UnknownCharacterError

if TYPE_CHECKING:
    from charrnn.model.forward import Array, Predictor
    from charrnn.scoring.reports import Score
    from charrnn.scoring.scorer import Scorer
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Ids, Piece

T = TypeVar("T")


class Form(Protocol):
    """Scores sources one by one, and writes the scores."""

    def score(self, corpus: "Corpus", state: "Array") -> "Array":
        """Scores a source from a state on, (L, 1, R); returns the state after it."""

    def end(self) -> None:
        """Writes what comes after the last source."""


def score_all(form: Form, corpora: Iterable["Corpus"], start: "Array", *, carry: bool) -> None:
    """Scores sources, each from the start; if ``carry``, from where the one before it ended."""
    state = start
    for corpus in corpora:
        with naming(corpus.name):
            state = form.score(corpus, state if carry else start)
        show_notes(corpus)
    form.end()


def show_notes(corpus: "Corpus") -> None:
    """Notes what was left out or changed of a source."""
    for line in corpus.notes:
        note(line)


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Names the source in an error that its text causes; other errors of it name it themselves."""
    try:
        yield
    except (UnknownCharacterError, NothingToScoreError, OverflowedError) as error:
        raise type(error)(f"{source}: {error}") from None


class UnknownCharacters:
    """Counts the unknown characters of texts, to be noted at the end.

    Attributes:
        scorer: knows what they cost.
    """

    def __init__(self, scorer: "Scorer") -> None:
        self.scorer = scorer
        self._count = 0

    def pieces(self, corpus: "Corpus") -> Iterator["Piece"]:
        """Yields a source's text."""
        for piece in corpus.pieces():
            self._count += self.scorer.vocabulary.count_unknown(piece)
            yield piece

    def show(self) -> None:
        """Notes how many there were, and what they cost."""
        as_one = "read as one symbol" if self.scorer.vocabulary.unknown is not None else ""
        charge = f"charged {self.scorer.charge / math.log(2):.2f} bits each"
        if self.scorer.on_unknown == "skip":
            how = "left out"
        else:
            how = " and ".join(filter(None, [as_one, charge if self.scorer.charge else ""]))
        if self._count:
            note(f"unknown characters, {how}: {self._count:,}")


def watched(pieces: Iterator["Piece"], corpus: "Corpus", bar: Bar) -> Iterator["Piece"]:
    """Yields a source's text, and shows how much of it has been read."""
    size, size_bytes = 0, corpus.size_bytes()
    for piece in pieces:
        bar.show(corpus.name, size, lambda: size_bytes, f"{size / 1e6:,.0f} MB")
        yield piece
        size += len(exact_bytes(piece))


class Rows(Generic[T]):
    """A row for each line or each character, as soon as it is scored."""

    def __init__(
        self,
        unknown: UnknownCharacters,
        score: Callable[[Iterator["Piece"], "Array"], Iterator[tuple[Sequence[T], "Array"]]],
        render: Callable[[Sequence[T], str], Iterable[str | bytes]],
        bar: Bar,
    ) -> None:
        """Prepares to write.

        Args:
            unknown: counts the unknown characters.
            score: yields the scores of a text, and the state after them.
            render: yields the rows of scores, which are of a source's text.
            bar: shows how far it is.
        """
        self._unknown, self._score, self._render, self._bar = unknown, score, render, bar

    def score(self, corpus: "Corpus", state: "Array") -> "Array":
        """Scores a source."""
        with text_output() as write_text:
            pieces = watched(self._unknown.pieces(corpus), corpus, self._bar)
            for scored, after in self._score(pieces, state):
                for row in self._render(scored, corpus.name):
                    write_text(row)
                state = after
        return state

    def end(self) -> None:
        """Notes the unknown characters."""
        self._unknown.show()


class Heat:
    """The text, coloured."""

    def __init__(self, scorer: "Scorer", unknown: UnknownCharacters, bar: Bar) -> None:
        self._scorer, self._unknown, self._bar = scorer, unknown, bar

    def score(self, corpus: "Corpus", state: "Array") -> "Array":
        """Scores a source."""
        from charrnn.display.heatmap import HeatMap
        from charrnn.scoring.reports import score_chars

        heat_map = HeatMap()
        pieces = watched(self._unknown.pieces(corpus), corpus, self._bar)
        for scored, after in score_chars(self._scorer, pieces, state):
            write(heat_map.draw(scored), drawn=True)
            state = after
        write(heat_map.end(), drawn=True)  # the line that no newline ended
        return state

    def end(self) -> None:
        """Explains the colours."""
        from charrnn.display.heatmap import heat_legend

        write(heat_legend(), drawn=True)
        self._unknown.show()


class WholeTexts:
    """A table of all sources' scores, or one JSON object."""

    def __init__(self, scorer: "Scorer", models: Sequence[str], bar: Bar, *, as_json: bool) -> None:
        """Takes the models' paths, to be named, and what shows how far it is."""
        self._scorer, self._models, self._as_json = scorer, models, as_json
        self._bar = bar
        self._scores: list[tuple[str, Score]] = []

    def score(self, corpus: "Corpus", state: "Array") -> "Array":
        """Scores a source, and shows how far it is."""
        from charrnn.scoring.reports import score

        size_bytes = corpus.size_bytes()

        def watch(so_far: "Score") -> None:
            figures = scores.score_so_far(so_far, corpus.config.unit)
            self._bar.show(corpus.name, so_far.bytes, lambda: size_bytes, figures)

        self._bar.about(corpus.name)
        total, state = score(self._scorer, corpus.pieces(), state, watch)
        self._scores.append((corpus.name, total))
        return state

    def end(self) -> None:
        """Writes them."""
        unit = self._scorer.vocabulary.unit
        render = scores.score_json if self._as_json else partial(scores.score_table, unit=unit)
        one_pass, as_it_was = self._scorer.one_pass, self._scorer.nats_as_it_was
        text = render(self._scores, self._models, one_pass=one_pass, as_it_was=as_it_was)
        write(text + "\n")


def write_context_curve(
    model: "Predictor",
    unknown: UnknownCharacters,
    corpora: "Sequence[Corpus]",
    bar: Bar,
    *,
    as_json: bool,
) -> None:
    """Scores all sources as one text, by the length of the context."""
    from charrnn.scoring.context import context_curve, enough_context, first_ids

    def ids() -> "Iterator[Ids]":
        for corpus in corpora:
            with naming(corpus.name):
                for piece in watched(unknown.pieces(corpus), corpus, bar):
                    yield unknown.scorer.encode(piece).ids

    def watch(context: int, share: float) -> None:
        bar.show(f"context of {context}", share, lambda: 1.0, "")

    text = first_ids(ids())
    with naming(", ".join(corpus.name for corpus in corpora)):
        curve = context_curve(model, text, watch=watch)
    for corpus in corpora:
        show_notes(corpus)
    unit = unknown.scorer.vocabulary.unit
    render = scores.context_json if as_json else partial(scores.context_table, unit=unit)
    write(render(curve, enough_context(curve)) + "\n")
    unknown.show()
