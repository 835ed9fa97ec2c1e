"""The loop: it learns, reports what it does, and rolls back if the loss is NaN."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clocks import Clock
from numpy_model import NumpyModel
from scored import lines_of, score_of
from small_runs import COFFEE, after, history, resume, run, same, saved_tensors, scores, start
from texts import SENTENCE

from charrnn.errors import CheckpointError, TrainingError
from charrnn.scoring.scorer import Scorer
from charrnn.store import checkpoint
from charrnn.text.batches import Batch
from charrnn.text.lines import split_lines
from charrnn.training.events import Finished, RolledBack, Stepped
from charrnn.training.optimizer import AdamW
from charrnn.training.schedule import learning_rate
from charrnn.training.shares import Shares
from charrnn.training.trainer import Trainer
from charrnn.training.workers import WorkerDied

# --- learning


@pytest.mark.parametrize("text", [SENTENCE * 8, COFFEE[:200]], ids=["repeated", "once"])
def test_a_short_text_is_overfitted(tmp_path: Path, text: str) -> None:
    trainer = start(tmp_path, text, val_fraction=0.0, hidden_size=48, steps=400)
    stepped = [event for event in run(trainer) if isinstance(event, Stepped)]
    assert stepped[0].train_nats_per_char > 1.5
    assert stepped[-1].train_nats_per_char < 0.1
    model = NumpyModel.read(tmp_path / "runs" / "text" / "model.safetensors")
    assert model.nats(text[:200])[1:].mean() < 0.2


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_first_loss_is_that_of_a_guess(tmp_path: Path, unit: str) -> None:
    """How often each character occurs need not be learnt."""
    stepped = run(start(tmp_path, steps=1, batch_size=32, seq_len=40, unit=unit))[0]
    assert isinstance(stepped, Stepped)
    shares = np.unique(list(COFFEE[:5400]), return_counts=True)[1] / 5400
    entropy = -(shares * np.log(shares)).sum()
    assert stepped.train_nats_per_char == pytest.approx(entropy, rel=0.05)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_validation_figure_is_what_scoring_the_model_gives(tmp_path: Path, unit: str) -> None:
    """One computation, so that they are equal to the last bit."""
    *_, finished = run(start(tmp_path, steps=30, unit=unit, val_fraction=0.3))
    assert isinstance(finished, Finished)
    model = checkpoint.load(finished.model_path)
    tail = COFFEE.encode()[int(0.7 * len(COFFEE)) :].decode()
    nats = score_of(Scorer(model.model, model.vocabulary), [tail]).nats_per_char
    assert len(tail) > 1500 and nats == pytest.approx(finished.val_nats_per_char, rel=1e-12)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_model_keeps_what_is_usual_of_held_out_lines(tmp_path: Path, unit: str) -> None:
    """Also if training is interrupted; nothing if there is no such line."""
    for folder, way in (("whole", {}), ("cut", {"stop": lambda: True})):
        trainer = start(tmp_path / folder, steps=30, unit=unit, val_fraction=0.3)
        *_, finished = trainer.events(**way)
        assert isinstance(finished, Finished)
        model = checkpoint.load(finished.model_path)
        tail = COFFEE.encode()[int(0.7 * len(COFFEE)) :]
        scorer = Scorer(model.model, model.vocabulary)
        scored = lines_of(scorer, split_lines([tail if unit == "byte" else tail.decode()]))
        bits = [line.bits_per_char for line in scored]
        assert model.held_out_lines == (len(bits), pytest.approx(max(bits), abs=1e-4))
    *_, finished = run(start(tmp_path / "none", val_fraction=0.0))
    assert isinstance(finished, Finished)
    assert checkpoint.load(finished.model_path).held_out_lines is None


class Spy:
    """The gradients' norm and the rate of each update of the optimiser."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.rates: list[float] = []

    def __call__(self, gradient: torch.Tensor, rate: float) -> None:
        self.norms.append(float(gradient.norm()))
        self.rates.append(rate)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy, update = Spy(), AdamW.update

    def spied(self: AdamW, gradient: torch.Tensor, lr: float) -> None:
        spy(gradient, lr)
        update(self, gradient, lr)

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
    reported_rates = [event.learning_rate for event in events if isinstance(event, Stepped)]
    assert reported_rates == pytest.approx(wanted[9::10])


def test_validation_text_is_never_trained_on(tmp_path: Path) -> None:
    split = int(0.9 * len(COFFEE))
    other = COFFEE[:split] + COFFEE[split:][::-1]
    run(start(tmp_path / "a", COFFEE, steps=100, eval_every=7))
    run(start(tmp_path / "b", other, steps=100, eval_every=7))
    assert same(saved_tensors(tmp_path / "a"), saved_tensors(tmp_path / "b"))
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
    assert not same(saved_tensors(tmp_path / "a"), saved_tensors(tmp_path / "b"))


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.manual_seed(len(name))
        run(start(tmp_path / name, seed=seed, dropout=0.3))
    assert same(saved_tensors(tmp_path / "a"), saved_tensors(tmp_path / "b"))
    assert same(saved_tensors(tmp_path / "a", "model"), saved_tensors(tmp_path / "b", "model"))
    assert not same(saved_tensors(tmp_path / "a", "model"), saved_tensors(tmp_path / "c", "model"))


# --- what is reported


def test_events_come_in_order(tmp_path: Path) -> None:
    events = run(start(tmp_path, steps=45, eval_every=20))
    steps = [(type(event).__name__, event.step) for event in events]
    assert steps == [
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


# --- what goes wrong


def losses_gone(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """Makes the loss of these updates NaN, counted from 1 over all that are made."""
    count, right = itertools.count(1), Shares.gradient

    def wrong(shares: Shares, batch: Batch, lr: float) -> tuple[float, torch.Tensor]:
        nats, gradient = right(shares, batch, lr)
        return nats * (math.nan if next(count) in calls else 1.0), gradient

    monkeypatch.setattr(Shares, "gradient", wrong)


class Diverging:
    """Makes the loss NaN the first time that some steps are made, as if the text had done it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def __call__(self, trainer: Trainer, *steps: int) -> Trainer:
        rest, right = set(steps), Shares.gradient

        def wrong(shares: Shares, batch: Batch, lr: float) -> tuple[float, torch.Tensor]:
            step = trainer.schedule.progress.step + 1
            factor = math.nan if step in rest else 1.0
            rest.discard(step)
            nats, gradient = right(shares, batch, lr)
            return nats * factor, gradient

        self._patch.setattr(Shares, "gradient", wrong)
        return trainer


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> Diverging:
    return Diverging(monkeypatch)


COUNTED: dict[str, Any] = {"steps": 60, "eval_every": 10, "dropout": 0.3}


@pytest.mark.parametrize("save_every", [None, 8])
def test_a_run_that_counting_limits_rolls_back_to_a_step_that_counting_decides(
    tmp_path: Path, diverging: Diverging, save_every: int | None
) -> None:
    """So two seeded runs are the same, however often the clock lets them save."""
    steps = []
    for name, save_every_s in (("rare", 1e9), ("often", 0.01), ("odd", 0.37)):
        options = {**COUNTED, "save_every": save_every, "save_every_s": save_every_s}
        events = run(diverging(start(tmp_path / name, **options), 27, 45))
        steps.append([event.step for event in events if isinstance(event, RolledBack)])
    assert steps == [[24, 40] if save_every else [20, 40]] * 3
    for name in ("often", "odd"):
        for file in ("model", "training"):
            one, other = (saved_tensors(tmp_path / folder, file) for folder in ("rare", name))
            assert same(one, other), (name, file)


@pytest.mark.parametrize("stop", [1, 9, 10, 25, 26, 40, 59])
def test_a_run_resumed_before_it_diverges_rolls_back_to_the_same_step(
    tmp_path: Path, diverging: Diverging, stop: int
) -> None:
    one, cut = tmp_path / "one", tmp_path / "cut"
    options = {**COUNTED, "save_every_s": 0.01}
    run(diverging(start(one, **options), 27, 45))
    run(diverging(start(cut, **options), 27, 45), after(stop))
    assert saved_step(cut) == stop or stop > 27
    run(diverging(resume(cut), *(step for step in (27, 45) if step > saved_step(cut))))
    for file in ("model", "training"):
        assert same(saved_tensors(one, file), saved_tensors(cut, file))


def saved_step(folder: Path) -> int:
    saved = checkpoint.load(folder / "runs/text/training.safetensors")
    step: int = saved.training_state["progress"]["step"]
    return step


def test_a_training_file_keeps_the_step_to_return_to_if_it_is_another(tmp_path: Path) -> None:
    def kept(folder: Path) -> set[str]:
        return {name for name in saved_tensors(folder) if name.startswith("rollback.")}

    run(start(tmp_path, **COUNTED), after(20))
    once = saved_tensors(tmp_path).keys()
    assert kept(tmp_path) == {f"rollback.{name}" for name in once if "rollback" not in name}
    run(resume(tmp_path))
    assert kept(tmp_path) == set(), "it ends with an evaluation"
    budget = {"steps": None, "max_time": 1000.0, "eval_every": 10}
    run(start(tmp_path / "budget", **budget), after(15))
    assert kept(tmp_path / "budget") == set()


def test_a_training_file_without_that_step_resumes(tmp_path: Path, diverging: Diverging) -> None:
    """As those of earlier versions."""
    run(start(tmp_path, **COUNTED), after(15))
    path = tmp_path / "runs/text/training.safetensors"
    saved = checkpoint.load(path)
    del saved.training_state["rollback"]
    saved.tensors = {k: v for k, v in saved.tensors.items() if not k.startswith("rollback.")}
    checkpoint.save(path, saved)
    events = run(diverging(resume(tmp_path), 18))
    assert [event.step for event in events if isinstance(event, RolledBack)] == [15]
    assert events[-1].step == 60


@pytest.mark.parametrize("name", ["state", "layers.0.b", "average.output.b_y", "random_state"])
def test_a_step_to_return_to_that_is_not_whole_is_named(tmp_path: Path, name: str) -> None:
    run(start(tmp_path, **COUNTED), after(15))
    path = tmp_path / "runs/text/training.safetensors"
    saved = checkpoint.load(path)
    del saved.tensors[f"rollback.{name}"]
    checkpoint.save(path, saved)
    with pytest.raises(CheckpointError, match=f"not a whole training file .*{name}"):
        resume(tmp_path)


def test_a_nan_loss_rolls_back_to_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spy: Spy
) -> None:
    losses_gone(monkeypatch, 13)
    trainer = start(tmp_path, steps=20, save_every=5, eval_every=4)
    events = run(trainer)
    (back,) = (event for event in events if isinstance(event, RolledBack))
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


def test_a_worker_that_dies_in_a_rollback_is_named_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(updates: int) -> None:
        raise WorkerDied("one of 2 ranks has ended")

    losses_gone(monkeypatch, 13)
    trainer = start(tmp_path, steps=20, save_every=5)
    monkeypatch.setattr(trainer.learner, "spread", died)
    with pytest.raises(TrainingError, match=r"ranks has ended; .* train --resume \S+ continues"):
        run(trainer)
    assert isinstance(run(resume(tmp_path))[-1], Finished)


def test_a_rollback_is_as_if_the_save_had_been_slower(
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
    assert same(saved_tensors(tmp_path / "one"), saved_tensors(tmp_path / "two"))
    assert same(saved_tensors(tmp_path / "one", "model"), saved_tensors(tmp_path / "two", "model"))


def test_a_rollback_before_the_first_save_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_gone(monkeypatch, 5)
    events = run(start(tmp_path))
    assert [(e.from_step, e.step) for e in events if isinstance(e, RolledBack)] == [(4, 0)]
    assert [entry["step"] for entry in history(tmp_path, "step")] == [10, 20]


def test_a_run_that_was_rolled_back_stays_slower_when_resumed(
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
    assert same(saved_tensors(one), saved_tensors(cut))


def test_a_better_model_is_kept_over_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_gone(monkeypatch, 13)
    score = scores(3.0, 2.0, 1.0, 1.2, 1.5, 1.4)  # after 4, 8 and 12; again 12, 16 and 20
    events = run(start(tmp_path, steps=20, save_every=5, eval_every=4, score=score))
    assert isinstance(events[-1], Finished) and events[-1].val_nats_per_char == 1.0
    metadata = NumpyModel.read(events[-1].model_path).metadata
    assert json.loads(metadata["provenance"])["step"] == 12


def test_a_loss_that_stays_nan_keeps_the_best_model(tmp_path: Path) -> None:
    trainer = start(tmp_path, nonlinearity="relu", learning_rate=1e9, steps=500, eval_every=1)
    backs = 0
    with pytest.raises(TrainingError, match=r"step \d+: .* after 5 rollbacks: .*--learning-rate"):
        for event in trainer.events():
            backs += isinstance(event, RolledBack)
    assert backs == 5
    model = checkpoint.load(tmp_path / "runs" / "text" / "model.safetensors").model
    assert all(np.isfinite(weight).all() for weight in model.weights.values())


def test_after_a_rollback_the_next_save_waits_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A training that has just diverged does not overwrite its last good save at once."""
    losses_gone(monkeypatch, 40)
    trainer = start(tmp_path, clock=clock, steps=200, save_every_s=30.0, hidden_size=4)
    saved_s, rolled_back_s = [], 0.0
    save = trainer.save

    def noted_save(_: object = None) -> None:
        save()
        saved_s.append(trainer.schedule.elapsed())

    trainer.save = noted_save  # type: ignore[method-assign]
    for event in trainer.events():
        if isinstance(event, RolledBack):
            rolled_back_s = event.elapsed_s
    assert 0 < rolled_back_s < 30
    later = [moment for moment in saved_s if moment > rolled_back_s]
    assert later[0] - rolled_back_s >= 29
