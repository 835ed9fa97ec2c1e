"""Scores, as lines and as JSON."""

import json
import re

import pytest
from hypothesis import example, given, settings
from screens import LN_2, SCORE, any_bytes, bytes_of, is_utf_8

from charrnn.config import SamplingConfig
from charrnn.display.scores import (
    context_json,
    context_table,
    sample_json,
    score_json,
    score_so_far,
    score_table,
)
from charrnn.sampling.generate import Sample
from charrnn.scoring.context import ContextScore
from charrnn.scoring.reports import Score

FIGURES = {
    "chars": 1000,
    "bytes": 1200,
    "nats_per_char": pytest.approx(1.3862943611),
    "bits_per_char": pytest.approx(2.0),
    "bits_per_byte": pytest.approx(2000 / 1200),
    "perplexity": pytest.approx(4.0),
    "unknown_chars": 3,
    "unknown_bits": pytest.approx(120.0),
    "seconds": 0.5,
    "chars_per_second": 2000,
}


@pytest.mark.parametrize("one_pass", [True, False])
def test_a_score_as_json(one_pass: bool) -> None:
    text = score_json([("t", SCORE)], ["runs/a\n/model"], one_pass=one_pass)
    assert len(text.splitlines()) == 1
    assert json.loads(text) == {**FIGURES, "model": "runs/a\n/model", "one_pass": one_pass}


def test_a_score_as_lines() -> None:
    lines = score_table([("t", SCORE)], ["runs/a"], "char", one_pass=False).splitlines()
    assert dict(re.split(r"  +", line) for line in lines) == {
        "bits per character": "2.0000",
        "bits per byte": "1.6667",
        "nats per character": "1.3863",
        "perplexity": "4.000",
        "characters": "1,000",
        "bytes": "1,200",
        "unknown characters": "3, charged 40.00 bits each",
        "time": "0.5 s, 2,000 characters/s, parallel streams",
        "model": "runs/a",
    }


def test_a_byte_models_figures_are_per_byte_and_come_once() -> None:
    score = Score(1200, 1200, 1200 * LN_2, seconds=0.5)
    lines = score_table([("t", score)], ["runs/a"], "byte", one_pass=False).splitlines()
    assert [re.split(r"  +", line) for line in lines] == [
        ["bits per byte", "1.0000"],
        ["nats per byte", "0.6931"],
        ["perplexity", "2.000"],
        ["bytes", "1,200"],
        ["unknown bytes", "0"],
        ["time", "0.5 s, 2,400 bytes/s, parallel streams"],
        ["model", "runs/a"],
    ]
    head, *_ = score_table([("t", score)] * 2, "runs/a", "byte", one_pass=False).splitlines()
    assert head.split() == ["bits/byte", "nats/byte", "perplexity", "bytes", "unknown", "source"]
    assert score_so_far(score, "byte") == "1,200 bytes  2,400 bytes/s  1.000 bits/byte"
    assert "bits/byte" in context_table([ContextScore(0, 1.0, 0.0)], 0, "byte")


def test_several_scores_and_their_total() -> None:
    """Two texts may have one name."""
    scores = [("t", SCORE), ("t", Score(3000, 3000, 0.0, 1, 40 * LN_2, 1.5))]
    head, *rows = score_table(scores, ["runs/a"], "char", one_pass=True).splitlines()
    assert head.split()[-2:] == ["unknown", "source"]
    assert [row.split() for row in rows] == [
        ["2.0000", "1.6667", "1.3863", "4.000", "1,000", "1,200", "3", "t"],
        ["0.0000", "0.0000", "0.0000", "1.000", "3,000", "3,000", "1", "t"],
        ["0.5000", "0.4762", "0.3466", "1.414", "4,000", "4,200", "4", "total"],
        ["unknown", "characters,", "charged", "40.00", "bits", "each"],
        ["2.0", "s,", "2,000", "characters/s,", "one", "pass"],
        ["model", "runs/a"],
    ]
    report = json.loads(score_json(scores, ["runs/a"], one_pass=True))
    assert (report["chars"], report["bits_per_char"]) == (4000, pytest.approx(0.5))
    assert report["sources"][0] == {"source": "t", **FIGURES}
    assert report["sources"][1]["chars"] == 3000


def test_a_score_that_is_not_complete_yet() -> None:
    assert score_so_far(SCORE, "char") == "1,000 characters  2,000 chars/s  2.000 bits/char"
    assert score_so_far(Score(0, 0, 0.0), "char") == "0 characters  0 chars/s"


def test_a_context_curve_as_lines_and_json() -> None:
    curve = [ContextScore(0, 4.0, 0.1), ContextScore(1, 2.0, 0.05), ContextScore(1024, 0.0, 0.0)]
    head, *rows, last = [line.split() for line in context_table(curve, 64, "char").splitlines()]
    assert rows[0] == ["0", "4.0000", "0.1000", "#" * 40]
    assert rows[1] == ["1", "2.0000", "0.0500", "#" * 20]
    assert rows[2] == ["1024", "0.0000", "0.0000"]
    assert head == ["context", "bits/char", "std", "error"]
    assert "64" in last
    report = json.loads(context_json(curve, 64))
    assert report["within_1_percent"] == 64
    assert report["curve"][1] == {"context": 1, "bits_per_char": 2.0, "standard_error": 0.05}


def test_a_context_curve_of_a_model_that_is_never_surprised() -> None:
    assert "0.0000" in context_table([ContextScore(0, 0.0, 0.0)], 0, "char")


@settings(deadline=None)
@given(any_bytes, any_bytes, any_bytes)
@example(b"\xff", b"", b"")
@example(b"", b"\xff", b"")
@example(b"", b"", b"\xff")
def test_json_holds_exactly_the_bytes_as_text_if_it_is_any(
    prompt: bytes, text: bytes, stop: bytes
) -> None:
    """Bytes of a byte model, and characters with lone surrogates for what is not UTF-8."""
    config = SamplingConfig(stop=(stop.decode("utf-8", "surrogateescape"),) if stop else ())
    for convert in (bytes, lambda data: data.decode("utf-8", "surrogateescape")):
        sample = json.loads(sample_json(Sample(convert(prompt), convert(text), 1), 1.0, config, ""))
        assert [bytes_of(sample, key) for key in ("prompt", "text")] == [prompt, text]
        assert all(bytes_of(sample | {"stop": one}, "stop") == stop for one in sample["stop"])
        assert sample["encoding"] == ("utf-8" if is_utf_8(prompt, text, stop) else "base64")
