"""Sampling: what is drawn is what the model says, and nothing of a stop text is printed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy_model import NumpyModel

from charrnn import sampling
from charrnn.checkpoint import Checkpoint, save
from charrnn.config import SamplingConfig
from charrnn.errors import UnknownCharacterError
from charrnn.model import CharRNN, ModelConfig
from charrnn.sampling import (
    Stepper,
    TextAssembler,
    draw,
    generate,
    generate_batch,
    probabilities,
    prompt_state,
    prompt_states,
    sample_seed,
)
from charrnn.vocabulary import Vocabulary

ABC = Vocabulary.of_text("abc")
LETTERS = Vocabulary.of_text("\n abcdefghij")
BYTES = Vocabulary.of_bytes()
few = settings(deadline=None, max_examples=100)


def model_of(vocabulary: Vocabulary, **options: Any) -> CharRNN:
    """Returns a model that prefers some characters clearly."""
    config = ModelConfig(len(vocabulary), vocabulary.unit, **{"hidden_size": 12, **options})
    model = CharRNN(config).eval()
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.normal_(std=0.8)
        for layer in model.layers:
            layer.b.normal_(std=0.2)
    return model


def written(model: CharRNN, vocabulary: Vocabulary, prompt: str = "", **options: Any) -> str:
    config = SamplingConfig(**{"length": 60, "seed": 3, **options})
    return "".join(generate(model, vocabulary, prompt, config))


def config(**options: Any) -> SamplingConfig:
    return SamplingConfig(**{"temperature": 1.0, **options})


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> list[float]:
    weights = [math.exp(x / temperature) for x in np.asarray(logits).tolist()]
    return [weight / sum(weights) for weight in weights]


# --- probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_symbols_are_drawn_as_often_as_they_are_probable(temperature: float) -> None:
    logits = np.array([0.0, 1.0, -1.0, 2.0, 0.3, -2.5])
    n = 20_000
    points = np.random.default_rng(1).random(n)
    drawn = draw(np.tile(logits, (n, 1)), config(temperature=temperature), points)
    wanted = n * np.array(softmax(logits, temperature))
    chi_square = float(((np.bincount(drawn, minlength=6) - wanted) ** 2 / wanted).sum())
    assert chi_square < 5 + 4 * math.sqrt(2 * 5)  # mean and 4 deviations for 5 degrees of freedom


HALVES = np.log([0.5, 0.25, 0.125, 0.0625, 0.0625])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0.5, 0.25, 0.125, 0.0625, 0.0625]),
        ({"temperature": 0.5}, [64 / 86, 16 / 86, 4 / 86, 1 / 86, 1 / 86]),
        ({"temperature": 0.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 4}, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.49}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.51}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.8}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"min_p": 0.24}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        ({"min_p": 0.26}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"min_p": 1.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0, 0]),
        ({"top_k": 3, "min_p": 0.5}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"temperature": 0.5, "top_p": 0.75}, [0.8, 0.2, 0, 0, 0]),
    ],
)
def test_probabilities_by_hand(options: dict[str, Any], wanted: list[float]) -> None:
    """Each option sees what the ones before it left, renormalised."""
    order = [3, 0, 4, 2, 1]  # not sorted, as in life
    other = np.arange(5.0)  # another sample beside it changes nothing
    p, _ = probabilities(np.stack([HALVES[order] + 7, other]), config(**options))
    np.testing.assert_allclose(p[np.argsort(order)], wanted, atol=1e-12)


logit_lists = st.lists(st.floats(-30, 30), min_size=2, max_size=12)


@few
@given(
    logits=logit_lists,
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1.0),
    min_p=st.floats(0.0, 1.0),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    seed=st.integers(0, 99),
)
def test_only_the_most_probable_are_drawn(
    logits: list[float], top_k: int, top_p: float, min_p: float, temperature: float, seed: int
) -> None:
    options = config(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    (p,) = probabilities(np.array([logits]), options)
    assert p.sum() == pytest.approx(1)
    kept, dropped = np.flatnonzero(p), np.flatnonzero(p == 0)
    assert 1 <= len(kept) <= (top_k or len(logits))
    if len(dropped):
        assert min(logits[i] for i in kept) >= max(logits[i] for i in dropped) - 1e-9
    if temperature:
        whole = np.array(softmax(logits, temperature))
        np.testing.assert_allclose(p[kept], whole[kept] / whole[kept].sum(), rtol=1e-9)
        assert p[kept].min() >= min_p * p.max() * (1 - 1e-12)
    points = np.random.default_rng(seed).random(5)
    assert (p[draw(np.tile(logits, (5, 1)), options, points)] > 0).all()


@pytest.mark.parametrize("at", [0.0, math.nextafter(1.0, 0.0)])
def test_no_chance_draws_what_is_excluded(at: float) -> None:
    for logits in ([0.0, 1.0, 2.0, 0.0], [0.0, 2.0, 1.9, 0.0, -1.0]):
        alone = draw(np.array([logits]), config(top_k=2), np.array([at]))
        assert alone[0] in (1, 2)
        assert draw(np.array([logits] * 2), config(top_k=2), np.array([at] * 2)) == alone * 2


@few
@given(logits=logit_lists, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(logits: list[float], top_p: float) -> None:
    whole = np.array(softmax(logits))
    kept = probabilities(np.array([logits]), config(top_p=top_p))[0] > 0
    assert whole[kept].sum() >= top_p - 1e-9
    assert whole[kept].sum() - whole[kept].min() < top_p + 1e-9


@few
@given(logits=logit_lists, beyond=st.integers(0, 3))
def test_options_that_keep_all_change_nothing(logits: list[float], beyond: int) -> None:
    plain = probabilities(np.array([logits]), config())
    for options in ({"top_p": 1.0}, {"min_p": 0.0}, {"top_k": 0}, {"top_k": len(logits) + beyond}):
        got = probabilities(np.array([logits]), config(**options))
        np.testing.assert_allclose(got, plain, rtol=1e-12)


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324, 1e300])
def test_extreme_temperatures(temperature: float) -> None:
    """The limits: the most probable alone, and all alike."""
    (p,) = probabilities(np.array([[-900.0, 3.0, 700.0]]), config(temperature=temperature))
    wanted = [0, 0, 1] if temperature < 1 else [1 / 3] * 3
    np.testing.assert_allclose(p, wanted, atol=1e-12)


# --- the network, step by step


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_stepper_says_what_the_model_says(nonlinearity: str, num_layers: int, B: int) -> None:
    model = model_of(LETTERS, nonlinearity=nonlinearity, num_layers=num_layers)
    x = torch.randint(len(LETTERS), (8, B))
    state = torch.rand(num_layers, B, 12)
    with torch.no_grad():
        logits, after = model(x, state)
    stepper = Stepper(model, state)
    for x_t, logits_t in zip(x, logits, strict=True):
        stepper.read(x_t.tolist())
        np.testing.assert_allclose(stepper.logits(), logits_t, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stepper.state, after)


@pytest.mark.parametrize("B", [1, 2])
def test_going_on_from_a_kept_state(B: int) -> None:
    model = model_of(LETTERS)
    whole = Stepper(model, model.start_state(B, LETTERS.newline_id))
    for symbol in (3, 4, 5):
        whole.read([symbol] * B)
    kept = whole.state
    rest = Stepper(model, kept)
    for symbol in (6, 7):
        whole.read([symbol] * B)
        rest.read([symbol] * B)
        np.testing.assert_array_equal(whole.logits(), rest.logits())
    assert not torch.equal(kept, rest.state), "the state that was handed in stays as it was"
    assert torch.equal(kept, Stepper(model, kept).state)


@pytest.mark.parametrize("B", [1, 2])
def test_later_training_does_not_change_a_sample(B: int) -> None:
    model = model_of(LETTERS)
    one, other = (Stepper(model, model.zero_state(B)) for _ in range(2))
    one.read([2] * B)
    wanted = one.logits()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    other.read([2] * B)
    np.testing.assert_array_equal(other.logits(), wanted)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 1}, {"top_k": 1, "seed": 9}])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_most_probable_text_is_the_references(
    tmp_path: Path, options: dict[str, Any], nonlinearity: str
) -> None:
    model = model_of(LETTERS, nonlinearity=nonlinearity)
    save(tmp_path / "model", Checkpoint(model, LETTERS))
    reference = NumpyModel.read(tmp_path / "model")
    text = "bad"
    for _ in range(40):
        text += str(reference.symbols[reference.logits_after(text).argmax()])
    assert written(model, LETTERS, "bad", length=40, **options) == text[3:]


def step_by_step(model: CharRNN, ids: npt.NDArray[Any]) -> torch.Tensor:
    stepper = Stepper(model, model.start_state(1, LETTERS.newline_id))
    for symbol in ids.tolist():
        stepper.read([symbol])
    return stepper.state


@pytest.mark.parametrize("forgets", [True, False])
def test_a_long_prompt_is_read_as_step_by_step(
    forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model forgets, its end is enough; else all of it is read."""
    monkeypatch.setattr(sampling, "NEAR", 128)
    monkeypatch.setattr(sampling, "WARM_UP", 16)
    model = model_of(LETTERS)
    with torch.no_grad():
        for layer in model.layers:
            layer.W_h.mul_(0.8 if forgets else 1.0)
            layer.W_x.mul_(1.0 if forgets else 0.001)
            layer.b.mul_(1.0 if forgets else 0.0)
    ids = np.random.default_rng(0).integers(len(LETTERS), size=5000)
    read: list[int] = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda x, h: (read.append(len(x)), hidden(x, h))[1])
    torch.testing.assert_close(prompt_state(model, LETTERS, ids), step_by_step(model, ids))
    assert (sum(read) < 300) == forgets


@pytest.mark.parametrize(
    "lengths", [[], [0], [3], [300], [300, 200], [5, 0, 200, 5, 1, 0, 99, 300]]
)
def test_prompts_side_by_side_are_read_as_one_by_one(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "NEAR", 150)
    model = model_of(LETTERS)
    random = np.random.default_rng(0)
    prompts = [random.integers(len(LETTERS), size=n).astype(np.uint8) for n in lengths]
    if not prompts:
        return
    states = prompt_states(model, LETTERS, prompts)
    assert states.shape == (3, len(prompts), 12)
    for k, ids in enumerate(prompts):
        wanted = step_by_step(model, ids)
        torch.testing.assert_close(states[:, k : k + 1], wanted, rtol=1e-4, atol=1e-5)


def test_the_prompt_matters_and_is_not_repeated() -> None:
    model = model_of(LETTERS)
    assert written(model, LETTERS, "a") != written(model, LETTERS, "b")
    in_two = written(model, LETTERS, "ab", temperature=0.0)
    rest = written(model, LETTERS, "ab" + in_two[:20], temperature=0.0, length=40)
    assert rest == in_two[20:]


def batch(model: CharRNN, prompts: list[str], **options: Any) -> list[str]:
    return generate_batch(model, LETTERS, prompts, config(**{"length": 50, "seed": 8, **options}))


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"top_k": 3, "min_p": 0.1}])
def test_a_batch_is_its_samples_made_one_by_one(options: dict[str, Any]) -> None:
    """Each by its own seed; more than a block of random numbers is drawn."""
    model, prompts = model_of(LETTERS), ["ab", "ab", "", "jjjj", "ab", ""]
    texts = batch(model, prompts, length=300, **options)
    assert len(set(texts)) == 6
    for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        alone = config(length=300, seed=8 + i, **options)
        assert text == "".join(generate(model, LETTERS, prompt, alone))


def test_the_seed_after_the_largest_is_0() -> None:
    assert [sample_seed(2**63 - 2, i) for i in range(4)] == [2**63 - 2, 2**63 - 1, 0, 1]


@pytest.mark.parametrize("count", [1, 4])
def test_a_batch_with_stops_is_its_samples_cut(count: int) -> None:
    """The others go on as if all did."""
    model = model_of(LETTERS)
    prompts = ["", "abc"] * count
    plain = batch(model, prompts)
    stops = (plain[1][20:23], plain[-1][5:8])
    cut = batch(model, prompts, stop=stops)
    assert cut == [cut_at_first(text, stops) for text in plain]
    assert cut != plain


def test_samples_that_all_stop_at_once() -> None:
    everything = tuple(map(str, LETTERS.symbols))
    assert batch(model_of(LETTERS), ["a"] * 3, stop=everything) == [""] * 3


def test_a_seed_decides_the_text() -> None:
    model = model_of(LETTERS)
    assert written(model, LETTERS, seed=1) == written(model, LETTERS, seed=1)
    assert written(model, LETTERS, seed=1) != written(model, LETTERS, seed=2)
    assert len(written(model, LETTERS, length=17)) == 17


def test_an_endless_text_comes_as_it_is_made() -> None:
    endless = generate(model_of(LETTERS), LETTERS, "", config(length=0, seed=1))
    assert len("".join(next(endless) for _ in range(700))) == 700


# --- symbols to text


def cut_at_first(text: str, stops: tuple[str, ...]) -> str:
    """Cuts a text before the stop that is complete first (of two at once, the longer)."""
    for end in range(1, len(text) + 1):
        if any(text[:end].endswith(stop) for stop in stops):
            return text[: min(end - len(s) for s in stops if text[:end].endswith(s))]
    return text


def assembled(vocabulary: Vocabulary, symbols: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    assembler = TextAssembler(vocabulary, stops)
    return [*(assembler.add(symbol) for symbol in symbols), assembler.finish()]


@few
@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3).map(tuple),
)
@example(text="aab", stops=("ab",))
@example(text="ababac", stops=("abac",))
@example(text="cabb", stops=("abc", "bb"))
@example(text="bab", stops=("ab", "b"))
@example(text="aab", stops=("ab", "aab", "b"))
def test_a_text_ends_before_its_first_stop(text: str, stops: tuple[str, ...]) -> None:
    pieces = assembled(ABC, ABC.encode(text).tolist(), stops)
    assert "".join(pieces) == cut_at_first(text, stops)


@few
@given(text=st.text("abc", max_size=20), stop=st.text("abc", min_size=1, max_size=4))
def test_with_one_stop_a_text_is_cut_where_it_is_found(text: str, stop: str) -> None:
    assert "".join(assembled(ABC, ABC.encode(text).tolist(), (stop,))) == text.split(stop)[0]


def test_only_what_may_become_a_stop_is_held_back() -> None:
    pieces = assembled(ABC, ABC.encode("abcaba").tolist(), ("abb",))
    assert pieces == ["", "", "abc", "", "", "ab", "a"]


def test_nothing_is_made_after_a_stop() -> None:
    assembler = TextAssembler(ABC, ("b",))
    assert [assembler.add(0), assembler.stopped] == ["a", False]
    assert [assembler.add(1), assembler.stopped] == ["", True]
    assert [assembler.add(0), assembler.finish()] == ["", ""]


@few
@given(st.binary(max_size=40))
@example("né€\U0001f600".encode())
@example(b"\xf0\x9f\x98")
@example(b"\xe2\x82A\xff\xc3")
@example(b"\xed\xa0\x80")
def test_bytes_become_whole_characters(data: bytes) -> None:
    pieces = assembled(BYTES, list(data))
    assert "".join(pieces) == data.decode("utf-8", "replace")
    for piece in pieces:
        piece.encode("utf-8")


@few
@given(
    data=st.lists(st.sampled_from([b"a", b"\xc3", b"\xa9", b"\xff"]), max_size=20).map(b"".join),
    stop=st.text("aé\ufffd", min_size=1, max_size=3),
)
def test_a_stop_among_bytes(data: bytes, stop: str) -> None:
    text = data.decode("utf-8", "replace")
    assert "".join(assembled(BYTES, list(data), (stop,))) == text.split(stop)[0]


def test_a_stop_that_the_end_completes_loses_nothing_before_it() -> None:
    """The last byte is no whole character: that is known at the end only."""
    pieces = assembled(BYTES, list(b"zab\xe2"), ("abc", "b\ufffd"))
    assert "".join(pieces) == "za"


@pytest.mark.parametrize("count", [1, 3])
def test_byte_models_write_whole_characters_only(count: int) -> None:
    texts = generate_batch(model_of(BYTES), BYTES, ["é"] * count, config(length=80, seed=1))
    for text in texts:
        assert len(text.encode("utf-8")) >= 80  # bytes, a wrong one counted as U+FFFD


# --- prompts


@few
@given(st.text(max_size=12))
@example("a\udc80")
@example("\ud800")
@example("\0\U0010ffff")
@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES], ids=["char", "byte"])
def test_any_prompt_gives_a_text_or_a_named_error(vocabulary: Vocabulary, prompt: str) -> None:
    model = model_of(vocabulary, hidden_size=2)
    try:
        text = written(model, vocabulary, prompt, length=5)
    except UnknownCharacterError as error:
        surrogate = any("\ud800" <= c <= "\udfff" for c in prompt)
        known = set(prompt) <= set(map(str, LETTERS.symbols))
        assert surrogate if vocabulary is BYTES else not known
        assert len(str(error).splitlines()) == 1
    else:
        assert text


def test_unknown_characters_of_a_prompt_may_be_left_out() -> None:
    model = model_of(LETTERS)
    options = config(length=30, seed=1)
    skipped = "".join(generate(model, LETTERS, "aXbéc", options, "skip"))
    assert skipped == "".join(generate(model, LETTERS, "abc", options))
    with pytest.raises(UnknownCharacterError, match="'X'"):
        generate(model, LETTERS, "aXbéc", options)  # before the first character is asked for


@pytest.mark.parametrize("vocabulary", [LETTERS, ABC], ids=["newline", "no newline"])
def test_an_empty_prompt_starts_where_every_text_starts(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    model = model_of(vocabulary)
    save(tmp_path / "model", Checkpoint(model, vocabulary))
    wanted = NumpyModel.read(tmp_path / "model").logits_after("")
    stepper = Stepper(model, prompt_state(model, vocabulary, vocabulary.encode("")))
    np.testing.assert_allclose(stepper.logits()[0], wanted, rtol=1e-4, atol=1e-5)
