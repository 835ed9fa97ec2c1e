"""Typer: parse, call, exit code.

Each command builds a configuration, calls the library and renders the answer. Text goes to
standard output, everything else to standard error. An option that is not given is ``None`` here;
the defaults live in :mod:`charrnn.config`.

Exit codes: 0 done; 1 a named error; 2 wrong usage; 128 + n after signal n (130 for Ctrl-C).
"""

import contextlib
import errno
import functools
import itertools
import math
import os
import re
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, cast, get_args

import typer

import charrnn
from charrnn import display
from charrnn.config import (
    DEFAULT_EPOCHS,
    DEFAULT_MIN_STEPS,
    DataConfig,
    EncodingErrors,
    ModelConfig,
    OnUnknown,
    SamplingConfig,
    TrainingConfig,
    check_threads,
)
from charrnn.errors import CharrnnError, CorpusError, OptionError, UnknownCharacterError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.corpus import Corpus, Piece
    from charrnn.training import Evaluated, Finished, Trainer

P = ParamSpec("P")

SAMPLES_AT_ONCE = 256
"""Samples that are made side by side; of more prompts the first are out before the last begin."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train character-level RNN language models, sample from them, score texts with them.",
    epilog="First steps: charrnn train corpus.txt; charrnn sample --prompt 'I had'; "
    "charrnn eval corpus.txt",
)


def _named_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turns errors into one line on standard error and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CharrnnError as error:
            display.note(f"charrnn: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            # the reader of a pipe went away; nothing more is to be said there
            _lose_what_is_left()
            raise typer.Exit(128 + 13) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            display.note(f"charrnn: {where}{error.strerror or error}")
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            # torch has no class of its own for this
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            display.note("charrnn: not enough memory: use a smaller --hidden-size or --batch-size")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None

    return wrapped


# --- values with units


def _count(text: str) -> int:
    """Reads ``5000``, ``5k`` or ``1.5M``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKM]?)", text.strip())
    units = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}
    number = Decimal(found[1]) * units[found[2]] if found else None
    if number is None or number != number.to_integral_value():
        raise typer.BadParameter(f"{text!r} is no count; write 5000, 5k or 1.5M")
    return int(number)


def _seconds(text: str) -> float:
    """Reads ``90``, ``90s``, ``5m``, ``1h`` or ``1h30m``."""
    units = {"h": 3600, "m": 60, "s": 1, "": 1}
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+|\d+(\.\d+)?", text.strip()):
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 5m or 1h30m")
    return sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)([hms]?)", text))


def _steps_or_seconds(text: str) -> int | float:
    """Reads ``200`` or ``5k`` as steps (int), ``30s`` or ``2m`` as seconds (float)."""
    return _seconds(text) if text.strip()[-1:] in "hms" and text.strip() else _count(text)


# --- options


def _option(name: str, text: str, panel: str, default: Any = None, **more: Any) -> Any:
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(f"--{name}", help=text + shown, rich_help_panel=panel, **more)


_TEXT, _MODEL, _TRAIN, _STOP, _RUN = "Text", "Model", "Training", "When to stop", "Run"
_DRAW, _OUT, _SCORING = "Drawing", "Output", "Scoring"
_PASSES = f"{DEFAULT_EPOCHS}, and at least {DEFAULT_MIN_STEPS} steps"
_T, _M, _D, _S = TrainingConfig, ModelConfig, DataConfig, SamplingConfig

RunsOption = Annotated[
    Path,
    _option("runs", "The folder of all runs.", _RUN, envvar="CHARRNN_RUNS", show_default=True),
]
ModelOption = Annotated[
    str | None,
    _option("model", "A model file, a run's folder or a run's name.", _RUN, "the newest run"),
]
ThreadsOption = Annotated[
    int | None, _option("threads", "Threads to compute with.", _RUN, "torch's choice")
]
OnUnknownOption = Annotated[
    str,
    _option(
        "on-unknown",
        "What to do with characters that the model does not know: error, or skip (leave them out).",
        _TEXT,
        show_default=True,
    ),
]
EncodingOption = Annotated[
    str | None, _option("encoding", "Encoding of plain text.", _TEXT, _D.encoding)
]
EncodingErrorsOption = Annotated[
    str | None,
    _option(
        "encoding-errors",
        "What to do with bytes that are none of it: strict (an error), or replace (by U+FFFD).",
        _TEXT,
        _D.encoding_errors,
    ),
]
ColumnOption = Annotated[
    str | None,
    _option("column", "Text column of a structured source.", _TEXT, "the only text column"),
]
RowSeparatorOption = Annotated[
    str | None,
    _option("separator", "Ends each row of a structured source.", _TEXT, "a newline"),
]
SplitOption = Annotated[
    str | None, _option("split", "The part of an hf: dataset to read.", _TEXT, _D.split)
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        print(f"charrnn {charrnn.__version__}")
        raise typer.Exit()


@app.command()
@_named_errors
def train(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, globs, [bold]-[/bold] for standard input, or hf:NAME; "
            "with --resume, a run's folder.",
            show_default=False,
        ),
    ] = None,
    unit: Annotated[
        str | None, _option("unit", "What to model: char or byte.", _TEXT, _D.unit)
    ] = None,
    encoding: EncodingOption = None,
    encoding_errors: EncodingErrorsOption = None,
    column: ColumnOption = None,
    separator: RowSeparatorOption = None,
    split: SplitOption = None,
    min_count: Annotated[
        int | None,
        _option(
            "min-count",
            "Characters seen less often are unknown to the model.",
            _TEXT,
            _D.min_count,
            parser=_count,
        ),
    ] = None,
    vocabulary_from: Annotated[
        int | None,
        _option(
            "vocabulary-from",
            "The model knows only what is among the first so many; the rest is unknown.",
            _TEXT,
            "all of the text",
            parser=_count,
        ),
    ] = None,
    val_source: Annotated[
        str | None,
        _option("val-source", "Another text to validate on, instead of the tail.", _TEXT),
    ] = None,
    val_fraction: Annotated[
        float | None,
        _option(
            "val-fraction",
            "Share of the text, its tail, kept for validation; 0 keeps none.",
            _TEXT,
            _D.val_fraction,
        ),
    ] = None,
    hidden_size: Annotated[
        int | None,
        _option(
            "hidden-size", "Numbers in each layer's memory.", _MODEL, _M.hidden_size, parser=_count
        ),
    ] = None,
    num_layers: Annotated[
        int | None, _option("num-layers", "Layers of the equation.", _MODEL, _M.num_layers)
    ] = None,
    nonlinearity: Annotated[
        str | None,
        _option("nonlinearity", "The equation's f: tanh or relu.", _MODEL, _M.nonlinearity),
    ] = None,
    dropout: Annotated[
        float | None,
        _option(
            "dropout",
            "Share of a layer's outputs silenced in training.",
            _MODEL,
            "by the passes over the text",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        _option(
            "batch-size", "Streams of text read side by side.", _TRAIN, _T.batch_size, parser=_count
        ),
    ] = None,
    seq_len: Annotated[
        int | None,
        _option("seq-len", "Characters between two updates.", _TRAIN, _T.seq_len, parser=_count),
    ] = None,
    learning_rate: Annotated[
        float | None,
        _option("learning-rate", "The peak of its schedule.", _TRAIN, _T.learning_rate),
    ] = None,
    grad_clip: Annotated[
        float | None,
        _option("grad-clip", "Cut the gradient's norm to this; 0: leave it.", _TRAIN, _T.grad_clip),
    ] = None,
    weight_decay: Annotated[
        float | None,
        _option("weight-decay", "AdamW's decay of the matrices.", _TRAIN, _T.weight_decay),
    ] = None,
    seed: Annotated[
        int | None, _option("seed", "Decides the initial weights and dropout.", _TRAIN, _T.seed)
    ] = None,
    init_from: Annotated[
        str | None,
        _option("init-from", "Start from this model's weights; characters match by name.", _TRAIN),
    ] = None,
    keep_characters: Annotated[
        bool,
        _option(
            "keep-characters",
            "Keep that model's characters that the text does not have; else they are dropped.",
            _TRAIN,
        ),
    ] = False,
    epochs: Annotated[
        float | None, _option("epochs", "End after so many passes over the text.", _STOP, _PASSES)
    ] = None,
    steps: Annotated[
        int | None, _option("steps", "End after so many updates.", _STOP, parser=_count)
    ] = None,
    max_time: Annotated[
        float | None,
        _option(
            "max-time", "End after so long: 90s, 5m, 1h.", _STOP, parser=_seconds, metavar="TIME"
        ),
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            "patience",
            "End after so many evaluations without a better one; 0: never.",
            _STOP,
            _T.patience,
        ),
    ] = None,
    name: Annotated[str | None, _option("name", "The run's name.", _RUN, "the source's")] = None,
    runs: RunsOption = Path("runs"),
    resume: Annotated[
        bool,
        _option(
            "resume", "Go on with a run exactly where it stopped; without --name the newest.", _RUN
        ),
    ] = False,
    eval_every: Annotated[
        int | None,
        _option(
            "eval-every", "Steps between evaluations.", _RUN, "by the text's size", parser=_count
        ),
    ] = None,
    save_every: Annotated[
        Any,
        _option(
            "save-every",
            "Time (30s, 5m) or steps (500) between saves.",
            _RUN,
            f"{_T.save_every_s:.0f}s",
            parser=_steps_or_seconds,
            metavar="TIME|STEPS",
        ),
    ] = None,
    device: Annotated[
        str | None, _option("device", "Where to compute: cpu, cuda ...", _RUN, _T.device)
    ] = None,
    threads: ThreadsOption = None,
    quiet: Annotated[bool, _option("quiet", "Say nothing but errors.", _RUN)] = False,
) -> None:
    """Learn a text; print the best model's path. Ctrl-C saves, and says how to go on.

    Examples: charrnn train corpus.txt; cat *.log | charrnn train - --max-time 5m
    """
    given = {key: value for key, value in locals().items() if value is not None}
    if isinstance(save_every, float):
        given |= {"save_every": None, "save_every_s": save_every}
    given |= {} if separator is None else {"separator": _argument(separator)}
    changes = _pick(TrainingConfig, given), _pick(DataConfig, given), _pick(ModelConfig, given)
    if not (sources or resume):
        raise OptionError("train: no SOURCE: name a file, a folder, or - for standard input")
    if keep_characters and not init_from:
        raise OptionError("--keep-characters: goes with --init-from")
    if val_source is not None and (val_fraction is not None or resume):
        other = "--resume" if resume else "--val-fraction"
        raise OptionError(f"--val-source and {other}: give one of them")
    data = DataConfig(**changes[1])
    TrainingConfig(**changes[0]), ModelConfig(vocab_size=2, **changes[2])
    _set_threads(threads)  # the first import of torch: wrong usage has shown before it
    from charrnn import checkpoint, evaluation
    from charrnn.runs import new_trainer, resumed_trainer

    validate = evaluation.nats_per_char
    with _Signals() as signals, display.ReadingProgress(quiet=quiet) as reading:

        def watch(corpus: "Corpus", size_bytes: int) -> None:
            reading.read(corpus.name, size_bytes, corpus.size_bytes)

        if resume:
            if len(sources or []) > 1 or (sources and name):
                raise OptionError("--resume: name one run, not several")
            if init_from:
                raise OptionError("--resume and --init-from: give one of them")
            run = name or (sources[0] if sources else None)
            if sources and Path(sources[0]).is_file() and Path(sources[0]).suffix != ".safetensors":
                raise OptionError(
                    f"--resume: {sources[0]} is a text: name the run, with --name NAME"
                )
            path = checkpoint.find_run(runs, run, checkpoint.TRAINING_FILE)
            flat = {key: value for change in changes for key, value in change.items()}
            trainer = resumed_trainer(path, flat, validate=validate, watch=watch)
            _set_threads(trainer.config.threads)
        else:
            start = checkpoint.load(checkpoint.find_run(runs, init_from)) if init_from else None
            model_options = {key: value for key, value in changes[2].items() if key != "unit"}
            trainer = new_trainer(
                sources or [],
                runs,
                name,
                data,
                changes[0],
                model_options,
                validate=validate,
                init_from=start,
                keep_characters=keep_characters,
                val_source=val_source,
                watch=watch,
            )
        reading.close()
        finished = _run(trainer, signals, quiet)
    if finished.reason == "interrupted":
        display.note(f"go on with: charrnn train --resume {shlex.quote(str(trainer.folder))}")
        raise typer.Exit(128 + signals.received)
    _write(f"{finished.model_path}\n")


def _run(trainer: "Trainer", signals: "_Signals", quiet: bool) -> "Finished":
    """Trains with signals and screen attached; returns the end."""
    from charrnn.training import Evaluated, Finished, Stepped, WentBack

    config, batches = trainer.model.config, trainer.batches
    summary = display.RunSummary(
        folder=trainer.folder,
        chars=None if batches.train_chars is None else batches.train_chars + batches.val_chars,
        symbols=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        parameters=config.parameter_count(),
        batch_size=batches.batch_size,
        seq_len=batches.seq_len,
        unit="byte" if config.unit == "byte" else "character",
    )
    if not quiet:
        for line in trainer.notes:
            display.note(line)
    signals.training = True
    with display.TrainingDisplay(summary, quiet=quiet) as screen:
        for event in trainer.events(stop=lambda: signals.received != 0):
            if isinstance(event, Stepped):
                screen.stepped(event)
            elif isinstance(event, Evaluated):
                screen.evaluated(event, _short_sample(trainer, event) if screen.live else "")
            elif isinstance(event, Finished):
                finished = event
                screen.finished(event)
            elif isinstance(event, WentBack):
                screen.went_back(event)
            else:
                screen.save_failed(event)
    return finished


def _short_sample(trainer: "Trainer", event: "Evaluated") -> str:
    from charrnn.sampling import generate

    config = SamplingConfig(length=240, seed=event.step)
    return "".join(generate(event.model, trainer.batches.vocabulary, "", config)).strip("\n")


class _Signals:
    """Notes signals that ask to stop, so that training can save; a second Ctrl-C leaves at once.

    Until training begins, there is nothing to save: then they end the program, clearing up.
    """

    wanted = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self.received = 0
        self.training = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in self.wanted:
            before = signal.getsignal(number)
            # under nohup a hang-up stays ignored; an interrupt is heard even behind a shell's &
            if before != signal.SIG_IGN or number == signal.SIGINT:
                self._before[number] = before
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if not self.training:
            raise SystemExit(128 + number)
        self.received = self.received or number
        # of other signals a second is none: some programs send them twice
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@app.command()
@_named_errors
def sample(
    model: ModelOption = None,
    runs: RunsOption = Path("runs"),
    prompt: Annotated[
        str | None,
        _option("prompt", "Text to go on from; [bold]-[/bold] reads standard input.", _TEXT),
    ] = None,
    prompts: Annotated[
        str | None,
        _option(
            "prompts",
            "File of prompts, one a line, each gone on from; [bold]-[/bold]: standard input.",
            _TEXT,
        ),
    ] = None,
    on_unknown: OnUnknownOption = "error",
    length: Annotated[
        int | None,
        _option("length", "Characters to write; 0: endless.", _TEXT, _S.length, parser=_count),
    ] = None,
    stop: Annotated[
        list[str] | None, _option("stop", "End before this text; may be given again.", _TEXT)
    ] = None,
    temperature: Annotated[
        float | None,
        _option(
            "temperature",
            "Below 1 more cautious, above bolder; 0: the most probable.",
            _DRAW,
            _S.temperature,
        ),
    ] = None,
    top_k: Annotated[
        int | None, _option("top-k", "Draw from the k most probable; 0: all.", _DRAW, _S.top_k)
    ] = None,
    top_p: Annotated[
        float | None,
        _option("top-p", "Draw from the fewest that reach probability p.", _DRAW, _S.top_p),
    ] = None,
    min_p: Annotated[
        float | None,
        _option("min-p", "Draw from those p times as probable as the best.", _DRAW, _S.min_p),
    ] = None,
    seed: Annotated[
        int | None, _option("seed", "Of the draws; the same text again.", _DRAW, "drawn, and said")
    ] = None,
    count: Annotated[
        int | None, _option("count", "Samples to write of each prompt.", _OUT, _S.count)
    ] = None,
    separator: Annotated[
        str,
        _option(
            "separator",
            "Between samples; with --prompts after each.",
            _OUT,
            "a newline",
            metavar="TEXT",
            show_default=False,
        ),
    ] = "\n",
    no_echo: Annotated[bool, _option("no-echo", "Do not print the prompt.", _OUT)] = False,
    as_json: Annotated[
        bool, _option("json", "A line of JSON for each sample: text, seed, settings, bits.", _OUT)
    ] = False,
    threads: ThreadsOption = None,
) -> None:
    """Write text that goes on from a prompt; standard output gets the text alone.

    Examples: charrnn sample --prompt "I had"; charrnn sample --length 0 | head -c 1000
    """
    given = {key: value for key, value in locals().items() if value is not None}
    given |= {"stop": tuple(map(_argument, stop or ()))}
    given |= {"seed": secrets.randbits(32) if seed is None else seed}
    config = SamplingConfig(**_pick(SamplingConfig, given))
    unknown = _on_unknown(on_unknown)
    if prompt is not None and prompts is not None:
        raise OptionError("--prompt and --prompts: give one of them")
    if config.length == 0 and (as_json or prompts is not None):
        raise OptionError("--length 0: an endless sample is no JSON, and has no second one")
    texts = _prompts(prompt or "", prompts)
    _set_threads(threads)
    loaded = _load(runs, model)
    skipped = _check_prompts(loaded, texts, unknown, numbered=prompts is not None)
    # nothing is said before the prompts are known to be good
    if model is None:
        display.note(f"model {loaded.path}")
    if seed is None and config.temperature > 0:
        display.note(f"seed {config.seed}")
    if skipped:
        display.note(f"unknown characters of the prompt left out: {skipped}")
    if as_json:
        _write_json(loaded, texts, config, unknown)
    elif prompts is not None:
        end = _argument(separator)
        for text, sample, _ in _samples(loaded, texts, config, unknown):
            _write(sample + end if no_echo else text + sample + end)
    else:
        _write_samples(loaded, texts[0], config, unknown, _argument(separator), echo=not no_echo)


def _argument(text: str) -> str:
    """Returns an argument as it was typed: UTF-8, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _prompts(prompt: str, prompts: str | None) -> list[str]:
    """Returns the one prompt, or those of a file, one a line."""
    if prompts is None:
        data = _stdin_bytes() if prompt == "-" else os.fsencode(prompt)
        return [data.decode("utf-8", "surrogateescape")]
    try:
        data = _stdin_bytes() if prompts == "-" else Path(prompts).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{prompts}: cannot be read: {reason}: check the path") from None
    lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _stdin_bytes() -> bytes:
    if sys.stdin is None:
        raise CorpusError("standard input: it is closed: pipe a text in")
    return sys.stdin.buffer.read()


def _check_prompts(
    loaded: "Checkpoint", prompts: list[str], unknown: OnUnknown, *, numbered: bool
) -> int:
    """Returns how many unknown characters of the prompts are left out.

    Raises:
        UnknownCharacterError: None may be; says which prompt it is, where they are numbered.
    """
    skipped = 0
    for number, prompt in enumerate(prompts, start=1):
        try:
            ids = loaded.vocabulary.encode(prompt, unknown)
        except UnknownCharacterError as error:
            where = f"prompt {number}: " if numbered else ""
            raise UnknownCharacterError(f"{where}{error}") from None
        skipped += len(prompt) - len(ids) if loaded.vocabulary.unit == "char" else 0
    return skipped


def _samples(
    loaded: "Checkpoint", prompts: list[str], config: SamplingConfig, unknown: OnUnknown
) -> Iterator[tuple[str, str, int]]:
    """Yields each sample's prompt, text and seed; so many are made side by side."""
    from charrnn.sampling import generate_batch, sample_seed

    assert config.seed is not None
    each = (prompt for prompt in prompts for _ in range(config.count))
    seed = config.seed
    while group := list(itertools.islice(each, SAMPLES_AT_ONCE)):
        settings = replace(config, seed=seed)
        texts = generate_batch(loaded.model, loaded.vocabulary, group, settings, unknown)
        yield from zip(group, texts, (sample_seed(seed, i) for i in range(len(group))), strict=True)
        seed = sample_seed(seed, len(group))


def _write_samples(
    loaded: "Checkpoint",
    prompt: str,
    config: SamplingConfig,
    unknown: OnUnknown,
    between: str,
    *,
    echo: bool,
) -> None:
    """Writes samples of one prompt; one alone as it is made."""
    from charrnn.sampling import generate

    before = prompt if echo else ""
    _write(before)
    last = before
    if config.count == 1:
        with display.SamplingProgress(config.length) as progress:
            for piece in generate(loaded.model, loaded.vocabulary, prompt, config, unknown):
                _write(piece)
                progress.written(len(piece))
                last = piece
    else:
        for number, (_, text, _) in enumerate(_samples(loaded, [prompt], config, unknown)):
            last = between + before + text if number else text
            _write(last)
    if sys.stdout.isatty() and not last.endswith("\n"):
        _write("\n")  # the shell's prompt should not stand behind the text


def _write_json(
    loaded: "Checkpoint", prompts: list[str], config: SamplingConfig, unknown: OnUnknown
) -> None:
    """Writes a line for each sample, with the bits per character of its text."""
    from charrnn.evaluation import Scorer

    scorer, read = Scorer(loaded.model, loaded.vocabulary), None
    for prompt, text, seed in _samples(loaded, prompts, config, unknown):
        before, ids = (loaded.vocabulary.encode(t, unknown) for t in (prompt, text))
        if prompt != read:
            scorer.restart()
            if len(before):
                scorer.nats(before)
            read, state = prompt, scorer.state
        scorer.state = state
        bits = float(scorer.nats(ids).mean(dtype=float)) / math.log(2) if len(ids) else None
        settings = replace(config, seed=seed)
        _write(display.sample_json(prompt, text, bits, settings, str(loaded.path)))


@app.command("eval")
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
    if heatmap and not display.has_colours():
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
    from charrnn import evaluation
    from charrnn.corpus import STDIN, Corpus

    if not sources and sys.stdin is not None and sys.stdin.isatty():
        display.note("reading standard input; end it with Ctrl-D")
    if model is None:
        display.note(f"model {loaded.path}")
    data = replace(data, unit=loaded.vocabulary.unit)
    corpora = [Corpus([source], data) for source in sources or [STDIN]]
    scorer = evaluation.Scorer(loaded.model, loaded.vocabulary, exact=exact)

    def texts() -> "Iterator[tuple[Corpus, Iterator[Piece]]]":
        """Yields each source and its text, with the scorer where that text starts."""
        for corpus in corpora:
            if not carry:
                scorer.restart()
            yield corpus, corpus.pieces()

    if context_curve:
        from charrnn import memory

        whole = (piece for _, pieces in texts() for piece in pieces)
        ids = memory.read_ids(loaded.vocabulary, whole, unknown)
        curve = memory.context_curve(loaded.model, ids)
        render_curve = display.context_json if as_json else display.context_lines
        _write(render_curve(curve, memory.enough_context(curve)) + "\n")
        return
    found = []
    for corpus, pieces in texts():
        with _naming(corpus.name):
            if per_line:
                lines = evaluation.split_lines(pieces)
                for rows in evaluation.score_lines(scorer, lines, unknown, carry=carry):
                    _write(display.line_rows(rows, as_json=as_json))
            elif per_char:
                for scores in evaluation.score_chars(scorer, pieces, unknown):
                    _write(display.char_rows(scores, as_json=as_json))
            elif heatmap:
                for line in display.heatmap(evaluation.score_chars(scorer, pieces, unknown)):
                    _write(line)
            else:
                with display.ScoringProgress(corpus.name, corpus.size_bytes()) as progress:
                    score = evaluation.score(scorer, pieces, unknown, progress.scored)
                found.append((corpus.name, score))
    if heatmap:
        _write(display.heat_legend())
    elif found:
        render = display.score_json if as_json else display.score_lines
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


def _pick(config: type, given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(config)}
    return {key: value for key, value in given.items() if key in names}


def _on_unknown(value: str) -> OnUnknown:
    if value not in get_args(OnUnknown):
        raise OptionError(f"--on-unknown: {value} is neither error nor skip")
    return cast("OnUnknown", value)


def _set_threads(threads: int | None) -> None:
    check_threads(threads)
    if threads is not None:
        # NumPy's products, in sampling, have threads of their own; it reads this when it is loaded
        os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)


def _load(runs: Path, model: str | None) -> "Checkpoint":
    from charrnn import checkpoint

    return checkpoint.load(checkpoint.find_run(runs, model))


def _write(text: str | bytes) -> None:
    """Writes to standard output at once, as UTF-8 whatever the locale, line ends as they are."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _lose_what_is_left()
        reason = error.strerror or error
        raise CharrnnError(
            f"standard output: cannot be written: {reason}: free some space"
        ) from None


def _lose_what_is_left() -> None:
    """Keeps the end of the process from writing again what standard output has refused."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    """Runs the command line."""
    if hasattr(signal, "SIGPIPE") and "train" not in sys.argv[1:2]:
        # a reader that goes away ends us quietly, as it ends any filter; training must survive it
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        app()
    finally:
        if "pyarrow" in sys.modules:
            _leave_at_once()


def _leave_at_once() -> None:
    """Ends the process where Arrow was used: its threads may wait for each other for ever."""
    error = sys.exception()
    if isinstance(error, SystemExit):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
