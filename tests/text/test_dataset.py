"""What a run trains on: other texts, kept ones, changed ones, and those without an end."""

import gzip
import io
import json
import math
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy_model import parse
from scored import score_of
from small_runs import COFFEE, TRAINING, after, resume, run, same, start
from texts import dataset_of, read_in_blocks

from charrnn.config import DataConfig
from charrnn.errors import CorpusError, OptionError
from charrnn.scoring.scorer import Scorer
from charrnn.store import checkpoint
from charrnn.text import batches, dataset, spool, survey
from charrnn.text.batches import Batches
from charrnn.text.chunks import Reader
from charrnn.text.dataset import Dataset
from charrnn.text.origin import Origin
from charrnn.text.vocabulary import UNKNOWN
from charrnn.training import resume as resuming
from charrnn.training import start as starting
from charrnn.training.start import Request
from charrnn.training.trainer import Trainer

# --- opened again


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("block_chars", [1024, 2**24])
def test_a_dataset_opened_again_is_the_same(tmp_path: Path, unit: str, block_chars: int) -> None:
    (tmp_path / "a.txt").write_text(COFFEE)
    config: dict[str, Any] = {"unit": unit, "block_chars": block_chars}
    opened = dataset_of(tmp_path / "a.txt", **config)
    state = json.loads(json.dumps(asdict(opened.origin)))
    again = Dataset.reopen(Origin.read(state), opened.vocabulary, tmp_path / "run")
    assert again.origin == opened.origin
    assert (again.train_chars, again.val_chars) == (opened.train_chars, opened.val_chars)
    for start_at in (0, 1, 999, 5399, 6000):
        one, other = (Reader(d.read(start_at)).read(10**6) for d in (opened, again))
        assert np.array_equal(one, other) and len(one) == 6000 - start_at
    assert np.array_equal(again.validation(100), opened.validation(100))


@pytest.mark.parametrize("block_chars", [1024, 2**24])
def test_only_the_training_text_is_counted(tmp_path: Path, block_chars: int) -> None:
    """What validates is not: how often a character occurs there must be learnt."""
    (tmp_path / "a.txt").write_text("aaab" * 900 + "c" * 400)
    shares = dataset_of(tmp_path / "a.txt", block_chars=block_chars).shares
    assert shares == pytest.approx(np.array([2701, 901, 1]) / 3603)


def test_a_pipe_is_kept_and_found_again_in_the_runs_folder(tmp_path: Path) -> None:
    """Its copy is named relative to the run, so that the run may be moved."""
    pipe, folder = tmp_path / "pipe", tmp_path / "run"
    os.mkfifo(pipe)
    folder.mkdir()
    writer = threading.Thread(target=pipe.write_text, args=[COFFEE])
    writer.start()
    opened = Dataset.open([str(pipe)], DataConfig(), lambda: folder)
    writer.join()
    assert opened.name == str(pipe), "what the user typed"
    assert opened.origin.sources == ["stdin.txt"]
    folder = folder.rename(tmp_path / "moved")
    again = Dataset.reopen(opened.origin, opened.vocabulary, folder)
    assert opened.vocabulary.decode(Reader(again.read()).read(10**6)) == COFFEE


# --- changed texts


@pytest.mark.parametrize("text", [COFFEE[:-1], COFFEE + "a", COFFEE.replace("coffee", "tea__y")])
def test_a_changed_text_is_a_named_error(tmp_path: Path, text: str) -> None:
    run(start(tmp_path, steps=1))
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(CorpusError, match=r"text.txt: the text has changed since the run began"):
        resume(tmp_path)
    (tmp_path / "text.txt").unlink()
    with pytest.raises(
        CorpusError, match=r"text.txt: the run's text is gone: .* name its new place"
    ):
        resume(tmp_path)


def test_errors_of_bytes_count_bytes(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a")
    with pytest.raises(CorpusError, match="1 known bytes; validation"):
        start(tmp_path / "new", unit="byte", val_source=str(tmp_path / "other.txt"))
    run(start(tmp_path, unit="byte", steps=1))
    (tmp_path / "text.txt").write_text(COFFEE + "a")
    with pytest.raises(CorpusError, match=r"\(6,000 bytes then, 6,001 bytes now\)"):
        resume(tmp_path)


# --- standard input that is kept


def from_stdin(folder: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> Trainer:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    request = Request(["-"], folder, training=TRAINING, model={"hidden_size": 8})
    return starting.start(request)


def test_standard_input_is_kept_for_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = from_stdin(tmp_path, monkeypatch, COFFEE.encode())
    run(trainer, after(5))
    path = tmp_path / "stdin" / "training.safetensors"
    assert run(resuming.resume(path, {}))[-1].step == 20


def test_standard_input_stopped_three_times_is_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(from_stdin(tmp_path / "one", monkeypatch, COFFEE.encode()))
    run(from_stdin(tmp_path / "cut", monkeypatch, COFFEE.encode()), after(4))
    path = tmp_path / "cut" / "stdin" / "training.safetensors"
    for further in (3, 6):
        run(resuming.resume(path, {}), after(further))
    assert run(resuming.resume(path, {}))[-1].step == 20
    one, cut = (
        parse((tmp_path / name / "stdin" / "training.safetensors").read_bytes())[1]
        for name in ("one", "cut")
    )
    assert same(one, cut)


def test_a_named_pipe_is_read_as_the_ending_of_its_name_says(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"t": line}) + "\n" for line in COFFEE.splitlines())
    pipe = tmp_path / "pipe.jsonl.gz"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[gzip.compress(rows.encode())])
    writer.start()
    opened = Dataset.open([str(pipe)], DataConfig(), lambda: tmp_path)
    writer.join()
    assert opened.origin.sources == ["stdin.jsonl.gz"]
    again = Dataset.reopen(opened.origin, opened.vocabulary, tmp_path)
    assert opened.vocabulary.decode(Reader(again.read()).read(10**6)) == COFFEE + "\n"


def test_a_compressed_pipe_is_read_to_its_end_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 10)
    read_in_blocks(monkeypatch, 10)
    pipe = tmp_path / "pipe.txt.gz"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[gzip.compress(COFFEE.encode())])
    writer.start()
    opened = Dataset.open([str(pipe)], DataConfig(unit="byte"), lambda: tmp_path)
    writer.join()
    assert opened.train_chars + opened.val_chars == len(COFFEE.encode())


def test_an_unusable_standard_input_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError):
        from_stdin(tmp_path, monkeypatch, b"too short")
    assert list(tmp_path.iterdir()) == []


# --- where the text comes from


def test_another_text_may_validate(tmp_path: Path) -> None:
    """Then all of the first one trains; what it does not know is left out, and reported."""
    other = tmp_path / "other.txt"
    other.write_text("She said so. ☃☃\n" * 20)
    trainer = start(tmp_path, val_source=str(other), steps=4, eval_every=2)
    assert trainer.summary.chars == 6000 + 14 * 20
    whole = dataset_of(tmp_path / "text.txt", val_fraction=0.0)
    assert trainer.batches.steps_per_epoch == Batches(whole, 4, 16).steps_per_epoch
    ending = "40 characters unknown to the model left out"
    assert any(note.endswith(ending) for note in trainer.notes)
    run(trainer)
    assert resume(tmp_path, steps=6).summary.chars == 6000 + 14 * 20
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
    saved = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert saved.vocabulary.unknown == UNKNOWN
    scored = score_of(Scorer(saved.model, saved.vocabulary), ["I had ☃ and 漢."])
    assert (scored.chars, scored.unknown_chars) == (14, 2)
    scorer = Scorer(saved.model, saved.vocabulary, on_unknown="skip")
    scored = score_of(scorer, ["I had ☃ and 漢."])
    assert (scored.chars, scored.unknown_chars) == (12, 2)
    assert run(resume(tmp_path, steps=4))[-1].step == 4


# --- a text that changes while it is trained on


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark every 500 symbols, of files that are read 300 bytes at a time."""
    monkeypatch.setattr(survey, "MARK_CHARS", 500)
    monkeypatch.setattr(dataset, "MARK_CHARS", 500)
    read_in_blocks(monkeypatch, 300)


def read_up_to_an_error(opened: Dataset) -> tuple[int, str]:
    """Returns how many ids can be read, and the error that follows."""
    count = 0
    with pytest.raises(CorpusError) as raised:
        for ids in opened.read():
            count += len(ids)
    return count, str(raised.value)


@pytest.mark.usefixtures("marks")
@pytest.mark.parametrize(
    "config", [{}, {"unit": "byte"}, {"val_fraction": 0.2, "hold_out": "lines"}], ids=str
)
@pytest.mark.parametrize("place", [0, 499, 500, 3210, 5999])
def test_a_change_in_place_is_noticed_before_it_is_read(
    tmp_path: Path, config: dict[str, Any], place: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(COFFEE)
    opened = dataset_of(path, block_chars=1024, **config)
    assert sum(map(len, opened.read())) == 6000
    path.write_text(COFFEE[:place] + "x" + COFFEE[place + 1 :])
    count, message = read_up_to_an_error(opened)
    assert f"{path}: the text has changed since training began" in message
    assert "restore it, then --resume" in message
    if "hold_out" not in config:
        assert count == place // 500 * 500
    path.write_text(COFFEE)
    os.utime(path, (1, 1))  # the content counts, not the time
    assert sum(map(len, opened.read())) == 6000


@pytest.mark.usefixtures("marks")
@pytest.mark.parametrize(("text", "count"), [(COFFEE[:5999], 5500), (COFFEE + "x", 6000)])
def test_a_change_of_size_is_noticed(tmp_path: Path, text: str, count: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(COFFEE)
    opened = dataset_of(path, block_chars=1024)
    path.write_text(text)
    assert read_up_to_an_error(opened)[0] == count


@pytest.mark.usefixtures("marks")
def test_a_run_on_a_text_that_changed_resumes_once_it_is_restored(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 200, "block_chars": 1024, "save_every": 30}
    run(start(tmp_path / "one", **options))
    trainer = start(tmp_path, **options)
    path = tmp_path / "text.txt"
    with pytest.raises(CorpusError, match=r"text.txt: the text has changed since training began"):
        for event in trainer.events():
            if event.step == 100:
                path.write_text(COFFEE.replace("coffee", "tea__y"))
    path.write_text(COFFEE)
    run(resume(tmp_path))
    one, again = (
        parse((f / "runs/text/training.safetensors").read_bytes())[1]
        for f in (tmp_path / "one", tmp_path)
    )
    assert same(one, again)


# --- texts without an end


class Endless:
    """Standard input without an end; counts what was taken."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self.taken = 0

    def read(self, size: int) -> bytes:
        start = self.taken % len(self._text)
        self.taken += size
        return (self._text * (size // len(self._text) + 2))[start : start + size]


@pytest.mark.parametrize("options", [{"unit": "byte"}, {"vocabulary_from": 3000}], ids=str)
def test_a_text_without_end_is_trained_on_as_it_comes(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is taken than a block ahead; what was taken is kept, so that the run can resume."""
    monkeypatch.setattr(spool, "SPOOL_BYTES", 20_000)
    read_in_blocks(monkeypatch, 5000)
    monkeypatch.setattr(batches, "OPEN_ENDED_BLOCK_CHARS", 4096)
    endless = Endless(COFFEE + "☃\r\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
    training = {"steps": 600, "batch_size": 4, "seq_len": 16, "save_every": 50}
    model = {"hidden_size": 4, "num_layers": 1}
    request = Request(["-"], tmp_path, "run", DataConfig(**options), training, model)
    trainer = starting.start(request)
    assert any("trained on while it arrives" in note for note in trainer.notes)
    assert trainer.summary.chars == math.inf
    run(trainer, after(500))
    assert 500 * 64 < endless.taken < 500 * 64 + 3 * 4096 + 5000
    copy = (tmp_path / "run" / "stdin.txt").read_bytes()
    assert copy == Endless(COFFEE + "☃\r\n").read(len(copy))
    line_ends = copy.count(b"\r\n") if "unit" not in options else 0  # all that was read
    wanted = f"Windows line ends read as newlines: {line_ends} (first in standard input); "
    assert [note.split("--")[0] for note in trainer.late_notes] == [wanted] * (line_ends > 0)
    monkeypatch.setattr(sys, "stdin", None)
    path = tmp_path / "run" / "training.safetensors"
    state = checkpoint.load(path).training_state
    assert (state["kept_bytes"], state["corpus_chars"]) == (len(copy), None)
    (tmp_path / "run" / "stdin.txt").write_bytes(copy[:-1])
    with pytest.raises(CorpusError, match=r"stdin.txt: cut short"):
        resuming.resume(path, {})
    (tmp_path / "run" / "stdin.txt").write_bytes(b"x" + copy[1:])
    with pytest.raises(CorpusError, match=r"stdin.txt: another text than the run has read"):
        resuming.resume(path, {})
    (tmp_path / "run" / "stdin.txt").write_bytes(copy)
    assert run(resuming.resume(path, {}))[-1].step == 600
    assert checkpoint.load(path).training_state["kept_bytes"] == len(copy)


def test_a_copy_is_on_the_disk_before_a_save_that_counts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 20_000)
    read_in_blocks(monkeypatch, 5000)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(COFFEE)))
    training = {"steps": 600, "batch_size": 4, "seq_len": 16, "save_every": 50}
    model = {"hidden_size": 4, "num_layers": 1}
    request = Request(["-"], tmp_path, "run", DataConfig(unit="byte"), training, model)
    trainer = starting.start(request)
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    run(trainer, after(1))
    first_save = next(i for i, name in enumerate(flushed) if "training" in name)
    assert "stdin.txt" in flushed[:first_save]


def test_a_text_without_end_needs_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 20_000)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(COFFEE)))
    with pytest.raises(OptionError, match="--steps or --max-time: a text without an end"):
        starting.start(Request(["-"], tmp_path / "r", "a", DataConfig(unit="byte")))
    assert not (tmp_path / "r").exists()
