"""Texts, for the tests of all that reads one: written, read, refused."""

import io
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text import compressed, rows, sources, spool
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.survey import survey

DATA = Path(__file__).parents[1] / "data"
SENTENCE = "I had coffee today with Anna.\nShe said so, and I said no!\n"
COFFEE = (DATA / "coffee.txt").read_text()


def read_in_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    """Lets every text be read N bytes at a time."""
    for module in (compressed, rows, sources, spool):
        patch.setattr(module, "READ_BYTES", size)


ODD = "a\r\nb\rc\n\nd\u2028e\x85f\0g\tcafe\u0301 \u00e9\u4e2d\U0001f600\ufeff\x1a end"


def dataset_of(*sources: str | Path, **config: Any) -> Dataset:
    """Returns the dataset of files; nothing of it need be kept."""

    def nowhere() -> Path:
        raise AssertionError("a file is read again, not kept")

    return Dataset.open([str(source) for source in sources], DataConfig(**config), nowhere)


def read(*sources: str | Path, **config: Any) -> str:
    """Returns the characters of sources, in one text."""
    pieces = list(Corpus(sources, DataConfig(**config)).pieces())
    assert all(isinstance(piece, str) and piece for piece in pieces)
    return "".join(map(str, pieces))


def notes_of(*sources: str | Path, **config: Any) -> list[str]:
    """Returns what is noted while sources are read."""
    corpus = Corpus(sources, DataConfig(**config))
    for _ in corpus.pieces():
        pass
    return corpus.notes


def read_bytes(*sources: str | Path) -> bytes:
    """Returns the bytes of sources, in one."""
    return b"".join(
        piece for piece in Corpus(sources, DataConfig(unit="byte")).pieces() if type(piece) is bytes
    )


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(*sources: str | Path, **config: Any) -> str:
    """Returns the one line of error that refuses sources."""
    with pytest.raises(CorpusError) as raised:
        survey(Corpus(sources, DataConfig(**config)))
    message = str(raised.value)
    assert "\n" not in message
    return message


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Puts bytes on standard input, once."""
    buffer = io.BufferedReader(io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer))


def cut(text: Any, places: list[int]) -> list[Any]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    return [piece for piece in pieces if piece]
