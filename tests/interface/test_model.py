"""A model in Python: it agrees with the command line, and with the equation."""

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from calls import SMALL, succeed
from numpy_model import NumpyModel

import charrnn
from charrnn.errors import (
    CheckpointError,
    NothingToScoreError,
    OptionError,
    RunNotFoundError,
    UnknownCharacterError,
)

TEXT = "I had coffee today, naïve café.\nShe said so!\n" * 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs: of characters, and of bytes."""
    folder = tmp_path_factory.mktemp("interface")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    for name, unit in (("chars", "char"), ("bytes", "byte")):
        options = (*SMALL, "--steps", "150", "--unit", unit, "--name", name)
        succeed("train", folder / "text.txt", "--runs", folder / "runs", *options)
    return folder / "runs"


@pytest.fixture(params=["chars", "bytes"])
def model(request: pytest.FixtureRequest, runs: Path) -> charrnn.Model:
    return charrnn.load(request.param, runs=runs)


def test_a_model_is_found_as_on_the_command_line(runs: Path) -> None:
    paths = {
        charrnn.load(one, runs=runs).path
        for one in ("chars", runs / "chars", str(runs / "chars/model.safetensors"))
    }
    assert paths == {runs / "chars/model.safetensors"}
    assert charrnn.load(runs=runs).path == runs / "bytes/model.safetensors"
    found = {run.name: run for run in charrnn.runs(runs)}
    assert charrnn.load(found["chars"]).path in paths
    with pytest.raises(RunNotFoundError, match="nope: no such run"):
        charrnn.load("nope", runs=runs)
    with pytest.raises(CheckpointError, match="not a charrnn model"):
        charrnn.load(runs.parent / "text.txt")


def test_samples_are_those_of_the_command_line(model: charrnn.Model) -> None:
    options = ("--model", model.path, "--seed", "3", "--length", "80", "--temperature", "1.5")
    printed = succeed("sample", "--prompt", "I had", "--no-echo", *options).stdout
    made = model.sample("I had", seed=3, length=80, temperature=1.5)
    assert made.encode("utf-8", "surrogateescape").decode("utf-8", "replace") == printed
    assert "".join(model.stream("I had", seed=3, length=80, temperature=1.5)) == made


def test_a_missing_seed_is_drawn_and_a_given_one_kept(model: charrnn.Model) -> None:
    assert model.sample(seed=5) == model.sample(seed=5, length=500)
    assert len({model.sample(length=60, temperature=2.0) for _ in range(4)}) > 1


def test_a_sample_ends_before_a_stop_text(model: charrnn.Model) -> None:
    one = model.sample("I had", seed=3, stop="o")
    assert "o" not in one
    assert one == model.sample("I had", seed=3, stop=["o", "never"])


def test_a_sample_without_end_is_a_stream_only(model: charrnn.Model) -> None:
    with pytest.raises(OptionError, match="length: 0 is without end"):
        model.sample(length=0)
    pieces = model.stream(length=0)
    assert sum(len(next(pieces)) for _ in range(700)) >= 700


def test_scores_are_those_of_the_command_line(model: charrnn.Model) -> None:
    printed = json.loads(succeed("eval", "--json", "--model", model.path, stdin=TEXT).stdout)
    score = model.score(TEXT)
    for key in ("chars", "bytes", "bits_per_char", "bits_per_byte", "perplexity"):
        assert getattr(score, key) == pytest.approx(printed[key], rel=1e-6), key


def test_the_surprises_mean_is_the_score(model: charrnn.Model) -> None:
    for text in (TEXT, "I had ünknown tea", "x"):
        bits = model.surprise(text, exact=True)
        score = model.score(text, exact=True)
        assert bits.shape == (score.chars,)
        assert bits.mean() == pytest.approx(score.bits_per_char, rel=1e-6)


def test_a_copy_of_the_model_adapts_to_a_text(model: charrnn.Model) -> None:
    torch.set_num_threads(2)
    scored = succeed("eval", "--adapt", "--json", "--model", model.path, stdin=TEXT)
    printed = json.loads(scored.stdout)
    as_it_was = model.score(TEXT, exact=True).bits_per_char
    for _ in range(2):
        adapted = model.score(TEXT, adapt=True).bits_per_char
        assert adapted == pytest.approx(printed["bits_per_char"], rel=1e-5)
        assert adapted < as_it_was - 0.01
    bits = model.surprise(TEXT, adapt=True)
    assert bits.mean() == pytest.approx(adapted, rel=1e-5)
    assert model.score(TEXT, exact=True).bits_per_char == as_it_was
    assert torch.get_num_threads() == 2, "torch is left as it was"


def test_an_unknown_character_is_charged_refused_or_left_out(runs: Path) -> None:
    model = charrnn.load("chars", runs=runs)
    bits = model.surprise("I hüd")
    known = model.surprise("I hd")
    assert bits[3] == pytest.approx(math.log2(len(TEXT)) + math.log2(0x110000), abs=1e-3)
    assert np.delete(bits, 3) == pytest.approx(known)
    skipped = model.surprise("I hüd", "skip")
    assert np.isnan(skipped[3]) and np.delete(skipped, 3) == pytest.approx(known)
    for method in (model.surprise, model.score, model.states, model.next, model.sample):
        with pytest.raises(UnknownCharacterError, match="does not know 'ü'"):
            method("I hüd", "error")
    assert len(model.states("I hüd", "skip")) == 4


def test_a_symbol_for_unknown_characters_is_an_escape(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TEXT + "ß")
    options = (*SMALL, "--steps", "20", "--min-count", "2", "--runs", tmp_path)
    model = charrnn.load(succeed("train", tmp_path / "t.txt", *options).stdout.strip())
    for text in ("I had", "I ßad ü"):
        bits, score = model.surprise(text), model.score(text)
        assert bits.shape == (len(text),)
        assert bits.mean() == pytest.approx(score.bits_per_char, rel=1e-6)


def test_nothing_has_no_score(model: charrnn.Model) -> None:
    for method in (model.score, model.surprise):
        with pytest.raises(NothingToScoreError):
            method("")


def test_the_next_symbols_probabilities_are_the_equations(runs: Path) -> None:
    model = charrnn.load("chars", runs=runs)
    p = model.next("I ha")
    assert sum(p.values()) == pytest.approx(1)
    assert list(p.values()) == sorted(p.values(), reverse=True)
    assert set(p) == set(model.symbols)
    bits = model.surprise("I had")
    assert -math.log2(p["d"]) == pytest.approx(bits[-1], rel=1e-5)
    logits = NumpyModel.read(model.path).logits_after("I ha")
    wanted = np.exp(logits - logits.max())
    assert p["d"] == pytest.approx(wanted[model.symbols.index("d")] / wanted.sum(), rel=1e-5)
    cold = model.next("I ha", temperature=0.0)
    assert cold[next(iter(p))] == 1.0


def test_the_first_symbol_has_probabilities_too(model: charrnn.Model) -> None:
    first = "I" if model.config.unit == "char" else ord("I")
    assert -math.log2(model.next()[first]) == pytest.approx(model.surprise("I")[0], rel=1e-5)


def test_hidden_states_are_those_that_predict(model: charrnn.Model) -> None:
    text = "I had coffee"
    states = model.states(text)
    assert states.shape == (len(text), model.config.num_layers, model.config.hidden_size)
    logits = states[:-1, -1] @ model.weights["output.W_y"].T + model.weights["output.b_y"]
    ids = [model.symbols.index(c if model.config.unit == "char" else ord(c)) for c in text]
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(text) - 1), ids[1:]]
    assert nats / math.log(2) == pytest.approx(model.surprise(text)[1:], rel=1e-4)
    assert model.states("").shape == (0, *states.shape[1:])


def test_a_byte_model_writes_whole_characters(runs: Path) -> None:
    model = charrnn.load("bytes", runs=runs)
    pieces = list(model.stream("caf", seed=2, length=300))
    assert any(len(piece.encode("utf-8", "surrogateescape")) > 1 for piece in pieces)
    assert len("".join(pieces).encode("utf-8", "surrogateescape")) == 300
    assert model.surprise("\udcff").shape == (1,), "an invalid byte is a byte"


def test_wrong_settings_are_named(model: charrnn.Model) -> None:
    with pytest.raises(OptionError, match=r"--temperature: -1.0 is out of range"):
        model.sample(temperature=-1)
    with pytest.raises(TypeError, match="lenght"):
        model.sample(lenght=3)  # type: ignore[call-arg]


def test_what_is_no_text_and_no_setting_is_refused(model: charrnn.Model) -> None:
    methods = (model.sample, model.score, model.surprise, model.states, model.next)
    for method in methods:
        for wrong in (None, 5, b"x", ["a"]):
            with pytest.raises(TypeError, match="a text is a string, not"):
                method(wrong)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="--on-unknown: x is out of range"):
            method("I", "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no setting 'count'"):
        model.sample(count=2)  # type: ignore[call-arg]
    assert len(model.sample(length=None, temperature=None, stop=None, seed=np.int64(1))) > 100


def test_nobody_can_write_to_the_weights(model: charrnn.Model) -> None:
    with pytest.raises(ValueError, match="read-only"):
        model.weights["output.b_y"][0] = 5


def test_several_threads_use_one_model(model: charrnn.Model) -> None:
    wanted, got = model.surprise(TEXT), []
    workers = [threading.Thread(target=lambda: got.append(model.surprise(TEXT))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 4
    for one in got:
        assert one == pytest.approx(wanted, abs=1e-4)


def test_numpys_own_threads_are_as_before(model: charrnn.Model) -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(3, "blas"):
        before = threads()
        model.score(TEXT)
        with pytest.raises(NothingToScoreError):
            model.score("")
        assert threads() == before


def test_a_model_shows_what_it_is(model: charrnn.Model) -> None:
    assert str(model.path) in repr(model) and "8 x 1" in repr(model)
    assert model.provenance["settings"]["training"]["steps"] == 150


def test_several_models_are_one(runs: Path) -> None:
    one = charrnn.load("chars", runs=runs)
    both = charrnn.load("chars", runs / "chars", runs=runs)
    assert both.score(TEXT).bits_per_char == pytest.approx(one.score(TEXT).bits_per_char, rel=1e-5)
    assert both.next("I ha")["d"] == pytest.approx(one.next("I ha")["d"], rel=1e-4)
    assert len(both.sample(seed=3, length=40)) == 40
    assert [member.path for member in both.members] == [one.path] * 2
    for ask in (lambda: both.path, lambda: both.config, lambda: both.states("I")):
        with pytest.raises(OptionError, match="a mixture of 2 models: ask one of them"):
            ask()
    assert repr(both).count("8 x 1") == 2
    assert one.members == (one,)
    with pytest.raises(CheckpointError, match="one is of bytes"):
        charrnn.load("chars", "bytes", runs=runs)
