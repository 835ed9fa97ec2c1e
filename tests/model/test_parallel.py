"""Work in threads: every part once, in order, and nobody works on for nothing."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.model import parallel
from charrnn.model.parallel import Ended, divide, in_threads, thread_count


@given(
    rows=st.integers(0, 1000),
    fewest=st.integers(1, 40),
    more=st.integers(0, 200),
    threads=st.integers(1, 64),
)
def test_every_row_is_in_one_part(rows: int, fewest: int, more: int, threads: int) -> None:
    most = fewest + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_threads", threads)
        parts = divide(rows, fewest, most)
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = [len(range(rows)[part]) for part in parts]
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
    needed = -(-rows // most)  # parts
    assert min(sizes) >= fewest or len(parts) == max(needed, 1)
    if rows >= fewest * (needed + threads):
        assert len(parts) % threads == 0, "no thread is idle at the end"


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_come_in_order(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_threads", threads)
    names = set()

    def work(part: int, _: Ended) -> int:
        names.add(threading.current_thread().name)
        return part * part

    assert in_threads(work, range(20)) == [part * part for part in range(20)]
    assert len(names) <= threads
    assert (threading.main_thread().name in names) == (threads == 1)


@pytest.mark.parametrize("bad", [0, 1])
def test_a_part_that_fails_ends_the_others(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the caller's; the other would work for ever."""
    monkeypatch.setattr(parallel, "_threads", 2)

    def work(part: int, ended: Ended) -> None:
        if part == bad:
            raise KeyError("x")
        while not ended():
            pass

    with pytest.raises(KeyError):
        in_threads(work, [0, 1])


def test_by_default_every_core_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    parallel.set_threads(None)
    assert thread_count() == 3
    parallel.set_threads(2)
    assert thread_count() == 2
