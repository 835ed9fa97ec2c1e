"""The format of a run's model file and training file, written and read with safetensors.

``model.safetensors`` holds the float32 tensors ``layers.{i}.W_x`` (G H, D), ``layers.{i}.W_h``
(G H, H), ``layers.{i}.b`` (G H,), ``output.W_y`` (V, H), ``output.b_y`` (V,), with D = V for i = 0
and D = H above, and these metadata, all strings:

==================  ============================================================================
``format``          ``charrnn``
``format_version``  ``1``; ``2`` of a model whose cells have gates
``model_config``    JSON object: vocab_size, unit, hidden_size, num_layers, nonlinearity, dropout;
                    in version 2 also cell, ``gru`` or ``lstm``
``vocabulary``      JSON array, the symbol of each id: characters, or 0 to 255 for bytes
``unknown``         only if there is one: the symbol for all other characters
``provenance``      JSON object: sources, chars, step, val_nats_per_char, versions ...
``checksum``        ``sha256:`` and the hash of all other metadata and tensors (``_checksum``)
==================  ============================================================================

Version 1 is the plain equation, G = 1. In version 2 gates are stacked along the first axis: of a
GRU r, z, n, G = 3; of an LSTM i, f, g, o, G = 4 (:mod:`charrnn.model.gated`).

``training.safetensors`` has, besides, ``training_state``, a JSON object, and the tensors that
:mod:`charrnn.training.learner` names.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import numpy as np
import safetensors.numpy

from charrnn import system
from charrnn.config import MOST_MEMBERS, ModelConfig, Newlines
from charrnn.errors import CharrnnError, CheckpointError, TooLargeError, reason, refusal
from charrnn.fields import typed
from charrnn.model.forward import LARGEST_WEIGHT, Array, Forward
from charrnn.model.memory import check_room
from charrnn.store.opened import RunFolder, write_whole
from charrnn.store.reading import NOT_SAFETENSORS, check_tensors, json_object, read_header
from charrnn.text.vocabulary import Vocabulary

PLAIN_VERSION, GATED_VERSION = "1", "2"


@dataclass
class Checkpoint:
    """The content of a model file or a training file."""

    model: Forward
    vocabulary: Vocabulary
    provenance: dict[str, Any] = field(default_factory=dict)  # where it comes from, JSON values
    training_state: dict[str, Any] = field(default_factory=dict)  # of a training file, JSON values
    tensors: dict[str, Array] = field(default_factory=dict)  # further ones of a training file
    path: Path = Path()  # where it was read

    @property
    def mixture(self) -> "Mixture | None":
        """Which member of a run's mixture it is, if it is one of several."""
        return mixture_in(self.provenance)

    @property
    def trained_chars(self) -> int:
        """Characters of the text that it was trained on, or that were read of it; 1 or more."""
        counts = (self.provenance.get(key) for key in ("chars", "train_chars_read"))
        return next((n for n in counts if type(n) is int and n > 0), 1)

    @property
    def held_out_lines(self) -> tuple[int, float] | None:
        """How many held-out lines were scored, and their usual bits per character, if any were."""
        return lines_in(self.provenance)

    @property
    def sources(self) -> list[str]:
        """What the user named as its text, if that is known."""
        kept: Any = self.provenance.get("sources")
        if not isinstance(kept, list) or not all(isinstance(source, str) for source in kept):
            return []
        return kept

    @property
    def step(self) -> int:
        """Updates that made it; 0 if that is not known."""
        step = self.provenance.get("step")
        return step if type(step) is int and step > 0 else 0

    @property
    def val_nats_per_char(self) -> float | None:
        """What it scored on the validation text, if that is known."""
        return nats_in(self.provenance)

    @property
    def run_val_nats_per_char(self) -> float | None:
        """What its run's model scored: it alone, or the mixture that it is a member of."""
        return self.mixture.val_nats_per_char if self.mixture else self.val_nats_per_char

    @property
    def newlines(self) -> Newlines:
        """What Windows line ends were read as in training; earlier versions kept them."""
        if self.provenance.get("newlines") in get_args(Newlines):
            return cast("Newlines", self.provenance["newlines"])
        return "keep" if "\r" in self.vocabulary.symbols else "lf"


@dataclass(frozen=True)
class Mixture:
    """What a model's file tells of the mixture that it is a member of."""

    member: int  # which one it is, from 1 up
    members: int  # how many there are
    val_nats_per_char: float | None  # what the mixture scored, as in :class:`Checkpoint`
    held_out_lines: tuple[int, float] | None  # the same


def mixture_in(provenance: Mapping[str, Any]) -> Mixture | None:
    """Returns what a provenance tells of a mixture, if it does."""
    kept = provenance.get("mixture")
    if not isinstance(kept, dict):
        return None
    member, members = kept.get("member"), kept.get("members")
    if type(member) is type(members) is int and 1 <= member <= members <= MOST_MEMBERS:
        return Mixture(member, members, nats_in(kept), lines_in(kept))
    return None


def nats_in(kept: Mapping[str, Any]) -> float | None:
    """Returns what was scored on a validation text, if that is known."""
    nats = kept.get("val_nats_per_char")
    return nats if type(nats) is float and 0 <= nats < math.inf else None


def lines_in(kept: Mapping[str, Any]) -> tuple[int, float] | None:
    """Returns the count and the usual bits per character of held-out lines, if any were scored."""
    usual = kept.get("held_out_lines")
    if not isinstance(usual, dict):
        return None
    lines, bits = usual.get("lines"), usual.get("usual_bits_per_char")
    if type(lines) is int and lines > 0 and type(bits) is float and 0 <= bits < math.inf:
        return lines, bits
    return None


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns the content of a checkpoint's file."""
    tensors = {**checkpoint.model.weights, **checkpoint.tensors}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    config = asdict(checkpoint.model.config)
    if plain := config["cell"] == "rnn":
        del config["cell"]  # which earlier versions of charrnn do not know
    metadata = {
        "format": "charrnn",
        "format_version": PLAIN_VERSION if plain else GATED_VERSION,
        "model_config": json.dumps(config),
        "vocabulary": checkpoint.vocabulary.to_json(),
        "provenance": json.dumps(checkpoint.provenance),
    }
    if checkpoint.vocabulary.unknown is not None:
        metadata["unknown"] = checkpoint.vocabulary.unknown
    if checkpoint.training_state:
        metadata["training_state"] = json.dumps(checkpoint.training_state)
    metadata["checksum"] = _checksum(metadata, tensors)
    return _in_order(safetensors.numpy.save(tensors, metadata))


def _in_order(data: bytes) -> bytes:
    """Returns a file with its metadata sorted: safetensors writes them in an order of chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        CheckpointError: The disk is full, or the folder is gone or read-only.
    """
    write_whole(path, to_bytes(checkpoint))


def load(path: Path, folder: RunFolder | None = None) -> Checkpoint:
    """Reads a model or training file, and trusts nothing in it before checking it.

    Args:
        path: the file.
        folder: if it is open, the folder that the file is in: only the path's name counts then.

    Raises:
        CheckpointError: It is missing, damaged, or no model of this format.
        TooLargeError: It needs more memory than there is.
    """
    try:
        # once: a training may replace the file at any moment
        with _open(path) if folder is None else folder.open(path.name, follow=True) as stream:
            header = read_header(stream)
            metadata = header.metadata
            config = _read_config(metadata)
            provenance, training_state = (
                json_object(metadata, key) for key in ("provenance", "training_state")
            )
            of_training = training_state if "training_state" in metadata else None
            check_tensors(header, config, of_training)
            check_room(header.body_bytes, f"{path}: reading it", "close other programs")
            stream.seek(0)
            tensors = safetensors.numpy.load(stream.read())
        if metadata.pop("checksum", None) != _checksum(metadata, tensors):
            raise CheckpointError("it is not as it was saved (checksum)")
        symbols, unknown = metadata.get("vocabulary", ""), metadata.get("unknown")
        vocabulary = Vocabulary.from_json(config.unit, symbols, unknown)
        if len(vocabulary) != config.vocab_size:
            raise CheckpointError("its vocabulary and its sizes disagree")
        model = Forward(config, _take_weights(config, tensors))
        return Checkpoint(model, vocabulary, provenance, training_state, tensors, path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise CheckpointError(refusal(path, "read", error, "check the path")) from None
    except TooLargeError:
        raise
    except (CharrnnError, safetensors.SafetensorError, KeyError) as error:
        # safetensors' KeyError is a type of tensor that NumPy lacks
        why = reason(error) if isinstance(error, CharrnnError) else NOT_SAFETENSORS
        raise CheckpointError(
            f"{path}: not a charrnn model: {why}: name a run, or a file that charrnn wrote"
        ) from None


def training_state(path: Path) -> dict[str, Any]:
    """Returns what a training file keeps as JSON, without its tensors; nothing if it is damaged."""
    return _kept(path, "training_state")


def is_member(path: Path) -> bool:
    """Returns whether a model's file is one of several members; not if it is damaged."""
    return mixture_in(_kept(path, "provenance")) is not None


def _kept(path: Path, key: str) -> dict[str, Any]:
    try:
        with _open(path) as stream:
            return json_object(read_header(stream).metadata, key)
    except (OSError, CheckpointError):
        return {}


def _open(path: Path) -> BinaryIO:
    return os.fdopen(system.open_regular(path, os.O_RDONLY, follow=True), "rb")


def _read_config(metadata: Mapping[str, str]) -> ModelConfig:
    if metadata.get("format") != "charrnn":
        raise CheckpointError("its metadata do not name charrnn as its writer")
    version = metadata.get("format_version")
    if version not in (PLAIN_VERSION, GATED_VERSION):
        raise CheckpointError(
            f"its format version is {version}; this charrnn reads versions {PLAIN_VERSION} and "
            f"{GATED_VERSION}"
        )
    values = json_object(metadata, "model_config")
    fields = set(ModelConfig.__annotations__) - ({"cell"} if version == PLAIN_VERSION else set())
    if set(values) != fields:
        raise CheckpointError("its model_config has missing or unknown fields")
    if version == GATED_VERSION and values["cell"] == "rnn":
        raise CheckpointError("its cell is rnn, which has format version 1")
    try:
        return typed(ModelConfig, values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its model_config does not fit: {error}") from None


def _take_weights(config: ModelConfig, tensors: dict[str, Array]) -> dict[str, Array]:
    """Takes the model's weights out of the tensors, and returns them."""
    weights = {name: tensors.pop(name) for name in config.parameter_shapes()}
    for name, weight in weights.items():
        # never so for NaN
        if not -LARGEST_WEIGHT <= weight.min() <= weight.max() <= LARGEST_WEIGHT:
            raise CheckpointError(
                f"tensor {name} holds values that are NaN or beyond {LARGEST_WEIGHT:g}, "
                "with which float32 overflows"
            )
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"tensor {name} holds values that are NaN or infinite")
    return weights


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """Hashes the metadata as sorted JSON, then each tensor's name and bytes, by name."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return "sha256:" + digest.hexdigest()
