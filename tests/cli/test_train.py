"""``charrnn train`` as a shell user meets it: what is printed where, files left behind."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import small_runs
from calls import SMALL, TINY, call, contents, fail, metadata, succeed
from clocks import Clock
from processes import COMMAND, posix, run
from safetensors import safe_open
from typer.testing import CliRunner

from charrnn.cli import train
from charrnn.cli.app import app
from charrnn.system import quoted
from charrnn.training.events import Evaluated

# --- train


def test_stdout_of_train_is_the_models_path_and_nothing_else(story: Path, runs: Path) -> None:
    result = succeed("train", story, "--runs", runs, *TINY)
    assert result.stdout == f"{runs}/story/model.safetensors\n"
    assert "5 steps" in result.stderr


def test_a_new_run_never_overwrites_another(story: Path, runs: Path) -> None:
    made = [succeed("train", story, "--runs", runs, *TINY).stdout for _ in range(3)]
    assert [Path(path).parent.name for path in made] == ["story", "story-2", "story-3"]
    named = [succeed("train", story, "--runs", runs, *TINY, "--name", "n").stdout for _ in "ab"]
    assert [Path(path).parent.name for path in named] == ["n", "n-2"]


def test_a_runs_folder_holds_the_three_files(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    names = [path.name for path in contents(runs / "story")]
    assert names == ["history.jsonl", "model.safetensors", "training.safetensors"]


def test_the_environment_names_the_folder_of_runs(story: Path, runs: Path) -> None:
    made = succeed("train", story, *TINY, CHARRNN_RUNS=str(runs)).stdout
    assert made == f"{runs}/story/model.safetensors\n"
    note = succeed("sample", "--length", "3", CHARRNN_RUNS=str(runs)).stderr
    assert f"model {runs}/story/model.safetensors\n" in note


def test_runs_go_to_the_folder_runs_by_default(
    story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.parent)
    assert succeed("train", "story.txt", *TINY).stdout == "runs/story/model.safetensors\n"


@pytest.mark.parametrize("name", ["../outside", "a/b", ".", "..", "{}/elsewhere", ""])
def test_a_runs_name_is_one_folder_in_runs(name: str, story: Path, runs: Path) -> None:
    before = contents(story.parent)
    run_name = name.format(story.parent)
    result = call("train", story, "--runs", runs, *TINY, "--name", run_name)
    assert result.exit_code == 2, result.stdout
    assert contents(story.parent) == before


def test_quiet_prints_nothing(story: Path, runs: Path) -> None:
    result = succeed("train", story, "--runs", runs, *TINY, "--quiet")
    assert result.stdout and result.stderr == ""


def test_without_validation_the_newest_model_is_kept(story: Path, runs: Path) -> None:
    result = succeed("train", story, "--runs", runs, *TINY, "--val-fraction", "0")
    assert "best" not in result.stderr
    assert re.search(r"train \d\.\d+ bits/char", result.stderr), "a figure without its unit"
    provenance = metadata(Path(result.stdout.strip()), "provenance")
    assert provenance["step"] == 5
    assert provenance["val_nats_per_char"] is None


@pytest.mark.parametrize(
    ("option", "text", "field", "value"),
    [
        ("--hidden-size", "0.02k", "hidden_size", 20),
        ("--hidden-size", "0.00001M", "hidden_size", 10),
        ("--num-layers", "3", "num_layers", 3),
        ("--nonlinearity", "relu", "nonlinearity", "relu"),
        ("--dropout", "0.5", "dropout", 0.5),
        ("--unit", "byte", "unit", "byte"),
    ],
)
def test_an_option_reaches_the_model(
    option: str, text: str, field: str, value: object, story: Path, runs: Path
) -> None:
    made = succeed("train", story, "--runs", runs, *TINY, option, text).stdout.strip()
    assert metadata(Path(made), "model_config")[field] == value


@pytest.mark.parametrize(
    ("option", "text", "field", "value"),
    [
        ("--batch-size", "3", "batch_size", 3),
        ("--seq-len", "7", "seq_len", 7),
        ("--learning-rate", "0.5", "learning_rate", 0.5),
        ("--grad-clip", "0", "grad_clip", 0.0),
        ("--weight-decay", "0.3", "weight_decay", 0.3),
        ("--patience", "0", "patience", 0),
        ("--eval-every", "1.5k", "eval_every", 1500),
        ("--save-every", "1k", "save_every", 1000),
        ("--save-every", "1m", "save_every_s", 60.0),
        ("--save-every", "90s", "save_every_s", 90.0),
        ("--seed", "9", "seed", 9),
        ("--device", "cpu", "device", "cpu"),
        ("--threads", "1", "threads", 1),
    ],
)
def test_an_option_reaches_the_training(
    option: str, text: str, field: str, value: object, story: Path, runs: Path
) -> None:
    succeed("train", story, "--runs", runs, *TINY, option, text)
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert state["training_config"][field] == value


def test_a_time_budget_begins_with_the_program(story: Path, runs: Path) -> None:
    """Its clock is handed to the command; here 25 s have passed before it."""
    args = ["train", str(story), "--runs", str(runs), *SMALL, "--max-time", "10s"]
    result = CliRunner().invoke(app, args, obj=Clock(0.01, now_s=25.0))
    assert result.exit_code == 0, result.exception
    assert re.search(r"done after \d+ steps, 0:2[67]", result.stderr), "a tenth of it is trained"


@pytest.mark.parametrize(
    ("option", "field"), [(("--epochs", "0.1"), "epochs"), (("--max-time", "0.2s"), "max_time")]
)
def test_other_limits_end_a_training(
    option: tuple[str, str], field: str, story: Path, runs: Path
) -> None:
    succeed("train", story, "--runs", runs, *SMALL, *option)
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert state["training_config"][field] == float(option[1].rstrip("s"))


def test_a_run_repeats_and_a_seed_changes_it(story: Path, runs: Path) -> None:
    def weights(*more: str) -> bytes:
        made = succeed("train", story, "--runs", runs, *TINY, *more).stdout.strip()
        with safe_open(made, framework="np") as file:
            return bytes(file.get_tensor("output.W_y").tobytes())

    assert weights() == weights() != weights("--seed", "1")


def test_a_small_text_shrinks_the_settings_and_one_line_reports_it(
    story: Path, tmp_path: Path, runs: Path
) -> None:
    small = tmp_path / "small.txt"
    small.write_text(story.read_text()[:300])
    lines = succeed("train", small, "--runs", runs, *TINY).stderr.splitlines()
    assert len([line for line in lines if "small text" in line and "instead of 32" in line]) == 1


def test_every_tenth_line_may_be_held_out(story: Path, runs: Path) -> None:
    story.write_text("train\n" * 9 + "held out\n")
    succeed("train", story, "--runs", runs, *TINY, "--split", "lines")
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert (state["data_config"]["hold_out"], state["data_config"]["split"]) == ("lines", "train")
    succeed("train", "--resume", "--runs", runs, "--split", "lines", "--steps", "6")


@pytest.mark.parametrize("more", [("--val-source", "story.txt"), ("--val-fraction", "0")])
def test_held_out_lines_go_with_no_other_validation(
    more: tuple[str, str], story: Path, runs: Path
) -> None:
    error = fail("train", story, "--runs", runs, "--split", "lines", *more, code=2)
    assert "give one of them" in error and "--split lines" in error and more[0] in error
    assert not runs.exists()


def test_another_split_is_that_of_a_dataset(story: Path, runs: Path) -> None:
    error = fail("train", story, "--runs", runs, "--split", "line", code=2)
    assert "it means nothing for plain text" in error


def test_standard_input_is_kept_and_read_more_than_once(story: Path, runs: Path) -> None:
    text = story.read_text()[:1000]
    limit = ("--hidden-size", "8", "--num-layers", "1", "--epochs", "3")
    succeed("train", "-", "--runs", runs, *limit, stdin=text)
    assert (runs / "stdin/stdin.txt").read_text() == text
    provenance = metadata(runs / "stdin/training.safetensors", "provenance")
    assert provenance["train_chars_read"] > 2 * 900
    succeed("train", "--resume", "--runs", runs, "--epochs", "4")


def test_folders_and_several_sources(tmp_path: Path, runs: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("I had coffee.\n" * 20)
    (texts / "b.txt").write_text("Anna had tea.\n" * 20)
    (texts / "c.bin").write_bytes(b"\0\1\2\3")
    notes = succeed("train", texts, "--runs", runs, *TINY).stderr
    assert f"files skipped that are no text, but a binary file: 1 ({texts / 'c.bin'})" in notes
    assert "560 characters" in notes
    both = succeed("train", texts / "a.txt", texts / "b.txt", "--runs", runs, *TINY).stderr
    assert "560 characters" in both
    globbed = succeed("train", texts / "*.txt", "--runs", runs, *TINY, "--name", "g").stderr
    assert "560 characters" in globbed


@posix
def test_a_pipe_as_source_is_read_once_or_refused(tmp_path: Path) -> None:
    text = b"I had coffee today.\n" * 2**20  # more than is held in memory
    train = (*COMMAND, "train", "/dev/stdin", "--runs", tmp_path / "r", *SMALL, "--steps", "1")
    result = run(*train, stdin=text)
    assert result.returncode in (0, 1)
    assert b"Traceback" not in result.stderr


# --- train --resume, --init-from


@pytest.mark.parametrize("how", ["newest", "name", "folder", "name as source"])
def test_a_run_is_resumed(how: str, story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    which = {
        "newest": [],
        "name": ["--name", "story"],
        "folder": [runs / "story"],
        "name as source": ["story"],
    }[how]
    result = succeed("train", "--resume", *which, "--runs", runs, "--steps", "8")
    assert result.stdout == f"{runs}/story/model.safetensors\n"
    assert "resumed at step 5" in result.stderr
    last = (runs / "story/history.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == 8


def test_bfloat16_is_shown_or_refused(
    story: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("train", story, "--runs", runs, *TINY, "--precision", "bf16")
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: False)
    assert "no bfloat16 products" in fail(*args, code=2)
    assert contents(runs) == []
    monkeypatch.setattr("charrnn.model.precision.has_bfloat16", lambda: True)
    assert re.search(r"; batch \d+ x 64, bfloat16\n", succeed(*args).stderr)
    config = metadata(runs / "story/training.safetensors", "training_state")["training_config"]
    assert config["precision"] == "bf16"


def test_the_optimiser_is_chosen(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY, "--optimizer", "adamw")
    config = metadata(runs / "story/training.safetensors", "training_state")["training_config"]
    assert config["optimizer"] == "adamw"


def test_a_run_that_is_over_stays_as_it_is(story: Path, runs: Path) -> None:
    model = Path(succeed("train", story, "--runs", runs, *TINY).stdout.strip())
    before = model.read_bytes()
    assert succeed("train", "--resume", "--runs", runs).stdout == f"{model}\n"
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    "change", [("--hidden-size", "9"), ("--seed", "3"), ("--unit", "byte"), ("--batch-size", "2")]
)
def test_a_resumed_run_takes_no_other_settings(
    change: tuple[str, str], story: Path, runs: Path
) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    before = (runs / "story/training.safetensors").read_bytes()
    error = fail("train", "--resume", "--runs", runs, "--steps", "8", *change)
    assert change[0] in error and change[1] in error
    assert (runs / "story/training.safetensors").read_bytes() == before


def test_a_resumed_run_takes_its_own_settings_again(story: Path, runs: Path) -> None:
    same = ("--hidden-size", "8", "--num-layers", "1", "--batch-size", "32", "--seq-len", "64")
    assert "batch size 21" in succeed("train", story, "--runs", runs, *same, "--steps", "5").stderr
    succeed("train", "--resume", "--runs", runs, *same, "--steps", "8")


def test_resume_needs_the_text_as_it_was(story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    story.write_text(story.read_text().replace("Anna", "Emma"))
    assert "has changed" in fail("train", "--resume", "--runs", runs, "--steps", "8")
    story.unlink()
    assert str(story) in fail("train", "--resume", "--runs", runs, "--steps", "8")


@pytest.mark.parametrize("what", ["text", "nothing", "model file"])
def test_resume_of_what_is_no_run_asks_for_a_run(what: str, story: Path, runs: Path) -> None:
    if what == "nothing":
        assert "no run" in fail("train", "--resume", "--runs", runs)
        return
    succeed("train", story, "--runs", runs, *TINY)
    wrong = story if what == "text" else runs / "story/model.safetensors"
    code = 2 if what == "text" else 1
    error = fail("train", "--resume", wrong, "--runs", runs, code=code)
    assert "data_config" not in error and "deserializing" not in error
    assert "run" in error


def test_resume_does_not_go_with_other_weights(story: Path, runs: Path, letters: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    assert call("train", "--resume", "--runs", runs, "--init-from", letters).exit_code == 2
    assert "--init-from" in fail("train", story, "--runs", runs, "--keep-characters", code=2)


def test_init_from_takes_over_weights(story: Path, runs: Path, letters: Path) -> None:
    result = succeed("train", story, "--runs", runs, "--steps", "1", "--init-from", letters)
    assert re.search(r"\d+ characters taken over, \d+ new, \d+ dropped", result.stderr)
    assert metadata(runs / "story/model.safetensors", "model_config")["hidden_size"] == 8
    error = fail("train", story, "--runs", runs, "--init-from", letters, "--hidden-size", 9, code=2)
    assert "--hidden-size" in error
    assert "nope" in fail("train", story, "--runs", runs, "--init-from", "nope")


def test_a_run_that_was_moved_finds_its_kept_text(runs: Path) -> None:
    succeed("train", "-", "--runs", runs, *TINY, stdin="I had coffee today.\n" * 40)
    (runs / "stdin").rename(runs / "moved")
    result = succeed("train", "--resume", runs / "moved", "--steps", "9")
    assert result.stdout == f"{runs / 'moved' / 'model.safetensors'}\n"


def test_a_byte_model_is_trained_on_bytes(story: Path, tmp_path: Path, runs: Path) -> None:
    """And the notes, the lines and the errors say so."""
    args = ("--runs", runs, "--unit", "byte", *TINY)
    lines = succeed("train", story, *args).stderr.partition("try: ")[0]
    assert re.search(r"[\d,]+ bytes, 256 distinct", lines) and "bits/byte" in lines
    assert "bytes/s" in lines and not re.search("char(?!rnn)", lines.replace(str(tmp_path), ""))
    assert "256 bytes taken over" in succeed("train", story, *args, "--init-from", "story").stderr
    for text, words in (("short", "5 bytes; training needs"), ("a" * 50, "its 50 bytes are all")):
        (tmp_path / "bad").write_text(text)
        assert words in fail("train", tmp_path / "bad", *args)


def test_a_sample_on_the_panel_is_text_whatever_the_bytes(tmp_path: Path) -> None:
    trainer = small_runs.start(tmp_path, unit="byte", steps=1)
    evaluated = next(event for event in trainer.events() if isinstance(event, Evaluated))
    assert "\ufffd" in train._short_sample(trainer, evaluated)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a name is always of characters")
def test_folders_whose_names_are_no_characters_can_be_used(story: Path, tmp_path: Path) -> None:
    """Standard output has the exact bytes of a path, and the command to resume works as it is."""
    folder = tmp_path / os.fsdecode(b"\xff\xfe it's")
    folder.mkdir()
    text = folder / os.fsdecode(b"t\xe9xt.txt")
    text.write_bytes(story.read_bytes())
    done = run(*COMMAND, "train", text, "--runs", folder / "runs", *TINY, "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")
    model = Path(os.fsdecode(done.stdout.removesuffix(b"\n")))
    assert model.parents[1] == folder / "runs" and model.is_file()
    sampled = run(*COMMAND, "sample", "--model", model, "--length", 5)
    assert sampled.returncode == 0 and len(sampled.stdout) >= 5
    for name in (model, model.parent):
        scored = run(*COMMAND, "eval", "--json", "--model", name, text)
        assert json.loads(scored.stdout)["chars"] == len(story.read_text())
        assert json.loads(scored.stdout)["model"] == str(model)
    resumed = run("bash", "-c", f"{shlex.join(COMMAND)} train --resume {quoted(model.parent)}")
    assert resumed.stdout == done.stdout


@posix
@pytest.mark.parametrize("name", ["plain", "it's a run", "-x"])
def test_what_to_try_next_works_as_it_is_printed(name: str, story: Path, tmp_path: Path) -> None:
    """Also the name that needs quotes, in a folder of runs of its own."""
    runs = tmp_path / "my runs"
    result = succeed("train", story, "--name", name, *TINY, CHARRNN_RUNS=str(runs))
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("try: "))
    assert quoted(runs / name) in line
    commands = f"cd {quoted(tmp_path)}; {line.removeprefix('try: ')}"
    program = f'charrnn() {{ {shlex.join(COMMAND)} "$@"; }}; {commands}'
    done = run("bash", "-e", "-c", program)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 400
    assert (tmp_path / "report.html").read_bytes().lower().startswith(b"<!doctype html>")
    (again,) = (line for line in succeed("train", "--resume", runs / name).stderr.splitlines()[-1:])
    assert again == line
    assert "try: " not in succeed("train", story, "--runs", runs, *TINY, "--quiet").stderr
