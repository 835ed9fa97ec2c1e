"""The command line as a shell user meets it: what is printed where, exit codes, files left behind.

Everything runs in this process; what needs a real process is in ``test_process.py``.
"""

import json
import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from typer.main import get_command
from typer.testing import CliRunner, Result

import charrnn
from charrnn import cli
from charrnn.cli import _count, _Signals, app

TINY = ("--hidden-size", "8", "--num-layers", "1", "--steps", "5")
TIMES = ("seconds", "chars_per_second")
JSON_KEYS = [
    "chars",
    "bytes",
    "nats_per_char",
    "bits_per_char",
    "bits_per_byte",
    "perplexity",
    "unknown_chars",
    *TIMES,
    "model",
    "one_pass",
]


def call(*args: object, stdin: str | bytes | None = None, **env: str) -> Result:
    """Runs ``charrnn`` with some arguments."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, env=env)


def succeed(*args: object, stdin: str | bytes | None = None, **env: str) -> Result:
    """Runs ``charrnn``, which must do what it was asked for."""
    result = call(*args, stdin=stdin, **env)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result


def fail(*args: object, stdin: str | bytes | None = None, code: int = 1) -> str:
    """Runs ``charrnn``, which must end with one line on standard error; returns it."""
    result = call(*args, stdin=stdin)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("charrnn: ")
    assert result.stderr.count("\n") == 1, result.stderr
    here = result.stderr.replace("train with --unit byte", "")
    offered = set(re.findall(r"--[a-z][a-z-]*", here))
    assert offered <= options(str(args[0])), "an error offers options that the command lacks"
    return result.stderr


def options(command: str) -> set[str]:
    """Returns the options of a command."""
    group: Any = get_command(app)
    return {name for param in group.commands[command].params for name in param.opts}


def left_in(runs: Path) -> list[Path]:
    """Returns everything that is in the folder of runs."""
    return sorted(runs.rglob("*"))


def metadata(model: Path, key: str) -> Any:
    """Returns a JSON value of a model file's metadata."""
    with safe_open(model, framework="np") as file:
        return json.loads(file.metadata()[key])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs that does not exist yet."""
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, ``letters`` and ``raw``, the newest; nobody may change it."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "letters.txt"
    text.write_text("I had coffee today, naïve café.\nShe said so!\n" * 50, encoding="utf-8")
    succeed("train", text, "--runs", folder / "runs", *TINY[:4], "--steps", "200")
    succeed("train", text, "--runs", folder / "runs", *TINY, "--unit", "byte", "--name", "raw")
    os.utime(folder / "runs/letters/model.safetensors", (1, 1))
    return folder / "runs"


@pytest.fixture
def letters(trained: Path) -> Path:
    """The run of characters."""
    return trained / "letters"


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
    names = [path.name for path in left_in(runs / "story")]
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
    before = left_in(story.parent)
    given = name.format(story.parent)
    result = call("train", story, "--runs", runs, *TINY, "--name", given)
    assert result.exit_code == 2, result.stdout
    assert left_in(story.parent) == before


def test_quiet_says_nothing(story: Path, runs: Path) -> None:
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


@pytest.mark.parametrize(
    ("option", "field"), [(("--epochs", "0.1"), "epochs"), (("--max-time", "0.2s"), "max_time")]
)
def test_other_limits_end_a_training(
    option: tuple[str, str], field: str, story: Path, runs: Path
) -> None:
    succeed("train", story, "--runs", runs, *TINY[:4], *option)
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert state["training_config"][field] == float(option[1].rstrip("s"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1m", 60.0), ("1h30m", 5400.0), ("1.5m", 90.0)]
)
def test_durations_have_units(text: str, seconds: float, story: Path, runs: Path) -> None:
    succeed("train", story, "--runs", runs, *TINY)
    # the run is over at once: its five steps are what the new limit is asked about
    succeed("train", "--resume", "--runs", runs, "--save-every", text + "s" * (text == "90"))
    state = metadata(runs / "story/training.safetensors", "training_state")
    assert state["training_config"]["save_every_s"] == seconds


def test_a_run_repeats_and_a_seed_changes_it(story: Path, runs: Path) -> None:
    def weights(*more: str) -> bytes:
        made = succeed("train", story, "--runs", runs, *TINY, *more).stdout.strip()
        with safe_open(made, framework="np") as file:
            return bytes(file.get_tensor("output.W_y").tobytes())

    assert weights() == weights() != weights("--seed", "1")


def test_a_small_text_shrinks_the_settings_and_says_so_in_a_line(
    story: Path, tmp_path: Path, runs: Path
) -> None:
    small = tmp_path / "small.txt"
    small.write_text(story.read_text()[:300])
    told = succeed("train", small, "--runs", runs, *TINY).stderr.splitlines()
    assert len([line for line in told if "small text" in line and "instead of 32" in line]) == 1


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
    told = succeed("train", texts, "--runs", runs, *TINY).stderr
    assert "1 binary file" in told and "c.bin" in told
    assert "560 characters" in told
    both = succeed("train", texts / "a.txt", texts / "b.txt", "--runs", runs, *TINY).stderr
    assert "560 characters" in both
    globbed = succeed("train", texts / "*.txt", "--runs", runs, *TINY, "--name", "g").stderr
    assert "560 characters" in globbed


# --- train --resume, --init-from


@pytest.mark.parametrize("how", ["newest", "name", "folder", "name as source"])
def test_a_run_goes_on(how: str, story: Path, runs: Path) -> None:
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
def test_resume_of_what_is_no_run_says_what_to_name(what: str, story: Path, runs: Path) -> None:
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


# --- sample


def test_sample_without_options_uses_the_newest_run_and_says_so(trained: Path) -> None:
    result = succeed("sample", "--runs", trained)
    model, seed = result.stderr.splitlines()
    assert model == f"model {trained}/raw/model.safetensors"
    again = succeed("sample", "--runs", trained, "--seed", seed.removeprefix("seed "))
    assert again.stdout == result.stdout
    assert again.stderr == f"{model}\n"


@pytest.mark.parametrize("given", ["letters", "{}/letters", "{}/letters/model.safetensors"])
def test_a_model_is_a_file_a_folder_or_a_name(given: str, trained: Path) -> None:
    one = ("--seed", "1", "--length", "20")
    result = succeed("sample", "--runs", trained, "--model", given.format(trained), *one)
    assert len(result.stdout) == 20
    assert result.stderr == "", "a model that was named need not be named again"


def test_a_copied_model_is_complete_alone(letters: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((letters / "model.safetensors").read_bytes())
    assert len(succeed("sample", "--model", copy, "--length", "7").stdout) == 7


@pytest.mark.parametrize(("length", "chars"), [("1", 1), ("77", 77), ("1k", 1000), ("1.5k", 1500)])
def test_length_counts_characters_after_the_prompt(length: str, chars: int, letters: Path) -> None:
    result = succeed("sample", "--model", letters, "--length", length, "--prompt", "I had")
    assert result.stdout.startswith("I had")
    assert len(result.stdout) == chars + len("I had")


def test_the_prompt_changes_the_text_and_can_be_left_out(letters: Path) -> None:
    one = ("--model", letters, "--length", "50", "--seed", "1")
    echoed = succeed("sample", *one, "--prompt", "café").stdout
    alone = succeed("sample", *one, "--prompt", "café", "--no-echo").stdout
    assert echoed == "café" + alone
    assert alone != succeed("sample", *one).stdout
    assert succeed("sample", *one, "--prompt", "-", stdin="café").stdout == echoed


@pytest.mark.parametrize("count", [1, 2, 5])
def test_count_writes_samples_with_a_newline_between(count: int, letters: Path) -> None:
    args = ("--model", letters, "--length", "9", "--prompt", "So", "--stop", "\n")
    many = succeed("sample", *args, "--count", count, "--seed", "4").stdout
    samples = many.split("\n")
    assert len(samples) == count
    assert all(one.startswith("So") and len(one) <= 11 for one in samples)
    assert samples[0] == succeed("sample", *args, "--seed", "4").stdout


def test_stop_ends_the_text_before_it(letters: Path) -> None:
    one = ("--model", letters, "--seed", "1", "--length", "300")
    whole = succeed("sample", *one).stdout
    stop, other = whole[100:103], whole[50:53]
    assert succeed("sample", *one, "--stop", stop).stdout == whole[: whole.index(stop)]
    first = min(whole.index(stop), whole.index(other))
    assert succeed("sample", *one, "--stop", stop, "--stop", other).stdout == whole[:first]


@pytest.mark.parametrize("certain", [("--temperature", "0"), ("--top-k", "1")])
def test_the_most_probable_text_needs_no_seed(certain: tuple[str, str], letters: Path) -> None:
    texts = [
        succeed("sample", "--model", letters, *certain, "--seed", seed).stdout for seed in (1, 2)
    ]
    assert texts[0] == texts[1]


def test_temperature_zero_names_no_seed(letters: Path) -> None:
    assert succeed("sample", "--model", letters, "--temperature", "0").stderr == ""


@pytest.mark.parametrize("option", ["--temperature", "--top-k", "--top-p", "--min-p"])
def test_each_way_of_drawing_does_something(option: str, letters: Path) -> None:
    one = ("--model", letters, "--seed", "1", "--length", "200")
    value = {"--temperature": "3", "--top-k": "2", "--top-p": "0.3", "--min-p": "0.9"}[option]
    assert succeed("sample", *one, option, value).stdout != succeed("sample", *one).stdout


def test_unknown_characters_of_a_prompt(letters: Path) -> None:
    one = ("--model", letters, "--length", "5")
    error = fail("sample", *one, "--prompt", "I 🚀 had ☃")
    assert "U+1F680" in error and "U+2603" in error and "--on-unknown skip" in error
    result = succeed("sample", *one, "--prompt", "I 🚀 had ☃", "--on-unknown", "skip")
    assert "left out: 2" in result.stderr
    assert len(result.stdout) == len("I 🚀 had ☃") + 5


@pytest.mark.parametrize("prompt", ["日本", b"caf\xe9 \xff"])
def test_a_byte_model_goes_on_from_anything(prompt: str | bytes, trained: Path) -> None:
    given = prompt.encode() if isinstance(prompt, str) else prompt
    result = succeed("sample", "--model", trained / "raw", "--prompt", "-", stdin=given)
    assert result.stdout_bytes.startswith(given)


PROMPTS = ["I had", "", "She"]


def written_from(letters: Path, prompt: str, seed: int, *options: str) -> str:
    """Returns what one sample writes after its prompt."""
    one = ("--model", letters, "--length", "30", "--prompt", prompt, "--no-echo", "--seed", seed)
    return succeed("sample", *one, *options).stdout


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_each_prompt_is_gone_on_from_in_order(ending: str, letters: Path, tmp_path: Path) -> None:
    """With a seed of its own, that makes it alone too; more than are made side by side."""
    text = (ending or "\n").join(PROMPTS) + ending
    (tmp_path / "prompts").write_bytes(text.encode())
    args = ("sample", "--model", letters, "--length", "30", "--seed", "5", "--separator", "@")
    wanted = [p + written_from(letters, p, 5 + i) for i, p in enumerate(PROMPTS)]
    for source, stdin in ((tmp_path / "prompts", None), ("-", text)):
        out = succeed(*args, "--prompts", source, stdin=stdin).stdout
        assert out == "".join(f"{one}@" for one in wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "SAMPLES_AT_ONCE", 2)
        assert succeed(*args, "--prompts", "-", stdin=text).stdout == out


def test_names_are_completed_line_by_line(letters: Path) -> None:
    args = ("sample", "--model", letters, "--prompts", "-", "--stop", "\n", "--seed", "1")
    lines = succeed(*args, stdin="I had\nShe\n").stdout.split("\n")
    assert len(lines) == 3 and lines[2] == ""
    assert lines[0].startswith("I had") and lines[1].startswith("She")
    assert succeed(*args, stdin="").stdout == ""


def test_json_tells_all_of_a_sample(letters: Path, tmp_path: Path) -> None:
    args = ("--model", letters, "--json", "--seed", "5", "--temperature", "0.7", "--top-p", "0.9")
    options = ("--temperature", "0.7", "--top-p", "0.9")
    given = "\n".join(PROMPTS)
    lines = succeed("sample", *args, "--length", "30", "--prompts", "-", stdin=given).stdout
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS
    for row in rows:
        assert row["text"] == written_from(letters, row["prompt"], row["seed"], *options)
        assert (row["temperature"], row["top_p"], row["top_k"], row["length"]) == (0.7, 0.9, 0, 30)
        assert row["model"] == f"{letters}/model.safetensors"
        # what eval says of that text after that prompt
        parts = []
        for name in ("prompt", "text"):
            if row[name]:
                parts.append(tmp_path / name)
                parts[-1].write_text(row[name])
        scored = succeed("eval", "--model", letters, "--json", "--carry", *parts).stdout
        found = json.loads(scored)
        bits = found["sources"][-1]["bits_per_char"] if len(parts) > 1 else found["bits_per_char"]
        assert row["bits_per_char"] == pytest.approx(bits, abs=1e-5)


def test_json_of_nothing_written(letters: Path) -> None:
    stops = [option for letter in " \nIShe" for option in ("--stop", letter)]
    args = ("sample", "--model", letters, "--json", "--temperature", "0", *stops)
    row = json.loads(succeed(*args).stdout)
    assert (row["text"], row["bits_per_char"]) == ("", None)


def test_samples_of_each_prompt(letters: Path) -> None:
    args = ("sample", "--model", letters, "--length", "5", "--count", "2", "--seed", "1")
    rows = succeed(*args, "--prompts", "-", "--separator", "|", stdin="I\nS").stdout.split("|")
    assert [row[:1] for row in rows] == ["I", "I", "S", "S", ""]


def test_an_unknown_character_names_its_prompt(letters: Path) -> None:
    args = ("sample", "--model", letters, "--prompts", "-")
    assert "prompt 2: " in fail(*args, stdin="I had\nI ☃\n")
    skipped = succeed(*args, "--on-unknown", "skip", stdin="I had\nI ☃\n")
    assert "left out: 1" in skipped.stderr
    assert "cannot be read" in fail("sample", "--model", letters, "--prompts", "no/such/file")


# --- eval


def test_the_table_and_the_json_say_the_same(letters: Path) -> None:
    args = ("eval", "--model", letters)
    table = succeed(*args, stdin="I had café.\n").stdout
    figures = json.loads(succeed(*args, "--json", stdin="I had café.\n").stdout)
    assert list(figures) == JSON_KEYS
    assert figures["chars"] == 12 and figures["bytes"] == 13 and figures["unknown_chars"] == 0
    assert figures["model"] == f"{letters}/model.safetensors"
    assert figures["bits_per_byte"] * 13 == pytest.approx(figures["bits_per_char"] * 12)
    for figure in (f"{figures['bits_per_char']:.4f}", f"{figures['perplexity']:.3f}", "12", "13"):
        assert re.search(rf"\s{re.escape(figure)}\n", table)


def test_files_standard_input_and_a_dash_score_alike(letters: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("She had coffee, and I said so.\n")
    args = ("eval", "--model", letters, "--json")
    texts = [
        succeed(*args, text).stdout,
        succeed(*args, stdin=text.read_bytes()).stdout,
        succeed(*args, "-", stdin=text.read_bytes()).stdout,
    ]
    figures, *others = ({**json.loads(t), **dict.fromkeys(TIMES)} for t in texts)
    assert others == [figures, figures]
    twice = json.loads(succeed(*args, text, text).stdout)
    assert twice["chars"] == 2 * 31 and twice["bits_per_char"] == figures["bits_per_char"]
    assert [one["source"] for one in twice["sources"]] == [str(text)] * 2
    assert "total" in succeed("eval", "--model", letters, text, text).stdout


def test_a_source_cut_in_two_with_the_state_carried_is_the_whole(
    letters: Path, tmp_path: Path
) -> None:
    text = "I had coffee today.\nShe had coffee, and I said so.\n" * 3
    whole, *parts = (tmp_path / name for name in ("whole", "a", "b"))
    whole.write_text(text)
    parts[0].write_text(text[:37])
    parts[1].write_text(text[37:])
    args = ("eval", "--model", letters)
    wanted = json.loads(succeed(*args, "--json", whole).stdout)["bits_per_char"]
    carried = json.loads(succeed(*args, "--json", "--carry", *parts).stdout)["bits_per_char"]
    assert carried == pytest.approx(wanted, abs=1e-6)
    apart = json.loads(succeed(*args, "--json", *parts).stdout)["bits_per_char"]
    assert abs(apart - wanted) > 1e-4
    rows = succeed(*args, "--per-char", "--carry", *parts).stdout.splitlines()
    assert rows[37].startswith("0\t")  # an offset is of its source
    bits = [float(row.split("\t")[2]) for row in rows]
    assert sum(bits) / len(text) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("way", [(), ("--per-line",), ("--per-char",), ("--json",)])
def test_an_error_names_the_source_that_it_is_in(
    way: tuple[str, ...], letters: Path, tmp_path: Path
) -> None:
    good, bad, empty = (tmp_path / name for name in ("good", "bad", "empty"))
    good.write_text("I had\n")
    bad.write_text("I had\nI ☃\n")
    empty.write_text("")
    result = call("eval", "--model", letters, *way, good, bad)
    line = "line 2: " if way == ("--per-line",) else ""
    assert result.exit_code == 1
    assert result.stderr.startswith(f"charrnn: {bad}: {line}the model does not know '☃'")
    assert ("I had" in result.stdout) == (way == ("--per-line",))
    if way != ("--per-line",):
        assert f"{empty}: nothing to score" in call("eval", "--model", letters, *way, empty).stderr


def test_one_pass_and_parallel_streams_agree_and_say_so(letters: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("She had coffee, and I said so.\nI had tea.\n" * 300)
    args = ("eval", "--model", letters, text)
    found = [json.loads(succeed(*args, "--json", *way).stdout) for way in ((), ("--exact",))]
    assert [one["one_pass"] for one in found] == [False, True]
    assert abs(found[0]["bits_per_char"] - found[1]["bits_per_char"]) < 0.0005
    assert "parallel streams" in succeed(*args).stdout
    assert "one pass" in succeed(*args, "--exact").stdout


def test_a_heat_map_needs_colours(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("eval", "--model", letters, "--heatmap")
    assert "--per-char" in fail(*args, stdin="I had\n", code=2)
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    shown = succeed(*args, stdin="I had caf\n").stdout
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).startswith("I had caf")
    assert "\x1b[" in shown and "8 or more" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    fail(*args, stdin="I had\n", code=2)


def test_eval_says_which_run_it_uses(trained: Path) -> None:
    result = succeed("eval", "--runs", trained, "--json", stdin="coffee")
    assert result.stderr == f"model {trained}/raw/model.safetensors\n"


def test_each_line_is_a_text_of_its_own(letters: Path) -> None:
    lines = succeed("eval", "--model", letters, "--per-line", stdin="I had\n\nShe\r\nI had").stdout
    rows = [line.split("\t") for line in lines.split("\n")]
    assert [row[1] for row in rows[:-1]] == ["I had", "", "She", "I had"]
    assert rows[-1] == [""]
    assert rows[0] == rows[3] and rows[1][0] == "0.0000"
    alone = json.loads(succeed("eval", "--model", letters, "--json", stdin="I had").stdout)
    assert float(rows[0][0]) == pytest.approx(alone["bits_per_char"], abs=1e-4)


def test_each_character_has_a_row_and_the_rows_sum_to_the_whole(letters: Path) -> None:
    text = "I had\n café"
    rows = succeed("eval", "--model", letters, "--per-char", stdin=text).stdout.splitlines()
    fields = [row.split("\t") for row in rows]
    assert [int(row[0]) for row in fields] == list(range(len(text)))
    assert [row[1] for row in fields] == ["\\n" if c == "\n" else c for c in text]
    whole = json.loads(succeed("eval", "--model", letters, "--json", stdin=text).stdout)
    mean = sum(float(row[2]) for row in fields) / len(fields)
    assert mean == pytest.approx(whole["bits_per_char"], abs=1e-4)
    assert all(int(row[3]) >= 1 and (row[3] != "1" or row[4] == row[1]) for row in fields)


def test_the_context_curve_as_table_and_json(letters: Path) -> None:
    args = ("eval", "--model", letters, "--context-curve")
    text = "I had coffee today.\n" * 10
    table = succeed(*args, stdin=text).stdout.splitlines()
    found = json.loads(succeed(*args, "--json", stdin=text).stdout)
    points = found["curve"]
    assert found["within_1_percent"] in {point["context"] for point in points}
    assert set(points[0]) == {"context", "bits_per_char", "standard_error"}
    assert [point["context"] for point in points] == [0, 1, 2, 4, 8, 16, 32, 64]
    assert [int(line.split()[0]) for line in table[1:-1]] == [point["context"] for point in points]
    assert all(a["context"] < b["context"] for a, b in pairwise(points))


@pytest.mark.parametrize("way", ["--per-line", "--per-char"])
def test_json_is_json_or_refused(way: str, letters: Path) -> None:
    result = call("eval", "--model", letters, "--json", way, stdin="I had\n")
    if result.exit_code != 2:
        for line in result.stdout.splitlines():
            assert isinstance(json.loads(line), dict)


def test_unknown_characters_of_a_text(letters: Path) -> None:
    error = fail("eval", "--model", letters, stdin="I @ had #")
    assert "'@' (U+0040)" in error and "'#' (U+0023)" in error and "--on-unknown skip" in error
    args = ("eval", "--model", letters, "--json", "--on-unknown", "skip")
    figures = json.loads(succeed(*args, stdin="I @ had #").stdout)
    assert (figures["chars"], figures["unknown_chars"], figures["bytes"]) == (7, 2, 7)
    assert "nothing to score" in fail(*args, stdin="@@")


@pytest.mark.parametrize("way", [(), ("--json",), ("--context-curve",)])
def test_an_empty_text_has_no_score(way: tuple[str, ...], letters: Path) -> None:
    fail("eval", "--model", letters, *way, stdin="")


def test_bytes_end_to_end(tmp_path: Path, runs: Path) -> None:
    raw = tmp_path / "raw.dat"
    raw.write_bytes(bytes(range(256)) * 8)
    succeed("train", raw, "--runs", runs, *TINY, "--unit", "byte")
    args = ("--runs", runs, "--model", "raw")
    figures = json.loads(succeed("eval", *args, "--json", raw).stdout)
    assert figures["chars"] == figures["bytes"] == 2048
    assert figures["bits_per_char"] == figures["bits_per_byte"]
    assert succeed("eval", *args, "--per-line", stdin=b"\xff\n\xfe").stdout_bytes.count(b"\n") == 2
    rows = succeed("eval", *args, "--per-char", stdin=b"\xffa").stdout.splitlines()
    assert [row.split("\t")[1] for row in rows] == ["\\xff", "a"]
    assert len(succeed("sample", *args, "--length", "40", "--no-echo").stdout) <= 40


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings(encoding: str, letters: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("naïve café\n", encoding=encoding)
    args = ("eval", "--model", letters, "--json")
    figures = json.loads(succeed(*args, text, "--encoding", encoding).stdout)
    assert figures["chars"] == 11 and figures["bytes"] == 13


def test_the_column_of_a_table(letters: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": "I had", "b": "She"}\n' * 3)
    args = ("eval", "--model", letters, "--json", rows)
    assert "--column" in fail(*args)
    assert json.loads(succeed(*args, "--column", "b").stdout)["chars"] == 12


# --- what goes wrong: one line, exit code 1, nothing left behind


# a name, the file's bytes (None: no file), and what the error must say
BAD_SOURCES = [
    ("missing.txt", None, "no such file"),
    ("empty.txt", b"", "empty"),
    ("same.txt", b"a" * 100, "'a'"),
    ("short.txt", b"I had", "at least"),
    ("bad.txt", b"I had coffee\n" * 10 + b"\xff", "at byte 130"),
    ("cut.gz", b"\x1f\x8b\x08\x00", "damaged"),
    ("no-gzip.gz", b"I had coffee", "damaged"),
    ("bad.jsonl", b"{", "bad.jsonl"),
    ("nothing*.txt", None, "nothing*.txt"),
    ("x" * 5000, None, "xxx"),
]


@pytest.mark.parametrize(
    ("name", "data", "says"), BAD_SOURCES, ids=[name[:12] for name, _, _ in BAD_SOURCES]
)
def test_a_text_that_cannot_be_learnt(
    name: str, data: bytes | None, says: str, tmp_path: Path, runs: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    error = fail("train", f"{tmp_path}/{name}", "--runs", runs, *TINY)
    assert says in error
    assert left_in(runs) == []


def test_a_broken_encoding_names_the_ways_out(letters: Path, tmp_path: Path, runs: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"caf\xe9 " * 50)
    error = fail("train", bad, "--runs", runs, *TINY)
    assert "at byte 3" in error and "--encoding" in error and "--unit byte" in error
    assert "--encoding" in fail("eval", "--model", letters, bad)


def test_a_folder_without_text(tmp_path: Path, runs: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "no text" in fail("train", folder, "--runs", runs, *TINY)
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    (folder / ".hidden").write_text("I had coffee\n" * 20)
    assert "no text" in fail("train", folder, "--runs", runs, *TINY)
    assert left_in(runs) == []


def test_an_unreadable_file(story: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(self: Path, *args: Any, **more: Any) -> Any:
        if self == story:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)
    error = fail("train", story, "--runs", runs, *TINY)
    assert str(story) in error and "Permission denied" in error
    assert left_in(runs) == []


@pytest.mark.parametrize(
    "text",
    [b"", b"I had", b"a" * 99, b"I had coffee\n" * 9 + b"\xff"],
    ids=["empty", "short", "one character", "broken"],
)
def test_standard_input_that_cannot_be_learnt(text: bytes, runs: Path) -> None:
    error = fail("train", "-", "--runs", runs, *TINY, stdin=text)
    assert "standard input" in error and str(runs) not in error, "the user named no such file"
    assert left_in(runs) == []


def test_a_text_that_is_too_small_says_how_much_is_needed(tmp_path: Path, runs: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("I had")
    needed = int(re.findall(r"at least (\d+)", fail("train", text, "--runs", runs, *TINY))[0])
    text.write_text(("I had coffee. " * 10)[: needed - 1])
    fail("train", text, "--runs", runs, *TINY)
    text.write_text(("I had coffee. " * 10)[:needed])
    succeed("train", text, "--runs", runs, *TINY)


def test_a_folder_of_runs_that_is_a_file(story: Path) -> None:
    assert "--runs" in fail("train", story, "--runs", story, *TINY)


@pytest.mark.parametrize("command", ["sample", "eval"])
@pytest.mark.parametrize("model", ["none", "name", "no model", "long", "folder", "broken", "empty"])
def test_a_model_that_is_not_there(command: str, model: str, trained: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs" if model == "none" else trained
    text = tmp_path / "story.txt"
    text.write_text("I had coffee\n" * 20)
    whole = (trained / "letters/model.safetensors").read_bytes()
    (tmp_path / "broken.safetensors").write_bytes(whole[:-100])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    given, says = {
        "none": ([], "no run"),
        "name": (["--model", "nope"], "letters, raw"),
        "no model": (["--model", text], "not a charrnn model"),
        "long": (["--model", "x" * 5000], "x"),
        "folder": (["--model", tmp_path], "no model.safetensors"),
        "broken": (["--model", tmp_path / "broken.safetensors"], "not a charrnn model"),
        "empty": (["--model", tmp_path / "empty.safetensors"], "not a charrnn model"),
    }[model]
    assert says in fail(command, "--runs", runs, *given, stdin="")


# --- wrong usage: exit code 2, nothing written

OUT_OF_RANGE = {
    "train": [
        *(("--hidden-size", value) for value in ("0", "-1", "1.5", "x", "", "65537", "9" * 400)),
        *(("--num-layers", value) for value in ("0", "-1", "65", "1.5")),
        *(("--nonlinearity", value) for value in ("sin", "")),
        *(("--dropout", value) for value in ("1", "-0.1", "nan")),
        *(("--unit", value) for value in ("word", "")),
        *(("--encoding", value) for value in ("klingon", "hex", "")),
        *(("--val-fraction", value) for value in ("-0.1", "1", "nan")),
        *(("--batch-size", value) for value in ("0", "65537")),
        *(("--seq-len", value) for value in ("0", "65537")),
        *(("--learning-rate", value) for value in ("0", "-1", "nan", "inf")),
        *(("--grad-clip", value) for value in ("-1", "nan", "inf")),
        *(("--weight-decay", value) for value in ("-1", "nan", "inf")),
        *(("--epochs", value) for value in ("0", "-1", "nan", "inf")),
        *(("--steps", value) for value in ("0", "-1", "0.5", "5m")),
        *(("--max-time", value) for value in ("0", "0s", "-1s", "5x", "", "m", "9" * 400)),
        *(("--patience", value) for value in ("-1", "x")),
        *(("--eval-every", value) for value in ("0", "5s")),
        *(("--save-every", value) for value in ("0", "0s", "", "x")),
        *(("--seed", value) for value in ("-1", str(2**63), "x")),
        *(("--threads", value) for value in ("0", "-1", str(2**40))),
        *(("--device", value) for value in ("gpu", "", "cuda:99", "meta")),
        ("--no-such-option", "1"),
    ],
    "sample": [
        *(("--length", value) for value in ("-1", "0.5", "x")),
        *(("--temperature", value) for value in ("-1", "nan", "inf", "x")),
        *(("--top-k", value) for value in ("-1", "1.5")),
        *(("--top-p", value) for value in ("0", "1.1", "-1", "nan")),
        *(("--min-p", value) for value in ("-0.1", "1.1", "nan")),
        *(("--seed", value) for value in ("-1", str(2**63))),
        *(("--count", value) for value in ("0", "-1", "65537")),
        ("--stop", ""),
        ("--on-unknown", "ignore"),
        ("--threads", "0"),
    ],
    "eval": [("--on-unknown", "ignore"), ("--encoding", "klingon"), ("--threads", "0")],
}


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [(command, *pair) for command, pairs in OUT_OF_RANGE.items() for pair in pairs],
    ids=lambda value: value[:12],
)
def test_a_value_out_of_range(
    command: str, option: str, value: str, story: Path, runs: Path, trained: Path
) -> None:
    rest = (story, "--runs", runs) if command == "train" else ("--model", trained / "letters")
    result = call(command, *rest, option, value, stdin="I had")
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert option in re.sub(r"\W*\n\W*", " ", result.stderr)
    assert left_in(runs) == []


@pytest.mark.parametrize(
    "args",
    [
        ("train",),
        ("train", "t.txt", "--steps", "5", "--epochs", "1"),
        ("train", "t.txt", "--steps", "5", "--max-time", "1m"),
        ("train", "--resume", "a", "b"),
        ("train", "--resume", "a", "--name", "b"),
        ("sample", "--length", "0", "--count", "2"),
        ("sample", "--length", "0", "--json"),
        ("sample", "--length", "0", "--prompts", "t.txt"),
        ("sample", "--prompt", "a", "--prompts", "t.txt"),
        ("sample", "surplus"),
        ("eval", "--per-line", "--per-char"),
        ("eval", "--per-line", "--context-curve"),
        ("eval", "--heatmap", "--json"),
        ("learn", "t.txt"),
        ("--no-such-option",),
    ],
)
def test_options_that_contradict_each_other(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("I had coffee\n" * 20)
    result = call(*args)
    assert result.exit_code == 2 and result.stdout == "" and result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize(
    "args", [["--help"], ["-h"], ["train", "-h"], ["sample", "-h"], ["eval", "-h"]]
)
def test_help_goes_to_stdout(args: list[str]) -> None:
    result = succeed(*args)
    assert "Usage: " in result.stdout and result.stderr == ""
    assert "...]..." not in result.stdout


def test_version() -> None:
    assert succeed("--version").stdout == f"charrnn {charrnn.__version__}\n"


# --- what a review found


@pytest.mark.parametrize(
    ("text", "count"), [("1.001M", 1_001_000), ("0.3k", 300), ("12", 12), ("2K", 2000)]
)
def test_counts_are_exact(text: str, count: int) -> None:
    assert _count(text) == count


def test_a_hyphen_in_an_error_stays_a_hyphen(runs: Path) -> None:
    error = fail("train", "-", "--name", "a/b", "--runs", runs, stdin="I had coffee\n" * 9, code=2)
    assert "--name" in error
    assert "standard input" not in error


def test_a_run_that_was_moved_finds_its_kept_text(runs: Path) -> None:
    succeed("train", "-", "--runs", runs, *TINY, stdin="I had coffee today.\n" * 40)
    (runs / "stdin").rename(runs / "moved")
    result = succeed("train", "--resume", runs / "moved", "--steps", "9")
    assert result.stdout == f"{runs / 'moved' / 'model.safetensors'}\n"


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup, or in the background of a script."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _Signals() as signals:
            signals.training = True
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # again: some programs send it twice
        assert signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
