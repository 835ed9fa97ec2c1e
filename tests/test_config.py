"""Laws of the settings: each range is kept and named."""

import math
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import Cell, DataConfig, ModelConfig, SamplingConfig, TrainingConfig, check
from charrnn.errors import OptionError
from charrnn.text.survey import MIN_CORPUS_CHARS

few = settings(max_examples=60, deadline=None)
NAN, INF = math.nan, math.inf

MODEL = {"vocab_size": 2}
BAD: dict[type, dict[str, list[Any]]] = {
    ModelConfig: {
        "vocab_size": [1, 0, -1, NAN],
        "unit": ["", "word", "Char"],
        "hidden_size": [0, -1, 2**16 + 1, NAN, INF],
        "num_layers": [0, -1, 65, NAN, INF],
        "cell": ["", "RNN", "transformer"],
        "nonlinearity": ["", "sigmoid", "TANH"],
        "dropout": [-0.1, 1.0, 2.0, NAN, INF, -INF],
    },
    DataConfig: {
        "unit": ["", "word"],
        "encoding": ["", "utf-9", "é", "a\0b", "rot13", "undefined"],
        "min_count": [0, -1],
        "vocabulary_from": [0, -1],
        "encoding_errors": ["", "ignore", "Strict"],
        "format": ["parquet", ""],
        "newlines": ["crlf", ""],
        "quotes": ["none", ""],
        "delimiter": ["", ",,", '"', "\n"],
        "val_fraction": [-0.1, 0.91, 1.0, NAN, INF, -INF],
        "hold_out": ["", "line"],
        "block_chars": [0, -1, 1023, NAN],
    },
    TrainingConfig: {
        "batch_size": [0, -1, 2**16 + 1, NAN, INF],
        "seq_len": [0, -1, 2**16 + 1, NAN, INF],
        "learning_rate": [0.0, -1e-3, 1e31, NAN, INF],
        "final_learning_rate": [-0.1, NAN, INF],
        "warmup": [-0.1, 1.1, NAN, INF],
        "grad_clip": [-1.0, NAN, INF],
        "weight_decay": [-1.0, NAN, INF],
        "epochs": [0.0, -1.0, NAN, INF],
        "steps": [0, -1, NAN, INF],
        "max_time": [0.0, -1.0, NAN, INF],
        "patience": [-1, NAN],
        "eval_every": [0, -1, NAN],
        "max_val_chars": [0, -1, NAN],
        "save_every": [0, -1, NAN],
        "keep_every": [0, -1, NAN],
        "save_every_s": [0.0, -1.0, NAN, INF],
        "seed": [-1, 2**63, NAN, INF],
        "precision": ["fp16", "", "FP32"],
        "optimizer": ["sgd", "", "AdamW"],
        "workers": [0, -1, 10**5, NAN, INF],
        "members": [0, -1, 17, NAN, INF],
        "average_every": [0, -1, 1.5e15, NAN, INF],
        "threads": [0, -1, 10**5, NAN, INF],
    },
    SamplingConfig: {
        "temperature": [-0.1, NAN, INF],
        "top_k": [-1, NAN],
        "top_p": [0.0, -0.1, 1.1, NAN, INF],
        "min_p": [-0.1, 1.1, NAN, INF],
        "length": [-1, NAN],
        "stop": [("",), ("a", "")],
        "count": [0, -1, 2**16 + 1, NAN, INF],
        "seed": [-1, 2**63, NAN, INF],
    },
}
WITHOUT_RANGE = {"separator", "split", "column", "device", "no_header", "skip_damaged"}


def make(config: type, **changes: Any) -> Any:
    """Returns a configuration with its defaults but for some fields."""
    return config(**(MODEL if config is ModelConfig else {}) | changes)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        pytest.param(config, field, value, id=f"{field}={value!r:.20}")
        for config, ranges in BAD.items()
        for field, values in ranges.items()
        for value in values
    ],
)
def test_a_value_out_of_range_names_its_option(config: type, field: str, value: Any) -> None:
    option = "--" + {"hold_out": "split"}.get(field, field.removesuffix("_s").replace("_", "-"))
    with pytest.raises(OptionError) as raised:
        make(config, **{field: value})
    assert str(raised.value).startswith(f"{option}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("config", BAD)
def test_each_field_has_a_range_that_is_tested(config: type) -> None:
    assert {field.name for field in fields(config)} - WITHOUT_RANGE == set(BAD[config])


@pytest.mark.parametrize("config", BAD)
def test_the_defaults_are_valid_and_come_back_from_plain_values(config: type) -> None:
    assert config(**asdict(make(config))) == make(config)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (ModelConfig, {"hidden_size": 1, "num_layers": 1, "nonlinearity": "relu", "unit": "byte"}),
        (ModelConfig, {"hidden_size": 2**16, "num_layers": 64, "dropout": 0.999}),
        (DataConfig, {"val_fraction": 0.0, "block_chars": 1024, "encoding": "latin-1"}),
        (DataConfig, {"val_fraction": 0.9, "unit": "byte", "column": "text"}),
        (TrainingConfig, {"batch_size": 1, "seq_len": 1, "grad_clip": 0.0, "patience": 0}),
        (TrainingConfig, {"steps": 1, "eval_every": 1, "save_every": 1, "threads": 1}),
        (TrainingConfig, {"epochs": 0.01, "seed": 2**63 - 1, "weight_decay": 0.0}),
        (TrainingConfig, {"warmup": 0.0, "final_learning_rate": 0.0}),
        (SamplingConfig, {"temperature": 0.0, "length": 0, "seed": 0, "stop": ("\n", "END")}),
        (SamplingConfig, {"top_k": 1, "top_p": 1e-9, "min_p": 1.0, "length": 1, "count": 2}),
    ],
)
def test_the_ends_of_the_ranges_are_valid(config: type, changes: dict[str, Any]) -> None:
    made = make(config, **changes)
    assert {name: getattr(made, name) for name in changes} == changes


@pytest.mark.parametrize(
    "limits",
    [
        {"epochs": 1.0, "steps": 1},
        {"epochs": 1.0, "max_time": 1.0},
        {"steps": 1, "max_time": 1.0},
        {"epochs": 1.0, "steps": 1, "max_time": 1.0},
    ],
)
def test_training_has_one_limit(limits: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as raised:
        TrainingConfig(**limits)
    assert all("--" + name.replace("_", "-") in str(raised.value) for name in limits)


def test_options_of_several_settings_are_checked_before_any_is_built() -> None:
    check({"hidden_size": 8, "steps": 5, "epochs": None, "encoding": "latin-1", "other": -1})
    for wrong in ({"hidden_size": 0}, {"seed": -1}, {"steps": 5, "epochs": 1.0}, {"unit": "word"}):
        with pytest.raises(OptionError, match=r"^--"):
            check({"seq_len": 8, **wrong})


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_cell_with_gates_has_functions_of_its_own(cell: Cell) -> None:
    with pytest.raises(OptionError, match=f"--cell {cell} and --nonlinearity relu: .* leave"):
        check({"cell": cell, "nonlinearity": "relu"})
    with pytest.raises(OptionError, match="leave --nonlinearity out"):
        ModelConfig(2, cell=cell, nonlinearity="relu")
    assert ModelConfig(2, cell=cell, nonlinearity="tanh").cell == cell
    check({"cell": "rnn", "nonlinearity": "relu"})


def test_an_endless_sample_is_the_only_one() -> None:
    with pytest.raises(OptionError, match=r"^--count: .*--length 0"):
        SamplingConfig(length=0, count=2)


def test_parameter_count_of_a_model_counted_by_hand() -> None:
    # layer 1: 3*2 + 3*3 + 3; layers 2 and 3: 3*3 + 3*3 + 3; output: 2*3 + 2
    assert ModelConfig(vocab_size=2, hidden_size=3, num_layers=3).parameter_count() == 68


@pytest.mark.parametrize(("cell", "gates", "state"), [("gru", 3, 5), ("lstm", 4, 10)])
def test_gates_multiply_a_layers_parameters(cell: Cell, gates: int, state: int) -> None:
    config = ModelConfig(vocab_size=2, hidden_size=5, num_layers=2, cell=cell)
    # layer 1: 5*2 + 5*5 + 5; layer 2: 5*5 + 5*5 + 5; output: 2*5 + 2
    assert config.parameter_count() == gates * (40 + 55) + 12
    assert (config.gates, config.state_size) == (gates, state)
    assert config.shape == f"5 x 2 {cell}"
    assert ModelConfig(vocab_size=2, hidden_size=5, num_layers=2).shape == "5 x 2"


# Where the validation text starts.


@few
@given(st.integers(MIN_CORPUS_CHARS, 10**12))
def test_by_default_nine_tenths_train(chars: int) -> None:
    assert DataConfig().train_chars(chars) == int(0.9 * chars)


@few
@given(st.integers(MIN_CORPUS_CHARS, 10**6), st.floats(0, 0.9, exclude_min=True))
def test_a_share_is_left_for_validation(chars: int, val_fraction: float) -> None:
    train = DataConfig(val_fraction=val_fraction).train_chars(chars)
    assert 2 <= train <= chars - 2
    assert abs(chars - train - val_fraction * chars) <= 2


@few
@given(st.integers(MIN_CORPUS_CHARS, 10**12))
def test_without_validation_everything_trains(chars: int) -> None:
    assert DataConfig(val_fraction=0).train_chars(chars) == chars
