"""Past orders as orders to be predicted: what the ranker and the boosted trees learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import PurchaseHistories
from lit_rec.data.ragged import concatenated_ranges, starts


@dataclass(frozen=True)
class RollingTargets:
    """T past orders as orders to be predicted, each with only the orders before it as its history.

    Args:
        histories: what had been bought before each target.
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
            product: product indices ``(M,)``.
        """
        n_products = 1 + max(int(self.target_product.max(initial=0)), int(product.max(initial=0)))
        of_target = np.repeat(np.arange(len(self)), np.diff(self.target_start))
        return np.isin(target * n_products + product, of_target * n_products + self.target_product)


def rolling_targets(histories: PurchaseHistories, per_user: int = 0, min_orders: int = 1) -> RollingTargets:
    """The newest orders of each user as targets, newest first.

    An order without products is no target. The order after it has an unknown gap: lines alone tell when orders were.

    Args:
        histories: whole histories of users, their newest order included.
        per_user: only so many newest orders of a user become targets; 0 for all.
        min_orders: a target has at least so many orders before it, at least one.
    """
    most = int(histories.orders_ago.max(initial=0)) - min_orders
    n_rounds = max(min(per_user, most) if per_user else most, 1)
    takes_part = histories.n_orders - min_orders
    rounds = [_targets_of(histories, ago, takes_part >= ago) for ago in range(1, n_rounds + 1)]
    return RollingTargets(
        PurchaseHistories.concatenate([one.histories for one in rounds]),
        np.concatenate([one.user for one in rounds]),
        starts(np.concatenate([np.diff(one.target_start) for one in rounds])),
        np.concatenate([one.target_product for one in rounds]),
    )


def _targets_of(histories: PurchaseHistories, ago: int, takes_part: NDArray[np.bool_]) -> RollingTargets:
    """The order ``ago`` orders ago of each user who ``takes_part``, bool ``(Q,)``, as a target.

    Moving a user back in time needs no loop. The lines of that order are what is bought; lines further back are the
    history. Both sets of lines stay in the order they had, so a user's own are still one run, and counting them gives
    the new starts. Ages become those at that moment: the target's own age is taken off each.
    """
    query = histories.query
    is_target, is_earlier = histories.orders_ago == ago, histories.orders_ago > ago
    n_target = np.bincount(query[is_target], minlength=len(histories))
    n_earlier = np.bincount(query[is_earlier], minlength=len(histories))
    takes_part = takes_part & (n_target > 0) & (n_earlier > 0)  # an order may hold no product
    is_target, is_earlier = is_target & takes_part[query], is_earlier & takes_part[query]
    user = np.flatnonzero(takes_part)
    target_start, line_start = starts(n_target[user]), starts(n_earlier[user])
    first_line = np.flatnonzero(is_target)[target_start[:-1]]  # of each target: it tells the target's age and moment
    age = np.repeat(histories.days_ago[first_line], n_earlier[user])
    orders_ago = histories.orders_ago[is_earlier] - np.int32(ago)
    days_ago = histories.days_ago[is_earlier] - age
    newest_line = line_start[1:] - 1  # of the order before the target, unless that one held no product
    gap = np.where(orders_ago[newest_line] == 1, days_ago[newest_line], np.nan)
    before = PurchaseHistories(
        line_start=line_start,
        product=histories.product[is_earlier],
        orders_ago=orders_ago,
        days_ago=days_ago,
        cart_position=histories.cart_position[is_earlier],
        line_dow=histories.line_dow[is_earlier],
        line_hour=histories.line_hour[is_earlier],
        days_since_prior=gap.astype(np.float32),
        dow=histories.line_dow[first_line],
        hour=histories.line_hour[first_line],
    )
    return RollingTargets(before, user, target_start, histories.product[is_target])
