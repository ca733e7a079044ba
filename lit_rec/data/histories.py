"""What many users have bought so far, as flat arrays: the input of the baselines, the ranker and the recommender.

Plain numpy, for the serving path. Shapes: Q users, L order lines of all of them, N products.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.errors import ShapeError
from lit_rec.data.orders import Order, UserHistory
from lit_rec.data.ragged import concatenated_ranges, starts

UNKNOWN = -1
"""A weekday or an hour that is not known."""


@dataclass(frozen=True)
class PurchaseHistories:
    """What each of Q users has bought so far, flat, and what is known of the order to come.

    The lines of user ``q`` are ``line_start[q]`` to ``line_start[q + 1]``, oldest order first, an order's lines in
    cart order. Nothing of the order to come is in them.

    Args:
        line_start: int64 ``(Q + 1,)``.
        product: int32 ``(L,)``, product index, 0 to N - 1.
        orders_ago: int32 ``(L,)``, 1 for the newest order.
        days_ago: float32 ``(L,)``, days from that order to the order to come.
        cart_position: int32 ``(L,)``, from 1.
        line_dow: int8 ``(L,)``, weekday of the line's order, 0 to 6, or :data:`UNKNOWN`.
        line_hour: int8 ``(L,)``, hour of the line's order, 0 to 23, or :data:`UNKNOWN`.
        days_since_prior: float32 ``(Q,)``, days from the newest order to the order to come; NaN where not known.
        dow: int8 ``(Q,)``, weekday of the order to come, or :data:`UNKNOWN`.
        hour: int8 ``(Q,)``, hour of the order to come, or :data:`UNKNOWN`.
        days_assumed: float32 ``(L,)``, how many of the ``days_ago`` were assumed, for want of better; None for none.
    """

    line_start: NDArray[np.int64]
    product: NDArray[np.int32]
    orders_ago: NDArray[np.int32]
    days_ago: NDArray[np.float32]
    cart_position: NDArray[np.int32]
    line_dow: NDArray[np.int8]
    line_hour: NDArray[np.int8]
    days_since_prior: NDArray[np.float32]
    dow: NDArray[np.int8]
    hour: NDArray[np.int8]
    days_assumed: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.line_start.ndim != 1 or self.line_start.size == 0:
            raise ShapeError("line_start must be (Q + 1,)", f"got {self.line_start.shape}")
        n_queries, n_lines = len(self.line_start) - 1, int(self.line_start[-1])
        for field in fields(self)[1:]:
            if field.name == "days_assumed" and self.days_assumed is None:
                continue
            expected = n_queries if field.name in _OF_QUERIES else n_lines
            if (found := getattr(self, field.name).shape) != (expected,):
                raise ShapeError(f"{field.name} must be ({expected},)", f"got {found}")

    def __len__(self) -> int:
        return len(self.line_start) - 1

    @property
    def n_lines(self) -> NDArray[np.int64]:
        """int64 ``(Q,)``."""
        return np.diff(self.line_start)

    @property
    def query(self) -> NDArray[np.int64]:
        """int64 ``(L,)``: whose line it is."""
        return np.repeat(np.arange(len(self)), self.n_lines)

    @property
    def n_orders(self) -> NDArray[np.int64]:
        """int64 ``(Q,)``: past orders; 0 for a user without any."""
        most = np.zeros(len(self), dtype=np.int64)
        np.maximum.at(most, self.query, self.orders_ago)
        return most

    def select(self, rows: NDArray[np.int64] | slice) -> "PurchaseHistories":
        """These users alone.

        Args:
            rows: positions ``(S,)``, or a slice of them.
        """
        rows = np.arange(len(self))[rows]
        lines = concatenated_ranges(self.line_start[rows], self.line_start[rows + 1])
        of_lines = {name: getattr(self, name)[lines] for name in _OF_LINES}
        of_queries = {name: getattr(self, name)[rows] for name in _OF_QUERIES}
        assumed = None if self.days_assumed is None else self.days_assumed[lines]
        return PurchaseHistories(starts(self.n_lines[rows]), **of_lines, **of_queries, days_assumed=assumed)

    @classmethod
    def concatenate(cls, parts: Sequence["PurchaseHistories"]) -> "PurchaseHistories":
        """The users of several histories, one after another; what was assumed of them is left out."""
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_OF_LINES, *_OF_QUERIES)}
        return cls(line_start=starts(np.concatenate([part.n_lines for part in parts])), **joined)

    def distinct_products(self, query: int) -> NDArray[np.int32]:
        """int32: product indices of what user ``query`` has bought, ascending, each once."""
        return np.unique(self.product[self.line_start[query] : self.line_start[query + 1]])

    def user_history(self, query: int, product_ids: Sequence[str]) -> UserHistory:
        """The orders that the lines of user ``query`` are of; the way back from :func:`histories_of`.

        Args:
            query: 0 to Q - 1.
            product_ids: the id of each product index.
        """
        begin, end = self.line_start[query], self.line_start[query + 1]
        first_lines = begin + np.flatnonzero(np.diff(self.orders_ago[begin:end], prepend=0))
        orders: list[Order] = []
        for line, next_line in pairwise([*first_lines.tolist(), int(end)]):
            days_ago = float(self.days_ago[line])
            before = orders[-1].days_ago if orders else None
            orders.append(
                Order(
                    [product_ids[product] for product in self.product[line:next_line].tolist()],
                    None if before is None else before - days_ago,
                    _or_none(self.line_dow[line]),
                    _or_none(self.line_hour[line]),
                    days_ago=days_ago,
                )
            )
        gap = float(self.days_since_prior[query])
        return UserHistory(
            orders, None if np.isnan(gap) else gap, _or_none(self.dow[query]), _or_none(self.hour[query])
        )


_OF_LINES = ("product", "orders_ago", "days_ago", "cart_position", "line_dow", "line_hour")
_OF_QUERIES = ("days_since_prior", "dow", "hour")


def histories_of(users: Sequence[UserHistory], product_index: Mapping[str, int]) -> PurchaseHistories:
    """Purchase histories as arrays; products that are not in the catalogue are left out.

    Days that nobody gave are assumed: a user's mean gap, or a week for a user without a known gap.

    Args:
        users: Q of them.
        product_index: the place of each product id in the catalogue.
    """
    lines: list[tuple[int, int, float, float, int, int, int]] = []
    counts, gaps = [], []
    for user in users:
        before = len(lines)
        ages, gap = _ages(user)
        for orders_ago, order, (age, assumed) in zip(range(len(ages), 0, -1), user.orders, ages, strict=True):
            known = [product_index[product] for product in order.product_ids if product in product_index]
            when = _or_unknown(order.order_dow), _or_unknown(order.order_hour_of_day)
            lines += [(product, orders_ago, age, assumed, place, *when) for place, product in enumerate(known, 1)]
        counts.append(len(lines) - before)
        gaps.append(gap)
    columns = zip(*lines, strict=True) if lines else [()] * 7
    product, orders_ago_, days_ago, days_assumed, cart_position, dow, hour = columns
    return PurchaseHistories(
        line_start=starts(np.array(counts, dtype=np.int64)),
        product=np.array(product, dtype=np.int32),
        orders_ago=np.array(orders_ago_, dtype=np.int32),
        days_ago=np.array(days_ago, dtype=np.float32),
        cart_position=np.array(cart_position, dtype=np.int32),
        line_dow=np.array(dow, dtype=np.int8),
        line_hour=np.array(hour, dtype=np.int8),
        days_since_prior=np.array(gaps, dtype=np.float32),
        dow=np.array([_or_unknown(user.order_dow) for user in users], dtype=np.int8),
        hour=np.array([_or_unknown(user.order_hour_of_day) for user in users], dtype=np.int8),
        days_assumed=np.array(days_assumed, dtype=np.float32) if any(days_assumed) else None,
    )


_ASSUMED_GAP = 7.0  # days


def _ages(user: UserHistory) -> tuple[list[tuple[float, float]], float]:
    """Days from each order to the order to come with how many of them are assumed, and days from the newest one."""
    orders = user.orders
    known_gaps = [order.days_since_prior_order for order in orders[1:] if order.days_since_prior_order is not None]
    usual = sum(known_gaps) / len(known_gaps) if known_gaps else _ASSUMED_GAP
    given = user.days_since_prior_order
    if given is None and orders:
        given = orders[-1].days_ago
    gap = float(usual if given is None else given)
    ages: list[tuple[float, float]] = []
    age, assumed = gap, gap if given is None else 0.0
    for order in reversed(orders):
        if order.days_ago is not None:
            age, assumed = float(order.days_ago), 0.0
        ages.append((age, assumed))
        since = order.days_since_prior_order
        age += usual if since is None else since
        assumed += usual if since is None else 0.0
    return ages[::-1], gap


def _or_unknown(value: int | None) -> int:
    return UNKNOWN if value is None else value


def _or_none(value: np.int8) -> int | None:
    return None if value == UNKNOWN else int(value)


@dataclass(frozen=True)
class Queries:
    """Q users who ask what they will buy next.

    Args:
        contexts: the context string of each, as :mod:`lit_rec.data.contexts` writes it.
        histories: what each has bought so far.
    """

    contexts: Sequence[str]
    histories: PurchaseHistories

    def __post_init__(self) -> None:
        if len(self.contexts) != len(self.histories):
            raise ShapeError(
                "A query has a context and a history", f"got {len(self.contexts)} and {len(self.histories)}"
            )

    def __len__(self) -> int:
        return len(self.contexts)

    def select(self, rows: NDArray[np.int64] | slice) -> "Queries":
        """These users alone.

        Args:
            rows: positions ``(S,)``, or a slice of them.
        """
        chosen = np.arange(len(self))[rows]
        return Queries([self.contexts[row] for row in chosen.tolist()], self.histories.select(chosen))
