"""JSON of a file that may hold anything, and values of any type back to a dataclass."""

import json
import math
import numbers
import os
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from charrnn.config import option_name
from charrnn.errors import OptionError

T = TypeVar("T")
DEEPEST = 16  # lists and objects that stand in each other
MOST_MARKS = 2_500_000  # brackets, commas, numbers ...: all but strings, in characters
_DIGITS = 20  # of a whole number, at most, with its sign
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_INNERMOST = re.compile(r"\[[^][{}]*+\]|\{[^][{}]*+\}")


def read_json(text: str) -> Any:
    """Returns the value of JSON, which anybody may have written.

    Every number is finite and has 20 digits at most, so that it can be computed with, and what is
    nested can be written again. Time and memory are bounded: a list of a million lists is refused.

    Raises:
        ValueError: It is no such JSON.
    """
    marks = _STRING.sub("", text)
    if len(marks) > MOST_MARKS:
        raise ValueError("it has too many parts")
    for _ in range(DEEPEST):
        marks = _INNERMOST.sub("", marks)
    if re.search(r"[][{}]", marks):
        raise ValueError("it is nested too deep")
    return json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number:.30} is not finite")
    return value


def typed(kind: type[T], values: Any) -> T:
    """Returns a dataclass made of values that were read from a file, by field name.

    Raises:
        TypeError: A field is missing or unknown, or a value has the wrong type.
        ValueError: A number is not finite, or negative.
        OptionError: One is out of its range.
    """
    if not isinstance(values, dict):
        raise TypeError("not a JSON object")
    for name, wanted in get_type_hints(kind).items():
        if name not in values:
            continue
        value, kinds = values[name], _kinds(wanted)
        if type(value) not in kinds and not (type(value) is int and float in kinds):
            raise TypeError(f"{name} is {value!r:.100}")
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r:.100}")
    return kind(**values)


WORDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "True or False"}


def settings_of(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of some settings that a dataclass has, as the types of its fields.

    None is a setting that is not set. Numbers may be NumPy's, and paths are text.

    Raises:
        OptionError: A value is of another type.
    """
    return {
        name: _as_one_of(_kinds(wanted), name, values[name])
        for name, wanted in get_type_hints(kind).items()
        if values.get(name) is not None
    }


def _as_one_of(kinds: tuple[type, ...], name: str, value: Any) -> Any:
    if isinstance(value, bool):
        if bool in kinds:
            return value
    elif isinstance(value, numbers.Integral) and int in kinds:
        return int(value)
    elif isinstance(value, numbers.Real) and float in kinds:
        return float(value)
    elif isinstance(value, numbers.Real) and int in kinds and float(value).is_integer():
        return int(float(value))
    elif str in kinds and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    words = next((WORDS[kind] for kind in kinds if kind in WORDS), "text")
    raise OptionError(f"{option_name(name)}: {value!r:.100} is not {words}")


def _kinds(wanted: Any) -> tuple[type, ...]:
    """Returns the classes of an annotation's values."""
    origin = get_origin(wanted)
    if origin is Literal:
        return tuple({type(choice) for choice in get_args(wanted)})
    if origin in (UnionType, Union):
        return tuple(kind for inner in get_args(wanted) for kind in _kinds(inner))
    return (origin or wanted,)
