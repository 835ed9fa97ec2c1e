"""``charrnn eval``."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from charrnn.cli.options import (
    _OUT,
    _SCORING,
    ColumnOption,
    EncodingErrorsOption,
    EncodingOption,
    ModelOption,
    OnUnknownOption,
    RowSeparatorOption,
    RunsOption,
    SplitOption,
    ThreadsOption,
    _argument,
    _load,
    _on_unknown,
    _option,
)
from charrnn.cli.shell import _named_errors, _set_threads, _write
from charrnn.config import (
    DataConfig,
    EncodingErrors,
)
from charrnn.display.console import has_colours, note
from charrnn.display.heatmap import heat_legend
from charrnn.display.heatmap import heatmap as heatmap_lines
from charrnn.display.progress import ScoringProgress
from charrnn.display.scores import (
    char_rows,
    context_json,
    context_lines,
    line_rows,
    score_json,
    score_lines,
)
from charrnn.errors import CorpusError, OptionError, UnknownCharacterError

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus, Piece


@_named_errors
def evaluate(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", help="Texts to score.  [dim]\\[default: standard input][/dim]"
        ),
    ] = None,
    model: ModelOption = None,
    runs: RunsOption = Path("runs"),
    encoding: EncodingOption = None,
    encoding_errors: EncodingErrorsOption = None,
    column: ColumnOption = None,
    separator: RowSeparatorOption = None,
    split: SplitOption = None,
    on_unknown: OnUnknownOption = "error",
    as_json: Annotated[bool, _option("json", "Print JSON.", _OUT)] = False,
    per_line: Annotated[
        bool, _option("per-line", "Score each line by itself: bits per character, tab, line.", _OUT)
    ] = False,
    per_char: Annotated[
        bool,
        _option(
            "per-char", "A row per character: offset, character, bits, rank, most probable.", _OUT
        ),
    ] = False,
    heatmap: Annotated[
        bool, _option("heatmap", "The text, coloured by its surprise.", _OUT)
    ] = False,
    context_curve: Annotated[
        bool, _option("context-curve", "Bits per character by how much the model has read.", _OUT)
    ] = False,
    carry: Annotated[
        bool,
        _option(
            "carry",
            "Read on from line to line and source to source; else each is a text of its own.",
            _SCORING,
        ),
    ] = False,
    exact: Annotated[
        bool,
        _option("exact", "One pass, not parallel streams that agree to 0.0005 bits.", _SCORING),
    ] = False,
    threads: ThreadsOption = None,
) -> None:
    """Say in bits how surprised a model is by a text.

    Examples: charrnn eval book.txt; charrnn eval access.log --per-line | sort -rn | head
    """
    if per_line + per_char + heatmap + context_curve > 1:
        raise OptionError("--per-line, --per-char, --heatmap, --context-curve: give one of them")
    if heatmap and as_json:
        raise OptionError("--heatmap: it is no JSON: give --per-char --json")
    if heatmap and not has_colours():
        raise OptionError("--heatmap: no terminal with colours here: give --per-char")
    unknown = _on_unknown(on_unknown)
    # a byte that is no text is one more character that the model does not know
    lenient = "surrogateescape" if unknown == "skip" else DataConfig.encoding_errors
    data = DataConfig(
        encoding=encoding or DataConfig.encoding,
        encoding_errors=cast("EncodingErrors", encoding_errors or lenient),
        column=column,
        separator=DataConfig.separator if separator is None else _argument(separator),
        split=split or DataConfig.split,
    )
    _set_threads(threads)
    loaded = _load(runs, model)
    from charrnn.scoring import context, reports
    from charrnn.scoring.scorer import Scorer
    from charrnn.text.chunks import split_lines
    from charrnn.text.corpus import Corpus
    from charrnn.text.sources import STDIN

    if not sources and sys.stdin is not None and sys.stdin.isatty():
        note("reading standard input; end it with Ctrl-D")
    if model is None:
        note(f"model {loaded.path}")
    data = replace(data, unit=loaded.vocabulary.unit)
    corpora = [Corpus([source], data) for source in sources or [STDIN]]
    scorer = Scorer(loaded.model, loaded.vocabulary, exact=exact)

    def texts() -> "Iterator[tuple[Corpus, Iterator[Piece]]]":
        """Yields each source and its text, with the scorer where that text starts."""
        for corpus in corpora:
            if not carry:
                scorer.restart()
            yield corpus, corpus.pieces()

    if context_curve:
        whole = (piece for _, pieces in texts() for piece in pieces)
        ids = context.read_ids(loaded.vocabulary, whole, unknown)
        curve = context.context_curve(loaded.model, ids)
        render_curve = context_json if as_json else context_lines
        _write(render_curve(curve, context.enough_context(curve)) + "\n")
        return
    found = []
    for corpus, pieces in texts():
        with _naming(corpus.name):
            if per_line:
                lines = split_lines(pieces)
                for rows in reports.score_lines(scorer, lines, unknown, carry=carry):
                    _write(line_rows(rows, as_json=as_json))
            elif per_char:
                for scores in reports.score_chars(scorer, pieces, unknown):
                    _write(char_rows(scores, as_json=as_json))
            elif heatmap:
                for line in heatmap_lines(reports.score_chars(scorer, pieces, unknown)):
                    _write(line)
            else:
                with ScoringProgress(corpus.name, corpus.size_bytes()) as progress:
                    score = reports.score(scorer, pieces, unknown, progress.scored)
                found.append((corpus.name, score))
    if heatmap:
        _write(heat_legend())
    elif found:
        render = score_json if as_json else score_lines
        _write(render(found, str(loaded.path), one_pass=scorer.one_pass) + "\n")


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Names the source in an error that its text causes."""
    try:
        yield
    except (UnknownCharacterError, CorpusError) as error:
        if str(error).startswith(source):
            raise
        raise type(error)(f"{source}: {error}") from None
