"""JSON of files that anybody may have written."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.fields import DEEPEST, MOST_MARKS, read_json

numbers = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text('a[]{}",\\\n é\ud800'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a["\\'), inner),
    max_leaves=10,
)


@given(values)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False, indent=1)) == value


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[1e999]", "123456789012345678901"),
        *("9" * 5000, "-" + "9" * 400, '{"a": NaN}', "", "[", '"', '"\\', '"a\\"', "[1,]", "{,}"),
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        '{"a":' * 50 + "1" + "}" * 50,
        "[" * 10**6,
        "[" * 10**6 + "]" * 10**6,
        "[" + "[]," * (MOST_MARKS // 3) + "[]]",
        "[" + '"",' * MOST_MARKS + '""]',
        '"' + '\\"' * 10**6,
    ],
    ids=lambda text: text[:12],
)
def test_what_could_not_be_computed_with_or_written_again_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_json(text)


def test_what_is_within_the_bounds_is_read() -> None:
    assert read_json("[" * DEEPEST + "]" * DEEPEST) is not None
    assert read_json("9223372036854775807") == 2**63 - 1
    assert math.copysign(1, read_json("-0.0")) == -1
    brackets = json.dumps(["[{" * 1000, "]}" * 1000, '\\"['])
    assert json.dumps(read_json(brackets)) == brackets
    whole = json.dumps([chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    assert len(read_json(whole)) == 0x110000 - 0x800
