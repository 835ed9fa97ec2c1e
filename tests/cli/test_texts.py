"""Texts on the command line: formats of standard input, line ends, notes, wrong settings."""

import json
import sys
from pathlib import Path
from subprocess import run

import pytest
from calls import TINY, fail, metadata, succeed
from texts import read_in_blocks

from charrnn.text import spool

STORY = "I had coffee today.\nShe said so!\n"


def rows(text: str, count: int = 20) -> str:
    return (json.dumps({"message": {"text": text.strip("\n")}}) + "\n") * count


def test_standard_input_may_be_a_table(runs: Path) -> None:
    train = ("train", "-", "--runs", runs, *TINY, "--format", "jsonl")
    done = succeed(*train, stdin=rows(STORY))
    assert "660 characters" in done.stderr
    assert "tables read by their column 'message.text': 1 (standard input)" in done.stderr
    succeed("train", "--resume", "--runs", runs, "--steps", "8")
    table = "n,text\n1,I had coffee today.\n2,She said so!\n"
    options = ("--runs", runs, "--format", "csv", "--column", "text")
    scored = succeed("eval", *options, "--json", stdin=table)
    assert json.loads(scored.stdout)["chars"] == len(STORY)
    lines = succeed("eval", *options, "--per-line", stdin=table).stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == STORY.splitlines()


@pytest.mark.parametrize("command", ["train", "eval"])
@pytest.mark.parametrize(
    "option", [("--column", "x"), ("--delimiter", ";"), ("--separator", "|"), ("--no-header",)]
)
def test_a_setting_of_tables_is_refused_for_plain_text(
    command: str, option: tuple[str, ...], story: Path, runs: Path, letters: Path
) -> None:
    more = ("--runs", runs, *TINY) if command == "train" else ("--model", letters)
    error = fail(command, story, *more, *option, code=2)
    assert error.startswith(f"charrnn: {option[0]}: {story}: it means nothing for plain text")
    standard_input = ("-",) if command == "train" else ()
    error = fail(command, *standard_input, *more, *option, stdin="I had coffee", code=2)
    assert "standard input: it means nothing for plain text" in error and "--format" in error
    assert not runs.exists() or not list(runs.iterdir())


def test_a_tab_is_named_in_words(tmp_path: Path, letters: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("n\ttext\n1\tI had, so\n")
    for delimiter in ("tab", "\\t", "\t"):
        done = succeed("eval", table, "--model", letters, "--delimiter", delimiter, "--json")
        assert json.loads(done.stdout)["chars"] == len("I had, so\n")


def test_notes_of_a_text_that_had_not_ended_come_at_the_end(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 200)
    read_in_blocks(monkeypatch, 100)
    text = (STORY * 200).replace("\n", "\r\n")
    options = ("--runs", runs, *TINY, "--vocabulary-from", "100")
    done = succeed("train", "-", *options, stdin=text).stderr.splitlines()
    assert done[-2].startswith("Windows line ends read as newlines: ")
    assert not succeed("train", "-", *options, "--quiet", stdin=text).stderr


def test_a_byte_order_mark_before_prompts_is_noted(tmp_path: Path, letters: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeffI had\n", encoding="utf-8")
    done = succeed("sample", "--model", letters, "--prompts", prompts, "--length", "3")
    assert f"byte-order mark left out: {prompts}" in done.stderr
    assert done.stdout.startswith("I had")


# --- line ends


def test_windows_line_ends_are_read_alike_in_training_scoring_and_prompts(
    tmp_path: Path, runs: Path
) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes((STORY * 30).replace("\n", "\r\n").encode())
    done = succeed("train", path, "--runs", runs, *TINY)
    note = "Windows line ends read as newlines: "
    assert f"{note}60 (first in {path}); --newlines keep keeps them" in done.stderr
    assert metadata(runs / "windows/model.safetensors", "provenance")["newlines"] == "lf"
    with_r, without = STORY.replace("\n", "\r\n"), STORY
    figures = [
        json.loads(succeed("eval", "--runs", runs, "--json", stdin=text).stdout)
        for text in (with_r, without)
    ]
    assert figures[0]["nats_per_char"] == figures[1]["nats_per_char"]
    sampling = ("sample", "--runs", runs, "--seed", "1", "--length", "9", "--prompt", "-")
    one, other = (succeed(*sampling, stdin=text) for text in (with_r, without))
    assert one.stdout == other.stdout
    assert f"{note}2 (--newlines keep keeps them)" in one.stderr and note not in other.stderr
    kept = succeed("eval", "--runs", runs, "--json", "--newlines", "keep", stdin=with_r)
    assert json.loads(kept.stdout)["unknown_chars"] == 2


def test_a_model_of_kept_line_ends_is_scored_and_continued_with_them(
    tmp_path: Path, runs: Path
) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes((STORY * 30).replace("\n", "\r\n").encode())
    succeed("train", path, "--runs", runs, *TINY, "--newlines", "keep")
    text = STORY.replace("\n", "\r\n")
    done = succeed("eval", "--runs", runs, "--json", stdin=text)
    assert json.loads(done.stdout)["chars"] == len(text) and "newlines" not in done.stderr
    sampled = succeed("sample", "--runs", runs, "--length", "1", "--prompt", "-", stdin=text)
    assert sampled.stdout_bytes.startswith(text.encode())


# --- damaged texts


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory as Linux does")
def test_hundreds_of_damaged_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "damaged.py"
    done = run([sys.executable, script, tmp_path, "0", "320"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["other"] == []
    assert result["refused"] + result["read"] == 320
    assert result["refused"] > 150 and result["read"] > 40


def test_a_damaged_file_is_left_out_if_it_is_asked_for(tmp_path: Path, runs: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "1.txt").write_text(STORY * 9)
    (texts / "2.txt.gz").write_bytes(b"\x1f\x8b\x08 cut")
    error = fail("train", texts, "--runs", runs, *TINY)
    assert f"{texts}/2.txt.gz: damaged or cut short" in error and "--skip-damaged" in error
    done = succeed("train", texts, "--runs", runs, *TINY, "--skip-damaged")
    assert f"damaged files, left out from their damage on: 1 ({texts}/2.txt.gz)" in done.stderr
    succeed("train", "--resume", "--runs", runs, "--steps", "8")
    scored = succeed("eval", texts, "--runs", runs, "--skip-damaged", "--json")
    assert json.loads(scored.stdout)["chars"] == len(STORY) * 9


def test_a_folder_that_holds_the_run_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(STORY * 9)
    done = succeed("train", ".", "-", *TINY, "--name", "both", stdin=STORY * 2)
    assert f"{11 * len(STORY)} characters" in done.stderr
    succeed("train", "--resume", "--name", "both", "--steps", "8")
