"""Features of a product that the user has bought: its own purchases, its user, and what others' purchases say of it.

For boosted trees and the ranker, in training and serving alike. Shapes: Q users, L order lines, M candidates (a user
and a product that the user has bought), N products, F features.
"""

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import PurchaseHistories
from lit_rec.data.ragged import starts
from lit_rec.ranking.candidates import Candidates, relative_cart_positions
from lit_rec.ranking.feature_columns import NOBODY, Column, Floats, features_of, linear, log_scaled, stacked
from lit_rec.ranking.product_statistics import STATISTICS, ProductStatistics

_DECAYS = (0.6, 0.8, 0.9, 0.95)
_WINDOWS = (1, 2, 3, 5, 10)
_DAYS = (14.0, 45.0, 150.0)


def history_features(histories: PurchaseHistories, candidates: Candidates, statistics: ProductStatistics) -> Floats:
    """float32 ``(M, F)``, columns :data:`HISTORY_FEATURES`; NaN where something is not known.

    Args:
        histories: of Q users.
        candidates: of these histories.
        statistics: of other users' histories.
    """
    own = stacked(_history_columns(histories, candidates))
    return np.concatenate([own, statistics.columns[candidates.product]], axis=1)


def _history_columns(histories: PurchaseHistories, candidates: Candidates) -> dict[str, Column]:
    """Columns ``(M,)`` of the purchases of each product, then those of its user."""
    columns = {
        **_count_columns(histories, candidates),
        **_gap_columns(histories, candidates),
        **_place_and_time_columns(histories, candidates),
        **_user_columns(histories, candidates),
    }
    columns["rank_by_decayed"] = log_scaled(_ranks(columns["decayed_0.8"].values, candidates, len(histories)))
    return columns


def _count_columns(histories: PurchaseHistories, candidates: Candidates) -> dict[str, Column]:
    """How often a product was bought, since when, and how much of that of late."""
    line, start, total = candidates.line, candidates.start, candidates.total
    oldest, newest = line[start[:-1]], line[start[1:] - 1]
    ago, days = histories.orders_ago[line].astype(np.float32), histories.days_ago[line]
    n = candidates.counts.astype(np.float32)
    # A run of newest orders without a gap is 1, 2, 3, ... orders ago, counted from the newest purchase backwards.
    place_from_newest = np.repeat(start[1:], candidates.counts) - np.arange(len(line))
    return {
        "n_bought": log_scaled(n),
        "orders_since_first": log_scaled(histories.orders_ago[oldest]),
        "orders_since_last": log_scaled(histories.orders_ago[newest]),
        "days_since_first": log_scaled(histories.days_ago[oldest]),
        "days_since_last": log_scaled(histories.days_ago[newest]),
        **{f"in_last_{window}": log_scaled(total((ago <= window).astype(np.float32))) for window in _WINDOWS},
        **{f"decayed_{decay}": log_scaled(total(decay ** (ago - 1))) for decay in _DECAYS},
        **{f"decayed_{scale:.0f}_days": log_scaled(total(np.exp(-days / scale))) for scale in _DAYS},
        "order_share": linear(n / histories.n_orders[candidates.query].astype(np.float32)),
        "share_since_first": log_scaled(n / histories.orders_ago[oldest]),
        "streak": log_scaled(total((ago == place_from_newest).astype(np.float32))),
    }


def _gap_columns(histories: PurchaseHistories, candidates: Candidates) -> dict[str, Column]:
    """How long the user waits from one purchase of a product to the next, and how long that is ago by comparison."""
    line, start = candidates.line, candidates.start
    ago, days = histories.orders_ago[line].astype(np.float32), histories.days_ago[line]
    newest = line[start[1:] - 1]
    order_gap, order_gap_std = _gaps(ago, candidates)
    day_gap, day_gap_std = _gaps(days, candidates)
    last_gap = np.full(len(candidates), np.nan, dtype=np.float32)
    several = candidates.counts > 1
    last_gap[several] = (ago[start[1:] - 2] - ago[start[1:] - 1])[several]
    return {
        "mean_order_gap": log_scaled(order_gap),
        "order_gap_std": log_scaled(order_gap_std),
        "order_gap_ratio": log_scaled(histories.orders_ago[newest] / order_gap),  # 1: as long ago as is usual
        "mean_day_gap": log_scaled(day_gap),
        "day_gap_std": log_scaled(day_gap_std),
        "day_gap_ratio": log_scaled(histories.days_ago[newest] / np.maximum(day_gap, 0.5)),
        "last_order_gap": log_scaled(last_gap),
    }


def _gaps(ago: Floats, candidates: Candidates) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the gaps between purchases, ``(M,)`` each; NaN of a product bought once."""
    n_gaps = (candidates.counts - 1).astype(np.float32)
    gaps = np.zeros_like(ago)
    gaps[:-1] = ago[:-1] - ago[1:]
    gaps[candidates.start[1:] - 1] = 0  # the line after a candidate's newest one is another candidate's
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = candidates.total(gaps) / n_gaps, candidates.total(gaps * gaps) / n_gaps
        return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _place_and_time_columns(histories: PurchaseHistories, candidates: Candidates) -> dict[str, Column]:
    """Where in the cart a product comes, and whether it is bought at the weekday and hour of the order to come."""
    line, total, counts = candidates.line, candidates.total, candidates.counts
    place = relative_cart_positions(histories)
    dow, hour = histories.dow[candidates.query], histories.hour[candidates.query]
    line_dow, line_hour = histories.line_dow[line], histories.line_hour[line]
    hours_apart = np.abs(line_hour.astype(np.float32) - np.repeat(hour, counts))
    around_the_clock = np.where(line_hour >= 0, np.minimum(hours_apart, 24 - hours_apart), 0)
    is_same_dow = (line_dow == np.repeat(dow, counts)).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # of 0 where no purchase has a known time
        same_dow_share = total(is_same_dow) / total((line_dow >= 0).astype(np.float32))
        hour_distance = total(around_the_clock) / total((line_hour >= 0).astype(np.float32))
    same_dow_share[dow < 0], hour_distance[hour < 0] = np.nan, np.nan
    return {
        "cart_position": linear(total(place[line]) / counts.astype(np.float32)),
        "last_cart_position": linear(place[line[candidates.start[1:] - 1]]),
        "same_dow_share": linear(same_dow_share),
        "hour_distance": linear(hour_distance),
    }


def _user_columns(histories: PurchaseHistories, candidates: Candidates) -> dict[str, Column]:
    """What is known of the user and of the order to come, the same for all products of a user."""
    n_queries, line_query = len(histories), histories.query
    n_orders, n_lines = histories.n_orders.astype(np.float32), histories.n_lines.astype(np.float32)
    n_distinct = np.bincount(candidates.query, minlength=n_queries).astype(np.float32)
    newest_size = np.bincount(line_query[histories.orders_ago == 1], minlength=n_queries)
    oldest_size = np.bincount(line_query[histories.orders_ago == n_orders[line_query]], minlength=n_queries)
    oldest_days = np.zeros(n_queries, dtype=np.float32)
    has_lines = histories.n_lines > 0
    oldest_days[has_lines] = histories.days_ago[histories.line_start[:-1][has_lines]]
    with np.errstate(invalid="ignore", divide="ignore"):
        of_users = {
            "n_orders": log_scaled(n_orders),
            "basket_size": log_scaled(n_lines / n_orders),
            "last_basket_size": log_scaled(newest_size),
            "n_distinct": log_scaled(n_distinct),
            # Of the lines after the first order, those of products bought before.
            "user_reorder_share": linear((n_lines - n_distinct) / (n_lines - oldest_size)),
            "days_since_prior": log_scaled(histories.days_since_prior),
            "user_day_gap": log_scaled((oldest_days - np.nan_to_num(histories.days_since_prior)) / (n_orders - 1)),
            "dow": linear(np.where(histories.dow >= 0, histories.dow, np.nan)),
            "hour": linear(np.where(histories.hour >= 0, histories.hour, np.nan)),
        }
    return {
        name: Column(np.where(np.isfinite(values), values, np.nan)[candidates.query], is_log_scaled)
        for name, (values, is_log_scaled) in of_users.items()
    }


def _ranks(score: NDArray[np.floating], candidates: Candidates, n_queries: int) -> Floats:
    """float32 ``(M,)``: rank of each product among its user's own, highest score first; 0 is the first."""
    order = np.lexsort((candidates.product, -score, candidates.query))
    begin = starts(np.bincount(candidates.query, minlength=n_queries))[:-1]
    ranks = np.empty(len(candidates), dtype=np.float32)
    ranks[order] = np.arange(len(candidates)) - begin[candidates.query[order]]
    return ranks


HISTORY_FEATURES = (*features_of(_history_columns(NOBODY, Candidates.of(NOBODY, 1))), *STATISTICS)
"""The columns of :func:`history_features`."""
