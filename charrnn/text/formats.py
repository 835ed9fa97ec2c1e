"""What the ending of a file's name says of it: its format, its compression."""

import os
from pathlib import Path
from typing import Literal

from charrnn.config import Format

Kind = Format | Literal["parquet", "arrow", "hub"]

HUB_PREFIX = "hf:"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_ENDINGS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


def compression(path: str) -> str:
    """Returns the ending that says how a file is compressed; an empty one if it is not."""
    ending = Path(path).suffix.lower()
    return ending if ending in COMPRESSED else ""


def kind_of(path: str, format: Format | None = None) -> Kind:
    """Returns a file's format: the one that is given, or what the ending of its name says."""
    if path.startswith(HUB_PREFIX) and not os.path.exists(path):
        return "hub"
    if format is not None:
        return format
    name = Path(path).name.lower()
    name = name.removesuffix(compression(name))
    return _ENDINGS.get(Path(name).suffix, "text")


def known_endings(path: str) -> str:
    """Returns the endings of a file's name that say how it is read; none for plain text."""
    name = Path(path).name.lower()
    compressed = compression(name)
    ending = Path(name.removesuffix(compressed)).suffix
    return (ending if ending in _ENDINGS else "") + compressed
