"""A user's past orders, one by one: what callers, HTTP bodies and stored records speak of.

:mod:`lit_rec.data.histories` holds the same of many users as arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from lit_rec.core import schema

_TIME_FIELDS = (schema.DAYS_SINCE_PRIOR, schema.ORDER_DOW, schema.ORDER_HOUR)


@dataclass(frozen=True)
class Order:
    """A past order of a user.

    Args:
        product_ids: in the order they went into the cart.
        days_since_prior_order: days since the user's order before this one; None for a first order, or where not
            known.
        order_dow: weekday, 0 to 6; None where not known.
        order_hour_of_day: hour, 0 to 23; None where not known.
        days_ago: days from this order to the order to come; None where not known. It says the same as the gaps do:
            one of the two is enough.
    """

    product_ids: Sequence[str]
    days_since_prior_order: float | None = None
    order_dow: int | None = None
    order_hour_of_day: int | None = None
    days_ago: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class UserHistory:
    """A user's past orders, and what is known of the order to come.

    Args:
        orders: oldest first.
        days_since_prior_order: days from the newest order to the order to come; None where not known.
        order_dow: weekday of the order to come; None where not known.
        order_hour_of_day: its hour; None where not known.
    """

    orders: Sequence[Order] = ()
    days_since_prior_order: float | None = None
    order_dow: int | None = None
    order_hour_of_day: int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The history that :meth:`to_record` made JSON of; what the record leaves out is not known."""
        orders = [
            Order(
                [str(product_id) for product_id in order["product_ids"]],
                *map(order.get, _TIME_FIELDS),
                days_ago=order.get("days_ago"),
            )
            for order in record["orders"]
        ]
        return cls(orders, *map(record.get, _TIME_FIELDS))

    def to_record(self) -> dict[str, Any]:
        """The fields by name, as JSON takes them; the orders' gaps stand for their ``days_ago``."""
        orders = [{"product_ids": list(order.product_ids)} | _times(order) for order in self.orders]
        return {"orders": orders, **_times(self)}

    @property
    def gaps(self) -> list[float | None]:
        """Days before each order and before the order to come, by gap or by two ages; None where not known."""
        gaps: list[float | None] = []
        age_before = None
        for order in self.orders:
            gaps.append(_gap(order.days_since_prior_order, age_before, order.days_ago))
            age_before = order.days_ago
        return [*gaps, _gap(self.days_since_prior_order, age_before, 0.0)]


def _gap(given: float | None, age_before: float | None, age: float | None) -> float | None:
    if given is not None or age_before is None or age is None:
        return given
    return max(age_before - age, 0.0)


def _times(order: Order | UserHistory) -> dict[str, Any]:
    return {name: getattr(order, name) for name in _TIME_FIELDS}
