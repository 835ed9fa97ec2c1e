"""What a run trains on: other texts, kept ones, changed ones, and those without an end."""

import io
import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numpy_model import parse
from small_runs import COFFEE, TRAINING, after, nats_unasked, resume, run, same, start
from texts import read_in_blocks

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, OptionError
from charrnn.scoring.reports import score
from charrnn.scoring.scorer import Scorer, nats_per_char
from charrnn.store import checkpoint
from charrnn.text import batches, dataset
from charrnn.text.vocabulary import UNKNOWN
from charrnn.training import start as start_room
from charrnn.training.resume import resumed_trainer
from charrnn.training.start import new_trainer
from charrnn.training.trainer import Trainer

# --- changed texts


@pytest.mark.parametrize("text", [COFFEE[:-1], COFFEE + "a", COFFEE.replace("coffee", "tea__y")])
def test_a_changed_text_is_a_named_error(tmp_path: Path, text: str) -> None:
    run(start(tmp_path, steps=1))
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(CorpusError, match=r"text.txt: the text has changed since the run began"):
        resume(tmp_path)
    (tmp_path / "text.txt").unlink()
    with pytest.raises(CorpusError, match="no such file"):
        resume(tmp_path)


# --- standard input that is kept


def from_stdin(folder: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> Trainer:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    return new_trainer(
        ["-"], folder, None, DataConfig(), TRAINING, {"hidden_size": 8}, validate=nats_unasked
    )


def test_standard_input_is_kept_for_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = from_stdin(tmp_path, monkeypatch, COFFEE.encode())
    run(trainer, after(5))
    path = tmp_path / "stdin" / "training.safetensors"
    assert run(resumed_trainer(path, {}, validate=nats_unasked))[-1].step == 20


def test_standard_input_stopped_three_times_is_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(from_stdin(tmp_path / "one", monkeypatch, COFFEE.encode()))
    run(from_stdin(tmp_path / "cut", monkeypatch, COFFEE.encode()), after(4))
    path = tmp_path / "cut" / "stdin" / "training.safetensors"
    for further in (3, 6):
        run(resumed_trainer(path, {}, validate=nats_unasked), after(further))
    assert run(resumed_trainer(path, {}, validate=nats_unasked))[-1].step == 20
    one, cut = (
        parse((tmp_path / name / "stdin" / "training.safetensors").read_bytes())[1]
        for name in ("one", "cut")
    )
    assert same(one, cut)


def test_an_unusable_standard_input_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError):
        from_stdin(tmp_path, monkeypatch, b"too short")
    assert list(tmp_path.iterdir()) == []


# --- where the text comes from


def test_another_text_may_validate(tmp_path: Path) -> None:
    """Then all of the first one trains; what it does not know is left out, and said."""
    other = tmp_path / "other.txt"
    other.write_text("She said so. ☃☃\n" * 20)
    trainer = start(tmp_path, val_source=str(other), steps=4, eval_every=2)
    assert trainer.batches.train_chars == 6000
    assert trainer.batches.val_chars == 14 * 20
    said = "40 characters unknown to the model left out"
    assert any(note.endswith(said) for note in trainer.notes)
    run(trainer)
    assert resume(tmp_path, steps=6).batches.val_chars == 14 * 20
    other.write_text("She said no.\n" * 20)
    with pytest.raises(CorpusError, match=r"other\.txt: the text has changed since the run began"):
        resume(tmp_path, steps=6)


@pytest.mark.parametrize("text", ["", "☃", "a☃"])
def test_a_validation_text_must_be_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.txt").write_text(text)
    with pytest.raises(CorpusError, match="validation needs at least 2"):
        start(tmp_path, val_source=str(tmp_path / "other.txt"))


def test_rare_characters_are_unknown_to_the_model(tmp_path: Path) -> None:
    trainer = start(tmp_path, COFFEE + "☃漢", min_count=2, steps=2, hidden_size=4)
    assert any("characters of the text are unknown to the model" in n for n in trainer.notes)
    run(trainer)
    kept = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert kept.vocabulary.unknown == UNKNOWN
    scored = score(Scorer(kept.model, kept.vocabulary), ["I had ☃ and 漢."])
    assert (scored.chars, scored.unknown_chars) == (14, 2)
    scored = score(Scorer(kept.model, kept.vocabulary), ["I had ☃ and 漢."], "skip")
    assert (scored.chars, scored.unknown_chars) == (12, 2)
    assert run(resume(tmp_path, steps=4))[-1].step == 4


def test_a_large_text_that_has_not_changed_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are as they were; where one was touched, it is read and compared."""
    run(start(tmp_path, block_chars=1024), after(7))
    wanted = next_inputs(tmp_path)
    monkeypatch.setattr(dataset, "survey", None)
    assert next_inputs(tmp_path) == wanted
    monkeypatch.undo()
    text = tmp_path / "text.txt"
    os.utime(text, (1, 1))
    assert next_inputs(tmp_path) == wanted
    run(resume(tmp_path), after(1))
    monkeypatch.setattr(dataset, "survey", None)
    assert next_inputs(tmp_path), "what was found to be the same was read again"
    monkeypatch.undo()
    text.write_text(text.read_text().replace("a", "b"))
    with pytest.raises(CorpusError, match="the text has changed since the run began"):
        resume(tmp_path)


def next_inputs(folder: Path) -> list[Any]:
    """Returns what a resumed training would read next, and lets go of its run."""
    trainer = resume(folder)
    batches = itertools.islice(trainer.batches.batches(trainer._progress.position), 5)
    assert trainer._lock is not None
    trainer._lock.release()
    return [batch.x.tolist() for batch in batches]


# --- texts without an end


class Endless:
    """Standard input that goes on and on; counts what was taken."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self.taken = 0

    def read1(self, size: int) -> bytes:
        start = self.taken % len(self._text)
        self.taken += size
        return (self._text * (size // len(self._text) + 2))[start : start + size]


@pytest.mark.parametrize("options", [{"unit": "byte"}, {"vocabulary_from": 3000}], ids=str)
def test_a_text_without_end_is_trained_on_as_it_comes(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is taken than a block ahead; what was taken is kept, so that the run can go on."""
    for room in (dataset, start_room):
        monkeypatch.setattr(room, "SPOOL_BYTES", 20_000)
    read_in_blocks(monkeypatch, 5000)
    monkeypatch.setattr(batches, "STREAM_BLOCK_CHARS", 4096)
    endless = Endless(COFFEE + "☃")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
    trainer = new_trainer(
        ["-"],
        tmp_path,
        "run",
        DataConfig(**options),
        {"steps": 600, "batch_size": 4, "seq_len": 16, "save_every": 50},
        {"hidden_size": 4, "num_layers": 1},
        validate=nats_per_char,
    )
    assert any("trained on as it comes" in note for note in trainer.notes)
    assert trainer.batches.train_chars is None
    run(trainer, after(500))
    assert 500 * 64 < endless.taken < 500 * 64 + 3 * 4096 + 5000
    kept = (tmp_path / "run" / "stdin.txt").read_bytes()
    assert kept == Endless(COFFEE + "☃").read1(len(kept))
    monkeypatch.setattr(sys, "stdin", None)
    again = resumed_trainer(tmp_path / "run" / "training.safetensors", {}, validate=nats_per_char)
    assert run(again)[-1].step == 600


def test_a_text_without_end_needs_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (dataset, start_room):
        monkeypatch.setattr(room, "SPOOL_BYTES", 20_000)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(COFFEE)))
    with pytest.raises(OptionError, match="--steps or --max-time: a text without an end"):
        new_trainer(
            ["-"], tmp_path / "r", "a", DataConfig(unit="byte"), {}, {}, validate=nats_per_char
        )
    assert not (tmp_path / "r").exists()
