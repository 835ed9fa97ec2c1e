"""A model card: what a reader of a model must know, as Markdown."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.config import MODEL_FILE, UNIT_NAMES, Cell, member_file
from charrnn.display.console import LN_2, duration, printable
from charrnn.display.runs import INNER, setting
from charrnn.store.commands import exact, exact_path
from charrnn.text.sources import shown

if TYPE_CHECKING:
    from charrnn.store.runs import Run

UNKNOWN = "not known"
CELLS: dict[Cell, str] = {"rnn": "an RNN", "gru": "a GRU", "lstm": "an LSTM"}
EQUATION = ", h_t = {}(W_x x_t + W_h h_{{t-1}} + b)"  # of the plain cell
CARD = """\
# {name}

A language model: {members}{cell} of {layers} of {size} units{equation}, which
predicts each {unit} of a text from those before it. It was trained with charrnn.

## How to use it

    charrnn sample "..." --model {path}
    charrnn eval text.txt --model {path}

In Python: `charrnn.load({python_path}).sample("...")`. {files}

## Text

- sources: {sources}
- {unit}s: {chars}, {symbols} distinct
- validated on: {validation}

## How good it is

- best validation: {best}
- learnt from: {read} {unit}s in {steps} updates{time}

The figure is the mean of -log2 of the probability that the model gives to each {unit}.

## Limits

It imitates its text, and knows no facts. It can repeat passages of the text word for word, and what
is private or offensive there. It predicts only {unit}s that its text has.

## How it was made

    {command}

| setting | value |
| --- | --- |
{settings}

Versions: {versions}.
"""


def card(run: "Run") -> str:
    """Returns the card of a run's model."""
    facts, settings = run.facts(), run.settings
    layers, size = settings.get("num_layers"), settings.get("hidden_size")
    plain = run.config is None or run.config.cell == "rnn"
    return CARD.format(
        name=_text(run.name),
        files=_files(run),
        layers="one layer" if layers == 1 else f"{_known(layers)} layers",
        size=_known(size),
        unit=UNIT_NAMES[run.unit],
        members="" if run.members == 1 else f"the mean of {run.members} models' logits, each ",
        cell=CELLS["rnn" if run.config is None else run.config.cell],
        equation=EQUATION.format(_text(settings.get("nonlinearity", "f"))) if plain else "",
        path=exact(run.path),
        python_path=_code(repr(str(exact_path(run.path)))),
        sources=_sources(run.sources) or UNKNOWN,
        chars=_known(facts["chars"]),
        symbols=_known(settings.get("vocab_size")),
        validation=_validation(facts, settings),
        best=_best(run),
        read=_known(facts["train_chars_read"]),
        steps=_known(facts["step"]),
        time="" if facts["elapsed_s"] is None else f", {duration(facts['elapsed_s'])}",
        command=printable(run.command or UNKNOWN).replace("\n", " "),
        settings="\n".join(
            f"| {_text(name)} | {_text(setting(value))} |"
            for name, value in settings.items()
            if name not in INNER
        ),
        versions=", ".join(f"{_text(k)} {_text(v)}" for k, v in (facts["versions"] or {}).items())
        or UNKNOWN,
    )


def _sources(sources: Sequence[object]) -> str:
    return ", ".join(_text(shown(str(source))) for source in sources)


def _text(value: object) -> str:
    """Returns a text in which nothing is Markdown."""
    line = printable(str(value)).replace("\n", " ")
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", line)


def _code(text: str) -> str:
    """Returns what stands in a span of code, which a backtick would end."""
    return printable(text).replace("`", "'")


def _known(number: Any) -> str:
    return f"{number:,.0f}" if isinstance(number, int | float) else UNKNOWN


def _files(run: "Run") -> str:
    if run.members == 1:
        file = run.path.name if run.alone else MODEL_FILE
        return f"The file `{_code(file)}` is complete\nalone."
    to_last = f"{'to' if run.members > 2 else 'and'}\n`{member_file(run.members)}`"
    return f"The files `{MODEL_FILE}` {to_last} belong together; each is a model alone, too."


def _best(run: "Run") -> str:
    if run.alone and run.mixture:
        nats, which = run.mixture.val_nats_per_char, f"one of {run.mixture.members} members"
        of_all = "" if nats is None else f", which reach {nats / LN_2:.4f} bits together"
        return f"not known of it alone: it is {which}{of_all}"
    if isinstance(adapted_to := run.provenance.get("adapted_to"), list):
        return f"not known: it has adapted to {_sources(adapted_to)} since"
    if run.best_nats is None:
        return "none: nothing was held out, or the model was not scored yet"
    bits = f"{run.best_nats / LN_2:.4f} bits per {UNIT_NAMES[run.unit]}"
    return f"{bits} ({run.best_nats:.4f} nats)"


def _validation(facts: dict[str, Any], settings: dict[str, Any]) -> str:
    if facts["val_source"]:
        return _text(facts["val_source"])
    share = settings.get("val_fraction")
    if not isinstance(share, int | float):
        return UNKNOWN
    if not share:
        return "nothing"
    part = "of its lines" if settings.get("hold_out") == "lines" else "of it, the end"
    return f"{100 * share:.3g} % {part}, which did not train it"
