"""The options of texts, samples and scores, declared once.

An option that is not set is ``None`` here: the defaults live in :mod:`charrnn.config`. The panels
of ``--help``, and the options in them, stand in the order of a command's parameters.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charrnn import config
from charrnn.cli.declaring import (
    DRAWING,
    OUTPUT,
    RUN,
    SCORING,
    TEXT,
    counting,
    flag,
    naming_run,
    option,
)
from charrnn.cli.values import bits_or_auto, complete_run, delimiter, text
from charrnn.config import DataConfig, OnUnknown, SamplingConfig

D, S = DataConfig, SamplingConfig

Runs = Annotated[Path, option(RUN, "The folder of all runs.", envvar="CHARRNN_RUNS")]
Models = Annotated[
    list[str] | None,
    naming_run(
        RUN,
        "A model file, a run's folder or a run's name; of several, the mean of their logits.",
        "the newest run",
    ),
]
Threads = Annotated[int | None, option(RUN, "Threads to compute with.", "one for each core")]
TrainThreads = Annotated[
    int | None,
    option(RUN, "Threads of a worker's products.", "1; one for each core for evaluations"),
]
OnUnknownCharacter = Annotated[
    Literal["error", "skip"],
    option(TEXT, "What to do with unknown characters: error, or skip (leave them out)."),
]
OnUnknownScored = Annotated[
    OnUnknown,
    option(
        TEXT,
        "Unknown characters: charge (what a sound model would), error, or skip (leave them out).",
    ),
]

# of text

Encoding = Annotated[str | None, option(TEXT, "Encoding of text, JSON and CSV.", D.encoding)]
Format = Annotated[
    config.Format | None, option(TEXT, "What the sources hold.", "as the ending of a name says")
]
LF_OR_KEEP = "Read Windows line ends as newlines (lf), or keep them."
Newlines = Annotated[config.Newlines | None, option(TEXT, LF_OR_KEEP, D.newlines)]
ModelNewlines = Annotated[config.Newlines | None, option(TEXT, LF_OR_KEEP, "as in training")]
STRICT_OR_REPLACE = "How to handle invalid bytes: strict (error) or replace (U+FFFD)."
InvalidBytes = Annotated[
    Literal["strict", "replace"] | None, option(TEXT, STRICT_OR_REPLACE, D.encoding_errors)
]
EvalInvalidBytes = Annotated[
    Literal["strict", "replace"] | None,
    option(TEXT, STRICT_OR_REPLACE, "as unknown characters"),
]
Column = Annotated[
    str | None,
    option(TEXT, "Text column of a table; a.b reaches into objects.", "the only text column"),
]
Delimiter = Annotated[
    str | None,
    option(
        TEXT,
        "Between the cells of CSV.",
        "the one that fits",
        parser=delimiter,
        metavar="CHARACTER",
    ),
]
NoHeader = Annotated[
    bool, flag(TEXT, "no-header", "The first row of CSV is text; columns are named 1, 2 ...")
]
Quotes = Annotated[
    config.Quotes | None,
    option(TEXT, "Read quotes as CSV's (csv), or as text.", "csv; in TSV what fits"),
]
RowSeparator = Annotated[
    str | None, option(TEXT, "Ends each row of a table.", "a newline", parser=text, metavar="TEXT")
]
SkipDamaged = Annotated[
    bool, flag(TEXT, "skip-damaged", "Leave out what cannot be read, and report it.")
]
Split = Annotated[str | None, option(TEXT, "The split of an hf: dataset to read.", D.split)]
TrainSplit = Annotated[
    str | None,
    option(
        TEXT,
        "lines: validate on every tenth line, not on the tail; else the split of an hf: dataset.",
        D.split,
    ),
]
Unit = Annotated[
    config.Unit | None, option(TEXT, "What one symbol is, a character or a byte.", D.unit)
]
ValSource = Annotated[str | None, option(TEXT, "Another text to validate on, instead of the tail.")]
ValFraction = Annotated[
    float | None,
    option(TEXT, "Share of the text to validate on, by default its tail; 0: none.", D.val_fraction),
]
MinCount = Annotated[
    int | None, counting(TEXT, "Characters seen less often are unknown to the model.", D.min_count)
]
VocabularyFrom = Annotated[
    int | None,
    counting(TEXT, "Build the vocabulary from the first N characters only.", "all of the text"),
]

# of a sample

Prompt = Annotated[
    str | None,
    option(TEXT, "Text to continue; the same as PROMPT.", parser=text, metavar="TEXT"),
]
Prompts = Annotated[
    str | None, option(TEXT, "File of prompts, one per line; [bold]-[/bold] reads standard input.")
]
Length = Annotated[int | None, counting(TEXT, "Characters after the prompt; 0: endless.", S.length)]
Stop = Annotated[
    list[str] | None,
    option(TEXT, "End a sample before this text; may be given again.", parser=text, metavar="TEXT"),
]
Temperature = Annotated[
    float | None,
    option(DRAWING, "Below 1 more cautious, above bolder; 0: the most probable.", S.temperature),
]
TopK = Annotated[
    int | None, counting(DRAWING, "Draw from the k most probable; 0: from all.", S.top_k)
]
TopP = Annotated[
    float | None, option(DRAWING, "Draw from the fewest that reach probability p.", S.top_p)
]
MinP = Annotated[
    float | None,
    option(DRAWING, "Draw from those at least p times as probable as the best.", S.min_p),
]
SampleSeed = Annotated[
    int | None,
    option(DRAWING, "The same seed draws the same text.", "a random one, which is reported"),
]
SampleCount = Annotated[int | None, counting(OUTPUT, "Samples per prompt.", S.count)]
SampleSeparator = Annotated[
    str | None,
    option(
        OUTPUT,
        "Between samples; with --prompts after each.",
        "a newline",
        parser=text,
        metavar="TEXT",
    ),
]
NoEcho = Annotated[bool, flag(OUTPUT, "no-echo", "Do not print the prompt.")]
SampleJson = Annotated[
    bool, flag(OUTPUT, "json", "Print a line of JSON per sample: text, bits, seed, settings.")
]

# of a score

ScoreJson = Annotated[bool, flag(OUTPUT, "json", "Print JSON.")]
PerLine = Annotated[
    bool, flag(OUTPUT, "per-line", "Score each line alone: bits per character, tab, line.")
]
End = Annotated[bool, flag(SCORING, "end", "With --per-line: score each line's end, too.")]
Threshold = Annotated[
    Any,
    option(
        OUTPUT,
        "With --per-line: only lines of more bits per character than this; auto: than 99.9 % of "
        "the lines that training held out.",
        parser=bits_or_auto,
        metavar="BITS|auto",
    ),
]
PerChar = Annotated[
    bool,
    flag(OUTPUT, "per-char", "A row per character: offset, character, bits, rank, most probable."),
]
Heatmap = Annotated[bool, flag(OUTPUT, "heatmap", "The text, coloured by its surprise.")]
ContextCurve = Annotated[
    bool, flag(OUTPUT, "context-curve", "Bits per character by the length of the context.")
]
Carry = Annotated[
    bool, flag(SCORING, "carry", "Carry the hidden state from line to line and source to source.")
]
Exact = Annotated[
    bool,
    flag(
        SCORING,
        "exact",
        "Score in one pass, not in parallel streams, which agree to 0.0005 bits.",
    ),
]

# of runs

RunsJson = Annotated[bool, flag(OUTPUT, "json", "Print all that is known, as JSON.")]
Card = Annotated[bool, flag(OUTPUT, "card", "Print the model card of a run, as Markdown.")]

# of a report

ReportText = Annotated[
    str | None,
    option(
        TEXT,
        "A file of plain text to colour; [bold]-[/bold] reads standard input.",
        "the run's validation text",
        metavar="FILE",
    ),
]
ReportOutput = Annotated[
    str | None,
    option(
        OUTPUT,
        "The file to write; [bold]-[/bold]: standard output, whatever it is.",
        "standard output; if that is a terminal, report.html in the run's folder",
        metavar="FILE",
    ),
]

Adapt = Annotated[
    bool,
    flag(SCORING, "adapt", "Learn from each part of the text once it is scored; needs PyTorch."),
]
SaveAdapted = Annotated[
    str | None,
    option(SCORING, "With --adapt: a file for the model at the end; of several members, a folder."),
]

# arguments

RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A run's name or folder, or a model file. [dim]\\[default: a list of all][/dim]",
        autocompletion=complete_run,
    ),
]

ReportRuns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs to compare, by name, folder or model file; the first one's text, units and "
        "samples are shown. [dim]\\[default: the newest run][/dim]",
        autocompletion=complete_run,
    ),
]

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT",
        help="Text to continue, in quotes; [bold]-[/bold] reads standard input.",
        parser=text,
        show_default=False,
    ),
]

TrainSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="Files, folders, globs, [bold]-[/bold] for standard input, or hf:NAME; "
        "with --resume, a run's folder.",
        show_default=False,
    ),
]
EvalSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="Texts to score, as for train. [dim]\\[default: standard input][/dim]",
    ),
]
