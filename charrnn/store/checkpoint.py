"""The format of a run's model file and training file, written and read with safetensors.

``model.safetensors`` (format version 1) holds the float32 tensors ``layers.{i}.W_x`` (H, D),
``layers.{i}.W_h`` (H, H), ``layers.{i}.b`` (H,), ``output.W_y`` (V, H), ``output.b_y`` (V,), with
D = V for i = 0 and D = H above, and these metadata, all strings:

==================  ============================================================================
``format``          ``charrnn``
``format_version``  ``1``
``model_config``    JSON object: vocab_size, unit, hidden_size, num_layers, nonlinearity, dropout
``vocabulary``      JSON array, the symbol of each id: characters, or 0 to 255 for bytes
``unknown``         only if there is one: the symbol for all other characters
``provenance``      JSON object: sources, chars, step, val_nats_per_char, versions ...
``checksum``        ``sha256:`` and the hash of all other metadata and tensors (``_checksum``)
==================  ============================================================================

``training.safetensors`` has, besides, ``training_state``, a JSON object, and the tensors that
:mod:`charrnn.training.learner` names.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import numpy as np
import safetensors.numpy

from charrnn.config import ModelConfig, Newlines
from charrnn.errors import CharrnnError, CheckpointError, reason
from charrnn.fields import typed
from charrnn.model.forward import Array, Forward
from charrnn.model.memory import check_room
from charrnn.store.folder import write_whole
from charrnn.text.vocabulary import Vocabulary

FORMAT_VERSION = "1"
TensorType = tuple[str, tuple[int, ...]]  # "F32" or the like, and the shape
_NOT_SAFETENSORS = "it is not a safetensors file, or a damaged one"


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
    def newlines(self) -> Newlines:
        """What Windows line ends were read as in training; earlier versions kept them."""
        if self.provenance.get("newlines") in get_args(Newlines):
            return cast("Newlines", self.provenance["newlines"])
        return "keep" if "\r" in self.vocabulary.symbols else "lf"


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        CheckpointError: The disk is full, or the folder is gone or read-only.
    """
    tensors = {**checkpoint.model.weights, **checkpoint.tensors}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    metadata = {
        "format": "charrnn",
        "format_version": FORMAT_VERSION,
        "model_config": json.dumps(asdict(checkpoint.model.config)),
        "vocabulary": checkpoint.vocabulary.to_json(),
        "provenance": json.dumps(checkpoint.provenance),
    }
    if checkpoint.vocabulary.unknown is not None:
        metadata["unknown"] = checkpoint.vocabulary.unknown
    if checkpoint.training_state:
        metadata["training_state"] = json.dumps(checkpoint.training_state)
    metadata["checksum"] = _checksum(metadata, tensors)
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def load(path: Path) -> Checkpoint:
    """Reads a model or training file, and trusts nothing in it before checking it.

    Raises:
        CheckpointError: It is missing, damaged, or no model of this format.
        TooLargeError: It needs more memory than there is.
    """
    with contextlib.suppress(OSError, ValueError):  # which opening it names
        check_room(path.stat().st_size, f"{path}: reading it", "close other programs")
    try:
        with path.open("rb") as stream:  # once: a training may replace the file at any moment
            metadata, types = _read_header(stream)
            config = _read_config(metadata)
            _check_types(config, types, extra="training_state" in metadata)
            stream.seek(0)
            tensors = safetensors.numpy.load(stream.read())
        if metadata.pop("checksum", None) != _checksum(metadata, tensors):
            raise CheckpointError("it is not as it was saved (checksum)")
        symbols, unknown = metadata.get("vocabulary", ""), metadata.get("unknown")
        vocabulary = Vocabulary.from_json(config.unit, symbols, unknown)
        if len(vocabulary) != config.vocab_size:
            raise CheckpointError("its vocabulary and its sizes disagree")
        model = Forward(config, _take_weights(config, tensors))
        provenance, training_state = (
            _json_object(metadata, key) for key in ("provenance", "training_state")
        )
        return Checkpoint(model, vocabulary, provenance, training_state, tensors, path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {reason(error)}: check the path") from None
    except (CharrnnError, safetensors.SafetensorError, KeyError) as error:
        # safetensors' KeyError is a type of tensor that NumPy lacks
        why = reason(error) if isinstance(error, CharrnnError) else _NOT_SAFETENSORS
        raise CheckpointError(
            f"{path}: not a charrnn model: {why}: name a run, or a file that charrnn wrote"
        ) from None


def _read_header(stream: BinaryIO) -> tuple[dict[str, str], dict[str, TensorType]]:
    """Returns a safetensors file's metadata, and the type of each tensor.

    The file begins with the size of a JSON object, 8 bytes, little-endian, and the object.
    """
    prefix = stream.read(8)
    size = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or size > os.fstat(stream.fileno()).st_size:
        raise CheckpointError(_NOT_SAFETENSORS)
    try:
        header = json.loads(stream.read(size))
        metadata = header.pop("__metadata__", {})
        types = {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in header.items()}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("metadata that are not strings")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise CheckpointError(_NOT_SAFETENSORS) from None
    return metadata, types


def _read_config(metadata: Mapping[str, str]) -> ModelConfig:
    if metadata.get("format") != "charrnn":
        raise CheckpointError("its metadata do not name charrnn as its writer")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"its format version is {version}; this charrnn reads version {FORMAT_VERSION}"
        )
    values = _json_object(metadata, "model_config")
    if set(values) != set(ModelConfig.__annotations__):
        raise CheckpointError("its model_config has missing or unknown fields")
    try:
        return typed(ModelConfig, values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its model_config does not fit: {error}") from None


def _json_object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"its {key} is not a JSON object")
    return value


def _check_types(config: ModelConfig, types: Mapping[str, TensorType], extra: bool) -> None:
    """Compares the file's tensors with those of the configuration, before any is allocated."""
    wanted = config.parameter_shapes()
    for name, shape in wanted.items():
        if name not in types:
            raise CheckpointError(f"tensor {name} is missing")
        if types[name] != ("F32", shape):
            raise CheckpointError(f"tensor {name} is {types[name]}, not {('F32', shape)}")
    unknown = sorted(set(types) - set(wanted))
    if unknown and not extra:
        raise CheckpointError(f"tensor {unknown[0]} is unknown")


def _take_weights(config: ModelConfig, tensors: dict[str, Array]) -> dict[str, Array]:
    """Takes the model's weights out of the tensors, and returns them."""
    weights = {name: tensors.pop(name) for name in config.parameter_shapes()}
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise CheckpointError(f"tensor {name} holds values that are not finite")
    return weights


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """Hashes the metadata as sorted JSON, then each tensor's name and bytes, by name."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return "sha256:" + digest.hexdigest()
