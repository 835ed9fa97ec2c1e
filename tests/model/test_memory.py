"""How much memory is left, and what is surely too large for it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import TooLargeError
from charrnn.model import memory
from charrnn.model.memory import available_bytes, check_room, training_bytes

MEMINFO = "MemTotal: 4000 kB\nMemAvailable: 3000 kB\nSwapFree: 500 kB\nHugePages_Total: 0\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a system of 3,500 kB."""
    monkeypatch.setattr("charrnn.system.PROC", tmp_path / "proc")
    monkeypatch.setattr("charrnn.system.CGROUPS", tmp_path / "groups")
    write(tmp_path / "proc" / "meminfo", MEMINFO)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_available_is_memory_and_swap(system: Path) -> None:
    assert available_bytes() == 3500 * 1024
    write(system / "proc" / "meminfo", "odd\n")
    assert available_bytes() == math.inf
    (system / "proc" / "meminfo").unlink()
    assert available_bytes() == math.inf


def group(folder: Path, limit: str, files: tuple[str, str], total: str = "") -> None:
    write(folder / files[0], limit)
    write(folder / files[1], "900000\n")
    write(folder / "memory.stat", f"anon 1\n{total}active_file 20000\n{total}inactive_file 3000\n")


LEFT = 1_000_000 - 900_000 + 23_000 + 500 * 1024


@pytest.mark.parametrize("where", ["a/b", "a", "."])
def test_a_control_group_has_a_limit_of_its_own(system: Path, where: str) -> None:
    write(system / "proc" / "self" / "cgroup", "0::/a/b\n")
    files = "memory.max", "memory.current"
    group(system / "groups" / "a" / "b", "max\n", files)
    group(system / "groups" / where, "1000000\n", files)
    assert available_bytes() == LEFT


def test_a_control_group_of_version_1(system: Path) -> None:
    write(system / "proc" / "self" / "cgroup", "5:cpu:/x\n4:memory:/a/b\n0::/\n")
    files = "memory.limit_in_bytes", "memory.usage_in_bytes"
    group(system / "groups" / "memory", "1000000\n", files, "total_")
    assert available_bytes() == LEFT


def test_a_limit_of_addresses_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Resource:
        RLIMIT_AS, RLIM_INFINITY = 9, -1

        @staticmethod
        def getrlimit(_: int) -> tuple[int, int]:
            return 2_000_000, -1

        @staticmethod
        def getpagesize() -> int:
            return 4096

    monkeypatch.setattr(memory, "resource", Resource)
    assert available_bytes() == 3500 * 1024
    write(system / "proc" / "self" / "statm", "100 50 3\n")
    assert available_bytes() == 2_000_000 - 409_600
    monkeypatch.setattr(memory, "resource", None)
    assert available_bytes() == 3500 * 1024


@pytest.mark.usefixtures("system")
def test_what_is_too_large_is_named_with_both_sizes() -> None:
    check_room(3500 * 1024, "it", "close other programs")
    with pytest.raises(TooLargeError) as raised:
        check_room(12_345_678_901, "it", "close other programs")
    assert str(raised.value) == (
        "it needs at least 12 GB of memory, and 0.00 GB are available: close other programs"
    )


def test_this_machine_has_room_for_a_small_model() -> None:
    check_room(training_bytes(ModelConfig(100), TrainingConfig()), "it", "")


def test_what_a_training_needs_by_hand() -> None:
    """Two symbols, one layer of one unit: W_x, W_h, b, W_y, b_y are 2 + 1 + 1 + 2 + 2 numbers."""
    model = ModelConfig(2, hidden_size=1, num_layers=1)
    one = TrainingConfig(batch_size=3, seq_len=5, max_time=1.0)
    assert training_bytes(model, one) == 4 * (5 * 8 + 15 * (1 + 4))
    assert training_bytes(model, replace(one, precision="bf16")) == 4 * (5 * 8 + 15 * 4.5)
    counted = TrainingConfig(batch_size=3, seq_len=5)
    assert training_bytes(model, counted) == 4 * (9 * 8 + 15 * (1 + 4))
