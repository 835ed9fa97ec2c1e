"""``charrnn eval``: scores texts."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from charrnn.cli import options
from charrnn.cli.shell import named_errors, set_threads, write
from charrnn.cli.values import RUNS, set_options
from charrnn.config import DataConfig, OnUnknown, check
from charrnn.display import scores
from charrnn.display.console import has_colours, note
from charrnn.display.heatmap import HeatMap, heat_legend
from charrnn.display.progress import Bar
from charrnn.errors import CorpusError, OptionError, UnknownCharacterError
from charrnn.store.folder import find_run

if TYPE_CHECKING:
    from charrnn.scoring.reports import Score
    from charrnn.store.checkpoint import Checkpoint
    from charrnn.text.corpus import Corpus


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
    column: options.Column = None,
    separator: options.RowSeparator = None,
    split: options.Split = None,
    encoding: options.Encoding = None,
    encoding_errors: options.EvalInvalidBytes = None,
) -> None:
    """Score a text in bits per character.

    Examples: charrnn eval book.txt; charrnn eval access.log --per-line | sort -rn | head
    """
    if per_line + per_char + heatmap + context_curve > 1:
        raise OptionError("--per-line, --per-char, --heatmap, --context-curve: give one of them")
    if heatmap and as_json:
        raise OptionError("--heatmap: it is no JSON: give --per-char --json")
    if heatmap and not has_colours():
        raise OptionError("--heatmap: no terminal with colours here: give --per-char")
    # an invalid byte is one more unknown character
    data: dict[str, Any] = {"encoding_errors": "surrogateescape"} if on_unknown == "skip" else {}
    data |= set_options(column=column, separator=separator, split=split)
    data |= set_options(encoding=encoding, encoding_errors=encoding_errors)
    check(data)
    set_threads(threads)  # the first import of torch: wrong usage has shown before it
    from charrnn.scoring.reports import score, score_chars, score_lines
    from charrnn.scoring.scorer import Scorer
    from charrnn.store import checkpoint
    from charrnn.text.chunks import split_lines
    from charrnn.text.corpus import Corpus
    from charrnn.text.sources import STDIN

    loaded = checkpoint.load(find_run(runs, model))
    if not sources and sys.stdin is not None and sys.stdin.isatty():
        note("reading standard input; end it with Ctrl-D")
    if model is None:
        note(f"model {loaded.path}")
    config = DataConfig(unit=loaded.vocabulary.unit, **data)
    corpora = [Corpus([source], config) for source in sources or [STDIN]]
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
                for rows, after in lines:
                    write(scores.line_rows(rows, as_json=as_json))
                    state = after
            elif per_char or heatmap:
                heat_map = HeatMap()
                render = heat_map.draw if heatmap else partial(scores.char_rows, as_json=as_json)
                for chars, after in score_chars(scorer, pieces, state, on_unknown):
                    write(render(chars))
                    state = after
                write(heat_map.end())  # the line that no newline ended
            else:
                with Bar() as bar:
                    watch = partial(_show, bar, corpus)
                    total, state = score(scorer, pieces, state, on_unknown, watch)
                whole_texts.append((corpus.name, total))
    if heatmap:
        write(heat_legend())
    elif whole_texts:
        render_scores = scores.score_json if as_json else scores.score_table
        write(render_scores(whole_texts, str(loaded.path), one_pass=scorer.one_pass) + "\n")


def _show(bar: Bar, corpus: "Corpus", score: "Score") -> None:
    bar.show(corpus.name, score.bytes, corpus.size_bytes, scores.score_so_far(score))


def _write_context_curve(
    loaded: "Checkpoint", corpora: "Sequence[Corpus]", on_unknown: OnUnknown, as_json: bool
) -> None:
    from charrnn.scoring import context

    pieces = (piece for corpus in corpora for piece in corpus.pieces())
    ids = context.read_ids(loaded.vocabulary, pieces, on_unknown)
    curve = context.context_curve(loaded.model, ids)
    render = scores.context_json if as_json else scores.context_table
    write(render(curve, context.enough_context(curve)) + "\n")


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Names the source in an error that its text causes."""
    try:
        yield
    except (UnknownCharacterError, CorpusError) as error:
        if str(error).startswith(source):
            raise
        raise type(error)(f"{source}: {error}") from None
