"""Numbers within bounds as types, and settings classes that check them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from lit_rec.core.errors import SettingError

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1, both included."""

PositiveShare = Annotated[float, Gt(0), Le(1)]

_RULES = {Ge: (ge, "at least"), Gt: (gt, "above"), Le: (le, "at most"), Lt: (lt, "below")}
"""What each bound means, and how it reads; its limit is in the field of the operator's name."""


@dataclass(frozen=True)
class CheckedSettings:
    """Base of settings classes: each field lies within the bounds of its type, however the object is made.

    A field may be none where its type says so. A class with rules between its fields calls
    ``super().__post_init__()`` first.

    Raises:
        SettingError: a field is out of its bounds.

    >>> @dataclass(frozen=True)
    ... class Settings(CheckedSettings):
    ...     hidden_size: PositiveInt = 64
    ...     dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    >>> Settings(dropout=1)
    Traceback (most recent call last):
    lit_rec.core.errors.SettingError: dropout must be at least 0 and below 1: got 1
    """

    def __post_init__(self) -> None:
        check_bounds(self)


def check_bounds(settings: object) -> None:
    """Refuse an object whose class annotates an attribute with bounds that its value does not keep.

    Args:
        settings: of a class with annotated attributes, such as a dataclass.

    Raises:
        SettingError: a value is out of its bounds.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    _check(hints, {name: getattr(settings, name) for name in hints})


def check_arguments(function: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that do not keep the bounds of a function's annotations.

    Args:
        function: whose annotations.
        arguments: by name; those without an annotation are left alone.

    Raises:
        SettingError: a value is out of its bounds.
    """
    hints = get_type_hints(function, include_extras=True)
    _check({name: hint for name, hint in hints.items() if name in arguments}, arguments)


def _check(hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, hint in hints.items():
        value = values[name]
        alternatives = (hint, *get_args(hint))  # of ``PositiveInt | None`` the bounds are one level down
        bounds = [bound for each in alternatives for bound in getattr(each, "__metadata__", ())]
        rules = [(_RULES[type(bound)], bound) for bound in bounds]
        limits = [(holds, words, getattr(bound, holds.__name__)) for (holds, words), bound in rules]
        if value is not None and not all(holds(value, limit) for holds, _, limit in limits):
            rule = " and ".join(f"{words} {limit}" for _, words, limit in limits)
            raise SettingError(f"{name} must be {rule}", f"got {value}")
