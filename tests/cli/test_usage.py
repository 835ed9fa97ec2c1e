"""Wrong usage and wrong names: one line that names what is wrong, and what was likely meant."""

import re
from pathlib import Path
from typing import Any

import pytest
from calls import call, fail
from processes import COMMAND, posix, run
from typer.main import get_command

from charrnn.cli.app import app
from charrnn.cli.usage import LONGEST

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
NO_OPTION = "charrnn train has no such option"
DASH = "before a name or text that starts with a dash, put --"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("train x --hidden-size abc", "--hidden-size: 'abc' is not a count; write 5000, 5k"),
        ("train x --num-layers 1.5", "--num-layers: '1.5' is not a valid int: write a whole numb"),
        ("train x --dropout half", "--dropout: 'half' is not a valid float: write a number, such"),
        ("train x --dropout 2", "--dropout: 2.0 is out of range; it must be at least 0 and below"),
        ("train x --unit word", "--unit: 'word' is not one of 'char', 'byte'\n"),
        ("train x --max-time soon", "--max-time: 'soon' is not a duration; write 90s, 5m"),
        ("eval --threshold high", "--threshold: 'high' is no threshold; write bits per char"),
        ("train x --hiden-size 3", f"--hiden-size: {NO_OPTION}: did you mean --hidden-size?\n"),
        ("train x --hidden_size=3", f"--hidden_size: {NO_OPTION}: did you mean --hidden-size?\n"),
        ("train x -steps 3", f"-steps: {NO_OPTION}: did you mean --steps?\n"),
        ("train x --max 5m", f"--max: {NO_OPTION}: did you mean --max-time?\n"),
        ("train x --zzz", f"--zzz: {NO_OPTION}: charrnn train --help lists them\n"),
        ("train -5", f"-5: {NO_OPTION}: charrnn train --help lists them; {DASH}\n"),
        ("--versoin", "--versoin: charrnn has no such option: did you mean --version?\n"),
        ("--quiet train x", "--quiet: charrnn has no such option: charrnn --help lists them\n"),
        ("sample --prompt", "--prompt: no value: write --prompt TEXT\n"),
        ("train x --name", "--name: no value: write --name <str>\n"),
        ("train x --resume=yes", "--resume: it takes no value: leave = and what follows out\n"),
        ("--version=yes", "--version: it takes no value: leave = and what follows out\n"),
        ("trian x", "trian: no such command: did you mean train?\n"),
        ("x.txt", "x.txt: no such command: name train, "),
    ],
)
def test_wrong_usage_is_one_line_that_helps(args: str, line: str) -> None:
    result = call(*args.split())
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"charrnn: {line}")
    assert result.stderr.count("\n") == 1


def test_a_list_of_commands_ends_with_or() -> None:
    names = list(COMMANDS)
    assert call("x").stderr.endswith(f"name {', '.join(names[:-1])} or {names[-1]}\n")


@pytest.mark.parametrize("option", ["--seed", "--hidden-size", "--unit", "--max-time"])
def test_a_long_value_leaves_room_for_the_remedy(option: str) -> None:
    error = fail("train", "x", option, "y" * 5000, code=2)
    assert error.startswith(f"charrnn: {option}: ") and " ... " in error
    assert len(error) < LONGEST + 30
    assert re.search(r"'char', 'byte'\n$|write .*\n$", error)


@pytest.mark.parametrize("args", [[], ["--"]])
def test_without_a_command_there_is_the_help(args: list[str]) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert "Usage: " in result.output and all(f" {name} " in result.output for name in COMMANDS)


@posix
@pytest.mark.parametrize("args", [("train", "x", "--hiden-size", "3"), ("trian",), ("--x",)])
def test_the_program_itself_says_the_same(args: tuple[str, ...]) -> None:
    done = run(*COMMAND, *args)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", call(*args).stderr)


# --- names of runs and files


@pytest.mark.parametrize("command", [("sample", "--model"), ("eval", "--model")])
def test_a_model_that_was_likely_meant(command: tuple[str, ...], letters: Path) -> None:
    runs = letters.parent
    error = fail(*command, "leters", "--runs", runs, stdin="I had")
    assert error == "charrnn: leters: no such run or file: did you mean letters?\n"
    near = f"{runs}/leters"
    assert f"did you mean {letters}?" in fail(*command, near, "--runs", runs, stdin="I had")
    file = f"{letters}/model.safetensor"
    assert f"did you mean {file}s" in fail(*command, file, "--runs", runs, stdin="I had")
    none = fail(*command, "x", "--runs", runs.parent / "none", stdin="I had")
    assert none.endswith("/none: train one first, or name another --runs\n")


def test_a_source_that_was_likely_meant(story: Path, letters: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "storry.txt"
    error = f"charrnn: {wrong}: no such file or folder: did you mean {story}?\n"
    assert fail("train", wrong, "--runs", tmp_path / "runs") == error
    assert fail("eval", wrong, "--model", letters) == error
    assert fail("train", story, "--runs", tmp_path / "runs", "--val-source", wrong) == error
    missing = fail("sample", "--prompts", wrong, "--model", letters)
    assert missing.endswith(f"No such file or directory: did you mean {story}?\n")
