"""Reads damaged tables, archives and texts: ``python damaged.py FOLDER SEED COUNT``.

Memory is bounded, and each file has two seconds. Prints as JSON how many were refused by name, how
many were read, and what else happened.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import resource
import signal
import sys
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from backports import zstd
from fuzzed import TooSlowError, cut, flipped, longer, spliced, too_slow

from charrnn.config import DataConfig
from charrnn.errors import CharrnnError
from charrnn.text.corpus import Corpus

MORE_MEMORY_BYTES = 2**28
ROWS = [{"n": i, "text": f'I had "coffee", number {i};\né中\U0001f600'} for i in range(60)]


def csv_of(delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ROWS[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return stream.getvalue().encode()


def parquet() -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), stream)
    return stream.getvalue()


def arrow() -> bytes:
    stream = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", TEXT)
    return stream.getvalue()


TEXT = "".join(str(row["text"]) + "\n" for row in ROWS).encode()
JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
SOUND: dict[str, bytes] = {
    "a.txt": TEXT,
    "a.txt.gz": gzip.compress(TEXT),
    "a.txt.bz2": bz2.compress(TEXT),
    "a.txt.xz": lzma.compress(TEXT),
    "a.txt.zst": zstd.compress(TEXT),
    "a.jsonl": JSON_LINES,
    "a.jsonl.gz": gzip.compress(JSON_LINES),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.csv": csv_of(","),
    "a.tsv": csv_of("\t"),
    "a.csv.zst": zstd.compress(csv_of(";")),
    "a.parquet": parquet(),
    "a.arrow": arrow(),
    "a.tar": tar(),
    "a.tar.gz": gzip.compress(tar()),
    "a.zip": zipped(),
}
DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, longer, spliced]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"column": "text"},
    {"skip_damaged": True},
    {"encoding_errors": "replace"},
    {"unit": "byte"},
]


def main(folder: Path, seed: int, count: int) -> dict[str, Any]:
    for name, data in SOUND.items():  # each reader is loaded before memory is bounded
        (folder / name).write_bytes(data)
        read(folder / name, {})
    dice = random.Random(seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MORE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, too_slow)
    counts, other = {"refused": 0, "read": 0}, []
    for i in range(count):
        name = list(SOUND)[i % len(SOUND)]
        damage, options = dice.choice(DAMAGES), dice.choice(OPTIONS)
        path = folder / name
        path.write_bytes(damage(SOUND[name], dice))
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        try:
            counts[read(path, options)] += 1
        except (Exception, TooSlowError):
            kept = folder / f"kept-{i}-{name}"
            kept.write_bytes(path.read_bytes())
            other.append(f"{kept} {damage.__name__} {options}: {traceback.format_exc()}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return counts | {"other": other}


def read(path: Path, options: dict[str, Any]) -> str:
    """Returns whether a file is read or refused by name."""
    try:
        for _ in Corpus([path], DataConfig(**options)).pieces():
            pass
    except CharrnnError as error:
        message = str(error)
        assert "\n" not in message and message.startswith(f"{path}: "), message
        return "refused"
    return "read"


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
