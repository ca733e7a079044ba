"""Number types of settings that check themselves: the parser of a command line does, and :func:`check_ranges`."""

from dataclasses import fields
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from lit_rec.core.errors import SettingError

if TYPE_CHECKING:  # a type checker cannot look into the types of jsonargparse
    PositiveInt = int
    NonNegativeInt = int
    PositiveFloat = float
    NonNegativeFloat = float
    UnitInterval = float
    PositiveUnitInterval = float
else:
    from jsonargparse.typing import ClosedUnitInterval as UnitInterval
    from jsonargparse.typing import (
        NonNegativeFloat,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
        restricted_number_type,
    )

    PositiveUnitInterval = restricted_number_type("PositiveUnitInterval", float, [(">", 0), ("<=", 1)])

__all__ = [
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "PositiveUnitInterval",
    "UnitInterval",
    "check_ranges",
]

_RANGES = {
    PositiveInt: "at least 1",
    NonNegativeInt: "at least 0",
    PositiveFloat: "above 0",
    NonNegativeFloat: "at least 0",
    UnitInterval: "a share between 0 and 1",
    PositiveUnitInterval: "above 0 and at most 1",
}


def check_ranges(settings: Any) -> None:  # noqa: ANN401 - any dataclass
    """Refuse a number that the type of its field does not allow; for ``__post_init__`` of a dataclass.

    Raises:
        SettingError: it names the field, the range and the value.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        hint, value = hints[field.name], getattr(settings, field.name)
        for kind in get_args(hint) if isinstance(hint, UnionType) else (hint,):
            if kind in _RANGES and value is not None:
                try:
                    kind(value)
                except ValueError as error:
                    raise SettingError(f"{field.name} must be {_RANGES[kind]}", f"got {value}") from error
