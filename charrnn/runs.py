"""Starts a run, or goes on with one: from the user's settings and sources to a trainer."""

import contextlib
import glob
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn import checkpoint
from charrnn.batches import Batches
from charrnn.checkpoint import Checkpoint, RunLock
from charrnn.config import MODEL_FILE, DataConfig, ModelConfig, TrainingConfig, typed
from charrnn.corpus import HUB_PREFIX, STDIN, Corpus, Place, Spool, is_stream, run_name
from charrnn.errors import CharrnnError, CheckpointError, CorpusError, OptionError
from charrnn.model import CharRNN
from charrnn.planning import find_device, plan
from charrnn.survey import Survey, first_vocabulary, survey
from charrnn.training import Trainer, Validate
from charrnn.vocabulary import Ids, Vocabulary

Watch = Callable[[Corpus, int], None]

SPOOL_BYTES = 2**26
"""Standard input of more than this is trained on as it comes, where the vocabulary is known."""

RESUMABLE = {"epochs", "steps", "max_time", "patience", "eval_every", "save_every", "save_every_s"}
"""Training settings that a resumed run may change."""

FITTED = ("batch_size", "seq_len")
"""Training settings that a small text may shrink, whatever was asked for."""


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
                    folder = checkpoint.create_run(runs, name)
                    lock = RunLock(folder)
                found[i] = str(folder / f"{i or ''}{checkpoint.STDIN_FILE}")
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
        folder = folder or checkpoint.create_run(runs, name)
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


def _notes_on(corpus: Corpus, known: Survey) -> list[str]:
    """Returns what the user should know of a text, a line each."""
    notes = []
    if known.chars is None:
        kept = corpus.files[0]
        notes.append(f"more than {SPOOL_BYTES:,} bytes: trained on as it comes, and kept in {kept}")
    if corpus.skipped:
        notes.append(f"{len(corpus.skipped)} binary files skipped, {corpus.skipped[0]} first")
    if corpus.marked:
        notes.append(f"byte-order mark left out: {', '.join(corpus.marked[:3])}")
    if known.unknown_chars:
        notes.append(f"{known.unknown_chars:,} characters of the text are unknown to the model")
    return notes


def _can_do_without_an_end(data: DataConfig) -> bool:
    return data.unit == "byte" or data.vocabulary_from is not None


def _first_look(corpus: Corpus, spool: Spool | None, watch: Watch) -> Survey:
    """Reads a corpus once, or as much as its vocabulary needs of one that has no end yet."""
    if spool is None or spool.ended:
        return survey(corpus, lambda size_bytes: watch(corpus, size_bytes))
    if corpus.config.unit == "byte":
        return Survey(None, Vocabulary.of_bytes())
    assert corpus.config.vocabulary_from is not None
    return Survey(None, first_vocabulary(corpus, corpus.config.vocabulary_from))


def _validation(source: str, data: DataConfig, vocabulary: Vocabulary) -> tuple[Ids, str, int]:
    """Returns the ids of another text, their hash, and how many unknown characters it has."""
    limit = TrainingConfig.max_val_chars
    if is_stream(source):
        raise CorpusError(f"{source}: --val-source is read again at a resume: name a file")
    parts, missing = [np.zeros(0, dtype=vocabulary.dtype)], 0
    for piece in Corpus([source], data).pieces():
        missing += vocabulary.count_unknown(piece)
        parts.append(vocabulary.encode(piece, "skip")[:limit])
        limit -= len(parts[-1])
        if not limit:
            break
    ids = np.concatenate(parts)
    if len(ids) < 2:
        raise CorpusError(f"{source}: {len(ids)} known characters; validation needs at least 2")
    return ids, hashlib.sha256(ids.tobytes()).hexdigest(), missing


def transfer(source: Checkpoint, model: CharRNN, vocabulary: Vocabulary) -> str:
    """Copies another model's weights; characters are matched by name.

    A character that only the new vocabulary has keeps its fresh weights; one that only the old
    model has is dropped.

    Args:
        source: the other model; of the same layers and hidden size.
        model: the new model; changed in place.
        vocabulary: the new model's.

    Returns:
        One line for the user that counts the characters.
    """
    old = {symbol: i for i, symbol in enumerate(source.vocabulary.symbols)}
    pairs = [(i, old[s]) for i, s in enumerate(vocabulary.symbols) if s in old]
    new_ids, old_ids = (
        torch.tensor([pair[k] for pair in pairs], dtype=torch.int64) for k in (0, 1)
    )
    given = source.model.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "layers.0.W_x":
                parameter[:, new_ids] = given[name][:, old_ids]
            elif name.startswith("output."):
                parameter[new_ids] = given[name][old_ids]
            else:
                parameter.copy_(given[name])
    return (
        f"{source.path}: {len(pairs)} characters taken over, {len(vocabulary) - len(pairs)} new, "
        f"{len(old) - len(pairs)} dropped"
    )


def _name_originals(message: str, sources: Sequence[str], found: Sequence[str]) -> str:
    """Names what the user gave instead of the copies kept of it, which are gone."""
    for source, kept in zip(sources, found, strict=True):
        if kept != source:
            message = message.replace(kept, "standard input" if source == STDIN else source)
    return message


def resumed_trainer(
    path: Path,
    changes: Mapping[str, Any],
    *,
    validate: Validate,
    watch: Watch = lambda corpus, size_bytes: None,
) -> Trainer:
    """Goes on with a run exactly where its training file says.

    Args:
        path: the training file.
        changes: settings that the user gave anew; all but :data:`RESUMABLE` must be as saved.
        validate: scores a model.
        watch: as in :func:`new_trainer`.

    Raises:
        CheckpointError: The file cannot be used, a setting differs, or the text has changed.
        CorpusError: The text is not there any more.
    """
    lock = RunLock(path.parent)  # before reading: what another training saves meanwhile is lost
    try:
        return _resumed(path, changes, lock, validate, watch)
    except BaseException:
        lock.release()
        raise


def _resumed(
    path: Path, changes: Mapping[str, Any], lock: RunLock, validate: Validate, watch: Watch
) -> Trainer:
    saved = checkpoint.load(path)
    state = saved.training_state
    if not state:
        raise CheckpointError(f"{path}: a model, no saved training: name the run's folder")
    try:
        data = typed(DataConfig, state["data_config"])
        config = typed(TrainingConfig, state["training_config"])
        origin = _Origin.read(state)
    except (KeyError, TypeError, ValueError, OptionError) as error:
        raise CheckpointError(
            f"{path}: not a whole training file ({error}): start a new run"
        ) from None
    model_config = saved.model.config
    fixed = {**asdict(model_config), **asdict(data), **asdict(config)}
    for key, value in changes.items():
        free = key not in fixed or key in RESUMABLE | {"threads", "device"}
        # a small text may have shrunk what was asked for
        if not free and value not in (fixed[key], origin.asked.get(key)):
            option = "--" + key.replace("_", "-")
            raise CheckpointError(
                f"{path}: trained with {option} {fixed[key]}, not {value}: "
                f"leave {option} out, or start a new run"
            )
    as_before = config == _with_changes(config, changes)
    config = _with_changes(config, changes)
    found = [str(kept) if (kept := path.parent / s).exists() else s for s in origin.sources]
    corpus = Corpus(found, data)
    stamps = corpus.stamps()
    known = _known_again(corpus, origin, saved.vocabulary, watch)
    # a touched text, found to be the same, need not be read again the next time
    origin = replace(origin, stamps=stamps, places=[list(place) for place in known.places])
    validation = None
    if origin.val_source is not None:
        validation, val_sha256, _ = _validation(origin.val_source, data, saved.vocabulary)
        if val_sha256 != origin.val_sha256:
            raise CorpusError(
                f"{origin.val_source}: the text has changed since the run began: "
                "restore it, or start a new run"
            )
    return Trainer(
        saved.model.to(find_device(config.device)),
        Batches(corpus, known, data, config.batch_size, config.seq_len, validation=validation),
        config,
        path.parent,
        validate=validate,
        origin={"data_config": asdict(data), **asdict(origin)},
        provenance={key: saved.provenance.get(key) for key in ("sources", "chars")},
        resume_from=saved,
        # where the same steps will be made again, the kept model will be found again
        kept_nats=None if as_before and config.max_time is None else _newer_nats(saved, path),
        lock=lock,
    )


@dataclass(frozen=True)
class _Origin:
    """What a training file tells, to find the text again.

    Attributes:
        sources: as the user named them; paths are absolute, a kept copy is relative to the run.
        corpus_chars: characters of the text; None where it had no end.
        corpus_sha256: its hash.
        asked: settings that were asked for and did not fit the text.
        stamps: size and time of change of each file; None where one is no local file.
        places: where reading can start.
        val_source: another text that validates.
        val_sha256: its hash.
    """

    sources: list[str]
    corpus_chars: int | None
    corpus_sha256: str
    asked: dict[str, Any]
    stamps: list[list[int]] | None = None
    places: list[list[int]] = field(default_factory=list)
    val_source: str | None = None
    val_sha256: str = ""

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "_Origin":
        """Returns what a training state tells.

        Raises:
            TypeError: It is of another type.
            ValueError: It makes no sense.
        """
        origin = typed(cls, {k: state[k] for k in cls.__annotations__ if k in state})
        if not all(isinstance(source, str) for source in origin.sources):
            raise TypeError("a source that is no text")
        for place in origin.places:
            if len(place) != 3 or not all(type(n) is int and n >= 0 for n in place):
                raise ValueError(f"a place of {place!r:.100}")
        return origin


def _known_again(corpus: Corpus, origin: _Origin, vocabulary: Vocabulary, watch: Watch) -> Survey:
    """Returns what was known of the text; a large one is not read again where no file has changed.

    Raises:
        CorpusError: It is another text now.
    """
    then = origin.corpus_chars
    if then is None:
        return Survey(None, vocabulary)
    if then > corpus.config.block_chars and origin.stamps and corpus.stamps() == origin.stamps:
        places = tuple(Place(*place) for place in origin.places)
        return Survey(then, vocabulary, origin.corpus_sha256, None, places)
    now = survey(corpus, lambda size_bytes: watch(corpus, size_bytes))
    if (now.chars, now.sha256) != (then, origin.corpus_sha256):
        chars = f"{now.chars:,} characters" if now.chars != then else "other characters"
        raise CorpusError(
            f"{corpus.name}: the text has changed since the run began ({then:,} characters then, "
            f"{chars} now): restore it, or start a new run"
        )
    return replace(now, vocabulary=vocabulary)  # which may have more characters than the text


def _newer_nats(saved: Checkpoint, path: Path) -> float | None:
    """Returns what the kept model scores, if it is newer than a training file and better.

    Training that was killed may have kept it after its last save.
    """
    try:
        kept = checkpoint.load(path.with_name(MODEL_FILE)).provenance
        step, nats = kept["step"], kept["val_nats_per_char"]
        progress = saved.training_state["progress"]
        newer = step > progress["step"] and nats < (progress["best_nats"] or math.inf)
    except (CheckpointError, KeyError, TypeError):
        return None  # there is none, or it was never scored
    return float(nats) if newer else None


def _with_changes(config: TrainingConfig, changes: Mapping[str, Any]) -> TrainingConfig:
    new = {key: changes[key] for key in RESUMABLE | {"threads", "device"} if key in changes}
    if new.keys() & {"epochs", "steps", "max_time"}:
        new = {"epochs": None, "steps": None, "max_time": None, **new}
    return replace(config, **new)


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


def _absolute(source: str) -> str:
    """Returns a source so that it is found from any folder: a path or a glob, but no Hub name."""
    if source.startswith(HUB_PREFIX) and not Path(source).exists():
        return source
    if Path(source).exists():
        return str(Path(source).absolute())
    return os.path.join(glob.escape(os.getcwd()), source)
