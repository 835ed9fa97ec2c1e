"""What the environment says of the ranks, and how they meet."""

import socket
import threading
from datetime import timedelta

import pytest
import torch

from charrnn.errors import TrainingError
from charrnn.training import meeting
from charrnn.training.launch import Launch, launch
from charrnn.training.meeting import join

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE")
WHOLE = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
AGENT = {"TORCHELASTIC_USE_AGENT_STORE": "True"}


def launched(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Launch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return launch()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Launch()),
        ({"WORLD_SIZE": "1"}, Launch()),
        ({"WORLD_SIZE": ""}, Launch()),
        ({"RANK": "1", "MASTER_ADDR": "node1"}, Launch()),
        (WHOLE, Launch(1, 3, "node1", 29500)),
        (WHOLE | AGENT, Launch(1, 3, "node1", 29500, elastic=True)),
        (
            WHOLE | AGENT | {"RANK": "0", "WORLD_SIZE": "1"},
            Launch(0, 1, "node1", 29500, elastic=True),
        ),
    ],
)
def test_the_environment_says_which_rank_this_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: Launch
) -> None:
    assert launched(monkeypatch, environment) == wanted
    assert wanted.follows == (wanted.rank > 0)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set: start with torchrun, or"),
        (WHOLE | {"MASTER_ADDR": ""}, "WORLD_SIZE is 3, but MASTER_ADDR is not set"),
        (WHOLE | {"MASTER_PORT": ""}, "WORLD_SIZE is 3, but MASTER_PORT is not set"),
        (WHOLE | {"MASTER_PORT": "http"}, "MASTER_PORT: 'http' is not a number: start with torch"),
        (WHOLE | {"RANK": "3"}, "RANK: 3 is not one of 3 ranks"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(TrainingError) as raised:
        launched(monkeypatch, environment)
    assert str(raised.value).startswith(said)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("rank", "why"), [(0, "1 of 2 ranks have come"), (1, r"\w+")], ids=["first", "follower"]
)
def test_ranks_that_do_not_come_are_an_error(rank: int, why: str) -> None:
    port = free_port()
    said = f"rank {rank} of 2: it cannot join the others by 127.0.0.1:{port} .*: {why}"
    with pytest.raises(TrainingError, match=said):
        join(Launch(rank, 2, "127.0.0.1", port), patience_s=0.2)


def test_ranks_that_start_again_do_not_hear_those_that_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(meeting, "_store", lambda *_: store)
    monkeypatch.setattr(meeting, "_TIMEOUT", timedelta(seconds=60))
    # the last launch: rank 1 was killed when it had come, and nobody had answered
    store.set("charrnn/rank 1", "charrnn/stale 127.0.0.1")
    for _ in range(2):
        joined = []

        def come(rank: int, joined: list[int] = joined) -> None:
            with join(Launch(rank, 2, "127.0.0.1", 1, elastic=True)) as ranks:
                numbers = torch.tensor([1.0 + rank])
                ranks.add_up(numbers)
                joined.append(int(numbers))
                if rank:
                    assert ranks.order().kind == "end"

        threads = [threading.Thread(target=come, args=(rank,), daemon=True) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert joined == [3, 3]
