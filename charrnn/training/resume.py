"""An old run."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from charrnn.config import MODEL_FILE, DataConfig, TrainingConfig
from charrnn.errors import CheckpointError, CorpusError, OptionError
from charrnn.fields import typed
from charrnn.model.device import find_device
from charrnn.store import checkpoint
from charrnn.store.checkpoint import Checkpoint
from charrnn.store.folder import RunLock
from charrnn.text.batches import Batches
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Watch, _known_again, _Origin, _validation
from charrnn.training.trainer import Trainer, Validate

RESUMABLE = {"epochs", "steps", "max_time", "patience", "eval_every", "save_every", "save_every_s"}
"""Training settings that a resumed run may change."""

FITTED = ("batch_size", "seq_len")
"""Training settings that a small text may shrink, whatever was asked for."""


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
