"""Work in threads: every part once, in order, and nobody works on for nothing."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.model import parallel
from charrnn.model.parallel import FEWEST, Ended, divide, in_threads, thread_count


@given(rows=st.integers(0, 1000), largest=st.integers(1, 300), threads=st.integers(1, 64))
def test_every_row_is_in_one_part(rows: int, largest: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_threads", threads)
        parts = divide(rows, largest)
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = [len(range(rows)[part]) for part in parts]
    assert max(sizes) <= largest and max(sizes) - min(sizes) <= 1
    if rows >= FEWEST * threads:
        assert len(parts) >= threads, "every thread has work"


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


def test_a_part_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the caller's; the other would work for ever."""
    monkeypatch.setattr(parallel, "_threads", 2)

    def work(part: int, ended: Ended) -> None:
        if part == 0:
            raise KeyError("x")
        while not ended():
            pass

    with pytest.raises(KeyError):
        in_threads(work, [0, 1])


def test_by_default_every_core_works() -> None:
    assert thread_count() >= 1
    parallel.set_threads(3)
    assert thread_count() == 3
    parallel.set_threads(None)
    assert thread_count() == parallel.thread_count() >= 1
