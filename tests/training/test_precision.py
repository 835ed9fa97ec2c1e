"""A run in bfloat16: its files are as ever, and it goes on wherever it is resumed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy_model import parse
from small_runs import after, history, resume, run, same, saved_tensors, start, twice

from charrnn.errors import OptionError
from charrnn.training.trainer import Trainer

# at so few numbers, a processor without bfloat16 is as fast
BF16: dict[str, Any] = {"precision": "bf16", "dropout": 0.3, "steps": 30}


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A processor that has bfloat16, until told otherwise."""
    has = {"bf16": True}
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: has["bf16"])
    return has


def precision(folder: Path) -> str:
    """Returns what a run's training file says."""
    metadata, _ = parse((folder / "runs" / "text" / "training.safetensors").read_bytes())
    return str(json.loads(metadata["training_state"])["training_config"]["precision"])


def computes_in(trainer: Trainer) -> torch.dtype:
    return trainer.learner.shares._own._shares[0]._dtype


def test_a_run_in_bfloat16_learns_and_its_files_are_in_float32(tmp_path: Path) -> None:
    nats = {}
    for kind in ("bf16", "fp32"):
        trainer = start(tmp_path / kind, **{**BF16, "precision": kind, "steps": 60})
        assert computes_in(trainer) == {"bf16": torch.bfloat16, "fp32": torch.float32}[kind]
        run(trainer)
        assert precision(tmp_path / kind) == kind
        for file in ("training", "model"):
            types = {tensor.dtype for tensor in saved_tensors(tmp_path / kind, file).values()}
            assert types - {np.dtype(np.uint8)} == {np.dtype(np.float32)}  # bytes: random numbers
        nats[kind] = history(tmp_path / kind, "eval")[-1]["val_nats_per_char"]
    assert nats["bf16"] == pytest.approx(nats["fp32"], abs=0.02)
    assert nats["bf16"] != nats["fp32"]


def test_a_run_in_bfloat16_resumes_as_if_never_stopped(tmp_path: Path) -> None:
    one, cut = twice(tmp_path, (8, 17), **BF16, block_chars=1024, eval_every=13)
    for file in ("training", "model"):
        assert same(saved_tensors(one, file), saved_tensors(cut, file))
    assert precision(cut) == "bf16"


def test_another_processor_goes_on_in_float32(tmp_path: Path, processor: dict[str, bool]) -> None:
    run(start(tmp_path, **BF16), after(5))
    processor["bf16"] = False
    trainer = resume(tmp_path)
    assert trainer.notes[0] == "precision: fp32, and bf16 before: the same but for rounding"
    assert computes_in(trainer) == torch.float32
    run(trainer, after(5))
    assert precision(tmp_path) == "fp32"
    processor["bf16"] = True
    trainer = resume(tmp_path)
    assert trainer.notes == ["resumed at step 10"]
    assert precision(tmp_path) == "fp32", "a run keeps what it has"
    run(trainer)


def test_a_resumed_run_may_be_given_another_precision(
    tmp_path: Path, processor: dict[str, bool]
) -> None:
    run(start(tmp_path, steps=20), after(5))
    assert precision(tmp_path) == "fp32", "so small a model"
    trainer = resume(tmp_path, precision="bf16")
    assert trainer.notes[0] == "precision: bf16, and fp32 before: the same but for rounding"
    run(trainer, after(5))
    assert precision(tmp_path) == "bf16"
    processor["bf16"] = False
    with pytest.raises(OptionError, match="--precision: this processor"):
        resume(tmp_path, precision="bf16")


def test_a_processor_without_it_starts_no_run(tmp_path: Path, processor: dict[str, bool]) -> None:
    processor["bf16"] = False
    with pytest.raises(OptionError, match="--precision: this processor"):
        start(tmp_path, "", **BF16)  # not even the text was read, which is empty
    assert not (tmp_path / "runs").exists()
