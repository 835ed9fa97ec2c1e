"""Runs as folders: a new one takes no other's name, and each is found."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import TRAINING_FILE
from charrnn.errors import (
    CharrnnError,
    CheckpointError,
    OptionError,
    RunBusyError,
    RunNotFoundError,
)
from charrnn.store import folder as folder_module
from charrnn.store.folder import NewRun, check_name, create_run, find_run, run_names
from charrnn.store.opened import RunFolder

# --- runs


def make_run(runs: Path, name: str, age_s: int = 0) -> Path:
    path = runs / name / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (10**9 - age_s, 10**9 - age_s))
    return path


def test_a_run_is_found_by_file_folder_and_name(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs", "corpus")
    for name in (str(path), str(path.parent), "corpus"):
        assert find_run(tmp_path / "runs", name) == path


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    make_run(tmp_path, "z", age_s=9)
    newest = make_run(tmp_path, "b", age_s=1)
    make_run(tmp_path, "c", age_s=5)
    (tmp_path / "unsaved").mkdir()
    assert find_run(tmp_path, None) == newest
    with pytest.raises(RunNotFoundError):
        find_run(tmp_path, None, TRAINING_FILE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such", "no-such: no such run or file: name one of those in .*: corpus"),
        ("unsaved", "unsaved: no model.safetensors in this folder"),
        ("x" * 300, "no such run or file"),
        ("corpus/no", "no such run or file"),
    ],
    ids=["unknown", "unsaved", "long", "inside"],
)
def test_a_wrong_name_is_a_named_error(tmp_path: Path, name: str, message: str) -> None:
    make_run(tmp_path, "corpus")
    (tmp_path / "unsaved").mkdir()
    with pytest.raises(RunNotFoundError, match=message):
        find_run(tmp_path, name)


def test_no_run_is_a_named_error(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RunNotFoundError, match="train one first"):
            find_run(runs, None)
        with pytest.raises(RunNotFoundError, match="none"):
            find_run(runs, "corpus")


def test_a_new_run_never_takes_a_folder_that_exists(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    made = [create_run(runs, "corpus")[0] for _ in range(3)]  # which are locked
    assert [folder.path.name for folder in made] == ["corpus", "corpus-2", "corpus-3"]
    assert all(folder.path.is_dir() for folder in made)
    made[1].remove_if_empty()
    (runs / "corpus-2").touch()
    assert create_run(runs, "corpus")[0].path.name == "corpus-4"


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors", "notes", "history"])
def test_a_folder_with_anything_in_it_is_another_run(tmp_path: Path, file: str) -> None:
    run = tmp_path / "a"
    run.mkdir()
    path = run / (f"{file}.jsonl" if file == "history" else file)
    path.write_text("{}\n")
    (run / "stdin.txt").touch()
    folder, made = create_run(tmp_path, "a")
    assert (folder.path.name, made) == ("a-2", True)
    assert sorted(run.iterdir()) == sorted([path, run / "stdin.txt"])


def test_what_a_killed_start_left_is_taken_over(tmp_path: Path) -> None:
    run = tmp_path / "a"
    run.mkdir()
    for name in ("stdin.txt", "1stdin.csv.gz", ".model.safetensors.7.tmp", "history.jsonl"):
        (run / name).touch()
    folder, made = create_run(tmp_path, "a")
    assert (folder.path, made, folder.is_locked) == (run, False, True)
    assert list(run.iterdir()) == []
    assert create_run(tmp_path, "a")[0].path.name == "a-2", "taken from a start that is under way"


def test_a_folder_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a").symlink_to(tmp_path / "elsewhere")
    assert create_run(tmp_path / "runs", "a")[0].path.name == "a-2"


def test_two_starts_at_once_get_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the folder's making and its lock, another start takes it over."""
    others: list[RunFolder] = []

    class SlowFolder(RunFolder):
        def __init__(self, path: Path) -> None:
            monkeypatch.undo()
            if path.name == "a":
                others.append(create_run(tmp_path, "a")[0])
            super().__init__(path)

    monkeypatch.setattr(folder_module, "RunFolder", SlowFolder)
    monkeypatch.setattr(folder_module, "_make", make_without_flush)
    folder, _ = create_run(tmp_path, "a")
    assert [others[0].path.name, folder.path.name] == ["a", "a-2"]


def make_without_flush(path: Path) -> bool:
    path.mkdir()
    return True


@pytest.mark.parametrize("locks", [True, False])
def test_where_nothing_can_be_locked_nothing_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(
        folder_module.RunFolder, "lock", lambda self: vars(self).update(is_locked=locks)
    )
    assert create_run(tmp_path, "a")[0].path.name == ("a" if locks else "a-2")


@pytest.mark.parametrize(
    "name", ["CON", "nul.txt", "Com1", "lpt9.tar.gz", "a.", "a ", "COM¹", "a:b", "a?", "a\x1f"]
)
def test_what_windows_cannot_name_a_folder_is_refused_there(name: str) -> None:
    with pytest.raises(OptionError, match=r"--name: .* on Windows"):
        check_name(name, windows=True)
    check_name(name, windows=False)


@pytest.mark.parametrize("name", ["console", "com", "com10", "nullable.txt", "a.b", "été"])
def test_other_names_will_do_on_windows(name: str) -> None:
    check_name(name, windows=True)


# --- folders that may not be read


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Lets the system refuse to look into a folder, as it does for users without permission."""

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *args: Any, **options: Any) -> Any:
            inside = not isinstance(path, int) and Path(path).is_relative_to(refused)
            if inside and (call is listdir or Path(path) != refused):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *args, **options)

        return checked

    listdir = os.listdir
    for name in ("listdir", "stat", "mkdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def test_runs_that_may_not_be_read_are_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    path = make_run(tmp_path / "other", "corpus")
    make_run(runs, "corpus")
    refuse(monkeypatch, runs)
    denied = r"runs.*: cannot be read: Permission denied: change the permissions"
    for name in (None, "corpus", str(runs / "corpus")):
        with pytest.raises(RunNotFoundError, match=denied):
            find_run(runs, name)
    with pytest.raises(RunNotFoundError, match=denied):
        run_names(runs)
    assert find_run(runs, str(path)) == path
    with pytest.raises(CheckpointError, match="cannot be made: Permission denied: change the"):
        create_run(runs, "another")


def test_a_run_that_may_not_be_read_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path, "a", age_s=9)
    make_run(tmp_path, "b")
    refuse(monkeypatch, tmp_path / "b")
    assert find_run(tmp_path, None) == path
    assert run_names(tmp_path) == ["a"]
    path.unlink()
    for name in (None, "b"):
        with pytest.raises(RunNotFoundError, match=r"b/model\.safetensors: cannot be read: Perm"):
            find_run(tmp_path, name)


def test_runs_that_is_a_file_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(CheckpointError, match="choose another --runs"):
        create_run(tmp_path / "runs", "corpus")


@pytest.mark.parametrize("name", ["../corpus", "a/b", ".", "..", "nul\0", "x" * 300])
def test_a_run_is_a_folder_of_its_name_in_runs_or_none(tmp_path: Path, name: str) -> None:
    """Elsewhere, the newest run would not be found."""
    runs = tmp_path / "runs"
    with pytest.raises(CharrnnError):
        create_run(runs, name)
    assert [path for path in tmp_path.rglob("*") if path != runs] == []


# --- a new run


def test_a_new_run_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    with NewRun(tmp_path / "runs", "a") as run:
        assert not (tmp_path / "runs").exists()
        assert run.folder() is run.folder()
        assert run.folder().path == tmp_path / "runs" / "a"
        with pytest.raises(RunBusyError):
            RunFolder(run.folder().path).lock()
    assert run.folder().path.is_dir()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("other", [False, True])
def test_a_new_run_that_fails_leaves_nothing(
    tmp_path: Path, error: type[BaseException], other: bool
) -> None:
    runs = tmp_path / "runs"
    if other:
        (runs / "other").mkdir(parents=True)
    with pytest.raises(error), NewRun(runs, "a") as run:
        (run.folder().path / "stdin.txt").write_text("half")
        raise error
    assert not (runs / "a").exists()
    assert runs.exists() == other
    with NewRun(runs, "a") as run:
        run.folder()


@pytest.mark.parametrize("made", [True, False])
def test_a_new_run_that_fails_removes_nothing_of_others(tmp_path: Path, made: bool) -> None:
    if not made:
        (tmp_path / "a").mkdir()
    with pytest.raises(KeyError), NewRun(tmp_path, "a") as run:
        run.folder().write_whole("model.safetensors", b"ours")
        if made:
            (tmp_path / "a" / "notes").write_text("another's")
        raise KeyError
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes"] * made
