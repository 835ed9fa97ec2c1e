"""``charrnn train``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import (
    _D,
    _M,
    _MODEL,
    _PASSES,
    _RUN,
    _STOP,
    _T,
    _TEXT,
    _TRAIN,
    ColumnOption,
    EncodingErrorsOption,
    EncodingOption,
    RowSeparatorOption,
    RunsOption,
    SplitOption,
    ThreadsOption,
    _argument,
    _count,
    _option,
    _pick,
    _seconds,
    _steps_or_seconds,
)
from charrnn.cli.shell import _named_errors, _set_threads, _Signals, _write
from charrnn.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig
from charrnn.display.console import note
from charrnn.display.live import TrainingDisplay
from charrnn.display.progress import ReadingProgress
from charrnn.errors import OptionError
from charrnn.training.events import RunSummary

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus
    from charrnn.training.events import Evaluated, Finished
    from charrnn.training.trainer import Trainer


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
    from charrnn.scoring.scorer import nats_per_char
    from charrnn.store import checkpoint
    from charrnn.store.folder import TRAINING_FILE, find_run
    from charrnn.training.resume import resumed_trainer
    from charrnn.training.start import new_trainer

    validate = nats_per_char
    with _Signals() as signals, ReadingProgress(quiet=quiet) as reading:

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
            path = find_run(runs, run, TRAINING_FILE)
            flat = {key: value for change in changes for key, value in change.items()}
            trainer = resumed_trainer(path, flat, validate=validate, watch=watch)
            _set_threads(trainer.config.threads)
        else:
            start = checkpoint.load(find_run(runs, init_from)) if init_from else None
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
        note(f"go on with: charrnn train --resume {shlex.quote(str(trainer.folder))}")
        raise typer.Exit(128 + signals.received)
    _write(f"{finished.model_path}\n")


def _run(trainer: "Trainer", signals: "_Signals", quiet: bool) -> "Finished":
    """Trains with signals and screen attached; returns the end."""
    from charrnn.training.events import Evaluated, Finished, Stepped, WentBack

    config, batches = trainer.model.config, trainer.batches
    summary = RunSummary(
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
            note(line)
    signals.training = True
    with TrainingDisplay(summary, quiet=quiet) as screen:
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
    from charrnn.sampling.generate import generate

    config = SamplingConfig(length=240, seed=event.step)
    return "".join(generate(event.model, trainer.batches.vocabulary, "", config)).strip("\n")
