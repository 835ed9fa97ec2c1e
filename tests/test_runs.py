"""How runs begin and go on: with another model's weights, with texts of all kinds."""

import csv
import gzip
import io
import itertools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from numpy_model import parse
from small_runs import COFFEE, after, resume, run, start

from charrnn import batches, checkpoint, corpus, runs
from charrnn.checkpoint import Checkpoint
from charrnn.config import DataConfig, ModelConfig
from charrnn.errors import CorpusError, OptionError
from charrnn.evaluation import Scorer, nats_per_char, score
from charrnn.model import CharRNN
from charrnn.runs import new_trainer, resumed_trainer, transfer
from charrnn.training import Trainer
from charrnn.vocabulary import UNKNOWN, Vocabulary


def checkpoint_of(vocabulary: Vocabulary) -> Checkpoint:
    config = ModelConfig(len(vocabulary), hidden_size=6, num_layers=2)
    return Checkpoint(CharRNN(config).eval(), vocabulary, provenance={}, path=Path("old"))


def test_characters_are_transferred_by_name() -> None:
    old = checkpoint_of(Vocabulary.of_text("abc\n"))
    new = Vocabulary.of_text("\nbcxyé")
    model = checkpoint_of(new).model
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = transfer(old, model, new)
    assert message == "old: 3 characters taken over, 3 new, 1 dropped"
    given, now = old.model.state_dict(), model.state_dict()
    for i, symbol in enumerate(new.symbols):
        known = symbol in old.vocabulary.symbols
        source = given if known else fresh
        j = old.vocabulary.symbols.index(symbol) if known else i
        assert torch.equal(now["layers.0.W_x"][:, i], source["layers.0.W_x"][:, j])
        assert torch.equal(now["output.W_y"][i], source["output.W_y"][j])
        assert torch.equal(now["output.b_y"][i], source["output.b_y"][j])
    for name in ("layers.0.W_h", "layers.0.b", "layers.1.W_x", "layers.1.W_h", "layers.1.b"):
        assert torch.equal(now[name], given[name])


def test_a_transfer_between_equal_vocabularies_copies_the_model() -> None:
    old = checkpoint_of(Vocabulary.of_text("A small text.\n"))
    other = checkpoint_of(old.vocabulary)
    before, wanted = other.model.state_dict(), old.model.state_dict()
    assert not torch.equal(before["layers.0.W_x"], wanted["layers.0.W_x"])
    transfer(old, other.model, other.vocabulary)
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, wanted[name])


def test_a_model_goes_on_with_another_text(tmp_path: Path) -> None:
    run(start(tmp_path / "old", hidden_size=10, num_layers=3, steps=40))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000] + "ü", init_from=old)
    assert (trainer.model.config.hidden_size, trainer.model.config.num_layers) == (10, 3)
    assert any("1 new" in note for note in trainer.notes)
    assert torch.equal(trainer.model.layers[2].W_h, old.model.layers[2].W_h)
    run(trainer)
    with pytest.raises(OptionError, match=r"--hidden-size: .*has 10: leave --hidden-size out"):
        start(tmp_path / "other", init_from=old, hidden_size=12)


@pytest.mark.parametrize("keep", [True, False])
def test_characters_that_only_the_old_model_has_are_kept_or_dropped(
    tmp_path: Path, keep: bool
) -> None:
    run(start(tmp_path / "old", COFFEE[:3000] + "üß", hidden_size=10, num_layers=1))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path / "new", COFFEE[:3000], init_from=old, keep_characters=keep)
    dropped = 0 if keep else 2
    assert any(f"0 new, {dropped} dropped" in note for note in trainer.notes)
    run(trainer, after(5))
    run(resume(tmp_path / "new"))
    kept = checkpoint.load(tmp_path / "new" / "runs" / "text" / "model.safetensors")
    assert len(kept.vocabulary) == len(old.vocabulary) - dropped
    assert set(kept.vocabulary.symbols) == set(old.vocabulary.symbols) - ({*"üß"} - {*"üß" * keep})


def test_bytes_are_all_known(tmp_path: Path) -> None:
    run(start(tmp_path / "old", unit="byte"))
    old = checkpoint.load(tmp_path / "old" / "runs" / "text" / "model.safetensors")
    trainer = start(tmp_path, COFFEE + "ü", unit="byte", init_from=old, keep_characters=True)
    assert any("256 characters taken over, 0 new, 0 dropped" in note for note in trainer.notes)


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
    monkeypatch.setattr(runs, "survey", None)
    assert next_inputs(tmp_path) == wanted
    monkeypatch.undo()
    text = tmp_path / "text.txt"
    os.utime(text, (1, 1))
    assert next_inputs(tmp_path) == wanted
    run(resume(tmp_path), after(1))
    monkeypatch.setattr(runs, "survey", None)
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
    monkeypatch.setattr(runs, "SPOOL_BYTES", 20_000)
    monkeypatch.setattr(corpus, "READ_BYTES", 5000)
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
    monkeypatch.setattr(runs, "SPOOL_BYTES", 20_000)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(COFFEE)))
    with pytest.raises(OptionError, match="--steps or --max-time: a text without an end"):
        new_trainer(
            ["-"], tmp_path / "r", "a", DataConfig(unit="byte"), {}, {}, validate=nats_per_char
        )
    assert not (tmp_path / "r").exists()


# --- every kind of source goes on exactly

ROWS = [COFFEE[at : at + 60].replace("\n", " ") for at in range(0, 5400, 60)]


def csv_of(rows: list[str]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows([["t"], *([row] for row in rows)])
    return stream.getvalue().encode()


def parquet_of(rows: list[str]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"t": rows}), sink, row_group_size=20)
    return sink.getvalue()


KINDS = {
    "a.txt": "\n".join([*ROWS, ""]).encode(),
    "a.txt.gz": gzip.compress("\n".join([*ROWS, ""]).encode()),
    "a.jsonl": "".join(json.dumps({"t": row}) + "\n" for row in ROWS).encode(),
    "a.csv": csv_of(ROWS),
    "a.parquet": parquet_of(ROWS),
}


def trainer_of(folder: Path, source: Path) -> Trainer:
    data = DataConfig(block_chars=1024)
    training = {"steps": 150, "batch_size": 4, "seq_len": 16, "eval_every": 40, "patience": 0}
    model = {"hidden_size": 6, "num_layers": 1, "dropout": 0.2}
    return new_trainer([str(source)], folder, "r", data, training, model, validate=nats_per_char)


def again(folder: Path) -> Trainer:
    return resumed_trainer(folder / "r" / "training.safetensors", {}, validate=nats_per_char)


def tensors_of(folder: Path) -> dict[str, Any]:
    return parse((folder / "r" / "training.safetensors").read_bytes())[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tensors of a training on the plain text, in one go."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "a.txt").write_bytes(KINDS["a.txt"])
    run(trainer_of(folder, folder / "a.txt"))
    return tensors_of(folder)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_each_kind_of_source_goes_on_twice_as_the_plain_text_in_one_go(
    tmp_path: Path, kind: str, undisturbed: dict[str, Any]
) -> None:
    """In the middle of a block, and in the second pass."""
    source = tmp_path / "text" / ("a.txt" if kind == "folder" else kind)
    source.parent.mkdir()
    source.write_bytes(KINDS[source.name])
    if kind == "folder":
        whole = source.read_bytes()
        source.write_bytes(whole[:2000])
        (source.parent / "b.txt").write_bytes(whole[2000:])
        source = source.parent
    run(trainer_of(tmp_path, source), after(21))
    run(again(tmp_path), after(70))
    run(again(tmp_path))
    assert same(tensors_of(tmp_path), undisturbed)


@pytest.mark.parametrize("kind", ["a.txt", "a.txt.gz", "a.jsonl"])
def test_a_source_that_fails_half_way_is_named_and_the_run_goes_on_after_repair(
    tmp_path: Path, kind: str, undisturbed: dict[str, Any]
) -> None:
    source = tmp_path / kind
    source.write_bytes(KINDS[kind])
    trainer = trainer_of(tmp_path, source)
    events = trainer.events()
    next(events)
    damaged = KINDS[kind][: len(KINDS[kind]) // 2]
    source.write_bytes(damaged + (b'{"t": ' if kind == "a.jsonl" else b""))
    with pytest.raises(CorpusError, match=kind):
        for _ in events:
            pass
    del trainer, events
    with pytest.raises(CorpusError, match=kind):
        again(tmp_path)
    source.write_bytes(KINDS[kind])
    run(again(tmp_path))
    assert same(tensors_of(tmp_path), undisturbed)
