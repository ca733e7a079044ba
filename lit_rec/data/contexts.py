"""Order history to context string and back, product to product text: the one template for training and serving.

Pure functions of plain values. The format is that of chen-bowen/instacart_next_order_recommendation, so that its
artefacts and ours can be swapped:

>>> names = {"27845": "Organic Milk", "1529": "Whole Wheat Bread"}
>>> user = UserHistory([Order(["27845", "1529"], 7, 4, 14)], 3, 0, 9)
>>> context_string(user, names)
'[+7d w4h14] Organic Milk, Whole Wheat Bread.'
>>> context_string(user, names, ContextForm(next_order_in_context="always"))
'[+7d w4h14] Organic Milk, Whole Wheat Bread. Next: +3d w0h9'
>>> context_string(UserHistory(), names)
'(no prior orders).'
>>> product_text("Organic Milk", "milk", "dairy eggs")
'Product: Organic Milk. Aisle: milk. Department: dairy eggs.'
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from lit_rec.core.bounds import CheckedSettings, PositiveInt
from lit_rec.data.orders import Order, UserHistory

NO_PRIOR_ORDERS = "(no prior orders)"
Truncate = Literal["keep_recent", "keep_oldest"]
"""Which orders get names first when there are more names than the budget allows."""

NextOrderInContext = Literal["never", "training", "always"]

_NAME_PREFIX = "Product: "
_AISLE_INFIX = ". Aisle: "
_NEXT_INFIX = " Next: "
_TIME_TAG = r"(?:\+(\d+)d )?w(\d)h(\d{1,2})"
_ORDER_TAG = re.compile(rf"(?:^|(?<=; ))\[{_TIME_TAG}\] ")
_MAX_NAME_PARTS = 10  # commas in a name, and one; Instacart has names of 8
_NEXT_SEGMENT = re.compile(rf"(?<=\.){_NEXT_INFIX}{_TIME_TAG}$")


@dataclass(frozen=True)
class ContextForm(CheckedSettings):
    """How a model's contexts are written: as those that it was trained and measured on.

    Args:
        max_prior_orders: how many of a user's newest orders a context may show.
        max_product_names: how many product names a context may show, over all its orders.
        truncate: 'keep_recent' spends the names on the newest order first; 'keep_oldest' on the oldest first, as the
            Instacart seed does (its newest order is then missing from most contexts).
        next_order_in_context: whether contexts end in a 'Next: +7d w4h14' segment: gap, weekday and hour of the order
            to be predicted, where they are known. 'training' writes it in contexts to train on alone, as the seed
            does; 'always' in those of evaluation and serving too.
    """

    max_prior_orders: PositiveInt = 5
    max_product_names: PositiveInt = 20
    truncate: Truncate = "keep_recent"
    next_order_in_context: NextOrderInContext = "never"

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The form that the parameters of a processed folder or the record of a model tell of.

        Args:
            record: its other settings play no part; what an older version did not record has its default.
        """
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})


def context_string(
    history: UserHistory,
    names: Mapping[str, str],
    form: ContextForm = ContextForm(),
    *,
    in_training: bool = False,
) -> str:
    """A user's history as one line, oldest order first.

    A weekday or hour of a past order that is not known is written as 0: the format has no other way to say so.

    Args:
        history: past orders, and what is known of the order to come (its products are never written).
        names: name of each product; products without one are left out.
        form: how many orders and names, and whether a ``Next:`` segment closes the line.
        in_training: the context is one to train on.

    Returns:
        ``[+7d w4h14] A, B; [+2d w6h9] C.``; an order without names is left out.
    """
    shown = slice(max(len(history.orders) - form.max_prior_orders, 0), None)
    recent = list(zip(history.orders[shown], history.gaps[:-1][shown], strict=True))
    segments: list[str] = []
    left = form.max_product_names
    for order, gap in reversed(recent) if form.truncate == "keep_recent" else recent:
        found = [name for product_id in order.product_ids if (name := names.get(product_id))][:left]
        left -= len(found)
        if found:
            segments.append(f"[{_time_tag(gap, order)}] {', '.join(found)}")
    if form.truncate == "keep_recent":
        segments.reverse()
    text = f"{'; '.join(segments) or NO_PRIOR_ORDERS}."
    wanted = form.next_order_in_context == "always" or (form.next_order_in_context == "training" and in_training)
    if not wanted or history.order_dow is None or history.order_hour_of_day is None:
        return text
    return f"{text}{_NEXT_INFIX}{_time_tag(history.gaps[-1], history)}"


def _time_tag(gap: float | None, order: Order | UserHistory) -> str:
    when = f"w{order.order_dow or 0}h{order.order_hour_of_day or 0}"
    return when if gap is None else f"+{int(gap)}d {when}"


def without_next(context: str) -> str:
    """A context string without its closing ``Next:`` segment, if it has one.

    >>> without_next("[w3h22] A, B. Next: +23d w6h6")
    '[w3h22] A, B.'
    """
    return _NEXT_SEGMENT.sub("", context)


def parse_context(context: str, id_of_name: Mapping[str, str]) -> UserHistory:
    """The history that a context string tells of; a text that is no context string has no orders.

    Args:
        context: with or without a ``Next:`` segment.
        id_of_name: product id of each name in the catalogue; other names are left out.

    >>> catalogue = {"2.5% Milk": "7", "Bread, Rye": "8", "Eggs": "9"}
    >>> parse_context("[w2h8] 2.5% Milk; [+7d w4h14] Bread, Rye, Eggs. Next: +3d w0h9", catalogue).to_record()
    ... # doctest: +NORMALIZE_WHITESPACE
    {'orders': [{'product_ids': ['7'], 'days_since_prior_order': None, 'order_dow': 2, 'order_hour_of_day': 8},
                {'product_ids': ['8', '9'], 'days_since_prior_order': 7.0, 'order_dow': 4, 'order_hour_of_day': 14}],
     'days_since_prior_order': 3.0, 'order_dow': 0, 'order_hour_of_day': 9}
    """
    segment = _NEXT_SEGMENT.search(context)
    body = context[: segment.start()] if segment else context
    tags = list(_ORDER_TAG.finditer(body))
    orders = []
    for number, tag in enumerate(tags, 1):
        is_last = number == len(tags)
        text = body[tag.end() : None if is_last else tags[number].start()].strip()
        names = _known_names(text.removesuffix("." if is_last else ";"), id_of_name)
        orders.append(Order([id_of_name[name] for name in names], *_times(tag)))
    return UserHistory(orders, *_times(segment)) if segment else UserHistory(orders)


def _times(tag: re.Match[str]) -> tuple[float | None, int, int]:
    gap, dow, hour = tag.groups()
    return None if gap is None else float(gap), int(dow), int(hour)


def _known_names(text: str, catalogue: Mapping[str, str]) -> list[str]:
    """The catalogue's names in ``A, B, C``: the longest that fits each time, since a name may hold commas itself."""
    parts = text.split(", ")
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
