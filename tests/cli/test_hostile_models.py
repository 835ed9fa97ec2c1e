"""Every command on a model that anybody may have written: figures, or one named error."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calls import SMALL, fail, succeed

from charrnn.model.forward import Forward
from charrnn.store import checkpoint

TEXT = "I had coffee today.\nShe said so!\n" * 30
FORMS = [
    ["sample", "--length", "30"],
    ["sample", "--length", "30", "--temperature", "0"],
    ["sample", "--length", "30", "--count", "3", "--json"],
    ["eval"],
    ["eval", "--json"],
    ["eval", "--per-line"],
    ["eval", "--per-line", "--json", "--carry"],
    ["eval", "--per-char", "--json"],
    ["eval", "--context-curve", "--json"],
]


def of_size(letters: Path, folder: Path, size: float, nonlinearity: str) -> Path:
    """Writes a model whose weights are as large as that, of either sign."""
    saved = checkpoint.load(letters / "model.safetensors")
    config = replace(saved.model.config, nonlinearity=nonlinearity)  # type: ignore[arg-type]
    dice = np.random.default_rng(0)
    weights = {
        name: dice.choice([-size, size], weight.shape).astype(np.float32)
        for name, weight in saved.model.weights.items()
    }
    checkpoint.save(folder / "m", replace(saved, model=Forward(config, weights)))
    return folder / "m"


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_a_model_that_overflows_is_one_named_error(
    letters: Path, tmp_path: Path, form: list[str]
) -> None:
    model = of_size(letters, tmp_path, 1e20, "relu")
    seed = ["--seed", "1"] if form[0] == "sample" else []
    message = fail(*form, *seed, "--model", model, stdin=TEXT)
    assert "numbers grow until they overflow" in message
    assert form[0] == "sample" or message.startswith("charrnn: standard input: ")


@pytest.mark.parametrize("form", [form for form in FORMS if "--json" in form], ids=" ".join)
def test_the_largest_weights_give_strict_json(
    letters: Path, tmp_path: Path, form: list[str]
) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    model = of_size(letters, tmp_path, 1e30, "tanh")
    for line in succeed(*form, "--model", model, stdin=TEXT).stdout.splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_named_pipe_is_no_model(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    (tmp_path / "text.txt").write_text(TEXT)
    for name in ("model", "training"):
        os.mkfifo(run / f"{name}.safetensors")
    runs = ["--runs", tmp_path / "runs"]
    commands = [
        *([form, "--model", model] for form in ("sample", "eval") for model in (run, "r")),
        ["sample"],
        ["train", tmp_path / "text.txt", "--init-from", run / "model.safetensors", *SMALL],
        ["train", "--resume", "r"],
        ["train", "--resume", run / "training.safetensors"],
    ]
    for command in commands:
        assert "safetensors: cannot be read: it is not a regular file" in fail(*command, *runs)
