"""Laws of the vocabulary: ids and back for any text, ids in the order of the symbols."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import CheckpointError, UnknownCharacterError
from charrnn.text.vocabulary import UNKNOWN, CharacterSet, Vocabulary

ODD = "\0\n\r\u0301e\u2028\ufeff\uffff\U0001f600\U0010ffff\ud800\udfff"
# st.text would leave surrogates out
any_text = st.lists(st.one_of(st.characters(), st.sampled_from(ODD))).map("".join)
few = settings(max_examples=60, deadline=None)
bytes_vocabulary = Vocabulary.of_bytes()


def distinct(count: int) -> str:
    """Returns N characters, none of them a surrogate, by falling code point."""
    return "".join(map(chr, range(0x10000 + count - 1, 0x10000 - 1, -1)))


# Characters.


@few
@example(ODD)
@given(any_text)
def test_any_text_comes_back(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    ids = vocabulary.encode(text)
    assert len(ids) == len(text)
    assert vocabulary.decode(ids) == vocabulary.decode(ids.tolist()) == text


@few
@given(any_text)
def test_an_id_is_the_rank_of_its_code_point(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    ranks = sorted(set(text))
    assert vocabulary.symbols == tuple(ranks)
    assert len(vocabulary) == len(ranks)
    assert vocabulary.encode(text).tolist() == [ranks.index(c) for c in text]


@few
@given(any_text)
def test_newline_id(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    assert (vocabulary.newline_id is not None) == ("\n" in text)
    if vocabulary.newline_id is not None:
        assert vocabulary.symbols[vocabulary.newline_id] == "\n"


@few
@given(any_text, st.lists(st.integers(0, 100)))
def test_pieces_give_the_vocabulary_of_the_whole(text: str, cuts: list[int]) -> None:
    characters = CharacterSet()
    edges = [0, *sorted(cuts), len(text)]
    for start, stop in itertools.pairwise(edges):
        characters.add(text[start:stop])
    characters.add(text[: edges[1]])  # seeing a character twice changes nothing
    assert characters.vocabulary().symbols == Vocabulary.of_text(text).symbols


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1, np.uint8),
        (2, np.uint8),
        (255, np.uint8),
        (256, np.uint8),
        (257, np.uint16),
        (65536, np.uint16),
        (65537, np.uint32),
    ],
)
def test_ids_have_the_smallest_type(size: int, dtype: type) -> None:
    text = distinct(size)
    vocabulary = Vocabulary.of_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == vocabulary.encode("").dtype == vocabulary.dtype == dtype
    assert np.array_equal(ids, np.arange(size)[::-1])
    assert vocabulary.decode(ids) == text


# Characters that the vocabulary does not have.


@few
@given(any_text, any_text)
def test_skip_drops_the_unknown_characters_alone(alphabet: str, text: str) -> None:
    vocabulary = Vocabulary.of_text(alphabet)
    wanted = "".join(c for c in text if c in alphabet)
    assert vocabulary.decode(vocabulary.encode(text, on_unknown="skip")) == wanted


@few
@given(any_text, any_text)
def test_an_error_names_the_unknown_characters(alphabet: str, text: str) -> None:
    vocabulary = Vocabulary.of_text(alphabet)
    unknown = dict.fromkeys(c for c in text if c not in alphabet)
    if not unknown:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(UnknownCharacterError) as raised:
        vocabulary.encode(text)
    message = str(raised.value)
    assert "--on-unknown skip" in message
    assert message.isprintable()  # one line, whatever the character
    assert all(f"U+{ord(c):04X}" in message for c in list(unknown)[:5])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("abz", "'z' (U+007A);"),
        ("é", "'é' (U+00E9);"),
        ("a\U0001f600b\U0001f600", "'\U0001f600' (U+1F600);"),
        ("vwxyz", "'v' (U+0076), 'w' (U+0077), 'x' (U+0078), 'y' (U+0079), 'z' (U+007A);"),
        (
            "tuvwxyz",
            "'t' (U+0074), 'u' (U+0075), 'v' (U+0076), 'w' (U+0077), 'x' (U+0078) and 2 more;",
        ),
    ],
)
def test_the_words_of_the_error(text: str, named: str) -> None:
    with pytest.raises(UnknownCharacterError) as raised:
        Vocabulary.of_text("abc").encode(text)
    assert str(raised.value).startswith(
        f"the model does not know {named} it was trained on 3 other"
    )


# Bytes.


@few
@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    ids = bytes_vocabulary.encode(data)
    assert ids.dtype == np.uint8
    assert ids.tolist() == list(data)
    assert bytes_vocabulary.decode(ids) == data
    assert bytes_vocabulary.to_piece(data) == data


@few
@given(st.text())
def test_bytes_of_a_text_are_its_utf8(text: str) -> None:
    assert bytes_vocabulary.encode(text).tolist() == list(text.encode())
    assert bytes_vocabulary.to_piece(text) == text.encode()
    assert Vocabulary.of_text("abc").to_piece(text) == text


def test_bytes_that_the_command_line_could_not_decode_come_back() -> None:
    data = b"caf\xe9"
    argument = data.decode("utf-8", "surrogateescape")
    assert bytes_vocabulary.decode(bytes_vocabulary.encode(argument)) == data
    assert bytes_vocabulary.to_piece(argument) == data


def test_a_byte_vocabulary_has_all_bytes() -> None:
    assert bytes_vocabulary.symbols == tuple(range(256))
    assert bytes_vocabulary.newline_id == 10


# JSON.


@few
@given(st.sets(st.one_of(st.characters(), st.sampled_from(ODD)), min_size=2))
def test_json_comes_back(characters: set[str]) -> None:
    vocabulary = Vocabulary.of_text("".join(characters))
    text = vocabulary.to_json()
    text.encode()  # a checkpoint's metadata are UTF-8
    if any("\ud800" <= character <= "\udfff" for character in characters):
        with pytest.raises(CheckpointError, match="not a JSON array of different chars"):
            Vocabulary.from_json("char", text)
        return
    assert Vocabulary.from_json("char", text).symbols == vocabulary.symbols


def test_json_of_bytes_comes_back() -> None:
    again = Vocabulary.from_json("byte", bytes_vocabulary.to_json())
    assert again.unit == "byte"
    assert again.symbols == bytes_vocabulary.symbols


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[" * 100_000,
        "1" * 5000,
        "null",
        "7",
        '"ab"',
        "[]",
        '{"a": 0, "b": 1}',
        '["a"]',
        '["a", "a"]',
        '["a", ""]',
        '["a", "bc"]',
        '["a", 98]',
        '["a", null]',
        '["a", ["b"]]',
        "[0, 1]",
        "[NaN, Infinity]",
        json.dumps(list(range(255))),
        json.dumps(list(range(255, -1, -1))),
        json.dumps([float(byte) for byte in range(256)]),
    ],
    ids=lambda value: value[:20],
)
def test_json_of_a_damaged_file_is_a_named_error(unit: str, text: str) -> None:
    with pytest.raises(CheckpointError, match="its vocabulary is not"):
        Vocabulary.from_json(unit, text)  # type: ignore[arg-type]


# Unknown characters that have a symbol.


@few
@given(alphabet=st.text("abcé漢\n", min_size=1, max_size=6), text=any_text)
def test_unknown_characters_become_one_symbol(alphabet: str, text: str) -> None:
    symbols = sorted({*alphabet, UNKNOWN})
    vocabulary = Vocabulary("char", symbols, unknown=UNKNOWN)
    mapped = "".join(c if c in symbols else UNKNOWN for c in text)
    assert vocabulary.decode(vocabulary.encode(text)) == mapped
    without_unknown = "".join(c for c in text if c in symbols)
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == without_unknown
    assert vocabulary.count_unknown(text) == len(text) - len(without_unknown)
    again = Vocabulary.from_json("char", vocabulary.to_json(), UNKNOWN)
    assert (again.symbols, again.unknown) == (vocabulary.symbols, UNKNOWN)
    both = vocabulary.union(Vocabulary.of_text("xyz"))
    assert both.unknown == UNKNOWN and set("xyz") < set(both.symbols)


def test_a_symbol_for_unknown_characters_must_be_one() -> None:
    with pytest.raises(CheckpointError, match="lacks the symbol for unknown"):
        Vocabulary.from_json("char", '["a", "b"]', "c")


@few
@given(st.text(st.characters(max_codepoint=127), max_size=40), st.integers(1, 300))
def test_plain_letters_are_looked_up_as_all_others_are(text: str, more: int) -> None:
    """With a vocabulary of ASCII alone, and with many others; with unknown ones among them."""
    letters = text[::2] + "a"
    for vocabulary in (Vocabulary.of_text(letters), Vocabulary.of_text(letters + distinct(more))):
        if set(text) <= set(letters):
            assert vocabulary.decode(vocabulary.encode(text)) == text
        else:
            with pytest.raises(UnknownCharacterError):
                vocabulary.encode(text)
