"""Sorted lists are noticed; logs, prose and lists in any other order are not."""

import random
from pathlib import Path
from typing import Any

import pytest
from texts import COFFEE, DATA, cut, dataset_of, write

from charrnn.config import DataConfig
from charrnn.text.dataset import Dataset
from charrnn.text.order import AlphabeticalOrder

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DRAWN = random.Random(0)
NAMES = ["".join(DRAWN.choices(LETTERS, k=6)).capitalize() for _ in range(3000)]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def text_of(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def is_sorted(text: Any, pieces: int = 1) -> bool:
    order = AlphabeticalOrder()
    for piece in cut(text, [len(text) * i // pieces for i in range(pieces)]):
        order.look(piece)
    return order.is_sorted


SORTED = sorted(NAMES)
NOTICED = {
    "names": SORTED,
    "by first letter only": sorted(NAMES, key=lambda name: name[0]),
    "a few": SORTED[::40],
    "lower case among upper case": sorted(
        [name.lower() if i % 3 else name for i, name in enumerate(NAMES)], key=str.lower
    ),
    "a few out of order": [
        DRAWN.choice(NAMES) if DRAWN.random() < 0.03 else name for name in SORTED
    ],
    "with accents": sorted(NAMES[:1500] + ["É" + name for name in NAMES[:20]]),
    "rows": [f"{name}\t{i}" for i, name in enumerate(SORTED)],
}
NOT_NOTICED = {
    "names in another order": NAMES,
    "backwards": SORTED[::-1],
    "very few": SORTED[::100],
    "digits": [f"{10_000 + 30 * i} {name}" for i, name in enumerate(NAMES)],
    "a year's log": [f"{month} {day:2} it was so" for month in MONTHS for day in range(1, 29)],
    "levels of a log": sorted(DRAWN.choices(["Debug", "Error", "Info", "Warn"], k=500)),
    "many sorted lists": [name for i in range(30) for name in sorted(NAMES[i::30])],
    "blank": [""] * 500,
    "no lines": [text_of(SORTED).replace("\n", " ")],
    "Chinese": [chr(0x4E00 + i * 1201 % 3000) for i in range(3000)],
    "more letters than an alphabet has": [chr(0x4E00 + i // 9) for i in range(3000)],
}


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("name", [*NOTICED, *NOT_NOTICED])
def test_what_is_sorted(name: str, pieces: int) -> None:
    text = text_of((NOTICED | NOT_NOTICED)[name])
    assert is_sorted(text, pieces) == is_sorted(text.encode(), pieces) == (name in NOTICED)


@pytest.mark.parametrize("text", [COFFEE, (DATA / "grammar.txt").read_text()])
def test_prose_is_not(text: str) -> None:
    assert not is_sorted(text)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_sorted_text_is_hinted_at_if_its_tail_validates(tmp_path: Path, unit: Any) -> None:
    path = write(tmp_path / "names.txt", text_of(SORTED))
    hints = [note for note in dataset_of(path, unit=unit).notes if "sorted" in note]
    assert hints == [
        f"{path}: its lines are sorted, so it is the end of the alphabet that validates; "
        "--split lines holds out lines from all of it instead"
    ]
    assert dataset_of(path, unit=unit, hold_out="lines", val_fraction=0.0005).notes == []
    assert dataset_of(path, unit=unit, val_fraction=0.0).notes == []
    other = write(tmp_path / "other.txt", text_of(NAMES))
    assert dataset_of(other, unit=unit).notes == []
    config = DataConfig(unit=unit)
    assert Dataset.open([str(path)], config, lambda: tmp_path, val_source=str(other)).notes == []
