"""The store: what is written is read again, and nothing else is ever read."""

import hashlib
import itertools
import json
import math
import os
import pickle
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from full_disks import files_no_larger_than
from numpy_model import parse
from torch import Tensor

from charrnn.config import Cell, ModelConfig
from charrnn.errors import CheckpointError, TooLargeError
from charrnn.model.network import CharRNN
from charrnn.store.checkpoint import Checkpoint, load, save
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.start import Request, start

TEXT = "A small text.\n"
Metadata = dict[str, str]
Tensors = dict[str, Tensor]


def checkpoint_of(vocabulary: Vocabulary, **options: Any) -> Checkpoint:
    shape = {"hidden_size": 6, "num_layers": 2, **options}
    config = ModelConfig(len(vocabulary), vocabulary.unit, **shape)
    return Checkpoint(CharRNN(config).in_numpy(), vocabulary, provenance={"sources": ["a.txt"]})


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save(path, checkpoint_of(Vocabulary.of_text(TEXT)))
    return path


def test_metadata_are_in_order_so_that_a_file_s_bytes_are(model_file: Path) -> None:
    data = model_file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    names = list(json.loads(data[8:end])["__metadata__"])
    assert len(names) > 4 and names == sorted(names)
    assert end % 8 == 0, "tensors are aligned"


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Returns whether two checkpoints are the same model of the same origin, bit for bit."""
    ours, theirs = one.model.weights, other.model.weights
    return (
        list(ours) == list(theirs)
        and all(np.array_equal(ours[name], theirs[name]) for name in ours)
        and one.model.config == other.model.config
        and (one.vocabulary.unit, one.vocabulary.symbols)
        == (other.vocabulary.unit, other.vocabulary.symbols)
        and one.provenance == other.provenance
    )


def checksum(metadata: Metadata, tensors: Tensors) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return "sha256:" + digest.hexdigest()


def rewrite(
    path: Path,
    change_tensors: Callable[[Tensors], Tensors] = dict,
    change_metadata: Callable[[Metadata], Metadata] = dict,
) -> None:
    """Writes a model file with other contents, and a checksum that fits them."""
    metadata = parse(path.read_bytes())[0]
    tensors = change_tensors(safetensors.torch.load_file(path))
    stored = metadata.pop("checksum")
    changed = change_metadata({**metadata, "checksum": stored})
    if changed.get("checksum") == stored:
        changed["checksum"] = checksum(
            {key: value for key, value in changed.items() if key != "checksum"}, tensors
        )
    path.write_bytes(safetensors.torch.save(tensors, changed))


def refused(path: Path) -> str:
    """Loads a file that must be refused; returns the message."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


# --- what is written


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(
    "vocabulary",
    [Vocabulary.of_bytes(), Vocabulary.of_text('é漢\U0001f600"\\\0\uffff\n')],
    ids=["byte", "char"],
)
def test_what_is_saved_is_read_again(
    tmp_path: Path, vocabulary: Vocabulary, nonlinearity: str
) -> None:
    saved = checkpoint_of(vocabulary, num_layers=3, nonlinearity=nonlinearity, dropout=0.25)
    saved.provenance = {"sources": ["a.txt", "ü"], "chars": 14, "val_nats_per_char": None}
    path = tmp_path / "any-name"
    save(path, saved)
    read = load(path)
    assert same(read, saved)
    assert read.path == path
    assert (read.training_state, read.tensors) == ({}, {})


def test_a_training_file_keeps_its_state_and_tensors(tmp_path: Path) -> None:
    saved = checkpoint_of(Vocabulary.of_text(TEXT))
    saved.training_state = {"progress": {"step": 3, "rate": 0.1}, "sources": ["é"]}
    saved.tensors = {
        "state": np.random.default_rng(0).random((2, 3, 6), np.float32),
        "random_state": torch.get_rng_state().numpy(),
    }
    save(tmp_path / "t", saved)
    read = load(tmp_path / "t")
    assert same(read, saved)
    assert read.training_state == saved.training_state
    assert read.tensors.keys() == saved.tensors.keys()
    assert all(np.array_equal(read.tensors[name], saved.tensors[name]) for name in saved.tensors)


def test_format_version_1(model_file: Path) -> None:
    metadata, tensors = parse(model_file.read_bytes())
    H, V = 6, len(set(TEXT))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.W_x": (H, V),
        "layers.0.W_h": (H, H),
        "layers.0.b": (H,),
        "layers.1.W_x": (H, H),
        "layers.1.W_h": (H, H),
        "layers.1.b": (H,),
        "output.W_y": (V, H),
        "output.b_y": (V,),
    }
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    assert metadata.keys() == {
        "format",
        "format_version",
        "model_config",
        "vocabulary",
        "provenance",
        "checksum",
    }
    assert (metadata["format"], metadata["format_version"]) == ("charrnn", "1")
    assert json.loads(metadata["vocabulary"]) == sorted(set(TEXT))
    assert json.loads(metadata["provenance"]) == {"sources": ["a.txt"]}
    assert json.loads(metadata["model_config"]) == {
        "vocab_size": V,
        "unit": "char",
        "hidden_size": H,
        "num_layers": 2,
        "nonlinearity": "tanh",
        "dropout": 0.0,
    }


@pytest.mark.parametrize(("cell", "G"), [("gru", 3), ("lstm", 4)])
def test_format_version_2_is_a_model_with_gates(tmp_path: Path, cell: Cell, G: int) -> None:
    path = tmp_path / "m"
    save(path, saved := checkpoint_of(Vocabulary.of_text(TEXT), cell=cell))
    metadata, tensors = parse(path.read_bytes())
    H, V = 6, len(set(TEXT))
    assert metadata["format_version"] == "2"
    assert json.loads(metadata["model_config"]) == {**CONFIG, "cell": cell}
    assert {name: tensors[f"layers.0.{name}"].shape for name in ("W_x", "W_h", "b")} == {
        "W_x": (G * H, V),
        "W_h": (G * H, H),
        "b": (G * H,),
    }
    assert tensors["layers.1.W_x"].shape == (G * H, H)
    assert same(load(path), saved)


@pytest.mark.parametrize(
    ("version", "cell", "why"),
    [
        ("1", "lstm", "missing or unknown fields"),
        ("1", "rnn", "missing or unknown fields"),
        ("2", None, "missing or unknown fields"),
        ("2", "rnn", "its cell is rnn, which has format version 1"),
        ("2", "rwkv", "cell: rwkv is out of range; it must be one of rnn, gru, lstm"),
        ("2", ["lstm"], "does not fit: cell is"),
        ("2", "gru", r"tensor layers.0.W_x is .* not \('F32', \(18, "),
        ("3", "lstm", "format version is 3; this charrnn reads versions 1 and 2"),
    ],
)
def test_a_cell_that_does_not_fit_its_file_is_refused(
    tmp_path: Path, version: str, cell: Any, why: str
) -> None:
    path = tmp_path / "m"
    save(path, checkpoint_of(Vocabulary.of_text(TEXT), cell="lstm"))
    config = CONFIG | ({} if cell is None else {"cell": cell})
    changes = {"format_version": version, "model_config": json.dumps(config)}
    rewrite(path, change_metadata=lambda metadata: metadata | changes)
    assert re.search(why, refused(path))


def test_relu_is_no_function_of_a_model_with_gates(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save(path, checkpoint_of(Vocabulary.of_text(TEXT), cell="lstm"))
    config = json.dumps({**CONFIG, "cell": "lstm", "nonlinearity": "relu"})
    rewrite(path, change_metadata=with_metadata("model_config", config))
    assert "--cell lstm and --nonlinearity relu" in refused(path)


def test_other_readers_see_the_model(model_file: Path) -> None:
    ours = load(model_file).model.weights
    parsed = parse(model_file.read_bytes())[1]
    theirs = safetensors.numpy.load_file(model_file)
    assert ours.keys() == theirs.keys() == parsed.keys()
    for name, weight in ours.items():
        np.testing.assert_array_equal(weight, theirs[name])
        np.testing.assert_array_equal(weight, parsed[name])


def test_reading_a_file_draws_no_random_numbers(model_file: Path) -> None:
    """A resumed training reads files between its random numbers."""
    before = torch.get_rng_state()
    load(model_file)
    assert torch.equal(torch.get_rng_state(), before)


# --- damage


def test_a_file_that_ends_anywhere_else_is_refused(model_file: Path) -> None:
    whole = model_file.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 100).astype(int):
        model_file.write_bytes(whole[:length])
        refused(model_file)


def test_a_file_with_more_at_its_end_is_refused(model_file: Path) -> None:
    model_file.write_bytes(model_file.read_bytes() + b"\0")
    refused(model_file)


@pytest.mark.parametrize("part", ["header", "tensors"])
def test_a_flipped_bit_is_refused_or_changes_nothing(model_file: Path, part: str) -> None:
    whole = model_file.read_bytes()
    original = load(model_file)
    body = 8 + int.from_bytes(whole[:8], "little")
    places = range(body) if part == "header" else range(body, len(whole))
    dice = random.Random(1)
    believed = []
    for place in dice.choices(places, k=150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        model_file.write_bytes(damaged)
        try:
            if not same(load(model_file), original):
                believed.append(bytes(damaged[place - 12 : place + 12]))
        except CheckpointError as error:
            assert "\n" not in str(error)
    assert believed == []


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def with_tensor(name: str, value: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: value}


def with_metadata(key: str, value: str) -> Callable[[Metadata], Metadata]:
    return lambda metadata: {**metadata, key: value}


@pytest.mark.parametrize(
    "change",
    [
        without("layers.0.W_h"),
        without("output.b_y"),
        with_tensor("layers.2.b", torch.zeros(6)),
        with_tensor("a\nb", torch.zeros(6)),
        with_tensor("layers.1.W_x", torch.zeros(6, 7)),
        with_tensor("layers.0.b", torch.zeros(6, 1)),
        with_tensor("layers.0.b", torch.full((6,), torch.nan)),
        with_tensor("layers.0.b", torch.full((6,), torch.inf)),
        with_tensor("layers.0.b", torch.zeros(6, dtype=torch.float64)),
        with_tensor("layers.0.b", torch.zeros(6, dtype=torch.int64)),
        with_tensor("layers.0.b", torch.zeros(6, dtype=torch.bfloat16)),
    ],
    ids=[
        "missing",
        "missing output",
        "unknown",
        "unknown name of two lines",
        "wide",
        "dimensions",
        "NaN",
        "infinity",
        "float64",
        "int64",
        "bfloat16",
    ],
)
def test_other_tensors_are_refused(model_file: Path, change: Callable[[Tensors], Tensors]) -> None:
    rewrite(model_file, change_tensors=change)
    refused(model_file)


CONFIG = {
    "vocab_size": len(set(TEXT)),
    "unit": "char",
    "hidden_size": 6,
    "num_layers": 2,
    "nonlinearity": "tanh",
    "dropout": 0.0,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "other"),
        ("format_version", "2"),
        ("format_version", "1\n"),
        ("checksum", ""),
        ("checksum", "sha256:" + "0" * 64),
        ("provenance", "{"),
        ("provenance", "[]"),
        ("provenance", "[" * 100_000),
        ("training_state", "7"),
        ("vocabulary", "no JSON"),
        ("vocabulary", "[" * 100_000),
        ("vocabulary", '"abcdefghijkl"'),
        ("vocabulary", "[]"),
        ("vocabulary", '["a", "b"]'),
        ("vocabulary", json.dumps([*sorted(set(TEXT))[1:], "zz"])),
        ("vocabulary", json.dumps([*sorted(set(TEXT))[1:], 7])),
        ("vocabulary", json.dumps([*sorted(set(TEXT))[1:], "t"])),
        ("model_config", "no JSON"),
        ("model_config", "{}"),
        ("model_config", json.dumps({**CONFIG, "more": 1})),
        ("model_config", json.dumps({**CONFIG, "unit": "byte"})),
        ("model_config", json.dumps({**CONFIG, "unit": ["char"]})),
        ("model_config", json.dumps({**CONFIG, "nonlinearity": "sin"})),
        ("model_config", json.dumps({**CONFIG, "hidden_size": 0})),
        ("model_config", json.dumps({**CONFIG, "hidden_size": "6"})),
        ("model_config", json.dumps({**CONFIG, "hidden_size": 7})),
        ("model_config", json.dumps({**CONFIG, "num_layers": True})),
        ("model_config", json.dumps({**CONFIG, "num_layers": 10**30})),
        ("model_config", json.dumps({**CONFIG, "vocab_size": 10**30})),
        ("model_config", json.dumps({**CONFIG, "dropout": float("nan")})),
    ],
)
def test_other_metadata_are_refused(model_file: Path, key: str, value: str) -> None:
    rewrite(model_file, change_metadata=with_metadata(key, value))
    refused(model_file)


@pytest.mark.parametrize(
    "key", ["format", "format_version", "model_config", "vocabulary", "checksum"]
)
def test_missing_metadata_are_refused(model_file: Path, key: str) -> None:
    rewrite(model_file, change_metadata=lambda m: {k: v for k, v in m.items() if k != key})
    refused(model_file)


def test_an_unchanged_rewrite_is_read(model_file: Path) -> None:
    """The tests above damage what they name, and nothing else."""
    original = load(model_file)
    rewrite(model_file, change_metadata=with_metadata("model_config", json.dumps(CONFIG)))
    assert same(load(model_file), original)


def make_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"layers.0.b": [0.0]}))


def make_text(path: Path) -> None:
    path.write_text("I had coffee today.\n" * 50)


def make_other_safetensors(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}))


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        Path.mkdir,
        Path.touch,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
        make_pickle,
        make_text,
        make_other_safetensors,
    ],
    ids=[
        "missing",
        "folder",
        "empty",
        "loop",
        "dangling link",
        "pickle",
        "text",
        "other safetensors",
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    refused(path)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the name of a socket must be short
        server.bind(path.name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
@pytest.mark.parametrize(
    "make", [make_pipe, make_socket, lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m"
    make(path)
    assert "cannot be read: it is not a regular file" in refused(path)


def write_sparse(path: Path, header: dict[str, Any], size: int) -> None:
    """Writes a header, and as many zeros as the whole file has bytes, which take no space."""
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(size)


@pytest.mark.parametrize("training", [False, True])
def test_a_file_larger_than_its_model_is_not_read(model_file: Path, training: bool) -> None:
    """Neither one of many zeros, nor one with a tensor that is."""
    data = model_file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:end]), len(data) - end
    if training:
        header["__metadata__"]["training_state"] = "{}"
        offsets = [body, 10**11]
        header["state"] = {"dtype": "F32", "shape": [10**11 // 4], "data_offsets": offsets}
    write_sparse(model_file, header, 10**11)
    assert "bytes of tensors; its model_config has" in refused(model_file)


def test_a_model_that_memory_cannot_hold_is_refused(tmp_path: Path) -> None:
    """It is as large as it says, and would take all memory."""
    config = ModelConfig(2, hidden_size=2**16, num_layers=64)
    shapes, offset = config.parameter_shapes(), 0
    header: dict[str, Any] = {}
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        offsets = [offset, offset := offset + size]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    shape = {key: value for key, value in asdict(config).items() if key != "cell"}
    texts = {"format": "charrnn", "format_version": "1", "model_config": json.dumps(shape)}
    header["__metadata__"] = texts
    path = tmp_path / "m"
    write_sparse(path, header, 8 + len(json.dumps(header)) + offset)
    with pytest.raises(TooLargeError, match=r"reading it needs at least 2,1.. GB of memory"):
        load(path)


@pytest.mark.parametrize("size", [0, 2**26, 10**11, 2**63, 2**64 - 1])
def test_a_header_of_any_size_is_not_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m"
    with path.open("wb") as stream:
        stream.write(size.to_bytes(8, "little"))
        stream.truncate(10**12)
    assert "not a safetensors file" in refused(path)


@pytest.mark.parametrize("value", [1.01e30, -1.01e30, 3e38, math.nan, -math.inf])
def test_weights_that_float32_cannot_compute_with_are_refused(
    model_file: Path, value: float
) -> None:
    bias = torch.zeros(6)
    bias[3] = value
    rewrite(model_file, change_tensors=with_tensor("layers.0.b", bias))
    assert "layers.0.b holds values that are NaN or beyond 1e+30" in refused(model_file)
    bias[3] = 1e30
    rewrite(model_file, change_tensors=with_tensor("layers.0.b", bias))
    assert load(model_file).model.weights["layers.0.b"].max() == np.float32(1e30)


@pytest.mark.parametrize(
    "provenance",
    [
        {"sources": "a.txt", "chars": "7", "step": 1.5, "val_nats_per_char": "x", "newlines": []},
        {"sources": [1], "chars": -7, "step": True, "val_nats_per_char": 10**18, "newlines": "cr"},
        {"sources": {}, "chars": True, "step": -1, "val_nats_per_char": -1.0, "newlines": None},
        {"chars": 0, "train_chars_read": [], "held_out_lines": [1]},
        {"held_out_lines": {"lines": -1, "usual_bits_per_char": 1.0}},
        {"held_out_lines": {"lines": 5, "usual_bits_per_char": -1.0}},
        {"mixture": [1]},
        {"mixture": {"member": 1}},
        {"mixture": {"member": True, "members": 2}},
        {"mixture": {"member": 3, "members": 2}},
        {"mixture": {"member": 1, "members": 10**9}},
    ],
)
def test_what_a_file_tells_of_itself_is_of_the_right_type_or_not_known(
    model_file: Path, provenance: dict[str, Any]
) -> None:
    saved = load(model_file)
    save(model_file, replace(saved, provenance=provenance))
    read = load(model_file)
    assert (read.sources, read.step, read.val_nats_per_char) == ([], 0, None)
    assert (read.trained_chars, read.held_out_lines, read.newlines) == (1, None, "lf")
    assert read.mixture is None


def fuzzed(path: Path, count: int) -> dict[str, Any]:
    """Returns what becomes of broken and hostile files, read and used in another process."""
    command = [sys.executable, str(Path(__file__).parents[1] / "fuzzed.py"), str(path)]
    done = subprocess.run([*command, "0", str(count)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["other"] == []
    assert result["refused"] + result["read"] == count
    return result


TINY = {"hidden_size": 8, "num_layers": 2, "dropout": 0.0}


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory as Linux does")
def test_hundreds_of_hostile_models_are_refused_by_name_or_work(
    story: Path, tmp_path: Path
) -> None:
    """In a process of bounded memory."""
    request = Request([str(story)], tmp_path, training={"steps": 3}, model=TINY)
    *_, _ = start(request).events()
    result = fuzzed(tmp_path / "story" / "model.safetensors", 150)
    assert result["refused"] > 70 and result["read"] > 20


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory as Linux does")
def test_hundreds_of_hostile_trainings_are_refused_by_name_or_resumed(
    story: Path, tmp_path: Path
) -> None:
    steps = {"steps": 1000, "batch_size": 4, "seq_len": 8, "eval_every": 2}
    trainer = start(Request([str(story)], tmp_path, training=steps, model=TINY))
    asked = itertools.count(1)
    *_, _ = trainer.events(lambda: next(asked) > 5)
    result = fuzzed(trainer.folder / "training.safetensors", 400)
    assert result["refused"] > 200 and result["read"] > 40


# --- whole or not at all


def test_a_missing_folder_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file or directory"):
        save(tmp_path / "gone" / "m", checkpoint_of(Vocabulary.of_text(TEXT)))


def test_a_file_that_a_full_disk_refuses_stays_as_it_was(model_file: Path) -> None:
    before = model_file.read_bytes()
    with (
        files_no_larger_than(len(before) // 2),
        pytest.raises(
            CheckpointError, match="cannot be written: File too large: allow larger files"
        ),
    ):
        save(model_file, checkpoint_of(Vocabulary.of_text(TEXT)))
    assert model_file.read_bytes() == before
    assert list(model_file.parent.iterdir()) == [model_file]
