"""``charrnn eval`` as a shell user meets it."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from calls import TINY, call, fail, metadata, succeed

TIMES = ("seconds", "chars_per_second")
JSON_KEYS = [
    "chars",
    "bytes",
    "nats_per_char",
    "bits_per_char",
    "bits_per_byte",
    "perplexity",
    "unknown_chars",
    "unknown_bits",
    *TIMES,
    "model",
    "one_pass",
]


def test_the_table_and_the_json_report_the_same(letters: Path) -> None:
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


WAYS = [(), ("--per-line",), ("--per-char",), ("--json",), ("--context-curve",)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["bad", "the"])
def test_an_error_names_the_source_that_it_is_in(
    way: tuple[str, ...], name: str, letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a source whose name the message begins with anyway."""
    monkeypatch.chdir(tmp_path)
    good, bad, empty = map(Path, ("good", name, "empty"))
    good.write_text("I had\n")
    bad.write_text("I had\nI ☃\n")
    empty.write_text("")
    args = ("eval", "--model", letters, "--on-unknown", "error", *way)
    result = call(*args, good, bad)
    line = "line 2: " if way == ("--per-line",) else ""
    assert result.exit_code == 1
    assert result.stderr.startswith(f"charrnn: {bad}: {line}the model does not know '☃'")
    assert ("I had" in result.stdout) == (way == ("--per-line",))
    if way != ("--per-line",):
        stderr = call(*args, empty).stderr
        assert re.search("empty: (nothing to score|0 characters)", stderr)


def test_one_pass_and_parallel_streams_agree_and_are_reported(
    letters: Path, tmp_path: Path
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("She had coffee, and I said so.\nI had tea.\n" * 300)
    args = ("eval", "--model", letters, text)
    figures = [json.loads(succeed(*args, "--json", *way).stdout) for way in ((), ("--exact",))]
    assert [one["one_pass"] for one in figures] == [False, True]
    assert abs(figures[0]["bits_per_char"] - figures[1]["bits_per_char"]) < 0.0005
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


def test_eval_prints_which_run_it_uses(trained: Path) -> None:
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
    report = json.loads(succeed(*args, "--json", stdin=text).stdout)
    points = report["curve"]
    assert report["within_1_percent"] in {point["context"] for point in points}
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


# --- unknown characters


def test_unknown_characters_are_charged_unless_the_user_says_otherwise(letters: Path) -> None:
    args = ("eval", "--model", letters)
    error = fail(*args, "--on-unknown", "error", stdin="I @ had #")
    assert "'@' (U+0040)" in error and "'#' (U+0023)" in error and "--on-unknown skip" in error
    skipped = json.loads(succeed(*args, "--json", "--on-unknown", "skip", stdin="I @ had #").stdout)
    assert (skipped["chars"], skipped["unknown_chars"], skipped["bytes"]) == (7, 2, 7)
    assert "nothing to score" in fail(*args, "--on-unknown", "skip", stdin="@@")
    charged = json.loads(succeed(*args, "--json", stdin="I @ had #").stdout)
    assert (charged["chars"], charged["unknown_chars"], charged["bytes"]) == (9, 2, 9)
    each = math.log2(metadata(letters / "model.safetensors", "provenance")["chars"] * 0x110000)
    assert charged["unknown_bits"] == pytest.approx(2 * each)
    known_bits = 7 * skipped["bits_per_char"]
    assert 9 * charged["bits_per_char"] == pytest.approx(known_bits + 2 * each)
    table = succeed(*args, stdin="I @ had #").stdout
    assert re.search(rf"unknown characters +2, charged {each:.2f} bits each\n", table)


def test_the_oddest_line_comes_out_whatever_it_holds(letters: Path) -> None:
    """Foreign characters, and bytes that are not UTF-8; none is NaN, and none ends the pipe."""
    stdin = "I had\n☃☃\n".encode() + b"She said \xff\xfe\nShe\n"
    result = succeed("eval", "--model", letters, "--per-line", stdin=stdin)
    rows = [line.split(b"\t") for line in result.stdout_bytes.splitlines()]
    assert b"\n".join(line for _, line in rows) + b"\n" == stdin
    odd = sorted(rows, key=lambda row: -float(row[0]))[:2]
    assert {line for _, line in odd} == {"☃☃".encode(), b"She said \xff\xfe"}
    assert re.search(r"unknown characters, charged \d\d\.\d\d bits each: 4\n", result.stderr)


@pytest.mark.parametrize("way", [("--per-line",), ("--per-char",), ("--context-curve",)])
def test_every_form_charges_and_reports(way: tuple[str, ...], letters: Path) -> None:
    args = ("eval", "--model", letters, "--json", *way)
    result = succeed(*args, stdin="I had ☃ coffee\n☃")
    assert "NaN" not in result.stdout
    assert re.search(r"unknown characters, charged \d\d\.\d\d bits each: 2\n", result.stderr)
    skipped = succeed(*args, "--on-unknown", "skip", stdin="I had ☃ coffee\n☃")
    assert "unknown characters, left out: 2\n" in skipped.stderr


def test_a_symbol_for_unknown_characters_is_reported_as_such(tmp_path: Path, runs: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("I had coffee.\n" * 60 + "é")
    succeed("train", text, "--runs", runs, *TINY, "--min-count", "2")
    args = ("eval", "--runs", runs, "--model", "t", "--per-line")
    assert re.search(
        r"unknown characters, read as one symbol and charged 20\.09 bits each: 1\n",
        succeed(*args, stdin="café").stderr,
    )
    result = succeed(*args, "--on-unknown", "error", stdin="café")
    assert "unknown characters, read as one symbol: 1\n" in result.stderr


# --- lines


def test_a_line_as_json(letters: Path, tmp_path: Path) -> None:
    """A folder's files have names and numbers of their own."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.txt").write_text("I had\nShe ☃\n")
    (logs / "b.txt").write_text("\nShe said so!")
    args = ("eval", "--model", letters, "--per-line", logs)
    rows = [json.loads(line) for line in succeed(*args, "--json").stdout.splitlines()]
    assert [(row["source"], row["line_number"], row["line"]) for row in rows] == [
        (f"{logs}/a.txt", 1, "I had"),
        (f"{logs}/a.txt", 2, "She ☃"),
        (f"{logs}/b.txt", 1, ""),
        (f"{logs}/b.txt", 2, "She said so!"),
    ]
    assert [(row["chars"], row["unknown_chars"]) for row in rows] == [
        (5, 0),
        (5, 1),
        (0, 0),
        (12, 0),
    ]
    for row in rows:
        assert row["bits"] == pytest.approx(row["chars"] * row["bits_per_char"])
    assert rows[2]["bits_per_char"] == 0.0
    plain = [float(line.split("\t")[0]) for line in succeed(*args).stdout.splitlines()]
    assert plain == pytest.approx([row["bits_per_char"] for row in rows], abs=1e-4)


def test_the_probability_of_a_sentence_has_its_end(letters: Path) -> None:
    """So that candidates, one the start of another, can be compared."""
    args = ("eval", "--model", letters, "--json")
    rows = succeed(*args, "--per-line", "--end", stdin="I had\nI had coffee").stdout.splitlines()
    for row, text in zip(map(json.loads, rows), ("I had\n", "I had coffee\n"), strict=True):
        whole = json.loads(succeed(*args, stdin=text).stdout)
        assert (row["chars"], row["line"]) == (len(text), text[:-1])
        assert row["bits"] == pytest.approx(whole["chars"] * whole["bits_per_char"], rel=1e-5)
    assert "--per-line" in fail(*args, "--end", stdin="I", code=2)


def test_only_lines_above_a_threshold(letters: Path) -> None:
    args = ("eval", "--model", letters, "--per-line", "--threshold")
    lines = succeed(*args, "0", stdin="I had\n\n☃☃☃☃\n").stdout.splitlines()
    bits, odd = [float(line.split("\t")[0]) for line in lines]
    assert len(lines) == 2 and odd > 20
    assert succeed(*args, str(bits + 0.1), stdin="I had\n\n☃☃☃☃\n").stdout.endswith("\t☃☃☃☃\n")
    automatic = succeed(*args, "auto", stdin="I had coffee today, naïve café.\n☃☃☃☃\n")
    usual = metadata(letters / "model.safetensors", "provenance")["held_out_lines"]
    assert automatic.stdout.count("\n") == 1 and automatic.stdout.endswith("\t☃☃☃☃\n")
    bits, count = usual["usual_bits_per_char"], usual["lines"]
    threshold = (
        f"threshold {bits:.4f} bits per character: 99.9 % of {count} held-out lines are below\n"
    )
    assert threshold in automatic.stderr


def test_a_threshold_that_cannot_be(letters: Path, tmp_path: Path, runs: Path) -> None:
    args = ("eval", "--model", letters, "--threshold")
    assert "--per-line" in fail(*args, "3", stdin="I", code=2)
    for way in ("--carry", "--end"):
        assert way in fail(*args, "auto", "--per-line", way, stdin="I", code=2)
    for value in ("nan", "-1", "inf", "high", "1e999"):
        result = call(*args, value, "--per-line", stdin="I")
        assert result.exit_code == 2 and "auto" in result.stderr
    text = tmp_path / "t.txt"
    text.write_text("I had coffee. " * 60)
    succeed("train", text, "--runs", runs, *TINY)
    args = ("eval", "--model", runs / "t", "--per-line")
    assert "--threshold BITS" in fail(*args, "--threshold", "auto", stdin="I had")
    assert "--end" in fail(*args, "--end", stdin="I had", code=2)


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


@pytest.mark.parametrize("way", [(), ("--context-curve",)])
def test_a_byte_model_is_reported_in_bytes(way: tuple[str, ...], trained: Path) -> None:
    args = ("eval", "--model", trained / "raw", *way)
    table = succeed(*args, stdin="I had café.\n").stdout.replace(str(trained), "")
    assert re.search("bits(/| per )byte", table) and "char" not in table
    if way:
        assert "2 bytes: a context curve" in fail(*args, stdin="é")


def test_a_line_of_json_says_how_it_is_encoded(letters: Path, trained: Path) -> None:
    """Also of a model of characters, which does not know what is not UTF-8."""
    for model in (letters, trained / "raw"):
        args = ("eval", "--model", model, "--per-line", "--json", "--on-unknown", "skip")
        first, second = succeed(*args, stdin=b"caf\xc3\xa9\ncaf\xe9\n").stdout.splitlines()
        assert (json.loads(first)["line"], json.loads(first)["encoding"]) == ("café", "utf-8")
        assert (json.loads(second)["line"], json.loads(second)["encoding"]) == (
            "Y2Fm6Q==",
            "base64",
        )


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
