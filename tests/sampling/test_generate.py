"""Sampling: texts follow the model's probabilities, and nothing of a stop text is printed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy_model import NumpyModel
from small_samples import ABC, BYTES, LETTERS, config, model_of, written

from charrnn.errors import UnknownCharacterError
from charrnn.model import parallel
from charrnn.model.forward import Forward
from charrnn.sampling import decoding
from charrnn.sampling.generate import TextAssembler, generate, generate_batch, samples
from charrnn.store.checkpoint import Checkpoint, load, save
from charrnn.text.vocabulary import Vocabulary

few = settings(deadline=None, max_examples=100)


# --- the most probable, prompts, batches


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 1}, {"top_k": 1, "seed": 9}])
@pytest.mark.parametrize(
    "kind", [{}, {"nonlinearity": "relu"}, {"cell": "gru"}, {"cell": "lstm"}], ids=str
)
def test_the_most_probable_text_is_the_references(
    tmp_path: Path, options: dict[str, Any], kind: dict[str, str]
) -> None:
    model = model_of(LETTERS, **kind)
    save(tmp_path / "model", Checkpoint(model, LETTERS))
    reference = NumpyModel.read(tmp_path / "model")
    text = "bad"
    for _ in range(40):
        text += str(reference.symbols[reference.logits_after(text).argmax()])
    assert written(model, LETTERS, "bad", length=40, **options) == text[3:]


def test_the_prompt_matters_and_is_not_repeated() -> None:
    model = model_of(LETTERS)
    assert written(model, LETTERS, "a") != written(model, LETTERS, "b")
    in_two = written(model, LETTERS, "ab", temperature=0.0)
    rest = written(model, LETTERS, "ab" + in_two[:20], temperature=0.0, length=40)
    assert rest == in_two[20:]


def batch(model: Forward, prompts: list[str], **options: Any) -> list[str]:
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


@pytest.mark.parametrize("count", [1, 4])
def test_a_batch_with_stops_is_its_samples_cut(count: int) -> None:
    """The others continue as if all did."""
    model = model_of(LETTERS)
    prompts = ["", "abc"] * count
    plain = batch(model, prompts)
    stops = (plain[1][20:23], plain[-1][5:8])
    cut = batch(model, prompts, stop=stops)
    assert cut == [cut_at_first(text, stops) for text in plain]
    assert cut != plain


@pytest.mark.parametrize("stop", [(), ("a",)])
def test_in_threads_each_sample_is_what_it_is_alone(
    stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.sampling.generate.WORTH_A_THREAD", 0)
    monkeypatch.setattr(parallel, "_threads", 3)
    model = model_of(LETTERS)
    texts = batch(model, ["b", "c"] * 50, length=20, stop=stop)
    for i, text in enumerate(texts):
        alone = config(length=20, seed=8 + i, stop=stop)
        assert text == "".join(generate(model, LETTERS, "bc"[i % 2], alone))


def test_samples_that_all_stop_at_once() -> None:
    everything = tuple(map(str, LETTERS.symbols))
    assert batch(model_of(LETTERS), ["a"] * 3, stop=everything) == [""] * 3


def test_a_seed_decides_the_text() -> None:
    model = model_of(LETTERS)
    assert written(model, LETTERS, seed=1) == written(model, LETTERS, seed=1)
    assert written(model, LETTERS, seed=1) != written(model, LETTERS, seed=2)
    assert len(written(model, LETTERS, length=17)) == 17


DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("kept", json.loads((DATA / "samples.json").read_text(encoding="utf-8")))
def test_a_seed_gives_the_text_that_it_gave_to_earlier_versions(kept: dict[str, Any]) -> None:
    model = load(DATA / "version_0_1" / "model_at_the_end.safetensors")
    prompt, text = kept.pop("prompt"), kept.pop("text")
    assert written(model.model, model.vocabulary, prompt, **kept) == text


def test_an_endless_text_comes_as_it_is_made() -> None:
    endless = generate(model_of(LETTERS), LETTERS, "", config(length=0, seed=1))
    assert len("".join(next(endless) for _ in range(700))) == 700


# --- many samples, in groups


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("group", [1, 2, 256])
def test_each_sample_is_made_alone_by_its_seed(
    count: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, however many are made side by side, past the largest seed too."""
    monkeypatch.setattr("charrnn.sampling.generate.SIDE_BY_SIDE", group)
    model, prompts = model_of(LETTERS), ["abc", "", "abc", "j"]
    options = config(length=20, seed=2**63 - 2, count=count)
    made = list(samples(model, LETTERS, prompts, options))
    assert [one.prompt for one in made] == [prompt for prompt in prompts for _ in range(count)]
    assert [one.seed for one in made] == [(2**63 - 2 + i) % 2**63 for i in range(len(made))]
    for one in made:
        alone = config(length=20, seed=one.seed)
        assert one.text == "".join(generate(model, LETTERS, one.prompt, alone))


def test_a_group_is_yielded_before_the_next_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.sampling.generate.SIDE_BY_SIDE", 2)
    model, prompts = model_of(LETTERS), ["a", "b", "X"]
    made = samples(model, LETTERS, prompts, config(length=3, seed=1))
    assert [next(made).prompt for _ in range(2)] == ["a", "b"]
    with pytest.raises(UnknownCharacterError, match="'X'"):
        next(made)


def test_of_no_prompts_there_are_no_samples() -> None:
    assert list(samples(model_of(LETTERS), LETTERS, [], config(seed=1))) == []


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
def test_every_byte_is_written_as_it_is_made(data: bytes) -> None:
    """Also in the middle of a character, and those that are no UTF-8."""
    assert assembled(BYTES, list(data)) == [*(bytes([byte]) for byte in data), b""]


@few
@given(
    data=st.lists(st.sampled_from([b"a", b"\xc3", b"\xa9", b"\xff"]), max_size=20).map(b"".join),
    stop=st.text("aé\udcff\udcc3", min_size=1, max_size=3),
)
@example(data=b"a\xc3\xa9", stop="\udcc3")
def test_a_stop_among_bytes(data: bytes, stop: str) -> None:
    """It is UTF-8, or the bytes that were typed."""
    wanted = data.split(stop.encode("utf-8", "surrogateescape"))[0]
    assert b"".join(assembled(BYTES, list(data), (stop,))) == wanted


def test_a_byte_model_writes_the_bytes_that_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def draw_one(*args: Any) -> int:
        drawn.append(decoding.draw_one(*args))
        return drawn[-1]

    monkeypatch.setattr("charrnn.sampling.generate.draw_one", draw_one)
    text = written(model_of(BYTES), BYTES, "é", length=300)
    assert text == bytes(drawn)
    with pytest.raises(UnicodeDecodeError):
        text.decode()


@pytest.mark.parametrize("stop", [(), ("\udc80", "e")])
def test_bytes_side_by_side_are_those_made_alone(stop: tuple[str, ...]) -> None:
    model, prompts = model_of(BYTES), ["é", b"\xff", "\udcff"]
    made = list(samples(model, BYTES, prompts, config(length=80, seed=1, count=2, stop=stop)))
    assert [one.prompt for one in made] == [b"\xc3\xa9"] * 2 + [b"\xff"] * 4
    for one in made:
        assert one.text == written(
            model, BYTES, one.prompt, length=80, seed=one.seed, temperature=1.0, stop=stop
        )


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
        all_known = set(prompt) <= set(map(str, LETTERS.symbols))
        assert surrogate if vocabulary is BYTES else not all_known
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
