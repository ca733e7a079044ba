"""Purchase histories at the moment a user asks: what counting, neighbours and the ranker read.

Plain numpy, for the serving path. Shapes: Q users, L order lines of all of them, T targets, N products.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.errors import ShapeError

UNKNOWN = -1
"""A weekday or an hour that is not known."""


@dataclass(frozen=True)
class PurchaseHistories:
    """What each of Q users has bought so far, flat, and what is known of the order to come.

    The lines of user ``q`` are ``line_start[q]`` to ``line_start[q + 1]``, oldest order first, an order's lines in
    cart order. Nothing of the order to come is in them.

    Args:
        line_start: int64 ``(Q + 1,)``.
        product: int32 ``(L,)``, catalogue position, 0 to N - 1.
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

    def distinct_products(self, query: int) -> NDArray[np.int32]:
        """int32: catalogue positions of what user ``query`` has bought, ascending, each once."""
        return np.unique(self.product[self.line_start[query] : self.line_start[query + 1]])


_OF_LINES = ("product", "orders_ago", "days_ago", "cart_position", "line_dow", "line_hour")
_OF_QUERIES = ("days_since_prior", "dow", "hour")


@dataclass(frozen=True)
class PastOrder:
    """One order of a user, as a service is given it.

    Args:
        product_ids: in the order they went into the cart.
        days_ago: days from this order to the order to come; None where not known.
        days_since_prior_order: days since the user's order before this one; None for a first one. One of the two
            is enough.
        order_dow: weekday, 0 to 6; None where not known.
        order_hour_of_day: hour, 0 to 23; None where not known.
    """

    product_ids: Sequence[str]
    days_ago: float | None = None
    days_since_prior_order: float | None = None
    order_dow: int | None = None
    order_hour_of_day: int | None = None


@dataclass(frozen=True)
class Request:
    """A user's past orders, oldest first, and what is known of the order to come.

    Args:
        orders: oldest first.
        days_since_prior_order: days from the newest order to the order to come; None where not known: the user's
            own mean gap is then assumed, or a week.
        order_dow: weekday of the order to come; None where not known.
        order_hour_of_day: its hour; None where not known.
    """

    orders: Sequence[PastOrder] = ()
    days_since_prior_order: float | None = None
    order_dow: int | None = None
    order_hour_of_day: int | None = None


def histories_of(requests: Sequence[Request], position: Mapping[str, int]) -> PurchaseHistories:
    """Purchase histories of requests; products that are not in the catalogue are left out.

    Args:
        requests: Q of them.
        position: product id to catalogue position.
    """
    lines: list[tuple[int, int, float, int, int, int]] = []
    counts, gaps, assumed = [], [], []
    for request in requests:
        before = len(lines)
        ages, gap = _ages(request)
        n_orders = len(request.orders)
        for number, (order, (age, of_it_assumed)) in enumerate(zip(request.orders, ages, strict=True)):
            known = [position[product] for product in order.product_ids if product in position]
            when = _or_unknown(order.order_dow), _or_unknown(order.order_hour_of_day)
            lines += [(product, n_orders - number, age, place, *when) for place, product in enumerate(known, 1)]
            assumed += [of_it_assumed] * len(known)
        counts.append(len(lines) - before)
        gaps.append(gap)
    columns = [np.array(column) for column in zip(*lines, strict=True)] or [np.empty(0)] * len(_OF_LINES)
    kinds = (np.int32, np.int32, np.float32, np.int32, np.int8, np.int8)
    of_lines = {name: values.astype(kind) for name, values, kind in zip(_OF_LINES, columns, kinds, strict=True)}
    return PurchaseHistories(
        line_start=starts(np.array(counts, dtype=np.int64)),
        **of_lines,
        days_since_prior=np.array(gaps, dtype=np.float32),
        dow=np.array([_or_unknown(request.order_dow) for request in requests], dtype=np.int8),
        hour=np.array([_or_unknown(request.order_hour_of_day) for request in requests], dtype=np.int8),
        days_assumed=np.array(assumed, dtype=np.float32) if any(assumed) else None,
    )


_ASSUMED_GAP = 7.0  # days


def _ages(request: Request) -> tuple[list[tuple[float, float]], float]:
    """Days from each order to the order to come with how many of them are assumed, and days from the newest one."""
    orders = request.orders
    known_gaps = [order.days_since_prior_order for order in orders[1:] if order.days_since_prior_order is not None]
    usual = sum(known_gaps) / len(known_gaps) if known_gaps else _ASSUMED_GAP
    given = request.days_since_prior_order
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


@dataclass(frozen=True)
class RollingTargets:
    """Past orders as orders to be predicted, each with only the orders before it as its history.

    Args:
        histories: of T targets.
        user: int64 ``(T,)``, whose target it is: position among the users they were made from.
        target_start: int64 ``(T + 1,)``.
        target_product: int32; what was bought in target ``t`` is ``target_start[t]`` to ``target_start[t + 1]``.
    """

    histories: PurchaseHistories
    user: NDArray[np.int64]
    target_start: NDArray[np.int64]
    target_product: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.user)

    def select(self, rows: NDArray[np.int64]) -> "RollingTargets":
        """These targets alone.

        Args:
            rows: positions ``(S,)``.
        """
        products = concatenated_ranges(self.target_start[rows], self.target_start[rows + 1])
        return RollingTargets(
            self.histories.select(rows),
            self.user[rows],
            starts(np.diff(self.target_start)[rows]),
            self.target_product[products],
        )

    def is_in_target(self, target: NDArray[np.int64], product: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Bool ``(M,)``: whether a target order holds a product.

        Args:
            target: positions ``(M,)``.
            product: catalogue positions ``(M,)``.
        """
        n_products = 1 + max(int(self.target_product.max(initial=0)), int(product.max(initial=0)))
        of_target = np.repeat(np.arange(len(self)), np.diff(self.target_start))
        return np.isin(target * n_products + product, of_target * n_products + self.target_product)


def rolling_targets(histories: PurchaseHistories, per_user: int = 0, min_orders: int = 1) -> RollingTargets:
    """Take the newest orders of each user as targets, newest first.

    An order without products is no target. The order after it has an unknown gap: lines alone tell when orders were.

    Args:
        histories: whole histories of users, their newest order included.
        per_user: only so many newest orders of a user become targets; 0 for all.
        min_orders: a target has at least so many orders before it, at least one.
    """
    most = int(histories.orders_ago.max(initial=0)) - min_orders
    n_rounds = max(min(per_user, most) if per_user else most, 1)
    query, n_orders = histories.query, histories.n_orders
    rounds = [_before(histories, query, n_orders, ago, min_orders) for ago in range(1, n_rounds + 1)]
    return RollingTargets(
        _concatenated([one.histories for one in rounds]),
        np.concatenate([one.user for one in rounds]),
        starts(np.concatenate([np.diff(one.target_start) for one in rounds])),
        np.concatenate([one.target_product for one in rounds]),
    )


def _before(
    histories: PurchaseHistories, query: NDArray[np.int64], n_orders: NDArray[np.int64], ago: int, min_orders: int
) -> RollingTargets:
    """The order ``ago`` orders ago of each user as a target."""
    is_target, is_earlier = histories.orders_ago == ago, histories.orders_ago > ago
    n_target = np.bincount(query[is_target], minlength=len(histories))
    n_earlier = np.bincount(query[is_earlier], minlength=len(histories))
    takes_part = (n_orders - ago >= min_orders) & (n_target > 0) & (n_earlier > 0)  # an order may hold no product
    is_target, is_earlier = is_target & takes_part[query], is_earlier & takes_part[query]
    user = np.flatnonzero(takes_part)
    n_target, n_earlier = n_target[user], n_earlier[user]
    first = np.flatnonzero(is_target)[starts(n_target)[:-1]]
    age = np.zeros(len(histories), dtype=np.float32)
    age[user] = histories.days_ago[first]
    of_lines = {name: getattr(histories, name)[is_earlier] for name in _OF_LINES}
    of_lines["orders_ago"] = of_lines["orders_ago"] - np.int32(ago)
    of_lines["days_ago"] = of_lines["days_ago"] - age[query[is_earlier]]
    line_start = starts(n_earlier)
    newest_line = line_start[1:] - 1
    gap = np.where(of_lines["orders_ago"][newest_line] == 1, of_lines["days_ago"][newest_line], np.nan)
    before = PurchaseHistories(
        line_start=line_start,
        **of_lines,
        days_since_prior=gap.astype(np.float32),
        dow=histories.line_dow[first],
        hour=histories.line_hour[first],
    )
    return RollingTargets(before, user, starts(n_target), histories.product[is_target])


def _concatenated(parts: list[PurchaseHistories]) -> PurchaseHistories:
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_OF_LINES, *_OF_QUERIES)}
    return PurchaseHistories(line_start=starts(np.concatenate([part.n_lines for part in parts])), **joined)


def starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of some groups begins in a flat array, and where the last one ends.

    >>> starts(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    """
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def concatenated_ranges(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """``begin[0], ..., end[0] - 1, begin[1], ...``.

    >>> concatenated_ranges(np.array([5, 9, 1]), np.array([7, 9, 3]))
    array([5, 6, 1, 2])
    """
    counts = end - begin
    first = starts(counts)
    return np.arange(first[-1]) + np.repeat(begin - first[:-1], counts)
