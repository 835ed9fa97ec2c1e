"""A new run."""

import contextlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from charrnn.config import DataConfig, ModelConfig
from charrnn.errors import CharrnnError, OptionError
from charrnn.model.device import find_device
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.folder import STDIN_FILE, RunLock, create_run
from charrnn.store.transfer import transfer
from charrnn.text.batches import Batches
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import (
    SPOOL_BYTES,
    Watch,
    _absolute,
    _can_do_without_an_end,
    _first_look,
    _notes_on,
    _Origin,
    _validation,
)
from charrnn.text.sources import STDIN, is_stream, run_name
from charrnn.text.spool import Spool
from charrnn.training.planning import plan
from charrnn.training.resume import FITTED
from charrnn.training.trainer import Trainer, Validate


def new_trainer(
    sources: Sequence[str],
    runs: Path,
    name: str | None,
    data: DataConfig,
    training_options: Mapping[str, Any],
    model_options: Mapping[str, Any],
    *,
    validate: Validate,
    init_from: Checkpoint | None = None,
    keep_characters: bool = False,
    val_source: str | None = None,
    watch: Watch = lambda corpus, size_bytes: None,
) -> Trainer:
    """Starts a new run: reads the text once, fits the settings to it, builds the model.

    Args:
        sources: as :class:`~charrnn.corpus.Corpus` takes them.
        runs: the folder of all runs.
        name: the run's name; None takes the source's.
        data: where the text comes from and how it is cut.
        training_options: fields of :class:`~charrnn.config.TrainingConfig` that the user gave.
        model_options: fields of :class:`~charrnn.config.ModelConfig` that the user gave.
        validate: scores a model.
        init_from: a model to take the weights from.
        keep_characters: also its characters that the text does not have.
        val_source: another text to validate on, instead of the tail of this one.
        watch: told again and again of a corpus that is read for the first time, and how many bytes
            of it were.

    Raises:
        CharrnnError: The text, a setting or the disk forbids it; no run is left behind.
    """
    folder, lock, spool, new_runs = None, None, None, not runs.exists()
    found = list(sources)
    name = run_name(sources) if name is None else name
    try:
        for i, source in enumerate(sources):
            if is_stream(source):
                # kept, so that it can be read more than once
                if folder is None:
                    folder = create_run(runs, name)
                    lock = RunLock(folder)
                found[i] = str(folder / f"{i or ''}{STDIN_FILE}")
                spool = Spool(source, Path(found[i]))
                without_end = len(sources) == 1 and _can_do_without_an_end(data)
                spool.fill(SPOOL_BYTES if without_end else math.inf)
        corpus = Corpus(found, data, spool=spool if spool and not spool.ended else None)
        stamps = corpus.stamps()  # before: what changes meanwhile must show
        known = _first_look(corpus, spool, watch)
        notes = _notes_on(corpus, known)
        if init_from is not None:
            model_options = _shape_of(init_from.model.config, data.unit, model_options)
            if keep_characters:
                known = replace(known, vocabulary=known.vocabulary.union(init_from.vocabulary))
        validation, val_sha256 = None, ""
        if val_source is not None:
            validation, val_sha256, missing = _validation(val_source, data, known.vocabulary)
            if missing:
                notes.append(f"{val_source}: {missing:,} characters unknown to the model left out")
        train_chars = known.chars
        if train_chars is not None and validation is None:
            train_chars = data.train_chars(train_chars)
        planned = plan(
            {"vocab_size": len(known.vocabulary), "unit": data.unit, **model_options},
            training_options,
            train_chars,
        )
        notes += planned.notes
        training = planned.training
        torch.manual_seed(training.seed)
        model = CharRNN(planned.model)
        if init_from is not None:
            notes.append(transfer(init_from, model, known.vocabulary))
        device = find_device(training.device)
        origin = _Origin(
            sources=[
                # a kept copy is named relative to the run, which may be moved
                Path(kept).name if kept != source else _absolute(source)
                for source, kept in zip(sources, found, strict=True)
            ],
            corpus_chars=known.chars,
            corpus_sha256=known.sha256,
            asked={k: training_options[k] for k in FITTED if k in training_options},
            stamps=stamps,
            places=[list(place) for place in known.places],
            val_source=val_source if val_source is None else _absolute(val_source),
            val_sha256=val_sha256,
        )
        folder = folder or create_run(runs, name)
        return Trainer(
            model.to(device),
            Batches(
                corpus,
                known,
                data,
                training.batch_size,
                training.seq_len,
                validation=validation,
            ),
            training,
            folder,
            validate=validate,
            origin={"data_config": asdict(data), **asdict(origin)},
            provenance={"sources": list(sources), "chars": known.chars},
            lock=lock or RunLock(folder),
            spent_s=planned.spent_s,
            notes=notes,
        )
    except BaseException as error:
        if spool is not None:
            spool.close()
        if lock is not None:
            lock.release()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                if new_runs:
                    runs.rmdir()
        if isinstance(error, CharrnnError):
            raise type(error)(_name_originals(str(error), sources, found)) from None
        raise


def _name_originals(message: str, sources: Sequence[str], found: Sequence[str]) -> str:
    """Names what the user gave instead of the copies kept of it, which are gone."""
    for source, kept in zip(sources, found, strict=True):
        if kept != source:
            message = message.replace(kept, "standard input" if source == STDIN else source)
    return message


def _shape_of(config: ModelConfig, unit: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a model that takes over another's weights."""
    if config.unit != unit:
        raise OptionError(
            f"--unit: --init-from's model has {config.unit}: add --unit {config.unit}"
        )
    shape = {key: getattr(config, key) for key in ("hidden_size", "num_layers", "nonlinearity")}
    for key, value in shape.items():
        if options.get(key, value) != value:
            option = "--" + key.replace("_", "-")
            raise OptionError(f"{option}: --init-from's model has {value}: leave {option} out")
    return {**options, **shape}
