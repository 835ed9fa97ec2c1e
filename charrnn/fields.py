"""JSON of a file that may hold anything, and JSON back to a dataclass."""

import json
import math
import re
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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


def _kinds(wanted: Any) -> tuple[type, ...]:
    """Returns the classes of an annotation's values."""
    origin = get_origin(wanted)
    if origin is Literal:
        return tuple({type(choice) for choice in get_args(wanted)})
    if origin in (UnionType, Union):
        return tuple(kind for inner in get_args(wanted) for kind in _kinds(inner))
    return (origin or wanted,)
