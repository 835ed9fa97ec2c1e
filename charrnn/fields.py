"""JSON of a file back to a dataclass."""

import math
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


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
