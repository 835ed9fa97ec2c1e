"""The safetensors store: a run's folder, its model file and its training file.

``model.safetensors`` (format version 1) holds the float32 tensors ``layers.{i}.W_x`` (H, D),
``layers.{i}.W_h`` (H, H), ``layers.{i}.b`` (H,), ``output.W_y`` (V, H), ``output.b_y`` (V,), with
D = V for i = 0 and D = H above, and these metadata, all strings:

==================  ============================================================================
``format``          ``charrnn``
``format_version``  ``1``
``model_config``    JSON object: vocab_size, unit, hidden_size, num_layers, nonlinearity, dropout
``vocabulary``      JSON array, the symbol of each id: characters, or 0 to 255 for bytes
``unknown``         only where there is one: the symbol for all other characters
``provenance``      JSON object: sources, chars, step, val_nats_per_char, versions ...
``checksum``        ``sha256:`` and the hash of all other metadata and tensors (``_checksum``)
==================  ============================================================================

``training.safetensors`` has, besides, ``training_state``, a JSON object, and the tensors that
:mod:`charrnn.training` names. Every file is written whole or not at all: to a
temporary file beside it, flushed to the disk, then renamed over it.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import charrnn
from charrnn.config import MODEL_FILE, ModelConfig, typed
from charrnn.errors import (
    CharrnnError,
    CheckpointError,
    OptionError,
    RunBusyError,
    RunNotFoundError,
)
from charrnn.model import CharRNN
from charrnn.vocabulary import Vocabulary

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second training out there
    fcntl = None  # type: ignore[assignment]

FORMAT_VERSION = "1"
TRAINING_FILE = "training.safetensors"
HISTORY_FILE = "history.jsonl"
STDIN_FILE = "stdin.txt"
_TEMPORARY = re.compile(r"\.(model\.safetensors|training\.safetensors|history\.jsonl)\.\d+\.tmp")


@dataclass
class Checkpoint:
    """A model and what is known of it.

    Attributes:
        model: the network, in evaluation mode.
        vocabulary: its symbols.
        provenance: where it comes from; JSON values.
        training_state: the rest of a training file; JSON values, empty for a model file.
        tensors: a training file's further tensors.
        path: where it was read.
    """

    model: CharRNN
    vocabulary: Vocabulary
    provenance: dict[str, Any] = field(default_factory=dict)
    training_state: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    path: Path = Path()


def library_versions() -> dict[str, str]:
    """Returns the versions that decide a run's numbers."""
    return {
        "charrnn": charrnn.__version__,
        "torch": torch.__version__,
        "safetensors": safetensors.__version__,
        "python": platform.python_version(),
    }


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
        path: the file; its folder must exist.
        checkpoint: what to write; its training state only where it has one.

    Raises:
        CheckpointError: The disk is full, or the folder is gone or read-only.
    """
    tensors = {**checkpoint.model.state_dict(), **checkpoint.tensors}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
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
    write_whole(path, safetensors.torch.save(tensors, metadata))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a crash, finds the old content or the new, never a part.

    Raises:
        CheckpointError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written: {error.strerror or error}: "
            "free some space or choose another --runs"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flushes a folder to the disk: a new name in it must survive a power loss."""
    with contextlib.suppress(OSError):  # not every file system can, and the file is there
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def load(path: Path) -> Checkpoint:
    """Reads a model or training file, and believes nothing that it says before checking it.

    Raises:
        CheckpointError: It is missing, damaged, or no model of this format.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            config = _read_config(metadata)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check_shapes(config, shapes, extra="training_state" in metadata)
            tensors = {name: file.get_tensor(name) for name in shapes}
        if metadata.pop("checksum", None) != _checksum(metadata, tensors):
            raise CheckpointError("it is not as it was saved (checksum)")
        symbols, unknown = metadata.get("vocabulary", ""), metadata.get("unknown")
        vocabulary = Vocabulary.from_json(config.unit, symbols, unknown)
        if len(vocabulary) != config.vocab_size:
            raise CheckpointError("its vocabulary and its sizes disagree")
        model, rest = _build(config, tensors)
        return Checkpoint(
            model,
            vocabulary,
            provenance=_json_object(metadata, "provenance"),
            training_state=_json_object(metadata, "training_state"),
            tensors=rest,
            path=path,
        )
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: check the path") from None
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise CheckpointError(f"{path}: cannot be read: {reason}: check the path") from None
    except (CharrnnError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, safetensors.SafetensorError):
            reason = "it is no safetensors file, or a damaged one"
        raise CheckpointError(
            f"{path}: not a charrnn model: {reason}: name a run, or a file that charrnn wrote"
        ) from None


def _read_config(metadata: Mapping[str, str]) -> ModelConfig:
    if metadata.get("format") != "charrnn":
        raise CheckpointError("its metadata do not say that charrnn wrote it")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"its format version is {version}; this charrnn reads version {FORMAT_VERSION}"
        )
    fields = _json_object(metadata, "model_config")
    if set(fields) != set(ModelConfig.__annotations__):
        raise CheckpointError("its model_config has missing or unknown fields")
    try:
        return typed(ModelConfig, fields)
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


def _check_shapes(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], extra: bool) -> None:
    """Compares the file's tensors with what the configuration says, before any is allocated."""
    wanted = config.parameter_shapes()
    for name, shape in wanted.items():
        if name not in shapes:
            raise CheckpointError(f"tensor {name} is missing")
        if shapes[name] != shape:
            raise CheckpointError(f"tensor {name} has shape {shapes[name]}, not {shape}")
    unknown = sorted(set(shapes) - set(wanted))
    if unknown and not extra:
        raise CheckpointError(f"tensor {unknown[0]} is unknown")


def _build(config: ModelConfig, tensors: dict[str, Tensor]) -> tuple[CharRNN, dict[str, Tensor]]:
    names = config.parameter_shapes().keys()
    for name in names:
        if tensors[name].dtype != torch.float32 or not bool(tensors[name].isfinite().all()):
            raise CheckpointError(f"tensor {name} holds values that are no finite float32 numbers")
    model = CharRNN(config)
    model.load_state_dict({name: tensors[name] for name in names})
    model.eval()
    return model, {name: t for name, t in tensors.items() if name not in names}


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Hashes the metadata as sorted JSON, then each tensor's name and bytes, by name."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return "sha256:" + digest.hexdigest()


def create_run(runs: Path, name: str) -> Path:
    """Creates a new run's folder: ``name``, or ``name-2``, ``name-3`` ... where it exists.

    Raises:
        OptionError: The name is no folder's name.
        CheckpointError: The folder cannot be made.
    """
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise OptionError(f"--name: {name!r} is no folder's name: choose one without slashes")
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            _sync_folder(runs)
            return folder
        except FileExistsError:
            if not runs.is_dir():
                raise CheckpointError(f"{runs}: not a folder: choose another --runs") from None
            number += 1
        except OSError as error:
            raise CheckpointError(
                f"{folder}: cannot be made: {error.strerror or error}: choose another --runs"
            ) from None


class RunLock:
    """Keeps a second training out of a run's folder.

    The system lets go of it when the process ends, however it ends, so that a crash locks nothing.
    Whoever holds it is alone, and clears away what a killed training left half-written.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            RunBusyError: Another training holds it.
            CheckpointError: The folder cannot be opened.
        """
        self._opened: int | None = None
        if fcntl is None:
            return
        try:
            self._opened = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise RunBusyError(
                f"{folder}: another training goes on there: wait for it, or start a new run"
            ) from None
        except OSError as error:
            if self._opened is None:
                reason = error.strerror or error
                raise CheckpointError(f"{folder}: cannot be opened: {reason}") from None
            # a file system without locks must do without
        for path in folder.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def release(self) -> None:
        """Lets the next training in; may be called again."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def __del__(self) -> None:
        """Lets go of what nobody can release any more."""
        self.release()


def find_run(runs: Path, name: str | None, file: str = MODEL_FILE) -> Path:
    """Finds a run's file.

    Args:
        runs: the folder of all runs.
        name: a file, a run's folder or a run's name; None is the newest run.
        file: which of the run's files.

    Returns:
        The file's path; it exists.

    Raises:
        RunNotFoundError: There is none.
    """
    if name is None:
        found = sorted(runs.glob(f"*/{file}"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise RunNotFoundError(f"{runs}: no run there: train one first, or name another --runs")
        return found[-1]
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):  # a name too long, or with a NUL: no such file
        for candidate in (runs / name / file, path / file, path):
            if candidate.is_file():
                return candidate
        if path.is_dir() or (runs / name).is_dir():
            raise RunNotFoundError(f"{name}: no {file} in this folder: name a run that was saved")
    names = ", ".join(sorted(p.parent.name for p in runs.glob(f"*/{file}"))) or "none"
    raise RunNotFoundError(f"{name}: no such run or file: name one of those in {runs}: {names}")


class History:
    """A run's ``history.jsonl``: one JSON object a line, appended as training goes on."""

    def __init__(self, folder: Path, upto_step: int = 0, evaluated_step: int = 0) -> None:
        """Opens the file for appending; lines past a step, or cut short, are dropped.

        Args:
            folder: the run's folder.
            upto_step: the last step to keep; 0 starts afresh.
            evaluated_step: the last evaluation to keep.

        Raises:
            CheckpointError: It cannot be read or written.
        """
        self.path = folder / HISTORY_FILE
        last = {"step": upto_step, "eval": min(upto_step, evaluated_step)}
        lines = (line for event, step, line in self._lines() if 0 < step <= last.get(event, 0))
        try:
            kept = "".join(lines).encode()
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be read: {error.strerror or error}: move it away"
            ) from None
        write_whole(self.path, kept)
        self._size = len(kept)  # bytes that are whole lines
        self._waiting: list[str] = []

    def _lines(self) -> Iterator[tuple[str, int, str]]:
        """Yields whole lines, their events and their steps."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    if line.endswith("\n") and type(entry["step"]) is int:
                        yield str(entry["event"]), entry["step"], line

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds one line, to be written by :meth:`flush`; numbers that are none become null."""
        finite = {key: None if _is_nan(value) else value for key, value in entry.items()}
        self._waiting.append(json.dumps(finite) + "\n")

    def flush(self, *, to_disk: bool = False) -> None:
        """Hands the lines to the system; what it refuses waits for the next time.

        Args:
            to_disk: wait until the whole file has reached it.

        Raises:
            CheckpointError: They cannot be written.
        """
        lines = "".join(self._waiting).encode()
        try:
            with self.path.open("ab") as stream:
                if stream.tell() > self._size:
                    stream.truncate(self._size)  # a part of a line, that a full disk left
                stream.write(lines)
                if to_disk:
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be written: {error.strerror or error}: free some space"
            ) from None
        self._size += len(lines)
        self._waiting.clear()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
