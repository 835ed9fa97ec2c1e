"""When: the learning rate, logs, evaluations, saves, and the end."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_model import NumpyModel
from small_runs import after, resume, run, same, saved_tensors, scores, start

from charrnn.config import TrainingConfig
from charrnn.errors import OptionError
from charrnn.training.events import Evaluated, Finished, Stepped
from charrnn.training.progress import Progress
from charrnn.training.schedule import Schedule, learning_rate, total_steps

# --- learning rates


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


@settings(deadline=None, max_examples=60)
@given(
    warmup=st.floats(0.01, 0.9),
    final=st.floats(0.0, 1.0),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_the_learning_rate_rises_then_falls(
    warmup: float, final: float, shares: list[float]
) -> None:
    config = TrainingConfig(learning_rate=0.5, warmup=warmup, final_learning_rate=final)
    low, high = (learning_rate(config, share) for share in shares)
    if shares[1] <= warmup:
        assert low <= high + 1e-12
    if shares[0] >= warmup:
        assert low >= high - 1e-12
    middle = (warmup + 1) / 2
    assert learning_rate(config, 0) == pytest.approx(0.5 / 100)
    assert learning_rate(config, warmup / 2) == pytest.approx(0.5 * 1.01 / 2)
    assert learning_rate(config, warmup * 0.75) == pytest.approx(0.5 * 3.01 / 4)
    assert learning_rate(config, warmup) == pytest.approx(0.5)
    assert learning_rate(config, middle) == pytest.approx(0.5 * (1 + final) / 2)
    assert learning_rate(config, 1) == pytest.approx(0.5 * final)
    assert learning_rate(config, 1.5) == pytest.approx(0.5 * final)


# --- saves


def test_what_saves_take_is_a_small_part_of_the_time(tmp_path: Path, clock: Clock) -> None:
    trainer = start(tmp_path, clock=clock, steps=400, save_every_s=3.0, hidden_size=4)
    saved_at: list[float] = []
    save = trainer.save

    def slow_save(_: object = None) -> None:
        save()
        saved_at.append(clock.now)
        clock.now += 0.5

    trainer.save = slow_save  # type: ignore[method-assign]
    run(trainer)
    _, first, *others, _last = saved_at  # at the start, then by the clock, at the end
    assert others and all(b - a >= 0.5 / 0.02 for a, b in itertools.pairwise([first, *others]))


# --- when it ends


def test_patience_ends_training(tmp_path: Path) -> None:
    score = scores(3.0, 2.0, 2.5, 2.0, 1.9, 2.1, 2.2, 1.9)
    trainer = start(tmp_path, steps=1000, eval_every=5, patience=3, score=score)
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
    run(start(tmp_path, score=scores(2.0, 2.1, 2.2), **options), after(18))
    finished = run(resume(tmp_path, score=scores(2.3)))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step, finished.val_nats_per_char) == ("patience", 20, 2.0)


def test_patience_that_ends_at_a_stop_has_ended(tmp_path: Path) -> None:
    """The evaluation that the stop left out is the last one allowed: no step follows it."""
    options: dict[str, Any] = {"steps": 1000, "eval_every": 5, "patience": 3}
    run(start(tmp_path, score=scores(2.0, 2.1, 2.2), **options), after(20))
    finished = run(resume(tmp_path, score=scores(2.3, 2.4)))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.step) == ("patience", 20)


@pytest.mark.parametrize(
    ("max_time", "start_s", "evaluation_s"),
    [
        (5.0, 3.0, 0.25),
        (10.0, 3.0, 0.3),
        (10.0, 5.0, 0.9),
        (60.0, 4.0, 2.0),
        (600.0, 90.0, 20.0),
    ],
)
def test_a_budget_is_that_of_the_whole_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    max_time: float,
    start_s: float,
    evaluation_s: float,
) -> None:
    """What comes before the first update counts, and there is time left for what follows."""
    clock = Clock(max_time / 1000, now_s=start_s)

    def score(*_: object) -> float:
        clock.now += evaluation_s
        return 1.0

    def usual(*_: object) -> dict[str, Any]:
        clock.now += 1.2 * evaluation_s
        return {}

    monkeypatch.setattr("charrnn.training.trainer.usual_of_lines", usual)
    limits = {"steps": None, "max_time": max_time, "eval_every": None, "hidden_size": 4}
    events = run(start(tmp_path, clock=clock, score=score, patience=0, **limits))
    assert 0.9 * max_time < clock.now <= 1.02 * max_time + 0.5 * evaluation_s
    assert events[-1].elapsed_s == pytest.approx(clock.now, abs=max_time / 100)
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert stepped[0].progress < 0.25, "the schedule begins with the first update"
    for event in stepped:
        assert event.left_s == pytest.approx(max(max_time - event.elapsed_s, 0))


def test_a_budget_that_ends_before_the_first_update_trains_for_a_tenth_of_it(
    tmp_path: Path,
) -> None:
    limits = {"steps": None, "max_time": 10.0, "eval_every": None, "hidden_size": 4}
    finished = run(start(tmp_path, clock=Clock(0.01, now_s=25.0), **limits))[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    assert finished.step > 10
    assert 26 < finished.elapsed_s < 26.5


def test_what_a_budget_has_lost_stays_lost_after_a_rollback() -> None:
    schedule = Schedule(TrainingConfig(max_time=10.0), None, 10, Progress(), Clock(now_s=3.0))
    schedule.start()
    schedule.roll_back(Progress())
    assert schedule.progress.starts_s == pytest.approx(3.0, abs=0.2)
    assert schedule.elapsed() > 3


@pytest.mark.parametrize("evaluation_s", [0.1, 1.5])
def test_max_time_ends_near_the_budget(tmp_path: Path, clock: Clock, evaluation_s: float) -> None:
    def score(*_: object) -> float:
        clock.now += evaluation_s
        return 1.0

    limits = {"steps": None, "max_time": 20.0, "eval_every": None}
    events = run(start(tmp_path, clock=clock, score=score, **limits))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    assert 16 < finished.elapsed_s < 20.8
    spent = evaluation_s * sum(isinstance(event, Evaluated) for event in events)
    assert 0 < spent < 20 / 5
    shares = [event.progress for event in events if isinstance(event, Stepped)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert all(event.total_steps is None for event in events if isinstance(event, Stepped))


@pytest.mark.parametrize("evaluation_s", [0.01, 0.1, 0.3, 0.35, 0.4])
def test_no_evaluation_of_a_budget_comes_shortly_before_the_last(
    tmp_path: Path, evaluation_s: float
) -> None:
    """Its time is better spent on learning."""
    clock = Clock(0.05)

    def score(*_: object) -> float:
        clock.now += evaluation_s
        return 1.0

    limits = {"steps": None, "max_time": 19.0, "eval_every": None, "patience": 0, "hidden_size": 4}
    events = run(start(tmp_path, clock=clock, score=score, **limits))
    times_s = [event.elapsed_s for event in events if isinstance(event, Evaluated)]
    between_s = [b - a for a, b in itertools.pairwise(times_s)]
    assert min(between_s) > 0.45 * max(1.9, 20 * evaluation_s)


def test_a_budget_that_is_spent_is_spent(tmp_path: Path, clock: Clock) -> None:
    """Whatever the last evaluation left of it."""
    taken = itertools.chain([6.0, 6.0], itertools.repeat(0.0))

    def score(*_: Any) -> float:
        clock.now += next(taken)
        return 1.0

    options: dict[str, Any] = {"steps": None, "max_time": 30.0, "eval_every": 20, "hidden_size": 4}
    finished = run(start(tmp_path, clock=clock, score=score, **options))[-1]
    assert isinstance(finished, Finished) and finished.reason == "done"
    assert finished.elapsed_s < 28  # the last evaluation might have taken six seconds, too
    before = saved_tensors(tmp_path)
    again = run(resume(tmp_path, clock=clock, score=score))[-1]
    assert isinstance(again, Finished)
    assert (again.reason, again.step) == ("done", finished.step)
    assert same(saved_tensors(tmp_path), before)
    assert run(resume(tmp_path, clock=clock, score=score, max_time=60.0))[-1].step > finished.step


def test_a_stop_in_the_last_evaluation_of_a_budget_is_made_up_for(
    tmp_path: Path, clock: Clock
) -> None:
    stopped = [1.0, 1.0, None, 0.5]

    def score(*_: Any) -> float | None:
        clock.now += 2.0
        return stopped.pop(0)

    options: dict[str, Any] = {"steps": None, "max_time": 30.0, "hidden_size": 4, "patience": 0}
    options |= {"eval_every": 10**6}
    stopped[:2] = []
    finished = run(start(tmp_path, clock=clock, score=score, **options))[-1]
    assert isinstance(finished, Finished) and finished.reason == "interrupted"
    again = run(resume(tmp_path, clock=clock, score=score))[-1]
    assert isinstance(again, Finished)
    assert (again.reason, again.step, again.val_nats_per_char) == ("done", finished.step, 0.5)


def test_max_time_counts_what_was_spent_before_a_stop(tmp_path: Path, clock: Clock) -> None:
    limits = {"steps": None, "max_time": 10.0, "eval_every": None}
    one = run(start(tmp_path / "one", clock=clock, **limits))[-1]
    assert 2 < run(start(tmp_path, clock=Clock(), **limits), after(20))[-1].elapsed_s < 8
    finished = run(resume(tmp_path, clock=Clock()))[-1]
    assert 9 < finished.elapsed_s < 11
    assert abs(finished.step - one.step) < 8
    again, late = Clock(), Clock(now_s=3.0)
    finished = run(resume(tmp_path, clock=again, max_time=15.0))[-1]
    assert 14 < finished.elapsed_s < 16 and 4 < again.now < 6
    finished = run(resume(tmp_path, clock=late, max_time=20.0))[-1]
    assert 19 < finished.elapsed_s < 21 and 4 < late.now < 6, "its start is part of it"
    finished = run(resume(tmp_path, clock=late))[-1]
    assert finished.elapsed_s < 21, "what is done costs no more of it"


# --- logs


def test_speed_leaves_evaluations_out(tmp_path: Path, clock: Clock) -> None:
    def score(*_: object) -> float:
        clock.now += 100.0
        return 1.0

    events = run(start(tmp_path, clock=clock, steps=60, eval_every=13, score=score))
    speeds = [event.chars_per_second for event in events if isinstance(event, Stepped)]
    assert min(speeds) > 0.8 * max(speeds)


# --- how long a training is


@pytest.mark.parametrize(
    ("limits", "steps_per_epoch", "steps"),
    [
        ({"steps": 7}, 100, 7),
        ({"epochs": 2.0}, 100, 200),
        ({"epochs": 0.5}, 100, 50),
        ({"epochs": 1e-6}, 100, 1),
        ({"max_time": 60.0}, 100, None),
        ({}, 1, 200),
        ({}, 50, 2000),
        ({}, 140, 3000),
        ({}, 1000, 20_000),
        ({"steps": 7}, math.inf, 7),
        ({"max_time": 60.0}, math.inf, None),
    ],
)
def test_total_steps(limits: dict[str, Any], steps_per_epoch: float, steps: int | None) -> None:
    assert total_steps(TrainingConfig(**limits), steps_per_epoch) == steps


@pytest.mark.parametrize("limits", [{}, {"epochs": 2.0}])
def test_a_text_without_an_end_needs_a_limit(limits: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="--steps or --max-time"):
        total_steps(TrainingConfig(**limits), math.inf)
