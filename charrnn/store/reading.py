"""A safetensors file that anybody may have written: what is looked at before its tensors are read.

It begins with the size of a JSON object, 8 bytes, little-endian, and that object, the header.
"""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from charrnn.config import MOST_MEMBERS, ModelConfig
from charrnn.errors import CheckpointError
from charrnn.fields import read_json

MOST_HEADER_BYTES = 2**25  # Unicode's whole vocabulary takes 22 million
MOST_STREAMS = 2**16  # as `batch_size` allows, in the hidden state of a training file
OTHER_BYTES = 2**16  # for the state of a training's random numbers
NOT_SAFETENSORS = "it is not a safetensors file, or a damaged one"

TensorType = tuple[str, tuple[int, ...]]  # "F32" or the like, and the shape


class Header(NamedTuple):
    """What a file tells of its tensors before they are read."""

    metadata: dict[str, str]
    types: dict[str, TensorType]  # of each tensor
    body_bytes: int  # all bytes after the header


def read_header(stream: BinaryIO) -> Header:
    """Reads a file's header.

    Raises:
        CheckpointError: It has none.
    """
    file_bytes = os.fstat(stream.fileno()).st_size
    prefix = stream.read(8)
    size = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or size > min(file_bytes - 8, MOST_HEADER_BYTES):
        raise CheckpointError(NOT_SAFETENSORS)
    try:
        header = read_json(stream.read(size).decode())
        metadata = header.pop("__metadata__", {})
        types = {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in header.items()}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("metadata that are not strings")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise CheckpointError(NOT_SAFETENSORS) from None
    return Header(metadata, types, file_bytes - 8 - size)


def check_tensors(
    header: Header, config: ModelConfig, training_state: Mapping[str, Any] | None
) -> None:
    """Compares a file's tensors with those of the configuration, before any is allocated.

    Args:
        header: the file's.
        config: the model's.
        training_state: of a training file, which has further tensors, and those of other members.

    Raises:
        CheckpointError: They differ, or the file is larger than they can be.
    """
    shapes = config.parameter_shapes()
    for name, shape in shapes.items():
        if name not in header.types:
            raise CheckpointError(f"tensor {name} is missing")
        if header.types[name] != ("F32", shape):
            raise CheckpointError(f"tensor {name} is {header.types[name]}, not {('F32', shape)}")
    unknown = sorted(set(header.types) - set(shapes))
    if unknown and training_state is None:
        raise CheckpointError(f"tensor {unknown[0]} is unknown")
    most_bytes = 4 * config.parameter_count()
    if training_state is not None:
        # the weights, their average, two moments of each; the hidden state
        state = config.num_layers * config.state_size * MOST_STREAMS
        most_bytes = _members(training_state) * (4 * most_bytes + 4 * state + OTHER_BYTES)
    if header.body_bytes > most_bytes:
        raise CheckpointError(
            f"it has {header.body_bytes:,} bytes of tensors; its model_config has {most_bytes:,}"
        )


def _members(training_state: Mapping[str, Any]) -> int:
    """Returns how many members a training says it has, if so many are possible."""
    settings = training_state.get("training_config")
    count = settings.get("members") if isinstance(settings, dict) else None
    return count if type(count) is int and 1 <= count <= MOST_MEMBERS else 1


def json_object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Returns a JSON object that the metadata hold; an empty one if there is none.

    Raises:
        CheckpointError: It is not one.
    """
    try:
        value = read_json(metadata.get(key, "{}"))
    except ValueError as error:
        raise CheckpointError(f"its {key} is not JSON that charrnn writes: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"its {key} is not a JSON object")
    return value
