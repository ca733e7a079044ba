"""Order history to context string, product to product text: the one template for training and serving.

Pure functions of plain values. The format is the reference project's, so that its artefacts and ours
can be swapped:

>>> milk = Order(["Organic Milk", "Whole Wheat Bread"], 7, 4, 14)
>>> context_string([milk])
'[+7d w4h14] Organic Milk, Whole Wheat Bread.'
>>> context_string([milk], next_order=Order([], 3, 0, 9))
'[+7d w4h14] Organic Milk, Whole Wheat Bread. Next: +3d w0h9'
>>> context_string([])
'(no prior orders).'
>>> product_text("Organic Milk", "milk", "dairy eggs")
'Product: Organic Milk. Aisle: milk. Department: dairy eggs.'
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

NO_PRIOR_ORDERS = "(no prior orders)"
NameBudget = Literal["newest", "oldest"]
"""Which orders get names first when there are more names than the budget allows."""

_NAME_PREFIX = "Product: "
_AISLE_INFIX = ". Aisle: "
_NEXT_INFIX = " Next: "
_NEXT_SEGMENT = re.compile(rf"(?<=\.){_NEXT_INFIX}(\+\d+d )?w\d+h\d+$")


class Order(NamedTuple):
    """One order of a shopper.

    Args:
        product_names: whole names, in the order they went into the cart.
        days_since_prior_order: days since the shopper's order before this one; None for a first order.
        order_dow: day of the week, 0 to 6.
        order_hour_of_day: hour, 0 to 23.
    """

    product_names: Sequence[str]
    days_since_prior_order: float | None
    order_dow: int
    order_hour_of_day: int


def context_string(
    orders: Sequence[Order],
    *,
    max_prior_orders: int = 5,
    max_product_names: int = 20,
    name_budget: NameBudget = "newest",
    next_order: Order | None = None,
) -> str:
    """Write a shopper's history as one line, oldest order first.

    Args:
        orders: the shopper's past orders, oldest first.
        max_prior_orders: how many of the newest orders may appear.
        max_product_names: how many names may appear, over all orders.
        name_budget: ``"newest"`` spends the names on the newest order first; ``"oldest"`` on the oldest
            first, as the reference does (its newest order is then missing from most contexts).
        next_order: the order to be predicted, for a closing ``Next:`` segment with its gap, weekday and
            hour (never its products). None leaves the segment out.

    Returns:
        ``[+7d w4h14] A, B; [+2d w6h9] C.``; an order without names is left out.
    """
    recent = orders[-max_prior_orders:] if max_prior_orders > 0 else []
    segments: list[str] = []
    left = max_product_names
    for order in reversed(recent) if name_budget == "newest" else recent:
        names = [name for name in order.product_names if name][:left]
        left -= len(names)
        if names:
            segments.append(f"[{_time_tag(order)}] {', '.join(names)}")
        if left <= 0:
            break
    if name_budget == "newest":
        segments.reverse()
    history = "; ".join(segments) or NO_PRIOR_ORDERS
    return f"{history}.{_NEXT_INFIX}{_time_tag(next_order)}" if next_order else f"{history}."


def without_next(context: str) -> str:
    """Cut the closing ``Next:`` segment off a context string, if it has one.

    >>> without_next("[w3h22] A, B. Next: +23d w6h6")
    '[w3h22] A, B.'
    """
    return _NEXT_SEGMENT.sub("", context)


def product_text(name: str, aisle: str, department: str) -> str:
    """The text that stands for a product in the catalogue."""
    return f"{_NAME_PREFIX}{name}{_AISLE_INFIX}{aisle}. Department: {department}."


def product_name(text: str) -> str:
    """The whole name in a product text; a text of another form is returned as it is.

    >>> product_name("Product: 2.5% Lowfat Milk. Aisle: milk. Department: dairy eggs.")
    '2.5% Lowfat Milk'
    """
    return text.removeprefix(_NAME_PREFIX).rpartition(_AISLE_INFIX)[0] or text


def _time_tag(order: Order) -> str:
    when = f"w{order.order_dow}h{order.order_hour_of_day}"
    gap = order.days_since_prior_order
    return when if gap is None else f"+{int(gap)}d {when}"
