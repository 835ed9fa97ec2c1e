"""Ranks train as workers of one machine would; here each follower is a thread."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import DEADLINE_S
from small_runs import after, history, resume, run, same, saved_tensors, start

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import OptionError, TrainingError
from charrnn.model.network import CharRNN
from charrnn.text.batches import Batch, Position
from charrnn.training import meeting
from charrnn.training.events import Evaluated, RolledBack, Stepped
from charrnn.training.follower import obey
from charrnn.training.launch import Launch
from charrnn.training.learner import Diverged, Learner
from charrnn.training.machines import Machines
from charrnn.training.meeting import connected
from charrnn.training.workers import WorkerDied, Workers


@pytest.fixture(autouse=True)
def _nobody_waits_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_TIMEOUT", timedelta(seconds=DEADLINE_S))


class Ranks:
    """Several ranks; the first is the caller's, each other a thread.

    Attributes:
        first: the caller's.
        followers: the others.
        ends: how each ended, by an error or by None.
    """

    def __init__(self, count: int) -> None:
        self.ends: dict[int, Exception | None] = {}
        self.followers: dict[int, Machines] = {}
        self._store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        self.threads = [
            threading.Thread(target=self._follow, args=(r, count), daemon=True)
            for r in range(1, count)
        ]
        for thread in self.threads:
            thread.start()
        self.first = self._machines(0, count)

    def _machines(self, rank: int, count: int) -> Machines:
        launch = Launch(rank, count, "127.0.0.1")
        return Machines(connected(self._store, launch, "127.0.0.1"), rank, count)

    def _follow(self, rank: int, count: int) -> None:
        self.ends[rank] = RuntimeError("it never began")
        self.followers[rank] = self._machines(rank, count)
        try:
            obey(self.followers[rank])
            self.ends[rank] = None
        except Exception as error:
            self.ends[rank] = error
        self.followers[rank].close()

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@contextlib.contextmanager
def several(count: int) -> Iterator[Machines]:
    """Yields the first of several ranks; the others must end well."""
    ranks = Ranks(count)
    with ranks.first:
        yield ranks.first
    ranks.wait()
    assert ranks.ends == dict.fromkeys(range(1, count))


def trained(folder: Path, count: int, **options: Any) -> dict[str, Any]:
    with several(count) as team:
        trainer = start(folder, team=team, **options)
        torch.manual_seed(0)  # threads share its generator, and each has made a network
        run(trainer)
    return saved_tensors(folder)


OPTIONS: dict[str, Any] = {"steps": 40, "dropout": 0.3, "block_chars": 1024, "eval_every": 15}


# --- the same as on one machine


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_two_ranks_compute_the_bits_of_two_workers(tmp_path: Path, cell: str) -> None:
    trainer = start(tmp_path / "workers", workers=2, cell=cell, **OPTIONS)
    torch.manual_seed(0)
    run(trainer)
    trained(tmp_path / "ranks", 2, cell=cell, **OPTIONS)
    for file in ("training", "model"):
        workers, ranks = (saved_tensors(tmp_path / n, file) for n in ("workers", "ranks"))
        assert same(workers, ranks)
    assert history(tmp_path / "workers", "eval")[-1]["step"] == 40


def test_the_number_of_ranks_changes_rounding_only(tmp_path: Path) -> None:
    options = {**OPTIONS, "batch_size": 5, "steps": 20}
    trainer = start(tmp_path / "one", **options)
    torch.manual_seed(0)
    run(trainer)
    one, three = saved_tensors(tmp_path / "one"), trained(tmp_path / "three", 3, **options)
    for name in one:
        np.testing.assert_allclose(three[name], one[name], rtol=1e-3, atol=1e-4)
    again = trained(tmp_path / "again", 3, **options)
    assert same(three, again) and not same(one, three)


@pytest.mark.parametrize("average_every", [1, 4])
def test_ranks_resume_as_if_never_stopped(tmp_path: Path, average_every: int) -> None:
    options = {**OPTIONS, "average_every": average_every}
    one = trained(tmp_path / "one", 2, **options)
    with several(2) as team:
        trainer = start(tmp_path / "cut", team=team, **options)
        torch.manual_seed(0)
        run(trainer, after(14))
    torch.manual_seed(17)  # whatever happens in between
    with several(2) as team:
        trainer = resume(tmp_path / "cut", team=team)
        assert trainer.notes == [f"resumed at step {16 if average_every > 1 else 14}"]
        run(trainer)
    assert same(one, saved_tensors(tmp_path / "cut"))


def test_a_run_of_ranks_goes_on_without_them(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 2, **OPTIONS)
    with several(2) as team:
        trainer = start(tmp_path / "cut", team=team, **OPTIONS)
        torch.manual_seed(0)
        run(trainer, after(20))
    run(resume(tmp_path / "cut"))  # as two workers
    assert same(one, saved_tensors(tmp_path / "cut"))


# --- training alone, and averaging


def test_weights_and_moments_are_the_mean_of_those_that_each_rank_makes_alone() -> None:
    model, every, sizes = CharRNN(ModelConfig(7, hidden_size=5, num_layers=2)), 3, (2, 3)
    config = TrainingConfig(batch_size=5, seq_len=6, average_every=every)
    x = np.random.default_rng(0).integers(7, size=(6, 5))

    def learn(learner: Learner, streams: slice) -> Learner:
        text = np.ascontiguousarray(x[:, streams])
        for _ in range(every):
            learner.update(Batch(text, text[::-1].copy(), False, Position()), lr=0.01)
        return learner

    alone = []
    for streams in (slice(0, 2), slice(2, 5)):
        one = replace(config, batch_size=streams.stop - streams.start)
        copy = CharRNN(model.config)
        copy.load_state_dict(model.state_dict())
        alone.append(learn(Learner(copy, one, Workers()), streams))
    with several(2) as team:
        together = learn(Learner(model, config, team), slice(None))
        torch.testing.assert_close(together.shares.weights, alone[0].shares.weights)
        together.average_ranks()
        for mean, *each in zip(together._numbers(), *(a._numbers() for a in alone), strict=True):
            wanted = sum(n / 5 * numbers for n, numbers in zip(sizes, each, strict=True))
            torch.testing.assert_close(mean, wanted, rtol=1e-4, atol=1e-7)
        states = torch.cat([learner.shares.state for learner in alone], dim=1)
        torch.testing.assert_close(together.shares.state, states)


def test_all_that_is_due_waits_for_the_average(tmp_path: Path) -> None:
    options = {"steps": 30, "eval_every": 5, "save_every": 10, "average_every": 8}
    with several(2) as team:
        events = run(start(tmp_path, team=team, **options))
    assert [e.step for e in events if isinstance(e, Evaluated)] == [8, 16, 24, 30]
    assert [e.step for e in events if isinstance(e, Stepped)] == [10, 20, 30]


@pytest.mark.parametrize("average_every", [1, 4])
def test_all_ranks_roll_back_if_one_diverges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average_every: int
) -> None:
    update, diverged = Learner.update, []

    def update_diverging_once(learner: Learner, batch: Batch, lr: float) -> float:
        nats = update(learner, batch, lr)
        if not diverged and learner.shares._workers.rank == 1 and learner.optimizer.updates == 18:
            diverged.append(True)
            raise Diverged("here only")
        return nats

    monkeypatch.setattr(Learner, "update", update_diverging_once)
    options = {"steps": 40, "eval_every": 8, "average_every": average_every}
    with several(2) as team:
        events = run(start(tmp_path, team=team, **options))
    assert diverged and [e.step for e in events if isinstance(e, RolledBack)] == [16]
    assert np.isfinite(saved_tensors(tmp_path)["output.W_y"]).all()


# --- how they end


def test_a_rank_that_ends_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    trained(tmp_path / "whole", 2, **OPTIONS)
    ranks = Ranks(2)
    with ranks.first as team, pytest.raises(TrainingError) as raised:
        trainer = start(tmp_path / "cut", team=team, **OPTIONS)
        torch.manual_seed(0)
        for event in trainer.events():
            if isinstance(event, Stepped):
                ranks.followers[1]._group = None  # as its end would
    assert str(raised.value).startswith("one of 2 ranks has ended (")
    assert f"all is saved up to step 10: charrnn train --resume {trainer.folder}" in str(
        raised.value
    )
    with several(2) as team:
        run(resume(tmp_path / "cut", team=team))
    assert same(saved_tensors(tmp_path / "whole"), saved_tensors(tmp_path / "cut"))


def test_followers_end_with_the_first_rank() -> None:
    ranks = Ranks(3)
    ranks.first.close()
    ranks.wait()
    assert all(isinstance(end, WorkerDied) for end in ranks.ends.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 1}, "2 ranks have only 1 streams of text"),
        ({"device": "cuda"}, "--device: 2 ranks train on the CPU, not on cuda"),
    ],
)
def test_what_ranks_cannot_do_is_refused(tmp_path: Path, options: Any, said: str) -> None:
    team = Machines(None, 0, 2)
    with pytest.raises(OptionError, match=said):
        start(tmp_path, team=team, **options)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
