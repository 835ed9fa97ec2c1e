"""The field's tables: known texts are recognised, cut as is customary, and measured."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from texts import DATA

from charrnn.config import Cell
from tests.bench import reproduce
from tests.bench.published import KNOWN, KnownFile, KnownText, Published
from tests.bench.reproduce import Row, as_table, config_of, cut, find, hidden_size, main


def known(data: bytes, **changes: Any) -> KnownText:
    """Returns a text of one file, cut in the middle and at three quarters."""
    file = KnownFile("usual.txt", len(data), hashlib.md5(data).hexdigest())
    return KnownText("A text", (file,), "a friend", (), cuts=(0.5, 0.75), **changes)


def test_a_text_is_recognised_by_its_content(tmp_path: Path) -> None:
    file = known(b"the text").files[0]
    assert find(tmp_path, file) is None
    (tmp_path / "usual.txt").write_bytes(b"not this")
    assert find(tmp_path, file) is None
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "renamed").write_bytes(b"the text")
    assert find(tmp_path, file) == tmp_path / "deep" / "renamed"


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_parts_are_the_whole(tmp_path: Path, unit: Any) -> None:
    text = "héllo wörld, ünd so weiter" * 3
    (tmp_path / "whole").write_bytes(text.encode())
    parts = cut(known(text.encode(), unit=unit), [tmp_path / "whole"], tmp_path)
    data = [path.read_bytes() for path in (parts.train, parts.valid, parts.test)]
    assert b"".join(data) == text.encode()
    sizes = [len(d if unit == "byte" else d.decode()) for d in data]
    whole = len(text.encode() if unit == "byte" else text)
    assert sizes[:2] == [whole // 2, int(0.75 * whole) - whole // 2]


def test_without_a_test_text_of_its_own_the_one_that_validates_is_it(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"0123456789")
    text = KnownText("A text", known(b"0123456789").files, "a friend", (), cuts=(0.9, 0.9))
    parts = cut(text, [tmp_path / "whole"], tmp_path)
    assert parts.train.read_bytes() == b"012345678"
    assert parts.valid.read_bytes() == parts.test.read_bytes() == b"9"


def test_three_files_are_kept_apart_without_the_space_before_each_line(tmp_path: Path) -> None:
    files = [tmp_path / str(i) for i in range(3)]
    for i, path in enumerate(files):
        path.write_bytes(b" line %d \n next \n" % i)
    text = KnownText("A text", (), "a friend", (), leading_space=True)
    assert cut(text, files, tmp_path).test.read_bytes() == b"line 2 \nnext \n"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_model_is_as_large_as_the_published_one_allows(cell: Cell) -> None:
    size = hidden_size(121_815, 87, cell)
    assert config_of(size, 87, cell).parameter_count() <= 121_815
    assert config_of(size + 1, 87, cell).parameter_count() > 121_815


def test_all_that_is_known_is_consistent() -> None:
    for text in KNOWN:
        assert (len(text.files) == 1) == (text.cuts is not None)
        assert len(text.files) in (1, 3) and text.source
        assert {p.parameters for p in text.published} - {None} == set(text.budgets)
    assert Published.in_bits("RNN", 1.0, "").nats == math.log(2)


def test_a_table_is_made_and_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one text of two; trained for real, as a user would."""
    data = (DATA / "coffee.txt").read_bytes()[:6000]
    (tmp_path / "there").write_bytes(data)
    there = known(data)
    missing = KnownText("Another", (KnownFile("gone.txt", 7, None),), "its owner", (), (0.5, 0.75))
    monkeypatch.setattr(reproduce, "KNOWN", (there, missing))
    words = ["reproduce", "--texts", str(tmp_path), "--budget", "1s", "--adapt"]
    monkeypatch.setattr("sys.argv", words)
    main()
    out, err = capsys.readouterr()
    assert "Another: gone.txt is not there; from its owner" in err
    assert "A text" in out and "Another" not in out
    assert out.count("charrnn train --cell rnn") == 2
    assert out.count("eval --adapt") == 1


def test_ours_stand_among_the_published_the_best_first() -> None:
    text = KnownText("A text", (), "", (Published("theirs", 1.5, "a paper", 7),))
    rows = [Row("ours", 8, 1.4, "a command"), Row("ours, small", 6, 1.6, "a command")]
    assert list(as_table(text, rows).columns[0].cells) == ["ours", "theirs", "ours, small"]
