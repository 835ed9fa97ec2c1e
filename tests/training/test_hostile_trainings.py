"""A training file that anybody may have written, with the right checksum, resumes or is refused.

It must never make a training learn another file than the one that the run began with.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import COFFEE, after, history, resume, run, start

from charrnn.errors import CharrnnError, CheckpointError, CorpusError, TrainingError
from charrnn.store import checkpoint
from charrnn.text.batches import OPEN_ENDED_BLOCK_CHARS
from charrnn.text.vocabulary import Vocabulary

State = dict[str, Any]


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    """The training file of a run that was stopped after three of its steps."""
    run(start(tmp_path), after(3))
    yield tmp_path / "runs" / "text" / "training.safetensors"


def rewrite(path: Path, change: Callable[[State], object]) -> None:
    """Changes what a training file holds as JSON."""
    saved = checkpoint.load(path)
    change(saved.training_state)
    checkpoint.save(path, saved)


def refused(folder: Path, kind: type[CharrnnError] = CheckpointError) -> str:
    """Resumes a run, which must be refused before anything is written; returns the message."""
    path = folder / "runs" / "text" / "training.safetensors"
    before = path.read_bytes()
    with pytest.raises(kind) as caught:
        resume(folder)
    assert path.read_bytes() == before
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- states


def test_the_state_of_another_cell_is_refused(tmp_path: Path) -> None:
    run(start(tmp_path, cell="lstm"), after(3))
    path = tmp_path / "runs" / "text" / "training.safetensors"
    saved = checkpoint.load(path)
    assert saved.tensors["state"].shape[2] == 24
    saved.tensors["state"] = saved.tensors["state"][:, :, :12]
    checkpoint.save(path, saved)
    assert "tensor state: " in refused(tmp_path) and "not torch.float32" in refused(tmp_path)


# --- numbers


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("progress", {name: 10**400}) for name in ("step", "chars", "elapsed_s", "best_nats")),
        *(("progress", {name: 10**18}) for name in ("step", "chars", "elapsed_s", "eval_s")),
        ("progress", {"setbacks": 10**9}),
        ("progress", {"setbacks": 6}),
        ("progress", {"elapsed_s": 1e308}),
        ("progress", {"elapsed_s": math.nan}),
        ("progress", {"log_nats": math.inf}),
        ("progress", {"step": True}),
        ("progress", {"step": -1}),
        ("progress", {"done_max_time": -1.0}),
        ("progress", {"position": {"epoch": 0, "block": 10**18, "batch": 0}}),
        ("progress", {"position": {"epoch": 0, "block": 0, "batch": 10**18}}),
        ("progress", {"position": {"epoch": 10**18, "block": 0, "batch": 0}}),
        ("training_config", {"learning_rate": 10**400}),
        ("training_config", {"epochs": 1e308, "steps": None}),
        ("training_config", {"weight_decay": 1e308}),
        ("training_config", {"seed": True}),
        ("data_config", {"unit": "byte"}),
        ("data_config", {"val_fraction": math.nan}),
        ("data_config", {"encoding": "x" * 10**6}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_training_writes_is_refused(
    tmp_path: Path, stopped: Path, place: str, value: State
) -> None:
    rewrite(stopped, lambda state: state[place].update(value))
    assert str(stopped) in refused(tmp_path)


def test_what_is_nested_too_deep_to_be_saved_again_is_refused(
    tmp_path: Path, stopped: Path
) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    rewrite(stopped, lambda state: state["asked"].update({"deep": deep}))
    assert "its training_state is not JSON that charrnn writes: it is nested" in refused(tmp_path)


def test_a_number_of_evaluations_ends_a_training_at_once(tmp_path: Path) -> None:
    """However large; it is no error."""
    run(start(tmp_path, patience=3), after(3))
    path = tmp_path / "runs" / "text" / "training.safetensors"
    rewrite(path, lambda state: state["progress"].update({"evaluations_since_best": 10**15}))
    assert run(resume(tmp_path))[-1].step == 3


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("optimizer.output.W_y.exp_avg_sq", -1.0, "a mean of squares is negative"),
        ("optimizer.output.W_y.exp_avg_sq", math.nan, "NaN or infinite"),
        ("optimizer.output.W_y.exp_avg", math.inf, "NaN or infinite"),
        ("optimizer.column_rates", 0.0, "a learning rate is out of range"),
        ("optimizer.column_rates", 31.0, "a learning rate is out of range"),
        ("average.output.W_y", math.nan, "NaN or infinite"),
        ("average.output.W_y", 1e31, "NaN or infinite, or beyond 1e\\+30"),
        ("state", -math.inf, "NaN or infinite"),
    ],
)
def test_other_values_in_tensors_are_refused(
    tmp_path: Path, stopped: Path, name: str, value: float, why: str
) -> None:
    saved = checkpoint.load(stopped)
    tensor = saved.tensors[name].copy()
    tensor.flat[0] = value
    checkpoint.save(stopped, replace(saved, tensors=saved.tensors | {name: tensor}))
    message = refused(tmp_path)
    assert why.replace("\\", "") in message


@pytest.mark.parametrize("kind", ["exp_avg", "exp_avg_sq"])
def test_huge_moments_end_by_name_or_do_not_matter(
    tmp_path: Path, stopped: Path, kind: str
) -> None:
    saved = checkpoint.load(stopped)
    tensors = {
        name: np.full_like(tensor, 3e38) if name.endswith(kind) else tensor
        for name, tensor in saved.tensors.items()
    }
    checkpoint.save(stopped, replace(saved, tensors=tensors))
    if kind == "exp_avg":
        with pytest.raises(TrainingError, match="after 5 rollbacks"):
            run(resume(tmp_path))
    else:
        assert run(resume(tmp_path))[-1].step == 20
    checkpoint.load(stopped)


# --- texts


def of_a_text_without_end(state: State) -> None:
    state.update(sources=["stdin.txt"], corpus_chars=None, corpus_sha256="")
    state["training_config"]["steps"] = 20


@pytest.mark.parametrize("sources", [["-"], ["../text.txt"], ["text.txt"], ["./stdin.txt"], [""]])
def test_a_source_that_is_neither_absolute_nor_kept_is_refused(
    tmp_path: Path, stopped: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "text.txt").write_text(COFFEE)
    monkeypatch.chdir(tmp_path)  # where a text.txt is, too
    rewrite(stopped, lambda state: state.update(sources=sources))
    assert "is neither absolute nor a file of the run" in refused(tmp_path)


def test_a_validation_text_is_no_other_file_either(tmp_path: Path, stopped: Path) -> None:
    rewrite(stopped, lambda state: state.update(val_source="../../text.txt"))
    assert "is neither absolute nor a file of the run" in refused(tmp_path)


def test_another_file_than_the_runs_own_is_not_learnt(tmp_path: Path, stopped: Path) -> None:
    """Whether it is said to be known by its hash, or to have no end."""
    secret = tmp_path / "secret.txt"
    secret.write_text(COFFEE[::-1])
    rewrite(stopped, lambda state: state.update(sources=[str(secret)]))
    assert f"{secret}: the text has changed" in refused(tmp_path, CorpusError)
    for sources in ([str(secret)], ["stdin.txt", str(secret)], ["hf:secret"]):
        rewrite(stopped, lambda state, s=sources: state.update(sources=s, corpus_chars=None))  # type: ignore[misc]
        assert "its text had not ended, and is not kept in the run's folder" in refused(tmp_path)


def test_the_copy_of_a_text_without_end_is_no_link(tmp_path: Path, stopped: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(COFFEE)
    rewrite(stopped, of_a_text_without_end)
    copy = stopped.with_name("stdin.txt")
    copy.symlink_to(secret)
    assert f"{copy}: it is not the text that the run began with" in refused(tmp_path, CorpusError)
    copy.unlink()
    secret.rename(copy)
    assert run(resume(tmp_path))[-1].step == 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
@pytest.mark.parametrize("change", [of_a_text_without_end, lambda state: None])
def test_a_source_is_no_named_pipe(
    tmp_path: Path, stopped: Path, change: Callable[[State], None]
) -> None:
    rewrite(stopped, change)
    pipe = Path(checkpoint.load(stopped).training_state["sources"][0])
    pipe = stopped.with_name(pipe.name) if not pipe.is_absolute() else pipe
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert f"{pipe}: it is not the text that the run began with" in refused(tmp_path, CorpusError)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="a system without /dev/zero")
def test_a_source_is_no_device(tmp_path: Path, stopped: Path) -> None:
    rewrite(stopped, lambda state: state.update(sources=["/dev/zero"]))
    assert "/dev/zero: it is not the text" in refused(tmp_path, CorpusError)


@pytest.mark.parametrize("block", [1, 10**14])
def test_a_text_without_end_has_no_block_beyond_what_is_kept_of_it(
    tmp_path: Path, stopped: Path, block: int
) -> None:
    rewrite(stopped, of_a_text_without_end)
    stopped.with_name("stdin.txt").write_text(COFFEE)
    assert len(COFFEE) < OPEN_ENDED_BLOCK_CHARS
    rewrite(stopped, lambda state: state["progress"]["position"].update(block=block))
    assert f"there is no Position(epoch=0, block={block}, batch=" in refused(tmp_path)


# --- what else lies in the folder


def test_another_model_in_the_folder_is_not_taken_for_the_runs_own(
    tmp_path: Path, stopped: Path
) -> None:
    run(start(tmp_path / "other", "ab\n" * 2000), after(3))
    other = tmp_path / "other" / "runs" / "text" / "model.safetensors"
    model = stopped.with_name("model.safetensors")
    model.write_bytes(other.read_bytes())
    assert run(resume(tmp_path, steps=3))[-1].step == 3
    if checkpoint.load(model).vocabulary.symbols == Vocabulary.of_text("ab\n").symbols:
        assert checkpoint.load(model).held_out_lines is None


@pytest.mark.parametrize(
    "provenance",
    [
        {"step": 10**400, "val_nats_per_char": 0.1},
        {"step": 10**15, "val_nats_per_char": 10**400},
        {"step": "x", "val_nats_per_char": []},
        {"step": 10**15, "val_nats_per_char": -1.0},
        {"step": 10**15, "val_nats_per_char": True},
    ],
)
def test_what_a_model_in_the_folder_says_of_itself_is_not_believed(
    tmp_path: Path, stopped: Path, provenance: State
) -> None:
    model = stopped.with_name("model.safetensors")
    checkpoint.save(model, replace(checkpoint.load(model), provenance=provenance))
    assert run(resume(tmp_path, steps=30))[-1].step == 30
    checkpoint.load(stopped)
    assert history(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "step", "step": 1, "x": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"event": ' * 5000 + "1" + "}" * 5000,
        '{"event": "step", "step": ' + "9" * 5000 + "}",
        '{"event": "step", "step": 1, "x": 1e999}',
        '{"event": "step", "step": 1, "x": NaN}',
        '{"event": {}, "step": 1}',
        '{"event": "step", "step": true}',
    ],
    ids=lambda line: line[:30],
)
def test_lines_of_a_history_that_are_none_are_dropped(
    tmp_path: Path, stopped: Path, line: str
) -> None:
    path = stopped.with_name("history.jsonl")
    sound = path.read_text()
    path.write_text(f"{line}\n{sound}")
    run(resume(tmp_path))
    assert path.read_text().startswith(sound)
    assert all(json.dumps(entry) for entry in history(tmp_path))


def test_a_history_of_endless_lines_is_a_named_error(tmp_path: Path, stopped: Path) -> None:
    path = stopped.with_name("history.jsonl")
    with path.open("wb") as stream:
        stream.truncate(10**10)  # of zeros, which take no space
    with pytest.raises(CheckpointError, match=r"history\.jsonl: cannot be read: a line of more"):
        run(resume(tmp_path))
