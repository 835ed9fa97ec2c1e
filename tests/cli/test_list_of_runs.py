"""``charrnn runs``: the list, all of one run, its card."""

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from calls import TINY, fail, succeed

from charrnn.display.runs import age


def test_the_list_has_a_line_for_each_run(trained: Path) -> None:
    head, *lines = succeed("runs", "--runs", trained).stdout.splitlines()
    assert head.split()[:3] == ["name", "age", "state"]
    assert [line.split()[0] for line in lines] == ["raw", "letters"]
    assert re.search(r"^raw .* finished +5 +0:00 +\d\.\d{3} bits/byte  8 x 1 ", lines[0])
    assert lines[1].endswith("letters.txt")


def test_without_runs_a_note_says_so(runs: Path) -> None:
    result = succeed("runs", "--runs", runs)
    assert result.stdout == ""
    assert "no run there" in result.stderr
    assert json.loads(succeed("runs", "--runs", runs, "--json").stdout) == []


def test_json_has_the_settings_by_name(trained: Path) -> None:
    (raw, letters) = json.loads(succeed("runs", "--runs", trained, "--json").stdout)
    assert (raw["name"], raw["settings"]["unit"]) == ("raw", "byte")
    assert letters["settings"]["hidden_size"] == 8
    assert letters["step"] == letters["settings"]["steps"] == 200
    one = json.loads(succeed("runs", "letters", "--runs", trained, "--json").stdout)
    assert one == letters


@pytest.mark.parametrize("how", ["name", "folder", "file"])
def test_one_run_shows_all_that_must_be_written_down(trained: Path, how: str) -> None:
    given = {
        "name": "letters",
        "folder": str(trained / "letters"),
        "file": str(trained / "letters/model.safetensors"),
    }
    text = succeed("runs", given[how], "--runs", trained).stdout
    pairs = dict(line.split(maxsplit=1) for line in text.splitlines() if line)
    assert pairs["name"] == "letters"
    assert (pairs["seed"], pairs["steps"], pairs["hidden_size"]) == ("0", "200", "8")
    assert pairs["separator"] == '"\\n"'
    assert pairs["torch"].startswith("2.")
    assert "charrnn train" in text


def test_the_commands_of_a_run_work_as_they_are_printed(
    story: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.parent)
    odd = story.rename(story.with_name("a story, 'told'.txt"))
    options = ("--separator", "\t", "--val-fraction", "0.2", "--save-every", "30s")
    rows = story.with_name("rows.csv")
    rows.write_text("text,n\n" + '"I had coffee, today",1\n' * 300)
    for source, more in ((odd.name, ()), ("rows.csv", ("--column", "text", *options))):
        made = Path(succeed("train", source, "--name", "x y", *TINY, *more).stdout.strip())
        facts = json.loads(succeed("runs", made.parent, "--json").stdout)
        again = succeed(*split(facts["command"])[1:]).stdout.strip()
        assert Path(again).read_bytes() == made.read_bytes()
        succeed(*split(facts["resume_command"])[1:], "--steps", "8")


def test_a_text_is_no_run(story: Path) -> None:
    assert "not a charrnn model" in fail("runs", story)


def test_the_command_of_a_run_has_its_folder_and_exact_numbers(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.parent)
    story.rename("-x.txt")
    rate = "0.0033333333333333335"
    args = ("./-x.txt", "--runs", "my runs", "--name=-n", *TINY, "--learning-rate", rate)
    made = Path(succeed("train", *args).stdout.strip())
    (facts,) = json.loads(succeed("runs", "--runs", "my runs", "--json").stdout)
    assert f"--learning-rate {rate}" in facts["command"]
    again = Path(succeed(*split(facts["command"])[1:]).stdout.strip())
    assert again == Path("my runs/-n-2/model.safetensors")
    assert again.read_bytes() == made.read_bytes()
    succeed(*split(facts["resume_command"])[1:])
    assert json.loads(succeed("runs", made.parent, "--json").stdout)["step"] == 10


def test_a_finished_run_is_continued_by_the_command_that_is_shown(story: Path, runs: Path) -> None:
    small = ("--hidden-size", "8", "--num-layers", "1")
    for limit, more in (
        (("--steps", "5"), "--steps 10"),
        (("--epochs", "1"), "--epochs 2"),
        (("--max-time", "1s", "--eval-every", "1000"), "--max-time"),
        (("--steps", "50", "--patience", "1", "--eval-every", "1", "--learning-rate", "3"), "--p"),
    ):
        made = Path(succeed("train", story, "--runs", runs, *small, *limit).stdout.strip())
        facts = json.loads(succeed("runs", made.parent, "--json").stdout)
        assert facts["state"] == "finished" and more in facts["resume_command"]
        succeed(*split(facts["resume_command"])[1:])
        after = json.loads(succeed("runs", made.parent, "--json").stdout)
        assert after["step"] > facts["step"]


def split(command: str) -> list[str]:
    """Returns the words that bash makes of a line."""
    script = f"printf '%s\\0' {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_the_card_names_what_a_reader_needs(trained: Path) -> None:
    card = succeed("runs", "letters", "--card", "--runs", trained).stdout
    assert card.startswith("# letters\n")
    assert re.search(r"best validation: \d\.\d{4} bits per character", card)
    assert "| hidden\\_size | 8 |" in card
    assert "letters.txt" in card
    assert "None" not in card and "{" not in card.replace("h_{t-1}", "")


def test_a_card_is_of_one_run(trained: Path) -> None:
    assert "--card" in fail("runs", "--card", "--runs", trained, code=2)
    assert "--card" in fail("runs", "letters", "--card", "--json", "--runs", trained, code=2)


def test_a_wrong_name_is_a_named_error(trained: Path) -> None:
    assert "nope: no such run" in fail("runs", "nope", "--runs", trained)


def test_control_characters_of_a_name_do_not_reach_the_terminal(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, "--name", "a\x1b[31m\nb")
    text = succeed("runs", "--runs", runs).stdout
    assert "\x1b" not in text and len(text.splitlines()) == 2
    assert "\x1b" not in succeed("runs", "a\x1b[31m\nb", "--runs", runs, "--card").stdout


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=5, seconds=9), "5 min"),
        (timedelta(hours=23), "23 h"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_an_age_is_in_the_largest_unit(ago: timedelta, words: str) -> None:
    assert age(ago.total_seconds()) == words


def test_two_seeded_runs_write_the_same_model_file(story: Path, runs: Path) -> None:
    """Whatever they are called, and wherever they are."""
    options = (*TINY, "--steps", "30", "--eval-every", "10", "--seed", "3")
    one = succeed("train", story, "--runs", runs, *options).stdout.strip()
    other = succeed("train", story, "--runs", runs / "x", "--name", "n", *options).stdout.strip()
    assert Path(one).read_bytes() == Path(other).read_bytes()
