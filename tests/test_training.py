"""The loop: it learns, it stops when told, and going on is as if it had never stopped."""

import io
import itertools
import json
import math
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import SENTENCE, Clock
from numpy_model import NumpyModel, parse
from small_runs import (
    COFFEE,
    TRAINING,
    after,
    kept,
    nats_unasked,
    resume,
    run,
    start,
)
from torch import nn

from charrnn import checkpoint, kernels, training
from charrnn.config import DataConfig, TrainingConfig
from charrnn.errors import (
    CharrnnError,
    CheckpointError,
    CorpusError,
    EncodingError,
    OptionError,
    RunBusyError,
    TrainingError,
)
from charrnn.evaluation import nats_per_char
from charrnn.optimizer import AdamW, learning_rate
from charrnn.runs import new_trainer, resumed_trainer
from charrnn.training import (
    Evaluated,
    Finished,
    SaveFailed,
    Stepped,
    Trainer,
    WentBack,
)


def same(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def history(folder: Path, event: str | None = None) -> list[dict[str, Any]]:
    def no_constant(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    lines = (folder / "runs" / "text" / "history.jsonl").read_text().splitlines()
    entries = [json.loads(line, parse_constant=no_constant) for line in lines]
    return [entry for entry in entries if event in (None, entry["event"])]


def untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("elapsed_s", "chars_per_second")
    return [{k: v for k, v in entry.items() if k not in timed} for entry in entries]


# --- learning


@pytest.mark.parametrize("text", [SENTENCE * 8, COFFEE[:200]], ids=["repeated", "once"])
def test_a_short_text_is_learnt_by_heart(tmp_path: Path, text: str) -> None:
    trainer = start(tmp_path, text, val_fraction=0.0, hidden_size=48, steps=400)
    stepped = [event for event in run(trainer) if isinstance(event, Stepped)]
    assert stepped[0].train_nats_per_char > 1.5
    assert stepped[-1].train_nats_per_char < 0.1
    kept_model = NumpyModel.read(tmp_path / "runs" / "text" / "model.safetensors")
    assert kept_model.nats(text[:200])[1:].mean() < 0.2


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_first_loss_is_that_of_a_guess(tmp_path: Path, unit: str) -> None:
    stepped = run(start(tmp_path, steps=1, unit=unit))[0]
    assert isinstance(stepped, Stepped)
    symbols = 256 if unit == "byte" else len(set(COFFEE))
    assert stepped.train_nats_per_char == pytest.approx(math.log(symbols), abs=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("warmup", 2.0),
        ("warmup", -0.1),
        ("warmup", float("nan")),
        ("final_learning_rate", -1.0),
        ("final_learning_rate", float("inf")),
    ],
)
def test_a_schedule_out_of_range_is_a_named_error(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=name.replace("_", "-")):
        TrainingConfig(**{name: value})


class Spy:
    """What each update of the optimiser is given."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.rates: list[float] = []

    def __call__(self, parameters: list[torch.Tensor], rate: float) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
        self.rates.append(rate)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy, update = Spy(), AdamW.update

    def spied(self: AdamW, rate: float, number: int) -> None:
        spy(self.parameters, rate)
        update(self, rate, number)

    monkeypatch.setattr(AdamW, "update", spied)
    return spy


def test_gradients_are_clipped(tmp_path: Path, spy: Spy) -> None:
    run(start(tmp_path / "free", grad_clip=0.0))
    free = spy.norms.copy()
    spy.norms.clear()
    limit = sorted(free)[10]
    run(start(tmp_path / "clipped", grad_clip=limit))
    assert spy.norms[0] == pytest.approx(min(free[0], limit), rel=1e-4)
    assert max(spy.norms) <= limit * 1.0001 < max(free)
    assert any(norm < 0.99 * limit for norm in spy.norms), "small gradients stay as they are"


def test_a_gradient_is_of_its_own_update(tmp_path: Path, spy: Spy) -> None:
    """Nothing is added to what came before: at a standstill all are about as large."""
    run(start(tmp_path, grad_clip=0.0, learning_rate=1e-9))
    assert max(spy.norms) < 3 * min(spy.norms)


def test_each_update_follows_the_schedule(tmp_path: Path, spy: Spy) -> None:
    trainer = start(tmp_path, steps=50)
    events = run(trainer)
    wanted = [learning_rate(trainer.config, step / 50) for step in range(50)]
    assert spy.rates == pytest.approx(wanted)
    told = [event.learning_rate for event in events if isinstance(event, Stepped)]
    assert told == pytest.approx(wanted[9::10])


def test_validation_text_is_never_trained_on(tmp_path: Path) -> None:
    split = int(0.9 * len(COFFEE))
    other = COFFEE[:split] + COFFEE[split:][::-1]
    run(start(tmp_path / "a", COFFEE, steps=100, eval_every=7))
    run(start(tmp_path / "b", other, steps=100, eval_every=7))
    assert same(kept(tmp_path / "a"), kept(tmp_path / "b"))
    scores = [
        [entry["val_nats_per_char"] for entry in history(tmp_path / name, "eval")] for name in "ab"
    ]
    assert scores[0] != scores[1]


def test_training_text_is_trained_on(tmp_path: Path) -> None:
    """The counterpart: the last sequence before the validation text matters."""
    split = int(0.9 * len(COFFEE))
    other = COFFEE[: split - 40] + COFFEE[split - 40 : split][::-1] + COFFEE[split:]
    run(start(tmp_path / "a", COFFEE, steps=90))
    run(start(tmp_path / "b", other, steps=90))
    assert not same(kept(tmp_path / "a"), kept(tmp_path / "b"))


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.manual_seed(len(name))
        run(start(tmp_path / name, seed=seed, dropout=0.3))
    assert same(kept(tmp_path / "a"), kept(tmp_path / "b"))
    assert same(kept(tmp_path / "a", "model"), kept(tmp_path / "b", "model"))
    assert not same(kept(tmp_path / "a", "model"), kept(tmp_path / "c", "model"))


# --- going on


def twice(folder: Path, stops: Sequence[int], **options: Any) -> tuple[Path, Path]:
    """Trains in one go, and again with stops; returns both folders."""
    one, cut = folder / "one", folder / "cut"
    run(start(one, **options))
    trainer, before = start(cut, **options), 0
    for stop in stops:
        finished = run(trainer, after(stop - before))[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.step) == ("interrupted", stop)
        torch.manual_seed(random.Random(stop).randrange(1000))  # whatever happens in between
        trainer, before = resume(cut), stop
    finished = run(trainer)[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    return one, cut


@pytest.mark.parametrize(
    ("steps", "stops", "options"),
    [
        (60, (30,), {}),
        (60, (30,), {"dropout": 0.4}),
        (60, (30,), {"unit": "byte", "dropout": 0.2}),
        (60, (30,), {"nonlinearity": "relu", "num_layers": 1, "weight_decay": 0.5}),
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
        "no validation",
        "end of an epoch",
        "blocks",
        "ends of blocks",
    ],
)
def test_going_on_is_as_if_never_stopped(
    tmp_path: Path, steps: int, stops: Sequence[int], options: dict[str, Any]
) -> None:
    one, cut = twice(tmp_path, stops, steps=steps, eval_every=27, **options)
    assert same(kept(one), kept(cut))
    assert same(kept(one, "model"), kept(cut, "model"))
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))


def test_what_saves_take_is_a_small_part_of_the_time(tmp_path: Path, clock: Clock) -> None:
    trainer = start(tmp_path, steps=400, save_every_s=3.0, hidden_size=4)
    saved_at: list[float] = []
    save = trainer.save

    def slow_save() -> None:
        save()
        saved_at.append(clock.now)
        clock.now += 0.5

    trainer.save = slow_save  # type: ignore[method-assign]
    run(trainer)
    _, first, *others, _last = saved_at  # at the start, then by the clock, at the end
    assert others and all(b - a >= 0.5 / 0.02 for a, b in itertools.pairwise([first, *others]))


def test_the_history_is_on_the_disk_before_the_moment_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path)
    run(trainer)
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("renamed"), replace(a, b))[1])
    trainer.save()
    assert done[0] == "history.jsonl"
    assert done[2] == "renamed"


def test_large_layers_go_on_as_if_never_stopped(tmp_path: Path) -> None:
    """As large as those whose products another library makes."""
    options = {"hidden_size": 512, "num_layers": 2, "batch_size": 20, "seq_len": 4}
    assert options["batch_size"] * options["hidden_size"] ** 2 > kernels.WORTH_IT
    one, cut = twice(tmp_path, (3,), steps=6, **options)
    assert same(kept(one), kept(cut))


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
    assert same(kept(tmp_path / "a"), kept(tmp_path / "b")) != matters


def test_a_training_file_is_everything(tmp_path: Path) -> None:
    """Weights, their averages, both moments of the optimiser, hidden state and random state."""
    run(start(tmp_path))
    names = {name for name in kept(tmp_path) if name.startswith(("layers.", "output."))}
    further = {f"average.{name}" for name in names} | {"state", "random_state"}
    for key in ("exp_avg", "exp_avg_sq"):
        further |= {f"optimizer.{name}.{key}" for name in names}
    assert kept(tmp_path).keys() == names | further
    assert kept(tmp_path)["state"].shape == (3, 4, 12)
    assert np.abs(kept(tmp_path)["state"]).min() > 0


@pytest.mark.parametrize("stop", [10, 20, 40])
def test_a_stop_at_an_evaluation_skips_none(tmp_path: Path, stop: int) -> None:
    one, cut = twice(tmp_path, [stop], steps=40, eval_every=10)
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))
    assert same(kept(one, "model"), kept(cut, "model"))


@pytest.mark.parametrize("options", [{"eval_every": 10}, {"eval_every": 1000}], ids=["due", "last"])
def test_a_stop_within_an_evaluation_puts_it_off(tmp_path: Path, options: dict[str, Any]) -> None:
    """It ends at once; going on makes up for it, and all is as if it had never been stopped."""
    one, cut = tmp_path / "one", tmp_path / "cut"
    run(start(one, **options))
    asked = itertools.count(1)
    trainer = start(cut, **options, validate=nats_per_char)
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
    assert same(kept(one, "model"), kept(cut, "model"))


@pytest.mark.parametrize("options", [{"eval_every": 10}, {"eval_every": 1000}], ids=["due", "last"])
def test_a_stop_within_the_evaluation_that_was_put_off_puts_it_off_again(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    one, cut = tmp_path / "one", tmp_path / "cut"
    run(start(one, **options))
    step = min(options["eval_every"], 20)
    asked = itertools.count(1)
    run(start(cut, **options, validate=nats_per_char), lambda: next(asked) > step)
    for _ in range(2):
        finished = run(resume(cut, validate=nats_per_char), lambda: True)[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.step) == ("interrupted", step)
    run(resume(cut))
    assert untimed(history(one)) == untimed(history(cut))
    assert same(kept(one, "model"), kept(cut, "model"))


def test_an_evaluation_after_which_a_kill_comes_is_there_once(tmp_path: Path) -> None:
    """It had been put off by a stop, so that the saved moment is of the same step."""
    asked = itertools.count(1)
    options = {"eval_every": 10, "steps": 40}
    run(start(tmp_path, **options, validate=nats_per_char), lambda: next(asked) > 10)
    events = resume(tmp_path).events()
    assert isinstance(next(events), Evaluated)
    events.close()  # as a kill: nothing is saved
    run(resume(tmp_path))
    assert [entry["step"] for entry in history(tmp_path, "eval")] == [10, 20, 30, 40]


def test_a_line_of_history_is_of_all_steps_since_the_last_one(tmp_path: Path) -> None:
    """Also where training was stopped between them."""
    one, cut = twice(tmp_path, (15, 23), steps=40, eval_every=20)
    sums, steps = [], []
    for folder in (one, cut):
        lines = history(folder, "step")
        before = [{"step": 0, "chars": 0}, *lines]
        sums.append(
            sum(
                line["train_nats_per_char"] * (line["chars"] - last["chars"])
                for line, last in zip(lines, before, strict=False)
            )
        )
        steps.append([line["step"] for line in lines])
    assert steps == [[10, 20, 30, 40], [10, 15, 20, 23, 30, 40]]
    assert sums[0] == pytest.approx(sums[1])


def test_a_stop_before_the_first_evaluation_keeps_what_was_learnt(tmp_path: Path) -> None:
    run(start(tmp_path, steps=100, eval_every=50), after(20))
    kept_model = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert kept_model.provenance["step"] == 20


def test_a_run_that_was_killed_goes_on_from_its_last_save(tmp_path: Path) -> None:
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
    assert same(kept(one), kept(cut))
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))


def test_a_raised_limit_goes_on(tmp_path: Path) -> None:
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
    before = kept(tmp_path)
    option = "--" + name.replace("_", "-")
    with pytest.raises(CheckpointError, match=f"trained with {option} .*, not {value}"):
        resume(tmp_path, **{name: value})
    assert same(kept(tmp_path), before)


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 32, "seq_len": 64}])
def test_the_same_settings_again_are_none(tmp_path: Path, options: dict[str, Any]) -> None:
    """The command of before with --resume goes on, also where a small text shrank its settings."""
    options = {"seed": 0, "val_fraction": 0.1, **options}
    run(start(tmp_path, COFFEE[:500], **options), after(3))
    assert run(resume(tmp_path, hidden_size=12, **options))[-1].step == 20


@pytest.mark.parametrize("text", [COFFEE[:-1], COFFEE + "a", COFFEE.replace("coffee", "tea__y")])
def test_a_changed_text_is_a_named_error(tmp_path: Path, text: str) -> None:
    run(start(tmp_path, steps=1))
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(CorpusError, match=r"text.txt: the text has changed since the run began"):
        resume(tmp_path)
    (tmp_path / "text.txt").unlink()
    with pytest.raises(CorpusError, match="no such file"):
        resume(tmp_path)


def test_a_model_file_is_no_training_file(tmp_path: Path) -> None:
    run(start(tmp_path, steps=1))
    with pytest.raises(CheckpointError, match="no saved training"):
        resumed_trainer(tmp_path / "runs/text/model.safetensors", {}, validate=nats_unasked)


# --- what is told


def test_events_come_in_order(tmp_path: Path) -> None:
    events = run(start(tmp_path, steps=45, eval_every=20))
    told = [(type(event).__name__, event.step) for event in events]
    assert told == [
        ("Stepped", 10),
        ("Stepped", 20),
        ("Evaluated", 20),
        ("Stepped", 30),
        ("Stepped", 40),
        ("Evaluated", 40),
        ("Stepped", 45),
        ("Evaluated", 45),
        ("Finished", 45),
    ]
    elapsed = [event.elapsed_s for event in events]
    assert elapsed == sorted(elapsed)
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert [event.progress for event in stepped] == pytest.approx([s.step / 45 for s in stepped])
    assert stepped[-1].total_steps == 45


def test_history_has_the_documented_keys(tmp_path: Path) -> None:
    events = run(start(tmp_path, steps=45, eval_every=20))
    step_keys = {"train_nats_per_char", "learning_rate", "chars_per_second"}
    both = {"event", "step", "chars", "elapsed_s"}
    for entry in history(tmp_path):
        further = step_keys if entry["event"] == "step" else {"val_nats_per_char", "best"}
        assert entry.keys() == both | further
    assert [entry["step"] for entry in history(tmp_path, "step")] == [10, 20, 30, 40, 45]
    assert [entry["step"] for entry in history(tmp_path, "eval")] == [20, 40, 45]
    for event, entry in zip(events, history(tmp_path), strict=False):
        assert {k: v for k, v in entry.items() if k != "event"}.items() <= vars(event).items()


def test_the_figures_of_history_are_of_the_text_since_the_last_line(tmp_path: Path) -> None:
    """Mean of ten logged alone equals the ten logged together."""
    run(start(tmp_path, steps=10))
    (together,) = history(tmp_path, "step")
    run(start(tmp_path / "alone", steps=10), after(1))
    for _ in range(9):
        run(resume(tmp_path / "alone"), after(1))
    alone = history(tmp_path / "alone", "step")
    assert [entry["step"] for entry in alone] == list(range(1, 11))
    chars = np.diff([0, *(entry["chars"] for entry in alone)])
    mean = np.average([entry["train_nats_per_char"] for entry in alone], weights=chars)
    assert together["train_nats_per_char"] == pytest.approx(mean)
    assert together["chars"] == chars.sum()


def test_what_is_told_of_the_best_model_is_true_of_its_file(tmp_path: Path) -> None:
    trainer = start(tmp_path, steps=60, eval_every=20)
    path = tmp_path / "runs" / "text" / "model.safetensors"
    validation = COFFEE[int(0.9 * len(COFFEE)) :]
    for event in trainer.events():
        if isinstance(event, Evaluated):
            assert event.best and event.val_nats_per_char is not None
            model = NumpyModel.read(path)
            assert model.nats(validation).mean() == pytest.approx(event.val_nats_per_char, abs=1e-5)
            provenance = json.loads(model.metadata["provenance"])
            assert provenance["val_nats_per_char"] == event.val_nats_per_char
            assert (provenance["step"], provenance["chars"]) == (event.step, len(COFFEE))
            assert provenance["sources"] == [str(tmp_path / "text.txt")]
    assert isinstance(event, Finished)
    assert (event.model_path, event.reason) == (path, "done")
    assert event.val_nats_per_char == provenance["val_nats_per_char"]


def test_without_validation_the_newest_model_is_kept(tmp_path: Path) -> None:
    events = run(start(tmp_path, val_fraction=0.0, eval_every=10))
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.val_nats_per_char, event.best) for event in evaluated] == [(None, True)] * 2
    training_file, model = kept(tmp_path), kept(tmp_path, "model")
    assert all(np.array_equal(model[name], training_file[f"average.{name}"]) for name in model)


# --- when it ends


def scores(*values: float) -> Callable[..., float]:
    """Returns a validation that says what it is told."""
    rest = iter(values)
    return lambda *_: next(rest)


def test_patience_ends_training(tmp_path: Path) -> None:
    validate = scores(3.0, 2.0, 2.5, 2.0, 1.9, 2.1, 2.2, 1.9)
    trainer = start(tmp_path, steps=1000, eval_every=5, patience=3, validate=validate)
    events = run(trainer)
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [event.best for event in evaluated] == [True, True, False, False, True] + [False] * 3
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step, finished.val_nats_per_char) == ("patience", 40, 1.9)
    metadata = NumpyModel.read(finished.model_path).metadata
    assert json.loads(metadata["provenance"])["step"] == 25


def test_patience_is_kept_over_a_stop(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 1000, "eval_every": 5, "patience": 3}
    run(start(tmp_path, validate=scores(2.0, 2.1, 2.2), **options), after(18))
    finished = run(resume(tmp_path, validate=scores(2.3)))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step, finished.val_nats_per_char) == ("patience", 20, 2.0)


def test_patience_that_ends_at_a_stop_has_ended(tmp_path: Path) -> None:
    """The evaluation that the stop left out is the last one allowed: no step follows it."""
    options: dict[str, Any] = {"steps": 1000, "eval_every": 5, "patience": 3}
    run(start(tmp_path, validate=scores(2.0, 2.1, 2.2), **options), after(20))
    finished = run(resume(tmp_path, validate=scores(2.3, 2.4)))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step) == ("patience", 20)


@pytest.mark.parametrize("evaluation_s", [0.1, 1.5])
def test_max_time_ends_near_the_budget(tmp_path: Path, clock: Clock, evaluation_s: float) -> None:
    def validate(*_: object) -> float:
        clock.now += evaluation_s
        return 1.0

    limits = {"steps": None, "max_time": 20.0, "eval_every": None}
    events = run(start(tmp_path, validate=validate, **limits))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    assert 18 < finished.elapsed_s < 20.8
    spent = evaluation_s * sum(isinstance(event, Evaluated) for event in events)
    assert 0 < spent < 20 / 5
    shares = [event.progress for event in events if isinstance(event, Stepped)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert all(event.total_steps is None for event in events if isinstance(event, Stepped))


def test_a_budget_that_is_spent_is_spent(tmp_path: Path, clock: Clock) -> None:
    """Whatever the last evaluation left of it."""
    taken = itertools.chain([6.0, 6.0], itertools.repeat(0.0))

    def validate(*_: Any) -> float:
        clock.now += next(taken)
        return 1.0

    options: dict[str, Any] = {"steps": None, "max_time": 30.0, "eval_every": 20, "hidden_size": 4}
    finished = run(start(tmp_path, validate=validate, **options))[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    assert finished.elapsed_s < 28  # the last evaluation might have taken six seconds, too
    before = kept(tmp_path)
    again = run(resume(tmp_path, validate=validate))[-1]
    assert isinstance(again, Finished)
    assert (again.reason, again.step) == ("done", finished.step)
    assert same(kept(tmp_path), before)
    assert run(resume(tmp_path, validate=validate, max_time=60.0))[-1].step > finished.step


def test_a_stop_in_the_last_evaluation_of_a_budget_is_made_up_for(
    tmp_path: Path, clock: Clock
) -> None:
    stopped = [1.0, 1.0, None, 0.5]

    def validate(*_: Any) -> float | None:
        clock.now += 2.0
        return stopped.pop(0)

    options: dict[str, Any] = {"steps": None, "max_time": 30.0, "hidden_size": 4, "patience": 0}
    options |= {"eval_every": 10**6}
    stopped[:2] = []
    finished = run(start(tmp_path, validate=validate, **options))[-1]
    assert isinstance(finished, Finished) and finished.reason == "interrupted"
    again = run(resume(tmp_path, validate=validate))[-1]
    assert isinstance(again, Finished)
    assert (again.reason, again.step, again.val_nats_per_char) == ("done", finished.step, 0.5)


@pytest.mark.parametrize("limit", ["max_time", "steps", "more steps"])
def test_a_better_model_kept_after_the_last_save_is_kept_still(tmp_path: Path, limit: str) -> None:
    """A kill comes after it; the steps that follow are others, unless nothing has changed."""
    options: dict[str, Any] = {"eval_every": 10, "save_every": 15, "steps": 40}
    if limit == "max_time":
        options |= {"steps": None, "max_time": 1000.0}
    events = start(tmp_path, validate=scores(2.0, 1.0), **options).events()
    for event in events:
        if event.step == 20 and isinstance(event, Evaluated):
            break
    events.close()
    changes = {"steps": 50} if limit == "more steps" else {}
    trainer = resume(tmp_path, validate=scores(1.5, 1.5, 1.5, 1.5), **changes)
    run(trainer, after(10))
    path = tmp_path / "runs" / "text" / "model.safetensors"
    kept_nats = checkpoint.load(path).provenance["val_nats_per_char"]
    assert kept_nats == (1.5 if limit == "steps" else 1.0)


def test_max_time_counts_what_was_spent_before_a_stop(tmp_path: Path, clock: Clock) -> None:
    limits = {"steps": None, "max_time": 10.0, "eval_every": None}
    one = run(start(tmp_path / "one", **limits))[-1]
    assert 2 < run(start(tmp_path, **limits), after(20))[-1].elapsed_s < 8
    clock.now += 1e6  # a night between
    finished = run(resume(tmp_path))[-1]
    assert 9 < finished.elapsed_s < 11
    assert abs(finished.step - one.step) < 5
    finished = run(resume(tmp_path, max_time=15.0))[-1]
    assert 14 < finished.elapsed_s < 16


def test_speed_leaves_evaluations_out(tmp_path: Path, clock: Clock) -> None:
    def validate(*_: object) -> float:
        clock.now += 100.0
        return 1.0

    events = run(start(tmp_path, steps=60, eval_every=13, validate=validate))
    speeds = [event.chars_per_second for event in events if isinstance(event, Stepped)]
    assert min(speeds) > 0.8 * max(speeds)


# --- what goes wrong


class Disk:
    """A disk that is full at some saves; the first is the untrained model, the second all of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full: Callable[[int, str], bool]) -> None:
        self.saves: list[str] = []
        write = checkpoint.write_whole

        def write_whole(path: Path, data: bytes) -> None:
            self.saves.append(path.name)
            if full(len(self.saves), path.name):
                raise CheckpointError(f"{path}: cannot be written: No space left on device")
            write(path, data)

        monkeypatch.setattr(checkpoint, "write_whole", write_whole)


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors"])
def test_a_full_disk_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    options: dict[str, Any] = {"steps": 40, "eval_every": 20, "save_every": 10}
    run(start(tmp_path / "one", **options))
    Disk(monkeypatch, lambda number, name: name == file and number in range(4, 7))
    events = run(start(tmp_path, **options))
    failed = [event for event in events if isinstance(event, SaveFailed)]
    assert failed and all(f"{file}: cannot be written" in event.reason for event in failed)
    assert events[-1].step == 40
    assert same(kept(tmp_path), kept(tmp_path / "one"))
    assert same(kept(tmp_path, "model"), kept(tmp_path / "one", "model"))


def test_the_best_model_is_kept_for_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best is that of step 10; what is written later is still that one."""
    validate = scores(1.0, 2.0, 3.0)
    full = iter([False, True, True, False])  # untrained; best; best at the first save; then written
    Disk(monkeypatch, lambda _, name: name == "model.safetensors" and next(full))
    options: dict[str, Any] = {"steps": 30, "eval_every": 10, "save_every": 12}
    events = run(start(tmp_path, validate=validate, **options))
    assert [event.step for event in events if isinstance(event, SaveFailed)] == [10, 12]
    metadata = NumpyModel.read(tmp_path / "runs" / "text" / "model.safetensors").metadata
    assert json.loads(metadata["provenance"])["step"] == 10
    assert json.loads(metadata["provenance"])["val_nats_per_char"] == 1.0


def test_a_disk_that_stays_full_is_a_named_error_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, lambda number, _: number > 3)
    trainer = start(tmp_path, eval_every=10)
    with pytest.raises(CheckpointError, match=r"No space left on device; .*--resume"):
        run(trainer)
    monkeypatch.undo()
    assert run(resume(tmp_path))[-1].step == 20


def test_a_disk_that_is_full_from_the_start_is_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, lambda *_: True)
    with pytest.raises(CheckpointError, match="No space left on device"):
        next(start(tmp_path).events())


def test_a_folder_that_is_gone_is_said_and_comes_back(tmp_path: Path) -> None:
    folder, away = tmp_path / "runs" / "text", tmp_path / "away"
    said = []
    for event in start(tmp_path, steps=40, eval_every=10, save_every=5).events():
        if event.step == 10 and isinstance(event, Evaluated):
            folder.rename(away)
        elif isinstance(event, SaveFailed):
            said.append(event.reason)
        elif event.step == 30 and isinstance(event, Evaluated):
            away.rename(folder)
    assert said and all("No such file or directory" in reason for reason in said)
    assert kept(tmp_path)["state"].size
    assert [entry["step"] for entry in history(tmp_path, "step")] == [10, 20, 30, 40]


def test_a_second_training_of_a_run_is_refused(tmp_path: Path) -> None:
    events = start(tmp_path, steps=40, eval_every=10).events()
    next(events)
    with pytest.raises(RunBusyError, match=r"runs/text: another training goes on there"):
        resume(tmp_path)
    events.close()
    assert run(resume(tmp_path))[-1].step == 40


def test_what_a_killed_training_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    run(start(tmp_path), after(5))
    folder = tmp_path / "runs" / "text"
    left = [".model.safetensors.12.tmp", ".training.safetensors.999.tmp", ".history.jsonl.1.tmp"]
    others = [".mine.tmp", "model.safetensors.12.tmp", ".model.safetensors.x.tmp"]
    for name in (*left, *others):
        (folder / name).write_text("half")
    resume(tmp_path)
    assert {path.name for path in folder.glob("*tmp")} == set(others)


def losses_gone(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """Lets the loss of these updates, counted from 1 over all that are made, be no number."""
    count, right = itertools.count(1), nn.functional.cross_entropy

    def wrong(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return right(logits, targets) * (math.nan if next(count) in calls else 1.0)

    functional = SimpleNamespace(cross_entropy=wrong)
    monkeypatch.setattr(training, "nn", SimpleNamespace(functional=functional, utils=nn.utils))


def test_a_loss_that_is_no_number_goes_back_to_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spy: Spy
) -> None:
    losses_gone(monkeypatch, 13)
    trainer = start(tmp_path, steps=20, save_every=5, eval_every=4)
    events = run(trainer)
    (back,) = (event for event in events if isinstance(event, WentBack))
    assert (back.from_step, back.step) == (12, 10)
    assert back.reason == "the loss is nan"
    assert back.learning_rate == trainer.config.learning_rate / 2
    rates = [learning_rate(trainer.config, step / 20) for step in range(20)]
    assert spy.rates == pytest.approx(rates[:12] + [rate / 2 for rate in rates[10:]])
    assert isinstance(events[-1], Finished) and events[-1].step == 20
    lines = [(entry["event"], entry["step"]) for entry in history(tmp_path)]
    assert lines == [
        ("eval", 4),
        ("eval", 8),
        ("step", 10),
        ("eval", 12),
        ("eval", 16),
        ("step", 20),
        ("eval", 20),
    ]


def test_going_back_is_as_if_the_saved_moment_had_been_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, state, optimiser, average and dropout are those of the save, and none of later."""
    options: dict[str, Any] = {"steps": 30, "save_every": 10, "dropout": 0.3}
    run(start(tmp_path / "one", **options), after(10))
    path = tmp_path / "one" / "runs" / "text" / "training.safetensors"
    saved = checkpoint.load(path)
    saved.training_state["progress"]["setbacks"] = 1
    checkpoint.save(path, saved)
    run(resume(tmp_path / "one"))

    losses_gone(monkeypatch, 17)
    run(start(tmp_path / "two", **options))
    assert same(kept(tmp_path / "one"), kept(tmp_path / "two"))
    assert same(kept(tmp_path / "one", "model"), kept(tmp_path / "two", "model"))


def test_going_back_before_the_first_save_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_gone(monkeypatch, 5)
    events = run(start(tmp_path))
    assert [(e.from_step, e.step) for e in events if isinstance(e, WentBack)] == [(4, 0)]
    assert [entry["step"] for entry in history(tmp_path, "step")] == [10, 20]


def test_a_run_that_went_back_stays_slower_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spy: Spy
) -> None:
    losses_gone(monkeypatch, 13)
    one, cut = tmp_path / "one", tmp_path / "cut"
    options = {"steps": 30, "save_every": 5}
    run(start(one, **options))
    rates, spy.rates = spy.rates[12:], []
    losses_gone(monkeypatch, 13)
    run(start(cut, **options), after(16))
    run(resume(cut))
    assert spy.rates[12:] == rates
    assert same(kept(one), kept(cut))


def test_a_better_model_is_kept_over_a_setback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_gone(monkeypatch, 13)
    validate = scores(3.0, 2.0, 1.0, 1.2, 1.5, 1.4)  # after 4, 8 and 12; again 12, 16 and 20
    events = run(start(tmp_path, steps=20, save_every=5, eval_every=4, validate=validate))
    assert isinstance(events[-1], Finished) and events[-1].val_nats_per_char == 1.0
    metadata = NumpyModel.read(events[-1].model_path).metadata
    assert json.loads(metadata["provenance"])["step"] == 12


def test_a_loss_that_is_never_a_number_keeps_the_best_model(tmp_path: Path) -> None:
    trainer = start(tmp_path, nonlinearity="relu", learning_rate=1e9, steps=500, eval_every=1)
    backs = 0
    with pytest.raises(
        TrainingError, match=r"step \d+: .* after going back 5 times: .*--learning-rate"
    ):
        for event in trainer.events():
            backs += isinstance(event, WentBack)
    assert backs == 5
    model = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors").model
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@pytest.fixture
def ruined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update leaves weights that are no numbers; the loss before it is one."""
    monkeypatch.setattr(AdamW, "update", lambda self, *_: self.parameters[0].data.fill_(math.nan))


@pytest.mark.usefixtures("ruined")
@pytest.mark.parametrize("val_fraction", [0.0, 0.1])
def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path, val_fraction: float) -> None:
    with pytest.raises(TrainingError, match="the weights are no numbers any more, after going"):
        run(start(tmp_path, val_fraction=val_fraction, steps=1))
    for file in ("model", "training"):
        checkpoint.load(tmp_path / "runs" / "text" / f"{file}.safetensors")


@pytest.mark.usefixtures("ruined")
def test_history_is_json_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run(start(tmp_path, steps=1))
    history(tmp_path)


def test_before_the_first_update_there_is_something_to_use(tmp_path: Path) -> None:
    """Stopped at once, a run can be sampled from and resumed."""
    events = start(tmp_path).events()
    next(events)
    events.close()
    checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors")
    assert run(resume(tmp_path))[-1].step == 20


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("", {}, CorpusError),
        ("too short", {}, CorpusError),
        ("a" * 500, {}, CorpusError),
        (COFFEE + "é", {"encoding": "ascii"}, EncodingError),
        (COFFEE, {"device": "abacus"}, OptionError),
        (COFFEE, {"dropout": 7.0}, OptionError),
    ],
    ids=["empty", "short", "one character", "encoding", "device", "dropout"],
)
def test_what_cannot_be_trained_leaves_no_run(
    tmp_path: Path, text: str, options: dict[str, Any], error: type[CharrnnError]
) -> None:
    with pytest.raises(error):
        start(tmp_path, text, **options)
    assert list(tmp_path.glob("runs/*")) == []


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
