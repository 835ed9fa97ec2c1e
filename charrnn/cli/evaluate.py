"""``charrnn eval``: scores texts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli import forms, options
from charrnn.cli.shell import end_with_clean_up, named_errors
from charrnn.cli.threads import set_threads
from charrnn.cli.values import set_options
from charrnn.cli.waiting import output_bar, tell_who_types
from charrnn.config import RUNS, TRAINING_FILE, UNIT_NAMES, DataConfig, check
from charrnn.display import rows
from charrnn.display.console import note
from charrnn.errors import CheckpointError, OptionError
from charrnn.store.folder import find_models
from charrnn.system import quoted

if TYPE_CHECKING:
    from charrnn.scoring.scorer import Scorer
    from charrnn.store.mixing import Loaded
    from charrnn.text.corpus import Corpus


@named_errors("close other programs, or name a smaller --model")
def evaluate(
    sources: options.EvalSources = None,
    as_json: options.ScoreJson = False,
    per_line: options.PerLine = False,
    threshold: options.Threshold = None,
    per_char: options.PerChar = False,
    heatmap: options.Heatmap = False,
    context_curve: options.ContextCurve = False,
    model: options.Models = None,
    runs: options.Runs = RUNS,
    threads: options.Threads = None,
    end: options.End = False,
    carry: options.Carry = False,
    exact: options.Exact = False,
    adapt: options.Adapt = False,
    save_adapted: options.SaveAdapted = None,
    on_unknown: options.OnUnknownScored = "charge",
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
    _check_lines(threshold, per_line=per_line, end=end, carry=carry)
    if heatmap:
        _check_heatmap(as_json)
    _check_adapt(adapt, save_adapted, threshold, other_form=per_char or heatmap or context_curve)
    # an invalid byte is one more unknown character
    data: dict[str, Any] = {} if on_unknown == "error" else {"encoding_errors": "surrogateescape"}
    data |= set_options(column=column, separator=separator, split=split)
    data |= set_options(encoding=encoding, encoding_errors=encoding_errors, newlines=newlines)
    data |= set_options(format=format, delimiter=delimiter, quotes=quotes)
    data |= set_options(no_header=no_header, skip_damaged=skip_damaged)
    check(data)
    set_threads(threads)
    from charrnn.scoring.lines import LineScorer
    from charrnn.scoring.reports import score_chars
    from charrnn.store.mixing import load_all

    end_with_clean_up()
    with output_bar(sources := sources or ["-"], by_lines=True) as bar:
        bar.about("loading the model")
        loaded = load_all(find_models(runs, model))
        if not model:
            note(f"model {loaded.place}")
        _check_place(save_adapted, loaded)
        above = _usual_of_lines(loaded) if threshold == "auto" else threshold
        if end and loaded.vocabulary.newline_id is None:
            raise OptionError("--end: the model was trained on a text of one line: leave --end out")
        config = DataConfig(**{"unit": loaded.vocabulary.unit, "newlines": loaded.newlines} | data)
        corpora = _open(sources, config, on_unknown)
        scorer = _scorer(loaded, adapt=adapt, exact=exact, on_unknown=on_unknown)
        unknown = forms.UnknownCharacters(scorer)
        if context_curve:
            forms.write_context_curve(loaded.model, unknown, corpora, bar, as_json=as_json)
            return
        form: forms.Form
        if per_line:
            corpora = [part for corpus in corpora for part in corpus.parts()]
            carry = carry or adapt
            lines = LineScorer(scorer, carry=carry, end=end)
            render = partial(rows.line_rows, as_json=as_json, above=above)
            form = forms.Rows(unknown, lines.score_text, render, bar)
        elif per_char:
            form = forms.Rows(
                unknown,
                partial(score_chars, scorer),
                lambda scored, _: [rows.char_rows(scored, as_json=as_json)],
                bar,
            )
        elif heatmap:
            form = forms.Heat(scorer, unknown, bar)
        else:
            form = forms.WholeTexts(scorer, loaded.paths, bar, as_json=as_json)
        forms.score_all(form, corpora, scorer.start, carry=carry)
        if save_adapted is not None:
            _save_adapted(Path(save_adapted), scorer, loaded, sources, carry=carry)


def _scorer(loaded: "Loaded", *, adapt: bool, **options: Any) -> "Scorer":
    """Returns what scores with a model; if it adapts, torch is loaded."""
    from charrnn.scoring.scorer import Scorer

    options["trained_chars"] = loaded.trained_chars
    if not adapt:
        return Scorer(loaded.model, loaded.vocabulary, **options)
    from charrnn.training.adapting import AdaptingScorer

    members = [member.model for member in loaded.members]
    return AdaptingScorer(members, loaded.vocabulary, **options)


def _check_place(save_adapted: str | None, loaded: "Loaded") -> None:
    """Refuses a place where what has adapted cannot be saved, before the text is read.

    Raises:
        OptionError: It is no place for these models.
    """
    if save_adapted is None:
        return
    place, count = Path(save_adapted), len(loaded.members)
    if loaded.named > 1:
        raise OptionError("--save-adapted: it keeps the model of one run: name one --model")
    if not place.parent.is_dir():
        raise OptionError(f"--save-adapted: there is no folder {quoted(place.parent)}: create it")
    if count == 1 and place.is_dir():
        raise OptionError(f"--save-adapted: {quoted(place)} is a folder: name a file")
    if count > 1 and place.is_file():
        raise OptionError(f"--save-adapted: {count} members are kept in a folder: name a new one")
    if (place / TRAINING_FILE).exists():
        raise OptionError(f"--save-adapted: {quoted(place)} is a run: name a new folder")


def _save_adapted(
    place: Path, scorer: "Scorer", loaded: "Loaded", sources: Sequence[str], *, carry: bool
) -> None:
    """Saves what a text has made of a model: a file, or a folder of all members.

    Raises:
        CheckpointError: It cannot be written.
    """
    from charrnn.store.mixing import save_all
    from charrnn.training.adapting import AdaptingScorer

    assert isinstance(scorer, AdaptingScorer)
    # without a carried state, each source begins with the model as it was
    read = sources if carry else sources[-1:]
    # what was measured is of the model before
    changed: dict[str, Any] = {"val_nats_per_char": None, "held_out_lines": None}
    changed["adapted_to"] = list(read)
    save_all(
        place,
        [
            replace(before, model=model, provenance={**before.provenance, **changed})
            for before, model in zip(loaded.members, scorer.adapted(), strict=True)
        ],
    )


def _open(sources: Sequence[str], config: DataConfig, on_unknown: str) -> "list[Corpus]":
    """Returns a corpus of each source."""
    from charrnn.text.settings import open_all

    tell_who_types(sources)
    strict = "take --on-unknown charge" if on_unknown == "error" else "leave --encoding-errors out"
    return open_all(sources, config, advice=strict)


def _check_lines(threshold: float | str | None, *, per_line: bool, end: bool, carry: bool) -> None:
    """Refuses what means nothing without ``--per-line``, or does not go together."""
    if not per_line and (end or threshold is not None):
        raise OptionError(f"{'--end' if end else '--threshold'}: goes with --per-line")
    if threshold == "auto" and (end or carry):
        raise OptionError("--threshold auto: it is of lines alone: leave --end and --carry out")


def _usual_of_lines(loaded: "Loaded") -> float:
    """Returns the bits per character that most held-out lines stay below, and notes them.

    Raises:
        OptionError: There are several models, of which nobody has scored held-out lines together.
        CheckpointError: The model does not keep them.
    """
    from charrnn.scoring.lines import USUAL

    if loaded.named > 1:
        raise OptionError("--threshold auto: it is of one --model: name a number, --threshold BITS")
    if loaded.held_out_lines is None:
        first, why = loaded.members[0], "its training was cut off, held nothing out, or was of an "
        why += "earlier version"
        if first.mixture and len(loaded.members) == 1:
            why = f"it is one of {first.mixture.members} members, and its run keeps them of all"
        raise CheckpointError(
            f"{first.path}: it keeps no figures of held-out lines ({why}): name a number, "
            "--threshold BITS"
        )
    lines, bits = loaded.held_out_lines
    unit = UNIT_NAMES[loaded.vocabulary.unit]
    note(f"threshold {bits:.4f} bits per {unit}: {USUAL} % of {lines:,} held-out lines are below")
    return bits


def _check_adapt(
    adapt: bool, save_adapted: str | None, threshold: float | str | None, *, other_form: bool
) -> None:
    """Refuses what does not go with ``--adapt``, or means nothing without."""
    if adapt and (other_form or threshold == "auto"):
        raise OptionError("--adapt: it goes with a whole text or --per-line, not --threshold auto")
    if save_adapted is not None and not adapt:
        raise OptionError("--save-adapted: goes with --adapt")


def _check_heatmap(as_json: bool) -> None:
    # rich is loaded only if something is drawn
    from charrnn.display.heatmap import has_colours

    if as_json:
        raise OptionError("--heatmap: it is no JSON: give --per-char --json")
    if not has_colours():
        raise OptionError("--heatmap: no terminal with colours here: give --per-char")
