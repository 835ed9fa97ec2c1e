"""JSON of files that anybody may have written; settings of any type."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import DataConfig, ModelConfig, TrainingConfig
from charrnn.errors import OptionError
from charrnn.fields import DEEPEST, MOST_MARKS, read_json, settings_of

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


# --- settings of any type


@pytest.mark.parametrize(
    ("kind", "name", "value", "wanted"),
    [
        (TrainingConfig, "steps", 20.0, 20),
        (TrainingConfig, "steps", np.int64(20), 20),
        (TrainingConfig, "seed", 2**62 + 1, 2**62 + 1),
        (TrainingConfig, "learning_rate", 1, 1.0),
        (TrainingConfig, "learning_rate", np.float32(0.5), 0.5),
        (TrainingConfig, "max_time", np.float64(60), 60.0),
        (DataConfig, "no_header", True, True),
        (DataConfig, "encoding", "utf-8", "utf-8"),
        (ModelConfig, "nonlinearity", "relu", "relu"),
    ],
)
def test_a_setting_becomes_what_its_field_is(
    kind: type, name: str, value: object, wanted: object
) -> None:
    settings = settings_of(kind, {name: value, "other": 3})
    assert settings == {name: wanted}
    assert type(settings[name]) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 2.5, "--steps: 2.5 is not a whole number"),
        ("steps", True, "--steps: True is not a whole number"),
        ("steps", "20", "--steps: '20' is not a whole number"),
        ("steps", float("nan"), "--steps: nan is not a whole number"),
        ("learning_rate", "fast", "--learning-rate: 'fast' is not a number"),
        ("device", 3, "--device: 3 is not text"),
        ("seed", [1], "--seed: .1. is not a whole number"),
    ],
)
def test_a_setting_of_another_type_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings_of(TrainingConfig, {name: value})


def test_a_setting_that_is_none_is_not_set() -> None:
    assert settings_of(TrainingConfig, dict.fromkeys(TrainingConfig.__annotations__)) == {}
