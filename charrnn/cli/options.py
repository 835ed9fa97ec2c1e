"""Every option, declared once.

An option that is not set is ``None`` here: the defaults live in :mod:`charrnn.config`. The panels
of ``--help``, and the options in them, stand in the order of a command's parameters.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charrnn.cli.values import complete_run, count, seconds, steps_or_seconds, utf8
from charrnn.config import (
    DEFAULT_EPOCHS,
    DataConfig,
    ModelConfig,
    Nonlinearity,
    OnUnknown,
    SamplingConfig,
    TrainingConfig,
    Unit,
)

TEXT, MODEL, TRAINING, STOP, RUN = "Text", "Model", "Training", "When to stop", "Run"
DRAWING, OUTPUT, SCORING = "Drawing", "Output", "Scoring"
_D, _M, _S, _T = DataConfig, ModelConfig, SamplingConfig, TrainingConfig


def option(panel: str, text: str, default: object = None, name: str = "", **more: Any) -> Any:
    """Declares an option.

    Args:
        panel: of ``--help``.
        text: what it does.
        default: as shown to the user.
        name: if it is not the parameter's.
        more: as for ``typer.Option``.
    """
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(*filter(None, [name]), help=text + shown, rich_help_panel=panel, **more)


def flag(panel: str, name: str, text: str) -> Any:
    """Declares an option without a value."""
    return option(panel, text, name=f"--{name}")


Runs = Annotated[Path, option(RUN, "The folder of all runs.", envvar="CHARRNN_RUNS")]
Model = Annotated[
    str | None,
    option(
        RUN,
        "A model file, a run's folder or a run's name.",
        "the newest run",
        autocompletion=complete_run,
    ),
]
Threads = Annotated[int | None, option(RUN, "Threads to compute with.", "torch's choice")]
OnUnknownCharacter = Annotated[
    OnUnknown, option(TEXT, "What to do with unknown characters: error, or skip (leave them out).")
]

# of text

Encoding = Annotated[str | None, option(TEXT, "Encoding of plain text.", _D.encoding)]
InvalidBytes = Annotated[
    Literal["strict", "replace"] | None,
    option(
        TEXT, "How to handle invalid bytes: strict (error) or replace (U+FFFD).", _D.encoding_errors
    ),
]
Column = Annotated[
    str | None, option(TEXT, "Text column of a structured source.", "the only text column")
]
RowSeparator = Annotated[
    str | None, option(TEXT, "Ends each row of a structured source.", "a newline", parser=utf8)
]
Split = Annotated[str | None, option(TEXT, "The split of an hf: dataset to read.", _D.split)]
UnitOfText = Annotated[
    Unit | None, option(TEXT, "What one symbol is, a character or a byte.", _D.unit)
]
ValSource = Annotated[str | None, option(TEXT, "Another text to validate on, instead of the tail.")]
ValFraction = Annotated[
    float | None,
    option(TEXT, "Share of the text to validate on, its tail; 0: none.", _D.val_fraction),
]
MinCount = Annotated[
    int | None,
    option(
        TEXT, "Characters seen less often are unknown to the model.", _D.min_count, parser=count
    ),
]
VocabularyFrom = Annotated[
    int | None,
    option(
        TEXT,
        "Build the vocabulary from the first N characters only.",
        "all of the text",
        parser=count,
    ),
]

# of a new model

HiddenSize = Annotated[
    int | None,
    option(
        MODEL,
        "Units of each hidden state; --max-time may choose another.",
        _M.hidden_size,
        parser=count,
    ),
]
NumLayers = Annotated[int | None, option(MODEL, "Layers of the equation.", _M.num_layers)]
NonlinearityF = Annotated[Nonlinearity | None, option(MODEL, "The equation's f.", _M.nonlinearity)]
Dropout = Annotated[
    float | None,
    option(MODEL, "Share of each layer's outputs set to 0 in training.", "by the number of epochs"),
]
InitFrom = Annotated[
    str | None, option(MODEL, "Start from this model's weights.", autocompletion=complete_run)
]
KeepCharacters = Annotated[
    bool, flag(MODEL, "keep-characters", "Keep the characters of --init-from that the text lacks.")
]

# of training

BatchSize = Annotated[
    int | None,
    option(
        TRAINING,
        "Streams of text read side by side; fitted to small texts.",
        _T.batch_size,
        parser=count,
    ),
]
SeqLen = Annotated[
    int | None,
    option(
        TRAINING,
        "Characters of a stream per update; gradients reach no further.",
        _T.seq_len,
        parser=count,
    ),
]
LearningRate = Annotated[
    float | None,
    option(TRAINING, "Peak of its schedule; lower for a long training.", _T.learning_rate),
]
GradClip = Annotated[
    float | None, option(TRAINING, "Largest norm of the gradient; 0: any.", _T.grad_clip)
]
WeightDecay = Annotated[
    float | None, option(TRAINING, "AdamW's weight decay, of matrices only.", _T.weight_decay)
]
TrainingSeed = Annotated[
    int | None, option(TRAINING, "Seed of the initial weights and of dropout.", _T.seed)
]
EvalEvery = Annotated[
    int | None, option(TRAINING, "Steps between evaluations.", "by the text's size", parser=count)
]
Device = Annotated[str | None, option(TRAINING, "Where to compute: cpu, cuda ...", _T.device)]
MaxTime = Annotated[
    float | None, option(STOP, "Stop after this time: 90s, 5m, 1h.", parser=seconds, metavar="TIME")
]
Steps = Annotated[int | None, option(STOP, "Stop after N updates.", parser=count)]
Epochs = Annotated[
    float | None,
    option(
        STOP,
        "Stop after N passes over the text.",
        f"{DEFAULT_EPOCHS}; more if the text is small",
    ),
]
Patience = Annotated[
    int | None, option(STOP, "Stop after N evaluations without a new best; 0: never.", _T.patience)
]

# of a run

Name = Annotated[
    str | None, option(RUN, "The run's name.", "the source's", autocompletion=complete_run)
]
Resume = Annotated[
    bool, flag(RUN, "resume", "Resume a run exactly where it stopped; without --name the newest.")
]
SaveEvery = Annotated[
    Any,
    option(
        RUN,
        "Time (30s, 5m) or steps (500) between saves.",
        f"{_T.save_every_s:.0f}s",
        parser=steps_or_seconds,
        metavar="TIME|STEPS",
    ),
]
Quiet = Annotated[bool, flag(RUN, "quiet", "Print nothing but errors.")]

# of a sample

Prompt = Annotated[
    str | None, option(TEXT, "Text to continue; [bold]-[/bold] reads standard input.", parser=utf8)
]
Prompts = Annotated[
    str | None, option(TEXT, "File of prompts, one per line; [bold]-[/bold] reads standard input.")
]
Length = Annotated[
    int | None, option(TEXT, "Characters after the prompt; 0: endless.", _S.length, parser=count)
]
Stop = Annotated[
    list[str] | None,
    option(TEXT, "End a sample before this text; may be given again.", parser=utf8),
]
Temperature = Annotated[
    float | None,
    option(DRAWING, "Below 1 more cautious, above bolder; 0: the most probable.", _S.temperature),
]
TopK = Annotated[
    int | None, option(DRAWING, "Draw from the k most probable; 0: from all.", _S.top_k)
]
TopP = Annotated[
    float | None, option(DRAWING, "Draw from the fewest that reach probability p.", _S.top_p)
]
MinP = Annotated[
    float | None,
    option(DRAWING, "Draw from those at least p times as probable as the best.", _S.min_p),
]
SampleSeed = Annotated[
    int | None,
    option(DRAWING, "The same seed draws the same text.", "a random one, which is reported"),
]
SampleCount = Annotated[int | None, option(OUTPUT, "Samples of each prompt.", _S.count)]
SampleSeparator = Annotated[
    str | None,
    option(OUTPUT, "Between samples; with --prompts after each.", "a newline", parser=utf8),
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
    bool, flag(SCORING, "exact", "One pass; parallel streams agree with it to 0.0005 bits.")
]

# arguments

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
