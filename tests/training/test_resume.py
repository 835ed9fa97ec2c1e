"""Resuming is as if the run had never stopped."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from backports import zstd
from numpy_model import parse
from small_runs import (
    COFFEE,
    after,
    history,
    resume,
    run,
    same,
    saved_tensors,
    start,
    twice,
    untimed,
)

from charrnn.config import DataConfig
from charrnn.errors import CheckpointError, CorpusError, RunBusyError
from charrnn.model import products
from charrnn.scoring.scorer import nats_per_char
from charrnn.store import checkpoint
from charrnn.training import resume as resuming
from charrnn.training import start as starting
from charrnn.training.events import Evaluated, Finished
from charrnn.training.start import Request
from charrnn.training.trainer import Trainer

# --- resumed runs


@pytest.mark.parametrize(
    ("steps", "stops", "options"),
    [
        (60, (30,), {}),
        (60, (30,), {"dropout": 0.4}),
        (60, (30,), {"unit": "byte", "dropout": 0.2}),
        (60, (30,), {"nonlinearity": "relu", "num_layers": 1, "weight_decay": 0.5}),
        (60, (30,), {"cell": "gru", "num_layers": 2}),
        (60, (20, 40), {"cell": "lstm", "num_layers": 2, "dropout": 0.2}),
        (60, (30,), {"val_fraction": 0.0}),
        (170, (85,), {"dropout": 0.2}),
        (110, (11, 55, 97), {"dropout": 0.2, "block_chars": 1024}),
        (110, (16, 32, 96), {"unit": "byte", "block_chars": 1024}),
    ],
    ids=[
        "plain",
        "dropout",
        "byte",
        "relu",
        "gru",
        "lstm",
        "no validation",
        "end of an epoch",
        "blocks",
        "ends of blocks",
    ],
)
def test_resuming_is_as_if_never_stopped(
    tmp_path: Path, steps: int, stops: Sequence[int], options: dict[str, Any]
) -> None:
    one, cut = twice(tmp_path, stops, steps=steps, eval_every=27, **options)
    assert same(saved_tensors(one), saved_tensors(cut))
    assert same(saved_tensors(one, "model"), saved_tensors(cut, "model"))
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))


def test_large_layers_resume_as_if_never_stopped(tmp_path: Path) -> None:
    """As large as those whose products another library makes."""
    options = {"hidden_size": 512, "num_layers": 2, "batch_size": 20, "seq_len": 4}
    assert options["batch_size"] * options["hidden_size"] ** 2 > products.WORTH_IT
    one, cut = twice(tmp_path, (3,), steps=6, **options)
    assert same(saved_tensors(one), saved_tensors(cut))


def test_the_stops_above_are_where_they_should_be(tmp_path: Path) -> None:
    trainer = start(tmp_path, unit="byte", block_chars=1024, steps=1)
    run(trainer)
    batches = list(itertools.islice(trainer.batches.batches(), 99))
    ends = [number for number, batch in enumerate(batches) if batch.starts_block]
    assert ends == [0, 16, 32, 48, 64, 80, 85]
    assert trainer.batches.steps_per_epoch == 85


@pytest.mark.parametrize(("stop", "matters"), [(16, False), (17, True)])
def test_the_state_is_zero_at_the_start_of_a_block_only(
    tmp_path: Path, stop: int, matters: bool
) -> None:
    """Another hidden state in the training file changes what is learnt, but not at an end."""
    for name in ("a", "b"):
        run(start(tmp_path / name, unit="byte", block_chars=1024), after(stop))
    path = tmp_path / "b" / "runs" / "text" / "training.safetensors"
    other = checkpoint.load(path)
    other.tensors["state"] = -other.tensors["state"]
    checkpoint.save(path, other)
    for name in ("a", "b"):
        run(resume(tmp_path / name))
    assert same(saved_tensors(tmp_path / "a"), saved_tensors(tmp_path / "b")) != matters


@pytest.mark.parametrize("stop", [10, 20, 40])
def test_a_stop_at_an_evaluation_skips_none(tmp_path: Path, stop: int) -> None:
    one, cut = twice(tmp_path, [stop], steps=40, eval_every=10)
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))
    assert same(saved_tensors(one, "model"), saved_tensors(cut, "model"))


@pytest.mark.parametrize("options", [{"eval_every": 10}, {"eval_every": 1000}], ids=["due", "last"])
def test_a_stop_within_an_evaluation_puts_it_off(tmp_path: Path, options: dict[str, Any]) -> None:
    """It ends at once; resuming makes up for it, and all is as if it had never been stopped."""
    one, cut = tmp_path / "one", tmp_path / "cut"
    run(start(one, **options))
    asked = itertools.count(1)
    trainer = start(cut, **options, score=nats_per_char)
    step = min(options["eval_every"], 20)
    finished = run(trainer, lambda: next(asked) > step)[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step, finished.val_nats_per_char) == (
        "interrupted",
        step,
        None,
    )
    assert history(cut, "eval") == []
    run(resume(cut))
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))
    assert same(saved_tensors(one, "model"), saved_tensors(cut, "model"))


@pytest.mark.parametrize("options", [{"eval_every": 10}, {"eval_every": 1000}], ids=["due", "last"])
def test_a_stop_within_the_evaluation_that_was_put_off_puts_it_off_again(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    one, cut = tmp_path / "one", tmp_path / "cut"
    run(start(one, **options))
    step = min(options["eval_every"], 20)
    asked = itertools.count(1)
    run(start(cut, **options, score=nats_per_char), lambda: next(asked) > step)
    for _ in range(2):
        finished = run(resume(cut, score=nats_per_char), lambda: True)[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.step) == ("interrupted", step)
    run(resume(cut))
    assert untimed(history(one)) == untimed(history(cut))
    assert same(saved_tensors(one, "model"), saved_tensors(cut, "model"))


def test_an_evaluation_after_which_a_kill_comes_is_there_once(tmp_path: Path) -> None:
    """It had been put off by a stop, so that the saved moment is of the same step."""
    asked = itertools.count(1)
    options = {"eval_every": 10, "steps": 40}
    run(start(tmp_path, **options, score=nats_per_char), lambda: next(asked) > 10)
    events = resume(tmp_path).events()
    assert isinstance(next(events), Evaluated)
    events.close()  # as a kill: nothing is saved
    run(resume(tmp_path))
    assert [entry["step"] for entry in history(tmp_path, "eval")] == [10, 20, 30, 40]


def test_a_run_that_was_killed_resumes_from_its_last_save(tmp_path: Path) -> None:
    one, cut = tmp_path / "one", tmp_path / "cut"
    options = {"steps": 60, "eval_every": 20, "save_every": 25, "dropout": 0.2}
    run(start(one, **options))
    events = start(cut, **options).events()
    for event in events:
        if event.step == 40 and isinstance(event, Evaluated):
            break
    events.close()
    assert history(cut)[-1]["step"] == 40
    run(resume(cut))
    steps = [entry["step"] for entry in history(cut) if entry["event"] == "step"]
    assert steps == sorted(set(steps))  # none is there twice
    assert same(saved_tensors(one), saved_tensors(cut))
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))


def test_a_raised_limit_continues_the_run(tmp_path: Path) -> None:
    run(start(tmp_path, steps=10))
    assert run(resume(tmp_path))[-1].step == 10
    events = run(resume(tmp_path, steps=30))
    assert (events[-1].step, events[0].step) == (30, 20)
    assert run(resume(tmp_path, epochs=1.0))[-1].step == 85
    config = json.loads(
        parse((tmp_path / "runs/text/training.safetensors").read_bytes())[0]["training_state"]
    )["training_config"]
    assert (config["steps"], config["epochs"]) == (None, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 13),
        ("num_layers", 1),
        ("cell", "lstm"),
        ("nonlinearity", "relu"),
        ("dropout", 0.5),
        ("unit", "byte"),
        ("encoding", "latin-1"),
        ("val_fraction", 0.2),
        ("batch_size", 5),
        ("seq_len", 8),
        ("learning_rate", 0.1),
        ("grad_clip", 0.0),
        ("weight_decay", 0.0),
        ("seed", 1),
    ],
)
def test_other_settings_are_a_named_error(tmp_path: Path, name: str, value: object) -> None:
    run(start(tmp_path, steps=1))
    before = saved_tensors(tmp_path)
    option = "--" + name.replace("_", "-")
    with pytest.raises(CheckpointError, match=f"trained with {option} .*, not {value}"):
        resume(tmp_path, **{name: value})
    assert same(saved_tensors(tmp_path), before)


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 32, "seq_len": 64}])
def test_the_same_settings_again_are_none(tmp_path: Path, options: dict[str, Any]) -> None:
    """The earlier command and --resume resume the run, also if a small text shrank its settings."""
    options = {"seed": 0, "val_fraction": 0.1, **options}
    run(start(tmp_path, COFFEE[:500], **options), after(3))
    assert run(resume(tmp_path, hidden_size=12, **options))[-1].step == 20


def test_a_model_file_is_no_training_file(tmp_path: Path) -> None:
    run(start(tmp_path, steps=1))
    with pytest.raises(CheckpointError, match="not a saved training"):
        resuming.resume(tmp_path / "runs/text/model.safetensors", {})


# --- what goes wrong


def test_a_second_training_of_a_run_is_refused(tmp_path: Path) -> None:
    events = start(tmp_path, steps=40, eval_every=10).events()
    next(events)
    with pytest.raises(RunBusyError, match=r"runs/text: another training is running there"):
        resume(tmp_path)
    events.close()
    assert run(resume(tmp_path))[-1].step == 40


def test_what_a_killed_training_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    run(start(tmp_path), after(5))
    folder = tmp_path / "runs" / "text"
    leftovers = [
        ".model.safetensors.12.tmp",
        ".training.safetensors.999.tmp",
        ".history.jsonl.1.tmp",
    ]
    others = [".mine.tmp", "model.safetensors.12.tmp", ".model.safetensors.x.tmp"]
    for name in (*leftovers, *others):
        (folder / name).write_text("half")
    resume(tmp_path)
    assert {path.name for path in folder.glob("*tmp")} == set(others)


# --- every kind of source resumes exactly


ROWS = [COFFEE[offset : offset + 60].replace("\n", " ") for offset in range(0, 5400, 60)]


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
    "a.json": json.dumps([{"t": row} for row in ROWS]).encode(),
    "a.tsv.zst": zstd.compress(csv_of(ROWS)),
    "a.csv": csv_of(ROWS),
    "a.parquet": parquet_of(ROWS),
}


def trainer_of(folder: Path, source: Path) -> Trainer:
    data = DataConfig(block_chars=1024)
    training = {"steps": 150, "batch_size": 4, "seq_len": 16, "eval_every": 40, "patience": 0}
    model = {"hidden_size": 6, "num_layers": 1, "dropout": 0.2}
    return starting.start(Request([str(source)], folder, "r", data, training, model))


def again(folder: Path) -> Trainer:
    return resuming.resume(folder / "r" / "training.safetensors", {})


def tensors_of(folder: Path) -> dict[str, Any]:
    return parse((folder / "r" / "training.safetensors").read_bytes())[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tensors of a training on the plain text, in one go."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "a.txt").write_bytes(KINDS["a.txt"])
    run(trainer_of(folder, folder / "a.txt"))
    return tensors_of(folder)


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_each_kind_of_source_resumed_twice_is_as_the_plain_text_in_one_go(
    tmp_path: Path, kind: str, undisturbed: dict[str, Any]
) -> None:
    """In the middle of a block, and in the second epoch."""
    source = tmp_path / "text" / ("a.txt" if kind == "folder" else kind)
    source.parent.mkdir()
    source.write_bytes(KINDS[source.name])
    if kind == "folder":
        lines = source.read_bytes().splitlines(keepends=True)
        source.write_bytes(b"".join(lines[:30]))
        (source.parent / "b.txt").write_bytes(b"".join(lines[30:]))
        source = source.parent
    run(trainer_of(tmp_path, source), after(21))
    run(again(tmp_path), after(70))
    run(again(tmp_path))
    assert same(tensors_of(tmp_path), undisturbed)


@pytest.mark.parametrize("kind", ["a.txt", "a.txt.gz", "a.jsonl"])
def test_a_source_that_fails_half_way_is_named_and_the_run_resumes_after_repair(
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
