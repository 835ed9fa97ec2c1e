"""Laws of the batches: all of the training text, once, in order, in every stream.

The texts here have no character twice and rise by code point, so that an id is its own place in the
text: whatever a batch holds shows where it came from.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from texts import dataset_of, read_in_blocks

from charrnn.config import DataConfig
from charrnn.errors import CorpusError
from charrnn.text import batches as batches_module
from charrnn.text.batches import (
    Batch,
    Batches,
    OpenEnded,
    Position,
    batches_of,
    stream_batches,
)
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.origin import Origin
from charrnn.text.survey import survey

few = settings(max_examples=40, deadline=None)
ALL = 2**20
ALPHABET = "".join(map(chr, range(0x100, 0x3000)))


class Layout(NamedTuple):
    """A text's size and how it is cut."""

    chars: int
    batch_size: int
    seq_len: int
    block_chars: int
    val_fraction: float

    @property
    def data(self) -> DataConfig:
        return DataConfig(block_chars=self.block_chars, val_fraction=self.val_fraction)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Draws texts of one block or several."""
    layout = Layout(
        chars=draw(st.integers(32, 5000)),
        batch_size=draw(st.integers(1, 40)),
        seq_len=draw(st.integers(1, 80)),
        block_chars=draw(st.sampled_from([1024, 1025, 1500, 2**24])),
        val_fraction=draw(st.sampled_from([0.0, 0.1, 0.5])),
    )
    assume(layout.data.train_chars(layout.chars) > layout.batch_size)
    return layout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """So that a few thousand characters are many pieces."""
    with pytest.MonkeyPatch.context() as patch:
        read_in_blocks(patch, 700)
        yield


def make_dataset(folder: Path, layout: Layout) -> Dataset:
    """Writes a text and opens it."""
    (folder / "a.txt").write_text(ALPHABET[: layout.chars], encoding="utf-8")
    return dataset_of(folder / "a.txt", **asdict(layout.data))


def make_batches(folder: Path, layout: Layout) -> Batches:
    """Writes a text and lays out its batches."""
    return Batches(make_dataset(folder, layout), layout.batch_size, layout.seq_len)


def read_epoch(batches: Batches) -> list[Batch]:
    """Returns the batches of the first epoch."""
    return list(itertools.islice(batches.batches(), int(batches.steps_per_epoch)))


def by_block(epoch: list[Batch]) -> Iterator[list[Batch]]:
    """Groups batches between two zero states."""
    starts = [i for i, batch in enumerate(epoch) if batch.starts_block]
    for start, stop in itertools.pairwise([*starts, None]):
        yield epoch[start:stop]


def same(a: Batch, b: Batch) -> bool:
    """Returns whether two batches are equal in all their parts."""
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y) and a[2:] == b[2:]


@few
@given(layouts())
def test_each_character_follows_the_one_before_it(folder: Path, layout: Layout) -> None:
    """In the text (y after x) and, within a block, in the streams (a batch after a batch)."""
    batches = make_batches(folder, layout)
    for block in by_block(read_epoch(batches)):
        assert all(np.array_equal(batch.y, batch.x + 1) for batch in block)
        x = np.concatenate([batch.x for batch in block])  # (S, B)
        assert (np.diff(x, axis=0) == 1).all()


@few
@given(layouts())
def test_streams_end_to_end_are_the_training_text(folder: Path, layout: Layout) -> None:
    """Blocks too: fewer than B characters at its very end are left out, and no target is twice."""
    dataset = make_dataset(folder, layout)
    batches = Batches(dataset, layout.batch_size, layout.seq_len)
    targets = [
        np.concatenate([batch.y for batch in block]).T.ravel()  # (B, S), then stream after stream
        for block in by_block(read_epoch(batches))
    ]
    read = np.concatenate(targets)
    assert np.array_equal(read, np.arange(1, len(read) + 1))
    assert 0 <= dataset.train_chars - 1 - len(read) < layout.batch_size
    assert all(len(block) <= max(layout.block_chars, layout.batch_size) for block in targets)


@few
@given(layouts())
def test_nothing_of_the_validation_text_is_trained_on(folder: Path, layout: Layout) -> None:
    dataset = make_dataset(folder, layout)
    batches = Batches(dataset, layout.batch_size, layout.seq_len)
    assert dataset.train_chars + dataset.val_chars == layout.chars
    assert dataset.train_chars == layout.data.train_chars(layout.chars)
    assert max(batch.y.max() for batch in read_epoch(batches)) < dataset.train_chars
    assert np.array_equal(dataset.validation(ALL), np.arange(dataset.train_chars, layout.chars))


@few
@given(layouts())
def test_shapes_of_the_batches(folder: Path, layout: Layout) -> None:
    for block in by_block(read_epoch(make_batches(folder, layout))):
        lengths = {len(batch.x) for batch in block}
        assert 1 <= min(lengths) <= max(lengths) <= layout.seq_len
        assert max(lengths) - min(lengths) <= 1
        for x, y, *_ in block:
            assert x.shape == y.shape == (len(x), layout.batch_size)
            assert x.dtype == y.dtype == np.int64
            assert x.flags.c_contiguous and y.flags.c_contiguous


@few
@given(layouts())
def test_an_epoch_is_steps_per_epoch_long_and_the_next_is_the_same(
    folder: Path, layout: Layout
) -> None:
    batches = make_batches(folder, layout)
    n = int(batches.steps_per_epoch)
    two = list(itertools.islice(batches.batches(), 2 * n))
    assert [batch.after.epoch for batch in two] == [0] * (n - 1) + [1] * n + [2]
    assert two[n - 1].after == Position(epoch=1)
    assert two[-1].after == Position(epoch=2)
    assert all(same(a, b._replace(after=a.after)) for a, b in zip(two[:n], two[n:], strict=True))


@few
@given(layouts())
def test_the_state_is_zero_where_a_block_starts(folder: Path, layout: Layout) -> None:
    """A position's batch 0 is a block's first, and no other."""
    epoch = read_epoch(make_batches(folder, layout))
    positions = [Position(), *(batch.after for batch in epoch)]
    for position, batch in zip(positions, epoch, strict=False):
        assert batch.starts_block == (position.batch == 0)
    blocks = {position.block for position in positions}
    assert blocks == set(range(len(list(by_block(epoch)))))


@few
@given(layouts(), st.data())
def test_resuming_from_a_position_gives_the_same_batches(
    folder: Path, layout: Layout, data: st.DataObject
) -> None:
    """Also across the end of an epoch, and of a block."""
    batches = make_batches(folder, layout)
    n = int(batches.steps_per_epoch)
    done = data.draw(st.integers(1, 2 * n))
    whole = list(itertools.islice(batches.batches(), done + n + 2))
    rest = itertools.islice(make_batches(folder, layout).batches(whole[done - 1].after), n + 2)
    assert all(same(a, b) for a, b in zip(whole[done:], rest, strict=True))


@few
@given(layouts())
def test_a_text_read_again_gives_the_batches_of_a_text_kept(folder: Path, layout: Layout) -> None:
    in_memory = make_dataset(folder, layout)
    again = Dataset(
        Corpus(in_memory.origin.sources, layout.data), in_memory.vocabulary, in_memory.origin
    )
    one, other = (Batches(d, layout.batch_size, layout.seq_len) for d in (in_memory, again))
    assert one.steps_per_epoch == other.steps_per_epoch
    assert all(same(a, b) for a, b in zip(read_epoch(one), read_epoch(other), strict=True))
    assert np.array_equal(again.validation(ALL), in_memory.validation(ALL))


# One block by itself.


@few
@given(st.integers(0, 400), st.integers(1, 9), st.integers(1, 60))
def test_one_block(chars: int, batch_size: int, seq_len: int) -> None:
    cut = list(stream_batches(np.arange(chars), batch_size, seq_len))
    streams: npt.NDArray[np.int64] = np.concatenate(
        [np.zeros((0, batch_size)), *(x for x, _ in cut)]
    )
    left_out = (chars - 1) % batch_size if chars else 0
    assert np.array_equal(streams.T.ravel(), np.arange(max(chars - 1 - left_out, 0)))
    assert len(cut) == -(-len(streams) // seq_len)


def test_the_drawing_in_the_documentation() -> None:
    block = np.frombuffer(b"abcdefghijklm", dtype=np.uint8)
    first, second = (
        [["".join(map(chr, stream)) for stream in ids.T] for ids in batch]
        for batch in stream_batches(block, batch_size=2, seq_len=3)
    )
    assert first == [["abc", "ghi"], ["bcd", "hij"]]
    assert second == [["def", "jkl"], ["efg", "klm"]]


# Validation.


def test_a_long_validation_text_is_read_from_its_start(folder: Path) -> None:
    dataset = make_dataset(folder, Layout(3000, 4, 8, 1024, 0.1))
    assert dataset.val_chars == 300
    assert np.array_equal(dataset.validation(limit=100), np.arange(2700, 2800))


# Texts that change, bytes.


def test_a_text_that_shrinks_while_it_is_trained_on_is_an_error(folder: Path) -> None:
    batches = make_batches(folder, Layout(5000, 4, 8, 1024, 0.1))
    (folder / "a.txt").write_text(ALPHABET[:2500], encoding="utf-8")
    with pytest.raises(CorpusError, match="changed"):
        list(itertools.islice(batches.batches(), 2 * int(batches.steps_per_epoch)))


@pytest.mark.parametrize("block_chars", [1024, 2**24])
def test_bytes_are_batched_too(tmp_path: Path, block_chars: int) -> None:
    data = bytes(range(256)) * 10
    (tmp_path / "a.bin").write_bytes(data)
    dataset = dataset_of(tmp_path / "a.bin", unit="byte", block_chars=block_chars, val_fraction=0.0)
    batches = Batches(dataset, batch_size=1, seq_len=100)
    targets = np.concatenate([batch.y for batch in read_epoch(batches)])
    assert targets.astype(np.uint8).tobytes() == data[1:]


# Texts without an end.


def open_ended(folder: Path, chars: int, batch_size: int = 4) -> Batches:
    (folder / "kept.txt").write_text(ALPHABET[:chars], encoding="utf-8")
    corpus = Corpus([folder / "kept.txt"])
    origin = Origin(DataConfig(), [str(folder / "kept.txt")], None, "")
    dataset = Dataset(corpus, survey(corpus).vocabulary, origin)
    assert (dataset.train_chars, dataset.val_chars) == (math.inf, 0)
    assert len(dataset.validation(ALL)) == 0
    batches = batches_of(dataset, batch_size, 16)
    assert isinstance(batches, OpenEnded) and batches.steps_per_epoch == math.inf
    return batches


@pytest.mark.parametrize("chars", [999, 1000, 1001, 1500, 2000, 2003, 3000])
def test_a_text_without_an_end_is_read_block_after_block(
    tmp_path: Path, chars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it ends all the same, it begins again; every position can be resumed from."""
    monkeypatch.setattr(batches_module, "OPEN_ENDED_BLOCK_CHARS", 1000)
    batches = open_ended(tmp_path, chars)
    two = list(itertools.islice(batches.batches(), 120))
    again = next(i for i, batch in enumerate(two) if i and batch.x[0, 0] == 0)
    targets = np.concatenate(
        [np.concatenate([batch.y for batch in block]).T.ravel() for block in by_block(two[:again])]
    )
    assert np.array_equal(targets, np.arange(1, len(targets) + 1))
    assert 0 <= chars - 1 - len(targets) < 2 * batches.batch_size
    for done in (1, 5, again - 1, again, again + 3):
        rest = itertools.islice(open_ended(tmp_path, chars).batches(two[done - 1].after), 20)
        for a, b in zip(two[done:], rest, strict=False):
            assert np.array_equal(a.x, b.x) and a.starts_block == b.starts_block


def test_a_text_that_ends_before_the_first_batch_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="a batch needs more than 40"):
        next(open_ended(tmp_path, 40, batch_size=40).batches())
