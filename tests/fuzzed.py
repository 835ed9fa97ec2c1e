"""Reads hundreds of broken model or training files: ``python fuzzed.py FILE SEED COUNT``.

The memory of this process is bounded, and each file has a second of its work. Prints as JSON how
many were refused by name, how many were read (a sound model, or a training that resumes), and what
else happened.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import TRAINING_FILE
from charrnn.errors import CharrnnError
from charrnn.store.checkpoint import load
from charrnn.training.resume import resume

MORE_MEMORY_BYTES = 2**26
VALUES = [
    *(None, True, 0, -1, 1.5, 2**31, 2**63, 10**30, "", "x", "\0", "\ud800", [], {}, [[]], ["a"]),
    *("[" * 5000, "9" * 5000, [0] * 5000, {"a": {"a": {}}}, "char", "byte", "I64", "F16", "BOOL"),
]


def body_of(data: bytes) -> tuple[Any, bytes]:
    """Returns a file's header, and its tensors."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header: Any, body: bytes) -> bytes:
    """Returns a file, with a checksum that fits it if it has one that can be computed."""
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        metadata = {k: v for k, v in header["__metadata__"].items() if k != "checksum"}
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        for name in sorted(header.keys() - {"__metadata__"}):
            start, end = header[name]["data_offsets"]
            digest.update(name.encode() + body[start:end])
        header["__metadata__"]["checksum"] = f"sha256:{digest.hexdigest()}"
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 1, 8, 64])):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def flipped_in_header(data: bytes, dice: random.Random) -> bytes:
    end = 8 + int.from_bytes(data[:8], "little")
    return flipped(data[:end], dice) + data[end:]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def longer(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.choice([1, 100, 10_000]))


def spliced(data: bytes, dice: random.Random) -> bytes:
    start, end = sorted(dice.choices(range(len(data)), k=2))
    put = dice.choice([b"", bytes(end - start), dice.randbytes(end - start), data[:start]])
    return data[:start] + put + data[end:]


def of_another_header_size(data: bytes, dice: random.Random) -> bytes:
    size = dice.choice([0, 1, 2**31, 2**63, 2**64 - 1, len(data), len(data) - 8, 10**8])
    return size.to_bytes(8, "little") + data[8:]


def change_somewhere(place: Any, dice: random.Random) -> None:
    """Puts another value somewhere into a dictionary, whatever its depth, or takes one out."""
    while True:
        key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or dice.random() < 0.2:
            break
        place = inner
    if isinstance(place, dict) and dice.random() < 0.2:
        del place[key]
    else:
        place[key] = dice.choice(VALUES)


def with_a_value(data: bytes, dice: random.Random) -> bytes:
    """Another value somewhere in the header."""
    header, body = body_of(data)
    change_somewhere(header, dice)
    return with_header(header, body)


def with_another_config(data: bytes, dice: random.Random) -> bytes:
    """Another value in what the metadata hold as JSON."""
    header, body = body_of(data)
    metadata = header["__metadata__"]
    names = ["model_config", "provenance", "vocabulary"]
    name = "training_state" if "training_state" in metadata else dice.choice(names)
    held = json.loads(metadata[name])
    change_somewhere(held, dice)
    metadata[name] = json.dumps(held)
    return with_header(header, body)


def with_other_tensors(data: bytes, dice: random.Random) -> bytes:
    """Sizes, types, places and names of tensors; huge ones too."""
    header, body = body_of(data)
    name = dice.choice([name for name in header if name != "__metadata__"])
    tensor = header[name]
    what = dice.randrange(4)
    if what == 0:
        tensor["shape"] = [dice.choice([0, 1, 7, 2**20, 2**40, 2**62]) for _ in tensor["shape"]]
    elif what == 1:
        types = ["F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "?"]
        tensor["dtype"] = dice.choice(types)
    elif what == 2:
        tensor["data_offsets"] = [dice.choice([0, 4, 2**40, 2**63]) for _ in range(2)]
    else:
        header[dice.choice(["x", "layers.9.b", "layers.0.W_x "])] = header.pop(name)
    return with_header(header, body)


MUTATIONS = [
    flipped,
    flipped_in_header,
    cut,
    longer,
    spliced,
    of_another_header_size,
    with_a_value,
    with_another_config,
    with_other_tensors,
]


class TooSlowError(BaseException):
    """Nothing may take this for an error of a file."""


def too_slow(*_: object) -> None:
    raise TooSlowError


def resumed(path: Path) -> dict[str, Any]:
    """Resumes a training for a moment; returns its weights."""
    trainer = resume(path, {})
    for _ in trainer.events(stop=lambda: True):
        pass
    return trainer.learner.model.in_numpy().weights


def main(path: Path, seed: int, count: int) -> dict[str, Any]:
    training = path.name == TRAINING_FILE
    whole = load(path).model.weights
    data, dice = path.read_bytes(), random.Random(seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MORE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, too_slow)
    refused, read, other = 0, 0, []
    for i in range(count):
        mutation = MUTATIONS[i % len(MUTATIONS)]
        path.write_bytes(mutation(data, dice))
        signal.setitimer(signal.ITIMER_PROF, 1.0)
        try:
            weights = resumed(path) if training else load(path).model.weights
            read += 1
            if any(not np.array_equal(weights[k], v) for k, v in whole.items()) and not training:
                other.append(f"{i} {mutation.__name__}: other weights were believed")
        except CharrnnError as error:
            refused += 1
            if "\n" in str(error) or (str(path) not in str(error) and not training):
                other.append(f"{i} {mutation.__name__}: reports {error}")
        except BaseException:
            other.append(f"{i} {mutation.__name__}: {traceback.format_exc()}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return {"refused": refused, "read": read, "other": other}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
