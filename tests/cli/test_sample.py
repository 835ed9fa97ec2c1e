"""``charrnn sample`` as a shell user meets it."""

import json
import shlex
from base64 import b64decode
from pathlib import Path

import pytest
from calls import fail, succeed
from processes import on_terminal, posix

from charrnn.display.console import without_control
from charrnn.sampling import generate


def test_sample_without_options_uses_the_newest_run_and_prints_it(trained: Path) -> None:
    result = succeed("sample", "--runs", trained)
    model, seed = result.stderr.splitlines()
    assert model == f"model {trained}/raw/model.safetensors"
    again = succeed("sample", "--runs", trained, "--seed", seed.removeprefix("seed "))
    assert again.stdout == result.stdout
    assert again.stderr == f"{model}\n"


@pytest.mark.parametrize("name", ["letters", "{}/letters", "{}/letters/model.safetensors"])
def test_a_model_is_a_file_a_folder_or_a_name(name: str, trained: Path) -> None:
    one = ("--seed", "1", "--length", "20")
    result = succeed("sample", "--runs", trained, "--model", name.format(trained), *one)
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


def test_the_prompt_is_an_argument_too(letters: Path) -> None:
    one = ("--model", letters, "--length", "50", "--seed", "1")
    with_option = succeed("sample", *one, "--prompt", "I had").stdout
    assert succeed("sample", "I had", *one).stdout == with_option
    assert succeed("sample", *one, "-", stdin="I had").stdout == with_option
    assert succeed("sample", *one, "--", "I had").stdout == with_option
    assert succeed("sample", "", *one).stdout == succeed("sample", *one).stdout


@pytest.mark.parametrize("option", ["--prompt", "--prompts"])
def test_two_prompts_are_refused(option: str, letters: Path) -> None:
    error = fail("sample", "I", option, "had", "--model", letters, code=2)
    assert error == f"charrnn: PROMPT and {option}: give one of them\n"


@pytest.mark.parametrize("words", ["I had", "it's so", "-- -I had"])
def test_several_words_without_quotes_are_shown_with_them(words: str, letters: Path) -> None:
    error = fail("sample", *words.split(" "), code=2)
    program, *advice = shlex.split(error.partition("quotes: ")[2])
    assert (program, advice[-1]) == ("charrnn", words.removeprefix("-- "))
    one = ("--model", letters, "--length", "5", "--on-unknown", "skip")
    assert succeed(advice[0], *one, *advice[1:]).stdout.startswith(advice[-1])


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
def test_a_byte_model_continues_anything(prompt: str | bytes, trained: Path) -> None:
    data = prompt.encode() if isinstance(prompt, str) else prompt
    result = succeed("sample", "--model", trained / "raw", "--prompt", "-", stdin=data)
    assert result.stdout_bytes.startswith(data)


def test_what_a_byte_model_writes_costs_what_it_says(trained: Path) -> None:
    """The bytes are its own, UTF-8 or not."""
    args = ("--model", trained / "raw", "--json")
    sampling = ("sample", "--model", trained / "raw", "--length", "2000", "--seed", "1")
    written = succeed(*sampling, "--count", "1").stdout_bytes
    row = json.loads(succeed(*sampling, "--json").stdout)
    assert (row["prompt"], row["encoding"]) == ("", "base64")
    assert b64decode(row["text"]) == written and len(written) == 2000
    scored = json.loads(succeed("eval", *args, stdin=written).stdout)
    assert scored["bits_per_char"] == pytest.approx(row["bits_per_char"], abs=1e-4)


def test_prompts_and_separators_of_a_byte_model_come_out_as_they_are(trained: Path) -> None:
    args = ("sample", "--model", trained / "raw", "--length", "5", "--seed", "1")
    alone = [
        succeed(*args[:-1], seed, "--prompt", "caf\udce9é", "--no-echo").stdout_bytes
        for seed in (1, 2)
    ]
    whole = [b"caf\xe9\xc3\xa9" + one for one in alone]
    many = ("--count", "2", "--separator", "\udcffé")
    end = b"\xff\xc3\xa9"
    assert succeed(*args, "--prompt", "caf\udce9é", *many).stdout_bytes == end.join(whole)
    assert succeed(*args, "--prompts", "-", *many, stdin=whole[0][:6]).stdout_bytes == b"".join(
        one + end for one in whole
    )


@posix
def test_a_terminal_gets_characters_where_there_are_any(trained: Path) -> None:
    args = ("sample", "--model", trained / "raw", "--prompt", "é\udcff", "--seed", "1")
    text = without_control(succeed(*args).stdout_bytes.decode("utf-8", "replace"))
    assert text.startswith("é\ufffd")
    assert on_terminal(*args) == text + "\n" * (text[-1] != "\n")


PROMPTS = ["I had", "", "She"]


def written_from(letters: Path, prompt: str, seed: int, *options: str) -> str:
    """Returns what one sample writes after its prompt."""
    one = ("--model", letters, "--length", "30", "--prompt", prompt, "--no-echo", "--seed", seed)
    return succeed("sample", *one, *options).stdout


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_each_prompt_is_continued_in_order(ending: str, letters: Path, tmp_path: Path) -> None:
    """With a seed of its own, that makes it alone too; more than are made side by side."""
    text = (ending or "\n").join(PROMPTS) + ending
    (tmp_path / "prompts").write_bytes(text.encode())
    args = ("sample", "--model", letters, "--length", "30", "--seed", "5", "--separator", "@")
    wanted = [p + written_from(letters, p, 5 + i) for i, p in enumerate(PROMPTS)]
    for source, stdin in ((tmp_path / "prompts", None), ("-", text)):
        out = succeed(*args, "--prompts", source, stdin=stdin).stdout
        assert out == "".join(f"{one}@" for one in wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "SIDE_BY_SIDE", 2)
        assert succeed(*args, "--prompts", "-", stdin=text).stdout == out


def test_names_are_completed_line_by_line(letters: Path) -> None:
    args = ("sample", "--model", letters, "--prompts", "-", "--stop", "\n", "--seed", "1")
    lines = succeed(*args, stdin="I had\nShe\n").stdout.split("\n")
    assert len(lines) == 3 and lines[2] == ""
    assert lines[0].startswith("I had") and lines[1].startswith("She")
    assert succeed(*args, stdin="").stdout == ""


def test_json_reports_all_of_a_sample(letters: Path, tmp_path: Path) -> None:
    args = ("--model", letters, "--json", "--seed", "5", "--temperature", "0.7", "--top-p", "0.9")
    options = ("--temperature", "0.7", "--top-p", "0.9")
    text = "\n".join(PROMPTS)
    lines = succeed("sample", *args, "--length", "30", "--prompts", "-", stdin=text).stdout
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS
    for row in rows:
        assert row["text"] == written_from(letters, row["prompt"], row["seed"], *options)
        assert (row["temperature"], row["top_p"], row["top_k"], row["length"]) == (0.7, 0.9, 0, 30)
        assert row["model"] == f"{letters}/model.safetensors"
        # what eval reports of that text after that prompt
        parts = []
        for name in ("prompt", "text"):
            if row[name]:
                parts.append(tmp_path / name)
                parts[-1].write_text(row[name])
        scored = succeed("eval", "--model", letters, "--json", "--carry", *parts).stdout
        report = json.loads(scored)
        bits = report["sources"][-1]["bits_per_char"] if len(parts) > 1 else report["bits_per_char"]
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
    for path, problem in (("no/such/file", "No such file or directory"), (".", "Is a directory")):
        error = fail("sample", "--model", letters, "--prompts", path)
        assert error == f"charrnn: {path}: cannot be read: {problem}: check the path\n"
