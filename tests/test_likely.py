"""What was likely meant: runs, files, folders; lists of names that stay short."""

import shlex
from pathlib import Path

import pytest

from charrnn.likely import MOST_LISTED, did_you_mean, likely, likely_paths, listed, or_list


def test_names_that_are_alike_come_closest_first() -> None:
    names = ["corpus", "corpora", "Novel", "zebra", "zebrb", "zebrc"]
    assert likely("corpsu", names)[0] == "corpus"
    assert likely("NOVLE", names) == ["Novel"]
    assert len(likely("zebr", names)) == 2
    assert likely("x", names) == likely("", names) == likely("corpsu", []) == []
    assert likely("corpsu", names, 0.99) == []


def test_a_path_is_wrong_in_its_last_part_or_in_one_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/inner").mkdir(parents=True)
    for name in ("data/coffee.txt", "data/inner/tea.txt", ".hidden.txt"):
        Path(name).touch()
    assert likely_paths("data/cofee.txt") == ["data/coffee.txt"]
    assert likely_paths("data/Coffee") == ["data/coffee.txt"]
    assert likely_paths("dtaa/coffee.txt") == ["data/coffee.txt"]
    assert likely_paths("dtaa/inner/tea.txt") == ["data/inner/tea.txt"]
    assert likely_paths(f"{tmp_path}/date") == [f"{tmp_path}/data"]
    for nothing in (
        "",
        "/",
        "dtaa/tea.txt",
        "zzz/zzz/zzz",
        "hidden.txt",
        "a\0b",
        "data/x/",
        "x" * 5000,
    ):
        assert likely_paths(nothing) == [], nothing


def test_names_in_a_message_are_words_of_a_shell() -> None:
    assert did_you_mean(["a b", "c"], "x") == "did you mean 'a b' or c?"
    assert did_you_mean([], "check the path") == "check the path"
    assert or_list(["a", "b", "c"]) == "a, b or c"
    names = [f"run {i}" for i in range(MOST_LISTED)]
    assert shlex.split(listed(names).replace(",", "")) == names
    assert listed([*names, "x", "y"]) == f"{listed(names)} and 2 more"
