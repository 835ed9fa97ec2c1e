"""Reads and uses broken and hostile model or training files: ``python fuzzed.py FILE SEED COUNT``.

Whoever writes a file can give it the right checksum, and most of these files have it. What can be
read is used, by every command: a model to sample from, to score with, to start from; a training to
resume. All JSON must be strict. The memory of this process is bounded, and each file, and each use
of it, has a second of the processor. Prints as JSON how many files were refused by name, how many
were read, how many uses ended with a named error, and what else happened.
"""

import contextlib
import copy
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from typer.testing import CliRunner

from charrnn.cli.app import app
from charrnn.config import MODEL_FILE, TRAINING_FILE
from charrnn.errors import CharrnnError
from charrnn.model import parallel
from charrnn.store.checkpoint import load
from charrnn.training.resume import resume
from charrnn.training.start import Request, start

T = TypeVar("T")
MORE_MEMORY_BYTES = 2**27
SECONDS = 1.0  # of the processor
# what json.dumps does not write, by what stands for it
RAW = {
    "@digits": "9" * 5000,
    "@infinite": "1e999",
    "@tiny": "-1e-999",
    "@deep": "[" * 5000 + "]" * 5000,
    "@deep object": '{"a":' * 5000 + "1" + "}" * 5000,
    "@open": "[" * 5000,
    "@lists": "[" + "[]," * 100_000 + "[]]",
}
NUMBERS = [
    *(0, 1, -1, 2, 7, 2**31, 2**53, 10**9, 10**15, 10**18, 2**63 - 1, 2**63, 10**30, 10**400),
    *(0.0, -0.0, 1.5, -1.5, 1e-308, 1e30, 1e38, 1e308, -1e308, float("nan"), float("inf")),
]
TEXTS = [
    *("", "x", "xy", "\0", "\n", "\ud800", "\udc80", "\ufffd", "char", "byte", "tanh", "relu"),
    *("lf", "keep", "lines", "strict", "surrogateescape", "utf-7", "utf-16", "idna", "hex", "meta"),
    *("cuda", "stdin.txt", "/dev/zero", "/etc/passwd", "../x", "..", "-", "x" * 10**6),
    *("I64", "F16", "BOOL", "9" * 5000, "[" * 5000),
]
VALUES: list[Any] = [
    *(None, True, False, [], {}, [[]], ["a"], [1], [0] * 5000, {"a": {"a": {}}}),
    *(["stdin.txt"], ["/dev/zero"], ["/etc/passwd"], ["../x"], ["stdin.txt", "stdin.txt"]),
    *NUMBERS,
    *TEXTS,
    *RAW,
]


def dumped(value: Any) -> str:
    """Returns JSON, or what is none."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


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
    text = dumped(header).encode()
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
    if isinstance(place, dict) and len(place) > 1 and dice.random() < 0.2:
        del place[key]
    else:
        alike = [value for value in VALUES if type(value) is type(inner)]
        values = alike if alike and dice.random() < 0.6 else VALUES
        place[key] = copy.deepcopy(dice.choice(values))


def with_a_value(data: bytes, dice: random.Random) -> bytes:
    """Another value somewhere in the header."""
    header, body = body_of(data)
    change_somewhere(header, dice)
    return with_header(header, body)


def with_other_values(data: bytes, dice: random.Random) -> bytes:
    """Other values in what the metadata hold as JSON."""
    header, body = body_of(data)
    metadata = header["__metadata__"]
    names = ["model_config", "provenance", "vocabulary"]
    names += ["training_state"] * 6 if "training_state" in metadata else []
    held = {name: json.loads(metadata[name]) for name in [dice.choice(names)]}
    for _ in range(dice.choice([1, 1, 2, 3])):
        change_somewhere(held, dice)
    metadata.update({name: dumped(value) for name, value in held.items()})
    return with_header(header, body)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path to everything in a JSON value; of a list, to the first item only."""
    if path:
        yield path
    keys = list(value) if isinstance(value, dict) else range(bool(value))
    for key in keys if isinstance(value, dict | list) else ():
        yield from places(value[key], (*path, key))


def with_each_value(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """Yields files with every value in every place of what the metadata hold as JSON, in turn."""
    header, body = body_of(data)
    metadata = header["__metadata__"]
    names = {"model_config", "provenance", "vocabulary", "training_state"} & metadata.keys()
    held = {name: json.loads(metadata[name]) for name in sorted(names)}
    changes = list(itertools.product(places(held), VALUES))
    while True:
        dice.shuffle(changes)
        for path, value in changes:
            changed = place = copy.deepcopy(held)
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            texts = {name: dumped(inner) for name, inner in changed.items()}
            yield with_header({**header, "__metadata__": {**metadata, **texts}}, body)


def with_another_vocabulary(data: bytes, dice: random.Random) -> bytes:
    """Of the right size, but of symbols that are none, or of the other unit."""
    header, body = body_of(data)
    metadata = header["__metadata__"]
    symbols = json.loads(metadata["vocabulary"])
    if dice.random() < 0.7:
        odd: list[Any] = ["\ud800", "\udfff", "\udc80", "\0", "", "ab", symbols[0], "\r", "\ufffd"]
        for place in dice.choices(range(len(symbols)), k=dice.choice([1, 1, len(symbols)])):
            symbols[place] = dice.choice([*odd, 7, None, True, chr(dice.randrange(0x110000))])
        metadata["vocabulary"] = dumped(symbols)
    else:
        metadata["vocabulary"] = dumped(list(range(dice.choice([2, len(symbols), 256]))))
        config = json.loads(metadata["model_config"]) | {"unit": dice.choice(["byte", "char"])}
        metadata["model_config"] = json.dumps(config)
    if dice.random() < 0.5:
        metadata["unknown"] = dice.choice([*symbols, "ab", "", "\0", "\ud800", "\ufffd"])
    return with_header(header, body)


def with_other_numbers(data: bytes, dice: random.Random) -> bytes:
    """Other values in a tensor, or in all of them."""
    header, body = body_of(data)
    names = [name for name in header if name != "__metadata__" and header[name]["dtype"] == "F32"]
    numbers, value = bytearray(body), dice.choice(FLOATS)
    for name in dice.choice([names, [dice.choice(names)], [dice.choice(names)]]):
        start, end = header[name]["data_offsets"]
        tensor = np.frombuffer(numbers, "<f4", (end - start) // 4, start)
        share = dice.choice([0.0, 0.5, 1.0])
        chosen = np.random.default_rng(dice.randrange(2**32)).random(len(tensor)) < share
        chosen[dice.randrange(len(tensor))] = True
        scale = dice.random() < 0.3
        with np.errstate(all="ignore"):
            tensor[chosen] = tensor[chosen] * value if scale else value
    return with_header(header, bytes(numbers))


def of_a_text_without_end(data: bytes, dice: random.Random) -> bytes:
    """A training whose text is said to be kept in the run's folder, at any position in it."""
    header, body = body_of(data)
    metadata = header["__metadata__"]
    if "training_state" not in metadata:
        return with_other_numbers(data, dice)
    state = json.loads(metadata["training_state"])
    sources = [["stdin.txt"]] * 4 + [["link.stdin.txt"], ["1stdin.txt"], ["2stdin.txt"], ["x"]]
    state |= {"sources": dice.choice(sources), "corpus_chars": None}
    number = [0, 0, 1, 2, 10**6, 10**12, 10**15, 10**18]
    state["progress"]["position"] = {
        name: dice.choice(number) for name in ("epoch", "block", "batch")
    }
    metadata["training_state"] = json.dumps(state)
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


DAMAGES = [flipped, flipped_in_header, cut, longer, spliced, of_another_header_size]
FLOATS = [
    *(0.0, -1.0, 1.5, 1e3, -1e3, 1e10, 1e18, 1e29, -1e29, 9e29, 1e30, 1e31, 1e38, -3e38, 3.4e38),
    *(1e-38, float("nan"), float("inf"), float("-inf")),
]
HOSTILE = [
    with_a_value,
    with_other_values,
    with_another_vocabulary,
    with_other_numbers,
    with_other_numbers,
    of_a_text_without_end,
    with_other_tensors,
]
MUTATIONS = [*DAMAGES[:3], *HOSTILE, *DAMAGES[3:]]


class TooSlowError(BaseException):
    """Nothing may take this for an error of a file."""


def too_slow(*_: object) -> None:
    raise TooSlowError


def patiently(work: Callable[[], T]) -> T:
    """Gives some work a second of the processor.

    Slow is only what is so three times: a busy system counts seconds in which another one worked.
    """
    for attempt in range(3):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            return work()
        except TooSlowError:
            if attempt == 2:
                raise
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    raise AssertionError("three attempts")


def strict(text: str) -> Any:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


TEXT = "I had coffee.\nAnd tea, \xe9\ud55c!\n" * 30
# every form of every command that reads a model; the first word of those whose output is JSON: json
COMMANDS = [
    "json sample --json --length 20 --count 3 --seed 1",
    "text sample --length 20 --temperature 0 --prompt I",
    "text sample --length 20 --top-p 0.9 --top-k 5 --min-p 0.01 --seed 1",
    "json eval --json",
    "text eval",
    "json eval --per-line --json",
    "json eval --per-line --carry --json",
    "json eval --per-char --json",
    "text eval --per-char",
    "text eval --heatmap",
    "json eval --context-curve --json",
    "text eval --context-curve",
]


def commanded(path: Path, dice: random.Random) -> int:
    """Gives a model to some commands; returns how many ended with a named error."""
    failed = started(path) if dice.random() < 0.3 else 0
    for command in dice.sample(COMMANDS, 4):
        kind, *args = command.split()
        words = [*args, "--threads", "1", "--model", str(path)]
        done = patiently(lambda words=words: CliRunner().invoke(app, words, input=TEXT))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise AssertionError(command) from done.exception
        notes = done.stderr.splitlines()
        if done.exit_code:
            named = [line for line in notes if line.startswith("charrnn: ")]
            assert done.exit_code == 1 and len(named) == 1, (command, done.exit_code, notes)
            failed += 1
        assert all("Warning" not in line for line in notes), (command, notes)
        if kind == "json":
            for line in done.stdout.splitlines():
                strict(line)
        else:
            words = done.stdout.lower().split() if "eval" in command else []
            assert not {"nan", "inf", "-inf"} & set(words), (command, done.stdout)
    return failed


def started(path: Path) -> int:
    """Starts a training from a model's weights; returns 1 if that is a named error."""
    folder = path.parent / "started"
    text = path.parent / "text.txt"
    text.write_text(TEXT.replace("\ud55c", "") * 2, encoding="utf-8")
    steps = {"steps": 2, "batch_size": 2, "seq_len": 8, "eval_every": 1}

    def begin() -> None:
        request = Request([str(text)], folder, "r", training=steps, init_from=[load(path)])
        for _ in start(request).events():
            pass

    try:
        patiently(begin)
    except CharrnnError as error:
        assert "\n" not in str(error), error
        return 1
    finally:
        for file in (folder / "r").glob("*"):
            file.unlink()
        with contextlib.suppress(FileNotFoundError):
            (folder / "r").rmdir()
    return 0


def resumed(path: Path, dice: random.Random) -> int:
    """Resumes a training for some steps, or to its end; returns 0, as it raises what goes wrong."""
    changes = {"steps": 1} if dice.random() < 0.3 else {}  # at its end already
    trainer = patiently(lambda: resume(path, changes))

    def some_steps() -> None:
        steps = itertools.count(1)
        for _ in trainer.events(stop=lambda: next(steps) >= 4):
            pass

    try:
        patiently(some_steps)
    except CharrnnError as error:
        assert "\n" not in str(error), error
        return 1
    assert not load(path).training_state["progress"]["setbacks"] > 5
    load(path.with_name(MODEL_FILE))
    for line in path.with_name("history.jsonl").read_text().splitlines():
        strict(line)
    return 0


def write_history(path: Path, dice: random.Random) -> None:
    """Lines of any values."""
    lines = []
    for _ in range(dice.randrange(4)):
        line = {"event": "step", "step": 1, "chars": 1, "elapsed_s": 0.5}
        change_somewhere({"": line}, dice)
        lines.append(dumped(line))
    path.write_text("\n".join([*lines, ""]))


def main(path: Path, seed: int, count: int) -> dict[str, Any]:
    training = path.name == TRAINING_FILE
    folder = path.parent / f"fuzzed-{seed}"
    folder.mkdir()
    for file in (MODEL_FILE, path.name):
        shutil.copy(path.with_name(file), folder)
    path = folder / path.name
    use: Callable[[Path, random.Random], int] = resumed if training else commanded
    os.environ["FORCE_COLOR"], os.environ["TERM"] = "1", "xterm-256color"
    model = path.with_name(MODEL_FILE).read_bytes()
    data, dice = path.read_bytes(), random.Random(seed)
    (path.parent / "stdin.txt").write_text(TEXT.replace("\ud55c", "").replace("\xe9", ""))
    if training:
        (path.parent / "1stdin.txt").symlink_to("/etc/passwd")
        os.mkfifo(path.parent / "2stdin.txt")
    signal.signal(signal.SIGPROF, too_slow)
    for _ in range(8):  # loads all that is loaded late
        use(path, dice)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MORE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    whole = load(path).model.weights
    each = with_each_value(data, dice)

    def with_next_value(*_: object) -> bytes:
        return next(each)

    mutations = [*MUTATIONS, *[with_next_value] * len(MUTATIONS)]
    refused, read, failed, other = 0, 0, 0, []
    for i in range(count):
        mutation = mutations[i % len(mutations)]
        path.write_bytes(mutation(data, dice))
        if training:
            write_history(path.with_name("history.jsonl"), dice)
            hostile = dice.choice(HOSTILE)(model, dice) if dice.random() < 0.3 else model
            path.with_name(MODEL_FILE).write_bytes(hostile)
        kept = path.read_bytes()
        try:
            weights = patiently(lambda: load(path).model.weights)
            if mutation in DAMAGES and any(not np.array_equal(weights[k], whole[k]) for k in whole):
                other.append(f"{i} {mutation.__name__}: other weights were believed")
            failed += use(path, dice)
            read += 1
        except CharrnnError as error:
            refused += 1
            if "\n" in str(error) or (str(path) not in str(error) and not training):
                other.append(f"{i} {mutation.__name__}: reports {error}")
        except BaseException:
            path.with_name(f"kept-{seed}-{i}.bin").write_bytes(kept)
            other.append(f"{i} {mutation.__name__}: {traceback.format_exc()}")
    return {"refused": refused, "read": read, "failed": failed, "other": other}


if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel.set_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
