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
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

NO_PRIOR_ORDERS = "(no prior orders)"
Truncate = Literal["keep_recent", "keep_oldest"]
"""Which orders get names first when there are more names than the budget allows."""

_NAME_PREFIX = "Product: "
_AISLE_INFIX = ". Aisle: "
_NEXT_INFIX = " Next: "
_TIME_TAG = re.compile(r"(?:\+(\d+)d )?w(\d)h(\d{1,2})")
_ORDER_TAG = re.compile(rf"(?:^|(?<=; ))\[{_TIME_TAG.pattern}\] ")
_MAX_NAME_PARTS = 10  # commas in a name, and one; Instacart has names of 8
_NEXT_SEGMENT = re.compile(rf"(?<=\.){_NEXT_INFIX}{_TIME_TAG.pattern}$")


class Order(NamedTuple):
    """One order of a user.

    Args:
        product_names: whole names, in the order they went into the cart.
        days_since_prior_order: days since the user's order before this one; None for a first order.
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
    truncate: Truncate = "keep_recent",
    next_order: Order | None = None,
) -> str:
    """Write a user's history as one line, oldest order first.

    Args:
        orders: the user's past orders, oldest first.
        max_prior_orders: how many of the newest orders may appear.
        max_product_names: how many names may appear, over all orders.
        truncate: ``"keep_recent"`` spends the names on the newest order first; ``"keep_oldest"`` on the oldest
            first, as the reference does (its newest order is then missing from most contexts).
        next_order: the order to be predicted, for a closing ``Next:`` segment with its gap, weekday and
            hour (never its products). None leaves the segment out.

    Returns:
        ``[+7d w4h14] A, B; [+2d w6h9] C.``; an order without names is left out.
    """
    recent = orders[-max_prior_orders:] if max_prior_orders > 0 else []
    segments: list[str] = []
    left = max_product_names
    for order in reversed(recent) if truncate == "keep_recent" else recent:
        names = [name for name in order.product_names if name][:left]
        left -= len(names)
        if names:
            segments.append(f"[{_time_tag(order)}] {', '.join(names)}")
        if left <= 0:
            break
    if truncate == "keep_recent":
        segments.reverse()
    history = "; ".join(segments) or NO_PRIOR_ORDERS
    return f"{history}.{_NEXT_INFIX}{_time_tag(next_order)}" if next_order else f"{history}."


@dataclass(frozen=True)
class ContextForm:
    """How a model's contexts are written: as those that it was trained and measured on.

    Args:
        max_prior_orders: see :func:`context_string`.
        max_product_names: see :func:`context_string`.
        truncate: see :func:`context_string`.
        next_segment: end in a ``Next:`` segment where weekday and hour of the order to come are known.
    """

    max_prior_orders: int = 5
    max_product_names: int = 20
    truncate: Truncate = "keep_recent"
    next_segment: bool = False

    @classmethod
    def of_queries(cls, params: Mapping[str, Any]) -> Self:
        """The form of a processed folder's queries, which is that of serving.

        Args:
            params: of the folder; what an older version did not record has its default.
        """
        default = cls()
        return cls(
            params.get("max_prior_orders", default.max_prior_orders),
            params.get("max_product_names", default.max_product_names),
            params.get("truncate", default.truncate),
            next_segment=params.get("next_segment", False) and not params.get("eval_serve_time", True),
        )

    def write(self, orders: Sequence[Order], next_order: Order | None = None) -> str:
        """The context string of past orders, oldest first, and what is known of the one to come."""
        return context_string(
            orders,
            max_prior_orders=self.max_prior_orders,
            max_product_names=self.max_product_names,
            truncate=self.truncate,
            next_order=next_order if self.next_segment else None,
        )


def without_next(context: str) -> str:
    """Cut the closing ``Next:`` segment off a context string, if it has one.

    >>> without_next("[w3h22] A, B. Next: +23d w6h6")
    '[w3h22] A, B.'
    """
    return _NEXT_SEGMENT.sub("", context)


class ParsedOrder(NamedTuple):
    """One order of a context string, its names still one text.

    Args:
        names: ``A, B``; a name may hold a comma itself.
        days_since_prior_order: None where the context has none.
        order_dow: day of the week, 0 to 6.
        order_hour_of_day: hour, 0 to 23.
    """

    names: str
    days_since_prior_order: float | None
    order_dow: int
    order_hour_of_day: int


def parse_context(context: str) -> tuple[list[ParsedOrder], ParsedOrder | None]:
    """Take a context string apart: its orders, oldest first, and the order to come where it has a ``Next:`` segment.

    A text that is no context string has no orders.

    >>> orders, to_come = parse_context("[w2h8] 2.5% Milk; [+7d w4h14] Bread, Rye, Eggs. Next: +3d w0h9")
    >>> [(order.names, order.days_since_prior_order) for order in orders]
    [('2.5% Milk', None), ('Bread, Rye, Eggs', 7.0)]
    >>> to_come
    ParsedOrder(names='', days_since_prior_order=3.0, order_dow=0, order_hour_of_day=9)
    """
    segment = _NEXT_SEGMENT.search(context)
    to_come = _parsed("", _TIME_TAG.search(segment.group())) if segment else None
    tags = list(_ORDER_TAG.finditer(body := without_next(context)))
    ends = [*(tag.start() for tag in tags[1:]), len(body)][: len(tags)]
    orders = []
    for number, (tag, end) in enumerate(zip(tags, ends, strict=True), 1):
        names = body[tag.end() : end].strip()
        names = names.removesuffix(".") if number == len(tags) else names.removesuffix(";")
        orders.append(_parsed(names, _TIME_TAG.search(tag.group())))
    return orders, to_come


def _parsed(names: str, tag: re.Match[str] | None) -> ParsedOrder:
    assert tag is not None, "the patterns around it hold it"
    gap, dow, hour = tag.groups()
    return ParsedOrder(names, None if gap is None else float(gap), int(dow), int(hour))


def known_names(names: str, catalogue: Container[str]) -> list[str]:
    """The catalogue's names in ``A, B, C``; the longest that fits is taken, since a name may hold commas itself.

    >>> known_names("Bread, Rye, Eggs, Moon Dust", {"Bread", "Bread, Rye", "Eggs"})
    ['Bread, Rye', 'Eggs']
    """
    parts = names.split(", ")
    found, begin = [], 0
    while begin < len(parts):
        longest = min(len(parts), begin + _MAX_NAME_PARTS)
        ends = (end for end in range(longest, begin, -1) if ", ".join(parts[begin:end]) in catalogue)
        end = next(ends, None)
        if end is not None:
            found.append(", ".join(parts[begin:end]))
        begin = end or begin + 1
    return found


def product_text(name: str, aisle: str, department: str) -> str:
    """The text that stands for a product in the catalogue."""
    return f"{_NAME_PREFIX}{name}{_AISLE_INFIX}{aisle}. Department: {department}."


def product_name(text: str) -> str:
    """The whole name in a product text; a text of another form is returned as it is.

    >>> product_name("Product: 2.5% Lowfat Milk. Aisle: milk. Department: dairy eggs.")
    '2.5% Lowfat Milk'
    """
    return text.removeprefix(_NAME_PREFIX).rpartition(_AISLE_INFIX)[0] or text


def product_aisle(text: str) -> str:
    """Aisle and department in a product text; empty for a text of another form.

    >>> product_aisle("Product: 2.5% Lowfat Milk. Aisle: milk. Department: dairy eggs.")
    'milk. Department: dairy eggs.'
    """
    return text.rpartition(_AISLE_INFIX)[2] if _AISLE_INFIX in text else ""


def _time_tag(order: Order) -> str:
    when = f"w{order.order_dow}h{order.order_hour_of_day}"
    gap = order.days_since_prior_order
    return when if gap is None else f"+{int(gap)}d {when}"


def wrapped(name: str, width: int) -> str:
    r"""A name or a path as a cell of a table, broken after a word where it is longer than ``width``.

    >>> wrapped("models/recency_frequency", 16)
    'models/recency_\nfrequency'
    """
    lines = [""]
    for word in re.findall(r"[^\\/_ -]*[\\/_ -]*", name):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)
