"""What is fitted to the text and the time."""

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from calls import shown_defaults
from clocks import Clock
from hypothesis import settings
from small_runs import COFFEE, MODEL_FIELDS, after, resume, run, start

from charrnn.config import ENOUGH_EPOCHS, ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TooLargeError
from charrnn.training import planning
from charrnn.training import start as starting
from charrnn.training.events import Finished
from charrnn.training.fitting import LONG_CHARS, fitted_dropout
from charrnn.training.planning import fit_to_machine, training_speed
from charrnn.training.start import Request
from charrnn.training.trainer import Trainer
from charrnn.training.workers import Workers


def planned(monkeypatch: pytest.MonkeyPatch, folder: Path, speed: float, **options: Any) -> Trainer:
    """Returns the trainer of a machine that learns N characters a second."""

    def training_speed(config: ModelConfig, *_: object) -> float:
        return speed * 256 / config.hidden_size

    monkeypatch.setattr(planning, "training_speed", training_speed)
    source = folder / "text.txt"
    source.write_text(COFFEE)
    model = {key: options.pop(key) for key in MODEL_FIELDS & options.keys()}
    clock = options.pop("clock", Clock(1e-4))
    request = Request([str(source)], folder / "runs", training=options, model=model)
    return starting.start(request, clock=clock)


def test_a_very_short_time_gets_a_smaller_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(**options: Any) -> int:
        trainer = planned(monkeypatch, tmp_path, members=1, **options)
        return trainer.learner.model.config.hidden_size

    assert hidden(speed=50_000, max_time=61.0) == 256
    assert hidden(speed=50_000, max_time=20.0) == 192
    assert hidden(speed=50_000, max_time=10.0) == 128
    assert hidden(speed=50_000, max_time=61.0, clock=Clock(1e-4, now_s=52.0)) == 128
    assert hidden(speed=750, max_time=60.0) == 128
    assert hidden(speed=750, max_time=60.0, hidden_size=200) == 200
    assert hidden(speed=750, steps=1) == 256


def test_a_very_short_time_gets_shorter_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Shakespeare's size; those that are asked for stay."""

    def seq_len(max_time: float, **options: Any) -> int:
        asked = {"max_time": max_time, **options}
        plan = planning.plan({"vocab_size": 60}, asked, 1_000_000, Workers(), Clock(1e-4))
        return plan.training.seq_len

    monkeypatch.setattr(
        planning, "training_speed", lambda model, *_: 50_000 * 256 / model.hidden_size
    )
    assert (seq_len(10.0), seq_len(60.0)) == (32, 64)
    assert seq_len(10.0, seq_len=64) == 64


def plan_by_time(
    monkeypatch: pytest.MonkeyPatch, max_time: float, train_chars: float, **options: Any
) -> planning.Plan:
    """Returns the plan of a machine that learns 50,000 characters/s with one model of 256 units."""

    def training_speed(
        model: ModelConfig, config: TrainingConfig, workers: Workers, clock: object
    ) -> float:
        planning.check_memory(model, fit_to_machine(model, config, workers), workers)
        return 50_000 * 256 / model.hidden_size / config.members

    monkeypatch.setattr(planning, "training_speed", training_speed)
    model = {key: options.pop(key) for key in MODEL_FIELDS & options.keys()}
    options["max_time"] = max_time
    return planning.plan({"vocab_size": 60, **model}, options, train_chars, Workers(), Clock(1e-4))


def test_a_very_long_time_gets_a_larger_model_of_a_text_that_is_large_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read 60 times at most, in larger batches, more dropout; options you set take precedence."""

    def planned(max_time: float, train_chars: float, **options: Any) -> planning.Plan:
        return plan_by_time(monkeypatch, max_time, train_chars, members=1, **options)

    plan = planned(1800.0, 1_000_000)
    assert (plan.model.hidden_size, plan.training.batch_size, plan.model.dropout) == (384, 64, 0.15)
    assert plan.training.learning_rate == 3e-3
    assert plan.training.max_time == pytest.approx(1800.0, rel=0.01)
    plan = planned(3600.0, 1_000_000)
    assert plan.training.max_time == pytest.approx(60e6 / (50_000 * 256 / 384), rel=0.01)
    plan = planned(1800.0, 1_000_000, batch_size=8)
    assert (plan.model.hidden_size, plan.training.batch_size) == (384, 8)
    plan = planned(1800.0, 100_000_000)
    assert (plan.model.hidden_size, plan.model.dropout) == (384, 0.0)
    plan = planned(1800.0, 400_000)
    assert (plan.model.hidden_size, plan.training.batch_size) == (256, 32)
    plan = planned(1800.0, math.inf)
    assert (plan.model.hidden_size, plan.model.dropout) == (384, 0.0)
    assert plan.training.max_time == 1800.0 and not plan.notes
    with pytest.raises(OptionError, match="--steps or --max-time"):
        planning.plan({"vocab_size": 60}, {}, math.inf, Workers(), Clock(1e-4))


def test_a_long_time_gets_several_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the size, and with the dropout, for what it reads itself."""
    chosen = []
    for max_time in (61.0, 300.0, 600.0, 1800.0, 6000.0):
        plan = plan_by_time(monkeypatch, max_time, 1_000_000)
        chosen.append((plan.training.members, plan.model.hidden_size, plan.model.dropout))
    assert chosen == [(1, 256, 0), (2, 256, 0), (2, 256, 0.05), (4, 256, 0.05), (4, 384, 0.15)]


@pytest.mark.parametrize(("max_time", "members"), [(300.0, 2), (1800.0, 4), (6000.0, 4)])
def test_members_that_are_asked_for_are_of_the_size_of_those_that_are_chosen(
    monkeypatch: pytest.MonkeyPatch, max_time: float, members: int
) -> None:
    chosen = plan_by_time(monkeypatch, max_time, 1_000_000)
    asked = plan_by_time(monkeypatch, max_time, 1_000_000, members=members)
    assert chosen == asked


def test_there_is_one_model_if_several_need_more_memory_than_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check_room(needed: float, *_: str) -> None:
        if needed > 18e6:
            raise TooLargeError("too large")

    monkeypatch.setattr(planning, "check_room", check_room)
    assert plan_by_time(monkeypatch, 600.0, 1_000_000).training.members == 1
    with pytest.raises(TooLargeError):
        plan_by_time(monkeypatch, 600.0, 1_000_000, members=2)


def test_ranks_train_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workers, "on_machines", True)
    assert plan_by_time(monkeypatch, 1800.0, 1_000_000).training.members == 1


@pytest.mark.parametrize(
    ("option", "members"),
    [
        ({"members": 1}, 1),
        ({"members": 3}, 3),
        ({"hidden_size": 256}, 1),
        ({"num_layers": 3}, 1),
        ({"cell": "lstm"}, 1),
        ({"nonlinearity": "relu"}, 1),
        ({"cell": "rnn", "nonlinearity": "tanh"}, 4),
        ({"dropout": 0.0}, 4),
        ({"batch_size": 16}, 4),
    ],
)
def test_whoever_sets_a_models_size_or_cell_gets_one_model(
    monkeypatch: pytest.MonkeyPatch, option: dict[str, Any], members: int
) -> None:
    assert plan_by_time(monkeypatch, 1800.0, 1_000_000, **option).training.members == members


def test_the_oftener_a_text_is_read_the_more_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,400 characters train, 84 updates are an epoch."""

    def dropout(**options: Any) -> float:
        return planned(monkeypatch, tmp_path, 1000, **options).learner.model.config.dropout

    epochs = [1, 3, 10, 30, 100]
    weights = ModelConfig(len(set(COFFEE))).parameter_count()
    chosen = [fitted_dropout(weights, 5400, n) for n in epochs]
    assert chosen[0] == 0 < chosen[-1]
    assert chosen == sorted(chosen)
    assert [dropout(epochs=float(n)) for n in epochs] == chosen
    assert [dropout(steps=84 * n, batch_size=4, seq_len=16) for n in epochs] == chosen
    assert [dropout(max_time=5.4 * n, hidden_size=256) for n in epochs] == chosen
    assert dropout(epochs=1000.0, dropout=0.0) == 0
    assert dropout() == fitted_dropout(weights, 5400, ENOUGH_EPOCHS)


def test_a_long_training_takes_smaller_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smaller still of a text that is read a thousand times, whatever dropout is asked for."""

    def rates(**options: Any) -> tuple[float, float]:
        config = planned(monkeypatch, tmp_path, 1000, **options).config
        return config.learning_rate, config.final_learning_rate

    steps = round(LONG_CHARS / 64)
    sizes = {"batch_size": 4, "seq_len": 16}
    assert rates(steps=steps - 1, **sizes) == (4e-3, 0.2)
    assert rates(steps=steps, **sizes) == (1.5e-3, 0.05)
    assert rates(steps=steps, dropout=0.0, **sizes) == (1.5e-3, 0.05)
    assert rates(steps=steps, learning_rate=4e-3, **sizes) == (4e-3, 0.05)
    config = plan_by_time(monkeypatch, 300.0, 1_000_000).training
    assert (config.learning_rate, config.final_learning_rate) == (3e-3, 0.05)


def test_a_small_text_needs_no_long_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 epochs of 84 updates of 64 characters, 1,000 a second, take 215 s: there it ends."""
    sizes = {"batch_size": 4, "seq_len": 16, "hidden_size": 256}
    for max_time, wanted in ((100.0, 100.0), (3600.0, 40 * 84 * 64 / 1000)):
        trainer = planned(monkeypatch, tmp_path, 1000, max_time=max_time, **sizes)
        assert trainer.config.max_time == pytest.approx(wanted, abs=0.1)
        reported = any("only overfits" in note for note in trainer.notes)
        assert reported == (wanted < max_time)


def test_the_smallest_text_is_trained_on_for_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 200 updates, as fast as it is here: beyond that a model only overfits."""
    monkeypatch.setattr(planning, "training_speed", lambda *_: 1000.0)
    trainer = start(tmp_path, COFFEE[:40], steps=None, max_time=60.0, val_fraction=0.0)
    batches = trainer.batches
    wanted_s = 200 * batches.batch_size * batches.seq_len / 1000
    assert trainer.config.max_time == pytest.approx(wanted_s, abs=0.1) and wanted_s < 20


def test_a_fitted_dropout_is_reported_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = planned(monkeypatch, tmp_path, 1000, steps=2000, hidden_size=8)
    assert any("epochs: dropout 0." in note for note in trainer.notes)
    run(trainer, after(3))
    assert resume(tmp_path, steps=4).learner.model.config == trainer.learner.model.config


def test_an_evaluation_takes_a_small_part_of_a_short_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring is about three times as fast as learning, with gates about as fast."""
    limits = {"steps": None, "batch_size": 4, "seq_len": 16}
    monkeypatch.setattr(planning, "training_speed", lambda *_: 800.0)
    for max_time, wanted in ((10.0, 1200), (1e-3, 1000), (60.0, 7200)):
        trainer = start(tmp_path, COFFEE * 4, **limits, max_time=max_time)
        assert trainer.config.max_val_chars == pytest.approx(wanted, abs=5)
    trainer = start(tmp_path, COFFEE * 4, **limits, max_time=60.0, cell="lstm")
    assert trainer.config.max_val_chars == pytest.approx(2400, abs=5)
    trainer = start(tmp_path / "kept", COFFEE * 4, **limits, max_time=10.0)
    run(trainer, after(10))
    assert resume(tmp_path / "kept").config.max_val_chars == trainer.config.max_val_chars


def test_what_is_measured_takes_its_time_from_the_budget(tmp_path: Path, clock: Clock) -> None:
    trainer = start(tmp_path, clock=clock, steps=None, max_time=10.0, hidden_size=4)
    first = next(trainer.events())
    assert first.elapsed_s > 0.5  # at least four updates and what they are timed with
    events = run(start(tmp_path / "other", clock=clock, steps=1, hidden_size=4))
    assert events[0].elapsed_s < 0.5


def test_whoever_watches_hears_of_the_measuring(tmp_path: Path) -> None:
    heard: list[str] = []
    for limit in ({"max_time": 1.0}, {"steps": 1}):
        source = tmp_path / "text.txt"
        source.write_text(COFFEE)
        request = Request([str(source)], tmp_path, training=limit, model={"hidden_size": 4})
        starting.start(request, clock=Clock(), measuring=lambda: heard.append("measuring"))
    assert heard == ["measuring"]


def test_the_shortest_time_is_one_update(tmp_path: Path) -> None:
    finished = run(start(tmp_path, steps=None, max_time=1e-6))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step) == ("done", 1)


def test_the_speed_of_a_training_that_would_diverge_is_measured_too() -> None:
    wild = TrainingConfig(batch_size=2, seq_len=3, learning_rate=1e30, grad_clip=0.0)
    config = ModelConfig(vocab_size=5, hidden_size=4, nonlinearity="relu")
    assert training_speed(config, wild, Workers(), time.perf_counter) > 0


def test_measuring_the_speed_changes_nothing_else() -> None:
    config = TrainingConfig(batch_size=2, seq_len=3)
    before = torch.get_rng_state()
    assert (
        training_speed(
            ModelConfig(vocab_size=5, hidden_size=4), config, Workers(), time.perf_counter
        )
        > 0
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_the_speed_is_characters_of_an_update_by_its_time(clock: Clock) -> None:
    config = TrainingConfig(batch_size=3, seq_len=7)
    assert training_speed(ModelConfig(5, hidden_size=4), config, Workers(), clock) == pytest.approx(
        21 / 0.1
    )


def test_helpers_that_are_still_to_be_started_need_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, training = ModelConfig(5, hidden_size=4), TrainingConfig(workers=5)
    monkeypatch.setattr("charrnn.model.memory.available_bytes", lambda: 500e6)
    team = Workers()
    with pytest.raises(TooLargeError, match=r"needs at least 0\.56 GB"):
        planning.check_memory(model, training, team)
    team.count = 3
    planning.check_memory(model, training, team)
    planning.check_memory(model, TrainingConfig(workers=1), team)


few = settings(max_examples=60, deadline=None)


def test_who_trains_alone_averages_with_nobody() -> None:
    """As a run of several machines that is resumed on one."""
    config = fit_to_machine(ModelConfig(9), TrainingConfig(average_every=8), Workers())
    assert config.average_every == 1


def test_the_help_names_what_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest and the highest value of all settings that text or time may change."""
    monkeypatch.setattr(
        planning, "training_speed", lambda model, *_: 50_000 * 256 / model.hidden_size
    )
    values: dict[str, set[Any]] = {}
    for options in (
        {"epochs": 1.0},
        {"epochs": 40.0},
        *({"max_time": t} for t in (9.0, 30.0, 3e3)),
    ):
        for chars in (50, 5_000, 200_000, 500_000, 1_000_000, 1e8):
            plan = planning.plan({"vocab_size": 60}, options, chars, Workers(), Clock(1e-4))
            for field, value in (vars(plan.model) | vars(plan.training)).items():
                values.setdefault(field, set()).add(value)
    shown = shown_defaults("train")
    chosen = {field: values[field] for field in shown.keys() & values if len(values[field]) > 1}
    # whose text tells that something is chosen; how long a training takes is no choice
    told = {field for field, text in shown.items() if ";" in text and field in values}
    assert chosen.keys() - {"epochs"} == told - {"epochs", "threads"}
    for field in chosen.keys() - {"epochs"}:
        numbers = set(map(float, re.findall(r"\d[\d.]*", shown[field])))
        assert max(values[field]) in numbers, field
        assert min(values[field]) in numbers or "fewer for a small text" in shown[field], field
