"""Runs that go on as people expect: the same command again, a moved text, a limit."""

import os
import re
import shutil
from pathlib import Path

import pytest
from calls import TINY, call, fail, metadata, succeed
from texts import DATA

from charrnn.store import checkpoint
from charrnn.store.folder import create_run

SAME = ("--name", "x", "--resume")


def steps_of(runs: Path, name: str = "x") -> int:
    return checkpoint.load(runs / name / "training.safetensors").step


# --- start it, or go on with it


def test_the_same_command_starts_a_run_then_finds_it_finished(story: Path, runs: Path) -> None:
    command = ("train", story, "--runs", runs, *TINY, *SAME)
    first = succeed(*command)
    before = Path(first.stdout.strip()).read_bytes()
    second = succeed(*command)
    assert first.stdout == second.stdout == f"{runs}/x/model.safetensors\n"
    assert [path.name for path in runs.iterdir()] == ["x"]
    assert "resumed at step 5" in second.stderr
    assert "--steps 5 counts from the run's beginning, and is reached" in second.stderr
    assert Path(first.stdout.strip()).read_bytes() == before


def test_the_same_command_continues_a_run_that_was_stopped(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    succeed("train", story, "--runs", runs, *TINY, *SAME, "--steps", "9")
    assert steps_of(runs) == 9


def test_a_start_that_was_killed_is_in_nobodys_way(story: Path, runs: Path) -> None:
    (runs / "x").mkdir(parents=True)
    (runs / "x/history.jsonl").touch()
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    assert steps_of(runs) == 5


def test_a_run_that_is_just_starting_is_not_started_twice(story: Path, runs: Path) -> None:
    folder, _ = create_run(runs, "x")
    error = fail("train", story, "--runs", runs, *TINY, *SAME)
    assert "another training is starting there" in error
    folder.close()
    assert [path.name for path in runs.iterdir()] == ["x"]


def test_a_folder_with_other_files_is_no_new_run(story: Path, runs: Path) -> None:
    (runs / "x").mkdir(parents=True)
    (runs / "x/thesis.txt").touch()
    assert "no training.safetensors" in fail("train", story, "--runs", runs, *TINY, *SAME)


def test_a_setting_that_differs_points_to_the_weights(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    error = fail("train", story, "--runs", runs, *TINY, *SAME, "--learning-rate", "0.001")
    assert "--learning-rate 0.008, not 0.001" in error
    assert f"--init-from {runs}/x takes the weights" in error
    succeed("train", story, "--runs", runs, "--steps", 5, "--init-from", runs / "x")
    error = fail("train", story, "--runs", runs, *SAME, "--hidden-size", "9")
    assert "--init-from" not in error, "no model of another shape can take them"


def test_other_weights_counted_when_the_run_began(story: Path, runs: Path, letters: Path) -> None:
    command = ("train", story, "--runs", runs, "--steps", "5", *SAME, "--init-from", letters)
    assert "it counts for a new run only" not in succeed(*command).stderr
    assert "--init-from: it counts for a new run only" in succeed(*command).stderr


def test_standard_input_is_kept_and_not_read_again(runs: Path) -> None:
    text = (DATA / "coffee.txt").read_bytes()[:6000]
    command = ("train", "-", "--runs", runs, *TINY, *SAME)
    succeed(*command, stdin=text)
    result = succeed(*command, "--steps", "9", stdin=b"")
    assert steps_of(runs) == 9
    assert "standard input is not read: the run has a copy of its text" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("--resume", "{story}"),
        ("--resume", "a", "b"),
        ("--resume", "{runs}/x", "--init-from", "y"),
        ("--resume", "--val-source", "y"),
    ],
)
def test_resuming_without_a_name_names_the_option(
    args: tuple[str, ...], story: Path, runs: Path
) -> None:
    succeed("train", story, "--runs", runs, *TINY, "--name", "x")
    words = [arg.format(story=story, runs=runs) for arg in args]
    assert "--name NAME" in fail("train", *words, "--runs", runs, code=2)


def test_a_run_and_a_name_are_two_runs(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, "--name", "y")
    assert "is a run, too" in fail("train", runs / "y", "--runs", runs, *SAME, code=2)


# --- a text that moved, grew, or is gone


def test_a_moved_text_is_read_from_its_new_place(story: Path, runs: Path, tmp_path: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    (tmp_path / "new").mkdir()
    moved = story.rename(tmp_path / "new" / "tale.txt")
    error = fail("train", "--runs", runs, "--resume", "--steps", "9")
    assert f"{story}: the run's text is gone" in error
    assert f"charrnn train PLACE --resume --name {runs}/x" in error
    result = succeed("train", moved, "--resume", "--name", f"{runs}/x", "--steps", "9")
    assert f"the same text, now read from {moved}" in result.stderr
    again = succeed("train", "--runs", runs, "--resume", "--steps", "12")
    assert "now read from" not in again.stderr
    assert metadata(runs / "x/training.safetensors", "provenance")["sources"] == [str(moved)]


def test_a_moved_text_must_be_the_same(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    other = story.with_name("other.txt")
    other.write_text(story.read_text() + "And more.")
    error = fail("train", other, "--runs", runs, *SAME, "--steps", "9")
    assert "the text has changed since the run began" in error
    assert f"--init-from {runs}/x" in error
    assert "no such file" in fail("train", "gone.txt", "--runs", runs, *SAME, "--steps", "9")
    assert steps_of(runs) == 5
    succeed("train", other, "--runs", runs, "--init-from", runs / "x", "--steps", "5")


def test_several_texts_and_one_to_validate_on_move_together(
    story: Path, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    texts = [tmp_path / "old" / name for name in ("a.txt", "b.txt", "val.txt")]
    for text in texts:
        shutil.copy(story, text)
    succeed("train", *texts[:2], "--val-source", texts[2], "--runs", runs, *TINY, *SAME)
    (tmp_path / "old").rename(tmp_path / "new")
    *moved, val = (tmp_path / "new" / text.name for text in texts)
    given = ("--val-source", val, "--runs", runs, *SAME, "--steps", "9")
    result = succeed("train", *moved, *given)
    assert f"the same validation text, now read from {val}" in result.stderr
    assert steps_of(runs) == 9
    val.write_text("Another text.")
    assert "has changed" in fail("train", *moved, *given)


def test_a_text_to_validate_on_that_is_gone_is_named(story: Path, runs: Path) -> None:
    val = story.with_name("val.txt")
    shutil.copy(story, val)
    succeed("train", story, "--val-source", val, "--runs", runs, *TINY, *SAME)
    moved = val.rename(story.with_name("moved.txt"))
    error = fail("train", "--resume", "--runs", runs)
    assert f"{val}: the run's validation text is gone" in error
    assert f"charrnn train --val-source PLACE --resume --name {runs}/x" in error
    given = ("--val-source", moved, "--resume", "--name", f"{runs}/x")
    succeed("train", *given, "--steps", "9")


def test_a_pipe_that_a_file_replaced_is_a_pipe_again(story: Path, runs: Path) -> None:
    text = story.read_bytes()
    succeed("train", "-", "--runs", runs, *TINY, *SAME, stdin=text)
    succeed("train", story, "--runs", runs, *SAME, "--steps", "9")
    succeed("train", "-", "--runs", runs, *SAME, "--steps", "12", stdin=text)
    assert steps_of(runs) == 12


def test_an_empty_name_and_a_link_to_nothing_are_no_new_run(story: Path, runs: Path) -> None:
    assert "--name: ''" in fail("train", story, "--runs", runs, "--name", "", "--resume", code=2)
    runs.mkdir()
    (runs / "x").symlink_to(runs / "gone")
    assert "x: no such run" in fail("train", story, "--runs", runs, *TINY, *SAME)


def test_a_text_to_validate_on_cannot_be_added(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    error = fail("train", story, "--val-source", story, "--runs", runs, *TINY, *SAME)
    assert "--val-source: the run has none: leave it out" in error


def test_a_text_in_a_file_is_no_pipe(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, *SAME)
    error = fail("train", "-", "--runs", runs, *TINY, *SAME, stdin=b"text")
    assert f"standard input: the run began with {story}" in error


def test_a_pipes_text_may_come_from_a_file(story: Path, runs: Path) -> None:
    succeed("train", "-", "--runs", runs, *TINY, *SAME, stdin=story.read_bytes())
    succeed("train", story, "--runs", runs, *TINY, *SAME, "--steps", "9")
    os.unlink(runs / "x/stdin.txt")
    succeed("train", "--runs", runs, *TINY, "--resume", "--steps", "12")
    assert steps_of(runs) == 12


# --- what is said of limits and names


@pytest.mark.parametrize(
    ("limit", "smaller", "advice"),
    [
        (("--steps", "6"), ("--steps", "1"), "--steps 1 counts .* such as --steps 12"),
        (("--epochs", "2"), ("--epochs", "1.5"), "--epochs 1.5 counts .* such as --epochs 3"),
        (
            ("--max-time", "1s"),
            ("--max-time", "0.1s"),
            r"--max-time 0.1s .* such as --max-time [\d.]+s",
        ),
        (("--max-time", "1s"), (), r"--max-time [\d.]+s counts .* such as --max-time [\d.]+s"),
    ],
)
def test_a_limit_that_is_reached_says_what_to_give(
    limit: tuple[str, ...], smaller: tuple[str, ...], advice: str, story: Path, runs: Path
) -> None:
    small = ("--hidden-size", "8", "--num-layers", "1")
    succeed("train", story, "--runs", runs, *small, *limit)
    note = succeed("train", "--runs", runs, "--resume", *smaller).stderr
    (line,) = [line for line in note.splitlines() if "counts from" in line]
    assert re.search(advice, line), line


def test_a_run_without_a_new_best_says_how_to_go_on(story: Path, runs: Path) -> None:
    often = ("--patience", "1", "--eval-every", "1", "--learning-rate", "3")
    succeed("train", story, "--runs", runs, *TINY, "--steps", "50", *often)
    assert steps_of(runs, "story") < 50
    note = succeed("train", "--runs", runs, "--resume").stderr
    assert "--patience 0 trains on" in note
    succeed("train", "--runs", runs, "--resume", "--patience", "0", "--steps", "51")
    assert steps_of(runs, "story") == 51


def test_a_name_that_is_taken_is_told_with_the_new_one(story: Path, runs: Path) -> None:
    command = ("train", story, "--runs", runs, *TINY, "--name", "n")
    assert "exists" not in succeed(*command).stderr
    note = succeed(*command).stderr
    assert f"{runs}/n exists: this run is n-2; charrnn train --resume {runs}/n resumes it" in note
    assert call("train", story, "--runs", runs, *TINY).stderr.count("exists") == 0
