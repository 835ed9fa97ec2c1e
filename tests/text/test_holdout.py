"""Laws of held-out lines: each line in one part, once; a training of them is like any other."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored import score_of
from small_runs import COFFEE, resume, run, same, saved_tensors, start, twice
from texts import cut, dataset_of, give_stdin, write

from charrnn.config import DataConfig
from charrnn.errors import CheckpointError, CorpusError, OptionError
from charrnn.scoring.scorer import Scorer
from charrnn.store import checkpoint
from charrnn.text import spool
from charrnn.text.batches import Batches
from charrnn.text.chunks import Reader
from charrnn.text.dataset import Dataset
from charrnn.text.holdout import lines_of
from charrnn.text.origin import Origin

few = settings(max_examples=60, deadline=None)
NAMES = "".join(f"name {i} é\n" for i in range(1000))
ALL = 2**20


def split(text: str, share: float) -> tuple[str, str]:
    """Returns the training lines and those held out, found line by line."""
    parts: tuple[list[str], list[str]] = ([], [])
    for i, line in enumerate(text.split("\n"), start=1):
        parts[int(i * share) > int((i - 1) * share)].append(line + "\n")
    last = int(i * share) > int((i - 1) * share)
    parts[last][-1] = parts[last][-1][:-1]
    return "".join(parts[0]), "".join(parts[1])


@few
@given(
    text=st.text("ab\né\r", max_size=60),
    places=st.lists(st.integers(0, 60), max_size=9),
    share=st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9]),
    as_bytes=st.booleans(),
)
def test_each_line_is_in_one_of_the_parts_once(
    text: str, places: list[int], share: float, as_bytes: bool
) -> None:
    whole: Any = text.encode() if as_bytes else text
    for held_out, wanted in enumerate(split(text, share)):
        pieces = list(lines_of(cut(whole, places), share, held_out=bool(held_out)))
        assert all(pieces) and len(pieces) <= len(places) + 1
        assert whole[:0].join(pieces) == (wanted.encode() if as_bytes else wanted)


def test_by_default_every_tenth_line_is_held_out() -> None:
    numbers = "".join(f"{i}\n" for i in range(1, 10**5 + 1))
    held_out = "".join(map(str, lines_of([numbers], DataConfig().val_fraction, held_out=True)))
    assert [int(line) for line in held_out.split()] == [*range(10, 10**5 + 1, 10)]


def test_a_long_line_streams_through() -> None:
    """No piece is larger than those that come in; none is waited for."""
    pieces = ["a\n" * 9 + "b", *["b" * 1000] * 50, "b\nc"]
    for text, piece in zip(pieces, lines_of(iter(pieces), 0.1, held_out=True), strict=True):
        assert piece == text.strip("ac\n") + "\n" * text.startswith("b\n")


# --- as a dataset


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("block_chars", [1024, 2**24])
def test_lines_train_or_validate_in_order(tmp_path: Path, unit: str, block_chars: int) -> None:
    path = write(tmp_path / "a.txt", NAMES.replace("\n", "\r\n"))
    config: dict[str, Any] = {"unit": unit, "block_chars": block_chars, "hold_out": "lines"}
    opened = dataset_of(path, **config)
    state = json.loads(json.dumps(asdict(opened.origin)))
    again = Dataset.reopen(Origin.read(state), opened.vocabulary, tmp_path / "run")
    train, held_out = split(NAMES if unit == "char" else NAMES.replace("\n", "\r\n"), 0.1)
    for each in (opened, again):
        ids = Reader(each.read()).read(ALL)[: int(each.train_chars)]
        assert each.vocabulary.decode(ids) == each.vocabulary.to_piece(train)
        ids = each.validation(ALL)
        assert each.vocabulary.decode(ids) == each.vocabulary.to_piece(held_out)
        assert each.val_chars == len(ids)
    notes = [note for note in opened.notes if "Windows line ends" in note]
    assert [note.split(" (")[0] for note in notes] == [
        "Windows line ends read as newlines: 1,000"
    ] * (unit == "char"), "counted once"


@pytest.mark.parametrize("block_chars", [1024, 2**24])
def test_held_out_lines_are_never_trained_on(tmp_path: Path, block_chars: int) -> None:
    text = "".join(("held out\n" if i % 10 == 9 else "train\n") for i in range(500))
    path = write(tmp_path / "a.txt", text)
    opened = dataset_of(path, hold_out="lines", block_chars=block_chars)
    batches = Batches(opened, 4, 16)
    seen: set[int] = set()
    for number, batch in enumerate(batches.batches()):
        if number == 2 * batches.steps_per_epoch:
            break
        seen |= {*batch.x.ravel().tolist(), *batch.y.ravel().tolist()}
    assert set(str(opened.vocabulary.decode(sorted(seen)))) == set("train\n")


def test_the_validation_score_is_that_of_the_held_out_lines(tmp_path: Path) -> None:
    run(start(tmp_path, NAMES, hold_out="lines", eval_every=10))
    saved = checkpoint.load(tmp_path / "runs/text/model.safetensors")
    score = score_of(Scorer(saved.model, saved.vocabulary, exact=True), [split(NAMES, 0.1)[1]])
    np.testing.assert_allclose(
        score.nats / score.chars, saved.provenance["val_nats_per_char"], rtol=1e-5
    )


@pytest.mark.parametrize("options", [{}, {"block_chars": 1024, "unit": "byte"}], ids=str)
def test_stopped_and_resumed_is_as_if_never_stopped(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """And it is another training than that of the tail."""
    options = {"text": NAMES, "steps": 150, "eval_every": 40, **options}
    one, other = twice(tmp_path, (30, 90), hold_out="lines", **options)
    for file in ("training", "model"):
        assert same(saved_tensors(one, file), saved_tensors(other, file))
    run(start(tmp_path / "tail", **options))
    assert not same(saved_tensors(one, "model"), saved_tensors(tmp_path / "tail", "model"))


def test_a_resumed_run_keeps_what_it_holds_out(tmp_path: Path) -> None:
    run(start(tmp_path, steps=1))
    with pytest.raises(CheckpointError, match="trained with --split tail, not lines: leave --spl"):
        resume(tmp_path, hold_out="lines")


# --- refused


@pytest.mark.parametrize(
    ("text", "train", "held_out"),
    [(COFFEE.replace("\n", " "), 6000, 0), ("four\n" * 9, 45, 0), ("four\n" * 9 + "\n", 45, 1)],
)
def test_too_few_lines_are_a_named_error(
    tmp_path: Path, text: str, train: int, held_out: int
) -> None:
    path = write(tmp_path / "a.txt", text)
    with pytest.raises(CorpusError) as raised:
        dataset_of(path, hold_out="lines")
    assert str(raised.value) == (
        f"{path}: its lines leave {train} characters to train on and {held_out} to validate on, "
        "which both need at least 2: leave --split lines out"
    )
    assert dataset_of(path).val_chars >= 2, "the remedy works"


def test_too_little_to_train_on_is_a_named_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n" + "held out " * 9)
    with pytest.raises(CorpusError, match="leave 1 bytes to train on and 81 to validate on"):
        dataset_of(path, hold_out="lines", unit="byte", val_fraction=0.9)


def test_an_empty_text_is_empty(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="it is empty"):
        dataset_of(write(tmp_path / "a.txt", ""), hold_out="lines")


@pytest.mark.parametrize("options", [{"unit": "byte"}, {"vocabulary_from": 3000}], ids=str)
def test_lines_of_a_text_without_end_cannot_be_held_out(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 1000)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=b"ab\n".__mul__)))
    with pytest.raises(OptionError, match="standard input has not ended, so none of its"):
        Dataset.open(["-"], DataConfig(hold_out="lines", **options), lambda: tmp_path)


def test_lines_of_standard_input_are_held_out_once_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, NAMES.encode())
    opened = Dataset.open(["-"], DataConfig(hold_out="lines"), lambda: tmp_path)
    assert opened.vocabulary.decode(opened.validation(ALL)) == split(NAMES, 0.1)[1]
