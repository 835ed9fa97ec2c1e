"""``charrnn eval``: scores texts."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from charrnn.cli import options
from charrnn.cli.shell import end_with_clean_up, named_errors, write
from charrnn.cli.threads import set_threads
from charrnn.cli.values import RUNS, set_options
from charrnn.config import DataConfig, OnUnknown, check
from charrnn.display import scores
from charrnn.display.console import note
from charrnn.display.progress import Bar
from charrnn.errors import NothingToScoreError, OptionError, UnknownCharacterError
from charrnn.store.folder import find_run

if TYPE_CHECKING:
    from charrnn.scoring.reports import CharScore, Score
    from charrnn.store.checkpoint import Checkpoint
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Ids

ADVICE = "leave them out with --on-unknown skip"  # of invalid bytes
R = TypeVar("R")
S = TypeVar("S")


@named_errors("close other programs, or name a smaller --model")
def evaluate(
    sources: options.EvalSources = None,
    as_json: options.ScoreJson = False,
    per_line: options.PerLine = False,
    per_char: options.PerChar = False,
    heatmap: options.Heatmap = False,
    context_curve: options.ContextCurve = False,
    model: options.Model = None,
    runs: options.Runs = RUNS,
    threads: options.Threads = None,
    carry: options.Carry = False,
    exact: options.Exact = False,
    on_unknown: options.OnUnknownCharacter = "error",
    format: options.Format = None,
    column: options.Column = None,
    separator: options.RowSeparator = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    quotes: options.Quotes = None,
    split: options.Split = None,
    encoding: options.Encoding = None,
    encoding_errors: options.EvalInvalidBytes = None,
    newlines: options.ModelNewlines = None,
    skip_damaged: options.SkipDamaged = False,
) -> None:
    """Score a text in bits per character.

    Examples: charrnn eval book.txt; charrnn eval access.log --per-line | sort -rn | head
    """
    if per_line + per_char + heatmap + context_curve > 1:
        raise OptionError("--per-line, --per-char, --heatmap, --context-curve: give one of them")
    if heatmap:
        _check_heatmap(as_json)
    # an invalid byte is one more unknown character
    data: dict[str, Any] = {"encoding_errors": "surrogateescape"} if on_unknown == "skip" else {}
    data |= set_options(column=column, separator=separator, split=split)
    data |= set_options(encoding=encoding, encoding_errors=encoding_errors, newlines=newlines)
    data |= set_options(format=format, delimiter=delimiter, quotes=quotes)
    data |= set_options(no_header=no_header, skip_damaged=skip_damaged)
    check(data)
    set_threads(threads)
    from charrnn.scoring.reports import score, score_chars, score_lines
    from charrnn.scoring.scorer import Scorer
    from charrnn.store import checkpoint
    from charrnn.text.chunks import split_lines
    from charrnn.text.settings import open_all
    from charrnn.text.sources import STDIN

    end_with_clean_up()
    loaded = checkpoint.load(find_run(runs, model))
    if not sources and sys.stdin is not None and sys.stdin.isatty():
        note("reading standard input; end it with Ctrl-D")
    if model is None:
        note(f"model {loaded.path}")
    config = DataConfig(**{"unit": loaded.vocabulary.unit, "newlines": loaded.newlines} | data)
    corpora = open_all(sources or [STDIN], config, ADVICE)
    if context_curve:
        _write_context_curve(loaded, corpora, on_unknown, as_json)
        return
    scorer = Scorer(loaded.model, loaded.vocabulary, exact=exact)
    state, whole_texts = scorer.start, []
    for corpus in corpora:
        pieces, state = corpus.pieces(), state if carry else scorer.start
        with _naming(corpus.name):
            if per_line:
                lines = score_lines(scorer, split_lines(pieces), state, on_unknown, carry=carry)
                state = _write_all(lines, partial(scores.line_rows, as_json=as_json), state)
            elif per_char:
                chars = score_chars(scorer, pieces, state, on_unknown)
                state = _write_all(chars, partial(scores.char_rows, as_json=as_json), state)
            elif heatmap:
                chars = score_chars(scorer, pieces, state, on_unknown)
                state = _write_heatmap(chars, state)
            else:
                with Bar() as bar:
                    watch = partial(_show, bar, corpus, corpus.size_bytes())
                    total, state = score(scorer, pieces, state, on_unknown, watch)
                whole_texts.append((corpus.name, total))
        _show_notes(corpus)
    if heatmap:
        _write_legend()
    elif whole_texts:
        render = scores.score_json if as_json else partial(scores.score_table, unit=config.unit)
        write(render(whole_texts, str(loaded.path), one_pass=scorer.one_pass) + "\n")


def _show_notes(corpus: "Corpus") -> None:
    for line in corpus.notes:
        note(line)


def _write_all(scored: Iterable[tuple[R, S]], render: Callable[[R], str | bytes], state: S) -> S:
    """Writes scores as they are made; returns the state after the last of them."""
    for rows, after in scored:
        write(render(rows))
        state = after
    return state


def _check_heatmap(as_json: bool) -> None:
    # rich is loaded only if something is drawn
    from charrnn.display.heatmap import has_colours

    if as_json:
        raise OptionError("--heatmap: it is no JSON: give --per-char --json")
    if not has_colours():
        raise OptionError("--heatmap: no terminal with colours here: give --per-char")


def _write_heatmap(scored: "Iterable[tuple[list[CharScore], S]]", state: S) -> S:
    from charrnn.display.heatmap import HeatMap

    heat_map = HeatMap()
    state = _write_all(scored, heat_map.draw, state)
    write(heat_map.end())  # the line that no newline ended
    return state


def _write_legend() -> None:
    from charrnn.display.heatmap import heat_legend

    write(heat_legend())


def _show(bar: Bar, corpus: "Corpus", size_bytes: int | None, score: "Score") -> None:
    figures = scores.score_so_far(score, corpus.config.unit)
    bar.show(corpus.name, score.bytes, lambda: size_bytes, figures)


def _write_context_curve(
    loaded: "Checkpoint", corpora: "Sequence[Corpus]", on_unknown: OnUnknown, as_json: bool
) -> None:
    from charrnn.scoring.context import context_curve, enough_context, first_ids

    def ids() -> "Iterator[Ids]":
        for corpus in corpora:
            with _naming(corpus.name):
                for piece in corpus.pieces():
                    yield loaded.vocabulary.encode(piece, on_unknown)

    text = first_ids(ids())
    with _naming(", ".join(corpus.name for corpus in corpora)):
        curve = context_curve(loaded.model, text)
    for corpus in corpora:
        _show_notes(corpus)
    unit = loaded.vocabulary.unit
    render = scores.context_json if as_json else partial(scores.context_table, unit=unit)
    write(render(curve, enough_context(curve)) + "\n")


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Names the source in an error that its text causes; other errors of it name it themselves."""
    try:
        yield
    except (UnknownCharacterError, NothingToScoreError) as error:
        raise type(error)(f"{source}: {error}") from None
