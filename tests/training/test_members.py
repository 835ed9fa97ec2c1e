"""Members: models that learn from the same batches, each as it would alone, and are one run."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from processes import posix
from small_runs import after, history, resume, run, same, saved_tensors, start, twice, untimed
from test_ranks import Ranks

from charrnn.config import ModelConfig, TrainingConfig, member_file
from charrnn.errors import CheckpointError, OptionError, RunNotFoundError, TooLargeError
from charrnn.model import memory
from charrnn.model.memory import training_bytes
from charrnn.model.mixture import Mixture
from charrnn.scoring.scorer import nats_per_char
from charrnn.store import checkpoint
from charrnn.store.folder import find_folder, find_run
from charrnn.store.mixing import load_run
from charrnn.store.opened import RunFolder
from charrnn.store.reading import Header, check_tensors
from charrnn.store.runs import look_at
from charrnn.training import workers as team
from charrnn.training.events import Evaluated, Finished, RolledBack, SaveFailed
from charrnn.training.optimizer import AdamW
from charrnn.training.shares import Shape
from charrnn.training.workers import Workers, worker_count

FILES = ("model", "model-2", "training")


def folder_of(path: Path) -> Path:
    return path / "runs" / "text"


def of_member(tensors: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns what a training file holds of one member, named as if it were alone."""
    before = f"members.{number}."
    if number == 1:
        others = "members.", "rollback.", "optimizer.column_rates"  # which are of all members
        return {k: v for k, v in tensors.items() if not k.startswith(others)}
    return {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)}


# --- learning


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_each_member_learns_what_it_learns_alone_with_its_seed(
    tmp_path: Path, dropout: float
) -> None:
    """To the bit: the same weights at first, the same batches, the same masks of dropout."""
    run(start(tmp_path / "both", seed=5, members=3, dropout=dropout))
    both = saved_tensors(tmp_path / "both")
    for number in (1, 2, 3):
        alone = tmp_path / str(number)
        run(start(alone, seed=4 + number, dropout=dropout))
        assert same(of_member(both, number), of_member(saved_tensors(alone), 1)), number


def test_the_gradient_of_each_member_is_clipped_by_its_own_norm(tmp_path: Path) -> None:
    """With a norm that cuts every gradient."""
    run(start(tmp_path / "both", members=2, grad_clip=0.01))
    run(start(tmp_path / "second", seed=1, grad_clip=0.01))
    second = of_member(saved_tensors(tmp_path / "second"), 1)
    assert same(of_member(saved_tensors(tmp_path / "both"), 2), second)


@posix
@pytest.mark.parametrize("count", [2, 3, 4])
def test_workers_change_nothing_but_rounding(tmp_path: Path, count: int) -> None:
    """With at most as many workers as members, each of which is whole, not even that."""
    run(start(tmp_path / "one", members=3, dropout=0.2))
    with Workers(count) as others:
        run(start(tmp_path / "several", members=3, dropout=0.2, workers=count, team=others))
    one, several = (saved_tensors(tmp_path / name) for name in ("one", "several"))
    assert one.keys() == several.keys()
    assert same(one, several)


@posix
def test_members_divided_over_workers_change_rounding_only(tmp_path: Path) -> None:
    run(start(tmp_path / "one", members=2, dropout=0.2))
    with Workers(4) as others:
        trainer = start(tmp_path / "four", members=2, dropout=0.2, workers=5, team=others)
        assert others.count == 4
        assert "4 workers instead of 5: as many for each of 2 members" in trainer.notes
        run(trainer, after(10))
    with Workers(4) as others:
        trainer = resume(tmp_path / "four", workers=5, team=others)
        assert "4 workers instead of 5: as many for each of 2 members" in trainer.notes
        run(trainer)
    one, four = (saved_tensors(tmp_path / name) for name in ("one", "four"))
    assert not same(one, four), "nothing was divided"
    for name, tensor in one.items():
        np.testing.assert_allclose(four[name], tensor, rtol=1e-3, atol=1e-4, err_msg=name)


@given(members=st.integers(1, 9), workers=st.integers(1, 40), batch_size=st.integers(1, 9))
def test_every_stream_of_every_member_is_one_workers(
    members: int, workers: int, batch_size: int
) -> None:
    config = TrainingConfig(members=members, workers=workers, batch_size=batch_size)
    count = worker_count(ModelConfig(9), config)
    assert 1 <= count <= workers and (count < members or count % members == 0)
    shape = Shape(ModelConfig(9), batch_size, 4, count, "float32", members=members)
    read = [
        (member, stream)
        for rank in range(count)
        for member, part in shape.shares(rank)
        for stream in range(batch_size)[shape.streams(part)]
    ]
    assert sorted(read) == [(m, stream) for m in range(members) for stream in range(batch_size)]
    assert all(shape.shares(rank) for rank in range(count)), "a worker has nothing to do"


def test_by_default_each_member_has_a_core_if_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(cores: int, members: int, hidden_size: int = 256) -> int:
        monkeypatch.setattr(team, "core_count", lambda: cores)
        return worker_count(
            ModelConfig(60, hidden_size=hidden_size), TrainingConfig(members=members)
        )

    assert [count(2, members) for members in (1, 2, 3, 16)] == [2] * 4
    assert [count(8, members) for members in (1, 2, 3, 16)] == [8, 8, 6, 8]
    assert count(8, 2, hidden_size=4) == 1


# --- what is scored and saved


def test_the_mixture_is_scored_and_is_the_run(tmp_path: Path) -> None:
    trainer = start(tmp_path, members=2, eval_every=10)
    for event in trainer.events():
        if isinstance(event, Evaluated):
            assert isinstance(event.model, Mixture) and event.val_nats_per_char is not None
            nats = nats_per_char(event.model, trainer.vocabulary, trainer.val_ids)
            assert nats == event.val_nats_per_char
    assert isinstance(event, Finished) and event.model_path == folder_of(tmp_path)
    loaded = load_run(folder_of(tmp_path))
    assert isinstance(loaded.model, Mixture)
    nats = nats_per_char(loaded.model, loaded.vocabulary, trainer.val_ids)
    assert nats == pytest.approx(event.val_nats_per_char, rel=1e-6)
    each = [nats_per_char(m.model, loaded.vocabulary, trainer.val_ids) for m in loaded.members]
    assert nats is not None and nats < sum(filter(None, each)) / 2
    facts = look_at(folder_of(tmp_path)).facts()
    assert (facts["members"], facts["val_nats_per_char"]) == (2, event.val_nats_per_char)
    assert facts["settings"]["members"] == 2


def test_a_file_alone_does_not_claim_what_all_have_scored(tmp_path: Path) -> None:
    nats = run(start(tmp_path, members=2))[-1]
    assert isinstance(nats, Finished)
    for number in (1, 2):
        path = folder_of(tmp_path) / member_file(number)
        alone = checkpoint.load(path)
        assert alone.val_nats_per_char is None and alone.held_out_lines is None
        assert alone.mixture is not None
        assert (alone.mixture.member, alone.mixture.members) == (number, 2)
        assert alone.mixture.val_nats_per_char == nats.val_nats_per_char
        facts = look_at(path).facts()
        assert (facts["val_nats_per_char"], facts["held_out_lines"]) == (None, None)
        assert (facts["members"], facts["member"]) == (1, number)


def test_a_single_model_is_saved_as_ever(tmp_path: Path) -> None:
    run(start(tmp_path, keep_every=10))
    folder = folder_of(tmp_path)
    assert sorted(path.name for path in folder.glob("model*")) == [
        "model-step-10.safetensors",
        "model-step-20.safetensors",
        "model.safetensors",
    ]
    model, training = (checkpoint.load(folder / f"{name}.safetensors") for name in FILES[::2])
    assert "mixture" not in model.provenance
    assert "members" not in model.provenance["settings"]["training"]
    assert "members" not in training.training_state["training_config"]
    assert not any("members" in name for name in training.tensors)


def test_every_nth_model_is_kept_with_all_members(tmp_path: Path) -> None:
    run(start(tmp_path, members=2, keep_every=10, steps=10))
    for number in (1, 2):
        newest = checkpoint.load(folder_of(tmp_path) / member_file(number))
        kept = checkpoint.load(
            folder_of(tmp_path) / member_file(number, "model-step-10.safetensors")
        )
        assert same(kept.model.weights, newest.model.weights)
        assert kept.mixture is not None and kept.mixture.member == number


def refuse_once(monkeypatch: pytest.MonkeyPatch, failing: str) -> list[str]:
    """Lets the disk refuse a file at its next write; returns what it has refused."""
    write, refused = RunFolder.write_whole, list[str]()

    def write_or_refuse(folder: RunFolder, name: str, data: bytes) -> None:
        if name == failing and not refused:
            refused.append(name)
            raise CheckpointError(f"{name}: disk full")
        write(folder, name, data)

    monkeypatch.setattr(RunFolder, "write_whole", write_or_refuse)
    return refused


@pytest.mark.parametrize(
    ("failing", "left"), [("model.safetensors", [0, 5]), ("model-2.safetensors", [0, 0])]
)
def test_a_disk_that_refuses_one_member_leaves_a_run_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, left: list[int]
) -> None:
    """The first member, which names the others, is written last; the next save writes all."""
    trainer = start(tmp_path, members=2, eval_every=5, save_every=7)
    refuse_once(monkeypatch, failing)
    steps, failures = [], []
    for event in trainer.events():
        if isinstance(event, Evaluated):
            steps.append([member.step for member in load_run(folder_of(tmp_path)).members])
        failures += [event.reason] if isinstance(event, SaveFailed) else []
    assert failures == [f"{failing}: disk full"]
    assert steps == [left, [10, 10], [15, 15], [20, 20]]


@pytest.mark.parametrize("failing", ["model.safetensors", "model-2.safetensors"])
def test_the_next_save_writes_what_the_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    trainer = start(tmp_path, members=2, eval_every=5)
    refused = refuse_once(monkeypatch, failing)
    run(trainer, after(6))
    assert refused
    members = load_run(folder_of(tmp_path)).members
    assert [member.step for member in members] == [5, 5]
    run(start(tmp_path / "calm", members=2, eval_every=5), after(5))
    calm = load_run(folder_of(tmp_path / "calm")).members
    for one, other in zip(members, calm, strict=True):
        assert same(one.model.weights, other.model.weights), "as it was when it was evaluated"


# --- resuming


@pytest.mark.parametrize("stops", [[3], [10, 11], [7, 15]])
def test_resuming_is_exact(tmp_path: Path, stops: list[int]) -> None:
    one, cut = twice(tmp_path, stops, members=2, dropout=0.2, eval_every=5, save_every=4)
    for file in FILES:
        assert same(saved_tensors(one, file), saved_tensors(cut, file)), file
    for number in (1, 2):
        paths = (folder_of(folder) / member_file(number) for folder in (one, cut))
        first, second = (checkpoint.load(path).provenance for path in paths)
        assert first["mixture"] == second["mixture"] and first["step"] == second["step"]
    assert untimed(history(one, "eval")) == untimed(history(cut, "eval"))


def test_all_members_are_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If only the second one diverges."""
    update = AdamW.update

    def spoil(optimizer: AdamW, gradient: torch.Tensor, lr: float) -> None:
        update(optimizer, gradient, lr)
        if optimizer.updates == 8:
            monkeypatch.setattr(AdamW, "update", update)
            optimizer.weights[-1] = math.nan

    monkeypatch.setattr(AdamW, "update", spoil)
    events = run(start(tmp_path, members=2, dropout=0.2, eval_every=5))
    assert [event.step for event in events if isinstance(event, RolledBack)] == [5]
    slower = tmp_path / "slower"
    run(start(slower, members=2, dropout=0.2, eval_every=5), after(5))
    path = folder_of(slower) / "training.safetensors"
    saved = checkpoint.load(path)
    saved.training_state["progress"]["setbacks"] = 1
    checkpoint.save(path, saved)
    run(resume(slower))
    one, other = (saved_tensors(folder) for folder in (tmp_path, slower))
    assert same(one, other)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (Path.unlink, "no such file"),
        (lambda path: path.write_bytes(b"damaged"), "not a charrnn model"),
    ],
)
def test_a_member_that_cannot_be_read_is_named_and_written_again(
    tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    run(start(tmp_path, members=3, eval_every=10), after(12))
    folder = folder_of(tmp_path)
    damage(folder / "model-2.safetensors")
    error = rf"model-2\.safetensors \(member 2 of 3\): {why}: with this file moved away, res"
    with pytest.raises(CheckpointError, match=error):
        load_run(folder)
    seen = look_at(folder)
    assert seen.state == "damaged" and "model-2.safetensors (member 2 of 3): n" in seen.damage
    checkpoint.load(folder / "model-3.safetensors")  # alone, it is a model
    (folder / "model-2.safetensors").unlink(missing_ok=True)
    trainer = resume(tmp_path)
    assert [member.step for member in load_run(folder).members] == [12] * 3
    assert "the best model is missing: it is now that of the last save" in trainer.notes
    assert trainer.schedule.progress.best_nats is None, "so that the next one scored is the best"
    assert look_at(folder).best_nats is None, "that of the best model, which is gone"
    run(trainer)
    seen = look_at(folder)
    assert seen.state == "finished"
    scored = nats_per_char(load_run(folder).model, trainer.vocabulary, trainer.val_ids)
    assert seen.best_nats == pytest.approx(scored)


def test_without_the_first_member_the_run_is_damaged(tmp_path: Path) -> None:
    run(start(tmp_path, members=2))
    folder = folder_of(tmp_path)
    (folder / "model.safetensors").unlink()
    assert look_at(folder).state == "damaged"
    error = r"model.safetensors \(member 1\): no such file: resuming the training writes all"
    with pytest.raises(RunNotFoundError, match=error):
        find_run(tmp_path / "runs", "text")
    run(resume(tmp_path))
    assert look_at(folder).state == "finished" and load_run(folder).members[1:]


def test_a_file_of_a_member_is_that_file_alone(tmp_path: Path) -> None:
    """Wherever it is: beside the others, without them, in another folder."""
    run(start(tmp_path, members=2))
    first = folder_of(tmp_path) / "model.safetensors"
    assert find_folder(tmp_path, str(first)) == first
    (folder_of(tmp_path) / "model-2.safetensors").unlink()
    assert look_at(find_folder(tmp_path, str(first))).alone
    run(start(tmp_path / "plain"))
    folder = folder_of(tmp_path / "plain")
    assert find_folder(tmp_path, str(folder / "model.safetensors")) == folder


@pytest.mark.parametrize("other", ["first", "another run's", "training file", "plain model"])
def test_a_file_that_is_no_member_of_the_run_is_refused(tmp_path: Path, other: str) -> None:
    run(start(tmp_path, members=2))
    run(start(tmp_path / "another", members=2, seed=7))
    run(start(tmp_path / "plain", seed=1))
    folder = folder_of(tmp_path)
    source = {
        "first": folder / "model.safetensors",
        "another run's": folder_of(tmp_path / "another") / "model-2.safetensors",
        "training file": folder / "training.safetensors",
        "plain model": folder_of(tmp_path / "plain") / "model.safetensors",
    }[other]
    (folder / "model-2.safetensors").write_bytes(source.read_bytes())
    error = r"model-2.safetensors \(member 2 of 2\): it is of another training: with this file"
    with pytest.raises(CheckpointError, match=error):
        load_run(folder)
    assert look_at(folder).state == "damaged"


def test_the_best_mixture_stays_the_best_if_the_clock_ends_the_training(tmp_path: Path) -> None:
    """It was saved after the training file, which does not know it."""
    run(start(tmp_path, members=2, steps=None, max_time=1.0, eval_every=5), after(4))
    path = folder_of(tmp_path) / "training.safetensors"
    kept = path.read_bytes()
    run(resume(tmp_path), after(12))
    best = load_run(folder_of(tmp_path)).members[0].mixture
    path.write_bytes(kept)
    assert best is not None and best.val_nats_per_char is not None
    assert resume(tmp_path).schedule.progress.best_nats == best.val_nats_per_char


def test_the_number_of_members_stays(tmp_path: Path) -> None:
    run(start(tmp_path, members=2), after(3))
    error = "trained with --members 2, not 3: leave --members out, or start a new run$"
    with pytest.raises(CheckpointError, match=error):
        resume(tmp_path, members=3)
    assert run(resume(tmp_path, members=2))[-1].step == 20


# --- training files that anybody may have written


Change = Callable[[checkpoint.Checkpoint], object]


def dropped(name: str) -> Change:
    return lambda saved: saved.tensors.pop(name)


def put(name: str, value: Any) -> Change:
    return lambda saved: saved.tensors.update({name: value})


def claim(members: object) -> Change:
    return lambda saved: saved.training_state["training_config"].update(members=members)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (claim(10**9), "--members: 1000000000 is out of range; it must be 1 to 16"),
        (claim(16), "tensor members.3.layers.0.W_x is missing or differs"),
        (claim(0), "--members: 0 is out of range"),
        (claim([2]), r"members is \[2\]"),
        (dropped("members.2.layers.1.W_h"), "tensor members.2.layers.1.W_h is missing or differs"),
        (put("members.2.output.b_y", np.zeros(10**6, np.float32)), "tensor members.2.output.b_y"),
        (put("members.2.output.b_y", np.zeros(3, np.float64)), "tensor members.2.output.b_y"),
        (dropped("members.2.state"), "members.2.state"),
        (dropped("members.2.average.output.W_y"), "members.2.average.output.W_y"),
        (dropped("members.2.random_state"), "members.2.random_state"),
        (put("members.2.random_state", np.zeros(7, np.uint8)), "RNG state size to be 7"),
        (put("members.2.state", np.zeros((9, 9), np.float32)), "tensor members.2.state"),
    ],
)
def test_other_members_than_were_saved_are_refused(
    tmp_path: Path, change: Change, why: str
) -> None:
    run(start(tmp_path, members=2), after(3))
    path = folder_of(tmp_path) / "training.safetensors"
    saved = checkpoint.load(path)
    change(saved)
    checkpoint.save(path, saved)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=f"^{path}: not a whole training file.*{why}"):
        resume(tmp_path)
    assert path.read_bytes() == before


def test_the_size_of_a_training_file_is_bounded_by_the_members_that_there_can_be() -> None:
    config = ModelConfig(9, hidden_size=4, num_layers=1)
    types = {name: ("F32", shape) for name, shape in config.parameter_shapes().items()}

    def is_read(body_bytes: int, members: object) -> bool:
        state = {"training_config": {"members": members}}
        try:
            check_tensors(Header({}, types, body_bytes), config, state)
        except CheckpointError as error:
            assert "bytes of tensors; its model_config has" in str(error)
            return False
        return True

    one_bytes = next(size for size in range(2**19, 2**23, 2**14) if not is_read(size, 1))
    assert is_read(15 * one_bytes, 16) and not is_read(16 * one_bytes, 16)
    for members in (2, 10**9, "16", -1, None, True):
        assert not is_read(3 * one_bytes, members)


# --- limits


def test_the_memory_of_all_members_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(50, hidden_size=512)
    one, three = (
        training_bytes(model, TrainingConfig(members=members, workers=1)) for members in (1, 3)
    )
    # activations are of one member at a time
    assert one + 2 * 9 * 4 * model.parameter_count() == three
    assert training_bytes(model, TrainingConfig(members=3, workers=3)) > three


def test_members_that_need_too_much_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, training = ModelConfig(60, hidden_size=12), TrainingConfig(batch_size=4, seq_len=16)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3.0 * training_bytes(config, training))
    run(start(tmp_path / "one"))
    with pytest.raises(TooLargeError, match=r"^training 16 models of 12 x 3.*fewer --members"):
        start(tmp_path / "many", members=16)


@pytest.mark.parametrize("resumed", [False, True])
def test_ranks_train_one_model(tmp_path: Path, resumed: bool) -> None:
    if resumed:
        run(start(tmp_path, members=2), after(3))
    ranks = Ranks(2)
    begin: Callable[..., Any] = resume if resumed else start
    options = {} if resumed else {"members": 2}
    with (
        pytest.raises(
            OptionError, match=r"^--members: 2 ranks train one model, not 2 members: start"
        ),
        ranks.first as machines,
    ):
        begin(tmp_path, team=machines, **options)


def test_each_member_continues_its_own(tmp_path: Path) -> None:
    run(start(tmp_path / "old", members=2))
    old = load_run(folder_of(tmp_path / "old")).members
    trainer = start(tmp_path / "new", init_from=old)
    for before, now in zip(old, trainer.learner.models, strict=True):
        assert same(before.model.weights, now.in_numpy().weights)
    assert str(folder_of(tmp_path / "old")) in trainer.recorder._origin["command"]
    run(trainer)
    with pytest.raises(OptionError, match=r"^--members: --init-from's run has 2 members: leave"):
        start(tmp_path / "x", init_from=old, members=3)
    with pytest.raises(OptionError, match=r"^--members: --init-from's model is one: leave"):
        start(tmp_path / "x", init_from=old[:1], members=2)
    assert len(start(tmp_path / "single", init_from=old[1:]).learner.models) == 1


def test_a_failed_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_once(monkeypatch, "model.safetensors")
    with pytest.raises(CheckpointError, match="disk full"):
        start(tmp_path, members=3)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", ["model-2.safetensors", "model-step-5.safetensors", "model-step-5-16.safetensors"]
)
def test_what_a_killed_save_leaves_is_cleared_away(tmp_path: Path, name: str) -> None:
    run(start(tmp_path, members=2), after(3))
    left = folder_of(tmp_path) / f".{name}.123.tmp"
    left.write_bytes(b"half")
    resume(tmp_path)
    assert not left.exists()
    assert not re.search(r"\.tmp", str(list(folder_of(tmp_path).iterdir())))
