"""The history: each line once, whatever ends a training or fills the disk."""

import json
from pathlib import Path

import pytest
from full_disks import files_no_larger_than

from charrnn.errors import CheckpointError
from charrnn.store.history import History, read_history
from charrnn.store.opened import RunFolder


def steps_of(folder: Path) -> list[int]:
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def line(step: object, event: str = "step") -> dict[str, object]:
    return {"event": event, "step": step}


def test_history_is_cut_back_to_a_step(tmp_path: Path) -> None:
    history = History(RunFolder(tmp_path))
    for step in (10, 20, 20, 30, 31):
        history.append(line(step))
    assert steps_of(tmp_path) == []
    history.flush()
    assert steps_of(tmp_path) == [10, 20, 20, 30, 31]
    history = History(RunFolder(tmp_path), last_step=30)
    history.append(line(33))
    history.flush()
    assert steps_of(tmp_path) == [10, 20, 20, 30, 33]
    History(RunFolder(tmp_path))
    assert steps_of(tmp_path) == []


@pytest.mark.parametrize(("evaluated", "wanted"), [(10, [10, 10, 20]), (20, [10, 10, 20, 20])])
def test_an_evaluation_that_will_be_made_again_is_dropped(
    tmp_path: Path, evaluated: int, wanted: list[int]
) -> None:
    history = History(RunFolder(tmp_path))
    for step in (10, 20):
        history.append(line(step))
        history.append(line(step, "eval"))
    history.flush()
    History(RunFolder(tmp_path), 20, evaluated)
    assert steps_of(tmp_path) == wanted


@pytest.mark.parametrize(
    "torn",
    [
        '{"event": "step", "step": 2',
        '{"event": "step", "step": 2}',
        "\0\0\0\n",
        "7\n",
        "[]\n",
        "{}\n",
        '{"step": 2}\n',
        '{"event": "step", "step": "2"}\n',
        "\n",
    ],
)
def test_torn_lines_of_a_history_are_dropped(tmp_path: Path, torn: str) -> None:
    (tmp_path / "history.jsonl").write_text(json.dumps(line(1)) + "\n" + torn)
    history = History(RunFolder(tmp_path), last_step=9)
    history.append(line(3))
    history.flush()
    assert steps_of(tmp_path) == [1, 3]


@pytest.mark.parametrize("spare_bytes", [0, 1, 20])
def test_lines_that_a_full_disk_refuses_are_written_later_and_once(
    tmp_path: Path, spare_bytes: int
) -> None:
    history = History(RunFolder(tmp_path))
    history.append({"step": 1})
    history.flush()
    size = (tmp_path / "history.jsonl").stat().st_size
    history.append({"step": 2})
    history.append({"step": 3})
    with files_no_larger_than(size + spare_bytes):
        for _ in range(2):
            with pytest.raises(CheckpointError, match=r"history.jsonl: cannot be written: File"):
                history.flush()
    history.append({"step": 4})
    history.flush()
    assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_a_history_is_read_entry_by_entry(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        assert list(read_history(folder)) == []  # no run has one before its first save
        whole = [line(10), line(10, "eval") | {"val_nats_per_char": None}]
        foreign = ["\0\0", "7", "[]", '{"step": 2}', '{"event": "step", "step": "2"}', ""]
        lines = [*map(json.dumps, whole), *foreign, json.dumps(line(20))]
        half = '{"event": "step", "st'  # as a training is writing it
        (tmp_path / "history.jsonl").write_text("\n".join([*lines, half]))
        assert list(read_history(folder)) == [*whole, *[None] * len(foreign), line(20)]


def test_a_history_that_cannot_be_read_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b" " * 2**17)
    with (
        RunFolder(tmp_path) as folder,
        pytest.raises(CheckpointError, match=r"history\.jsonl.*65,536"),
    ):
        list(read_history(folder))
