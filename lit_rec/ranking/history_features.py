"""What a user's own history says of each product in it: numbers for boosted trees and the ranker.

Plain numpy, for training and serving alike. Shapes: Q users, L order lines, M candidates (a user and a product
that the user has bought), N products, F features.
"""

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import PurchaseHistories
from lit_rec.data.ragged import starts
from lit_rec.ranking.candidates import Candidates, relative_cart_positions
from lit_rec.ranking.statistics import STATISTICS, ProductStatistics

Floats = NDArray[np.float32]

_DECAYS = (0.6, 0.8, 0.9, 0.95)
_WINDOWS = (1, 2, 3, 5, 10)
_DAYS = (14.0, 45.0, 150.0)

HISTORY_FEATURES = (
    "n_bought",
    "orders_since_first",
    "orders_since_last",
    "days_since_first",
    "days_since_last",
    *(f"in_last_{window}" for window in _WINDOWS),
    *(f"decayed_{decay}" for decay in _DECAYS),
    *(f"decayed_{days:.0f}_days" for days in _DAYS),
    "order_share",
    "share_since_first",
    "streak",
    "mean_order_gap",
    "order_gap_std",
    "order_gap_ratio",
    "mean_day_gap",
    "day_gap_std",
    "day_gap_ratio",
    "last_order_gap",
    "cart_position",
    "last_cart_position",
    "same_dow_share",
    "hour_distance",
    "n_orders",
    "basket_size",
    "last_basket_size",
    "n_distinct",
    "user_reorder_share",
    "days_since_prior",
    "user_day_gap",
    "dow",
    "hour",
    "rank_by_decayed",
    *STATISTICS,
)
"""Names of the columns of :func:`history_features`."""


def history_features(histories: PurchaseHistories, candidates: Candidates, statistics: ProductStatistics) -> Floats:
    """float32 ``(M, F)``, columns :data:`HISTORY_FEATURES`; NaN where something is not known.

    Args:
        histories: of Q users.
        candidates: of these histories.
        statistics: of other users' histories.
    """
    return np.concatenate(
        [
            _timing_features(histories, candidates),
            _user_features(histories, candidates),
            statistics.columns[candidates.product],
        ],
        axis=1,
    )


def _timing_features(histories: PurchaseHistories, candidates: Candidates) -> Floats:
    start, line, counts = candidates.start, candidates.line, candidates.counts
    first, last = line[start[:-1]], line[start[1:] - 1]
    ago = histories.orders_ago[line].astype(np.float32)
    days = histories.days_ago[line]
    n_orders = histories.n_orders[candidates.query].astype(np.float32)
    n = counts.astype(np.float32)
    orders_first, orders_last = histories.orders_ago[first], histories.orders_ago[last]
    days_first, days_last = histories.days_ago[first], histories.days_ago[last]

    def total(values: NDArray[np.floating]) -> Floats:
        return np.add.reduceat(values, start[:-1]).astype(np.float32) if len(values) else values.astype(np.float32)

    order_gap, order_gap_std = _gaps(ago, candidates)
    day_gap, day_gap_std = _gaps(days, candidates)
    decayed = [total(decay ** (ago - 1)) for decay in _DECAYS]
    place = relative_cart_positions(histories)
    dow, hour = histories.dow[candidates.query], histories.hour[candidates.query]
    line_dow, line_hour = histories.line_dow[line], histories.line_hour[line]
    of_line = np.repeat(np.arange(len(candidates)), counts)
    turn = np.abs(line_hour.astype(np.float32) - hour[of_line])
    distance = np.where(line_hour >= 0, np.minimum(turn, 24 - turn), 0)
    with np.errstate(invalid="ignore", divide="ignore"):  # of 0 where no purchase has a known time
        same_dow = total((line_dow == dow[of_line]).astype(np.float32)) / total((line_dow >= 0).astype(np.float32))
        hour_distance = total(distance) / total((line_hour >= 0).astype(np.float32))
    same_dow[dow < 0], hour_distance[hour < 0] = np.nan, np.nan
    last_gap = np.full(len(candidates), np.nan, dtype=np.float32)
    several = counts > 1
    last_gap[several] = (ago[start[1:] - 2] - ago[start[1:] - 1])[several]
    columns = [
        n,
        orders_first,
        orders_last,
        days_first,
        days_last,
        *(total((ago <= window).astype(np.float32)) for window in _WINDOWS),
        *decayed,
        *(total(np.exp(-days / scale)) for scale in _DAYS),
        n / n_orders,
        n / orders_first,
        _streaks(ago, candidates),
        order_gap,
        order_gap_std,
        orders_last / order_gap,
        day_gap,
        day_gap_std,
        days_last / np.maximum(day_gap, 0.5),
        last_gap,
        total(place[line]) / n,
        place[last],
        same_dow,
        hour_distance,
    ]
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)


def _gaps(ago: Floats, candidates: Candidates) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the steps between purchases; NaN of a product bought once."""
    n_gaps = (candidates.counts - 1).astype(np.float32)
    gaps = np.zeros_like(ago)
    gaps[:-1] = ago[:-1] - ago[1:]
    gaps[candidates.start[1:] - 1] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        begin = candidates.start[:-1]
        mean = np.add.reduceat(gaps, begin) / n_gaps if len(gaps) else gaps
        square = np.add.reduceat(gaps * gaps, begin) / n_gaps if len(gaps) else gaps
        return mean.astype(np.float32), np.sqrt(np.maximum(square - mean * mean, 0)).astype(np.float32)


def _streaks(ago: Floats, candidates: Candidates) -> Floats:
    """How many of the newest orders in a row hold the product."""
    expected = np.repeat(candidates.start[1:], candidates.counts) - np.arange(len(ago))  # 1 for the newest purchase
    is_in_row = ago == expected
    streak: Floats = np.add.reduceat(is_in_row.astype(np.float32), candidates.start[:-1]) if len(ago) else ago
    return streak


def _user_features(histories: PurchaseHistories, candidates: Candidates) -> Floats:
    n_queries, query = len(histories), candidates.query
    n_orders = histories.n_orders.astype(np.float32)
    n_lines = histories.n_lines.astype(np.float32)
    n_distinct = np.bincount(query, minlength=n_queries).astype(np.float32)
    last_size = np.bincount(histories.query[histories.orders_ago == 1], minlength=n_queries)
    oldest = np.zeros(n_queries, dtype=np.float32)
    has_lines = histories.n_lines > 0
    oldest[has_lines] = histories.days_ago[histories.line_start[:-1][has_lines]]
    with np.errstate(invalid="ignore", divide="ignore"):
        since_first_order = oldest - np.nan_to_num(histories.days_since_prior)
        # Of the lines after the first order, those of products bought before.
        first_size = np.bincount(
            histories.query[histories.orders_ago == n_orders[histories.query]], minlength=n_queries
        )
        later = n_lines - first_size
        per_user = [
            n_orders,
            n_lines / n_orders,
            last_size,
            n_distinct,
            (n_lines - n_distinct) / later,
            histories.days_since_prior,
            since_first_order / (n_orders - 1),
            np.where(histories.dow >= 0, histories.dow, np.nan),
            np.where(histories.hour >= 0, histories.hour, np.nan),
        ]
    values = np.stack([np.asarray(column, dtype=np.float32) for column in per_user], axis=1)[query]
    values[~np.isfinite(values)] = np.nan
    return np.concatenate([values, _ranks(histories, candidates)[:, None]], axis=1)


def _ranks(histories: PurchaseHistories, candidates: Candidates) -> Floats:
    """Place of each product among the user's own, by purchases weighted by age; 0 is the first."""
    ago = histories.orders_ago[candidates.line].astype(np.float32)
    score = np.add.reduceat(0.8 ** (ago - 1), candidates.start[:-1]) if len(ago) else ago
    order = np.lexsort((candidates.product, -score, candidates.query))
    begin = starts(np.bincount(candidates.query, minlength=len(histories)))[:-1]
    ranks = np.empty(len(candidates), dtype=np.float32)
    ranks[order] = np.arange(len(candidates)) - begin[candidates.query[order]]
    return ranks
