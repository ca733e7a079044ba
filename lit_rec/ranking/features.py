"""All that the ranker is told of its candidates: products that the user has bought, and products that they have not.

For training and serving alike. Shapes: Q users, M candidates that they have bought, C candidates that they have not, N
products, P candidate products and U new ones, F features.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.affinity import AFFINITY_FEATURES, EXPLORE_AFFINITY_FEATURES, Affinity, affinity_features
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.feature_columns import NOBODY, Column, Floats, features_of, linear, log_scaled, stacked
from lit_rec.ranking.history_features import HISTORY_FEATURES, history_features
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.product_statistics import STATISTICS, ProductStatistics

_BEST_OF = ("item_item_confidence", "item_item_cosine", "item_item_confidence_newest", "aisle_probability")
_N_BEST = 100


class CandidateFeatures(NamedTuple):
    """Candidates with their features.

    Args:
        query: int64 ``(M,)``, ascending.
        product: ``(M,)``, each once a user.
        features: float32 ``(M, F)``; NaN where not known.
    """

    query: NDArray[np.int64]
    product: NDArray[np.integer]
    features: Floats


class RankerFeatures(NamedTuple):
    """All that the ranker is told of some users.

    Args:
        repeat: what they have bought, columns :data:`REPEAT_FEATURES`.
        explore: what they have not bought, columns :data:`EXPLORE_FEATURES`.
        users: float32 ``(Q, 4)``, columns :data:`USER_FEATURES`.
    """

    repeat: CandidateFeatures
    explore: CandidateFeatures
    users: Floats


def ranker_features(
    histories: PurchaseHistories, statistics: ProductStatistics, item_item: ItemItemModel
) -> RankerFeatures:
    """Candidates of each user with their features.

    Args:
        histories: of a few users.
        statistics: of other users.
        item_item: of other users.
    """
    affinity, users = Affinity.of(histories, item_item), user_features(histories)
    repeat = repeat_candidates(histories, affinity, statistics)
    return RankerFeatures(repeat, explore_candidates(histories, affinity, statistics, users), users)


def repeat_candidates(
    histories: PurchaseHistories, affinity: Affinity, statistics: ProductStatistics
) -> CandidateFeatures:
    """All products that each user has bought.

    Args:
        histories: of a few users.
        affinity: of the same users.
        statistics: of other users.
    """
    candidates = Candidates.of(histories, len(statistics.columns))
    own = history_features(histories, candidates, statistics)
    features = np.concatenate([own, affinity_features(candidates, affinity)], axis=1)
    return CandidateFeatures(candidates.query, candidates.product, features)


def explore_candidates(
    histories: PurchaseHistories, affinity: Affinity, statistics: ProductStatistics, users: Floats
) -> CandidateFeatures:
    """The products that each user has not bought and that are among the best by one of four simple scores.

    Args:
        histories: of a few users.
        affinity: of the same users.
        statistics: of other users.
        users: their :func:`user_features`.
    """
    all_candidates = affinity.item_item.all_candidates
    is_bought = np.zeros((len(histories), len(statistics.columns)), dtype=bool)
    is_bought[histories.query, histories.product] = True
    query, column = np.nonzero(_is_among_best(affinity.scores, is_bought[:, all_candidates]))
    product = all_candidates[column]
    own = stacked(affinity.columns(query, column))
    features = [own, users[query], statistics.columns[product]]
    return CandidateFeatures(query, product, np.concatenate(features, axis=1))


def _is_among_best(scores: Mapping[str, Floats], is_bought: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool ``(Q, P + U)``: whether a product is among the best by some score, and not bought yet."""
    chosen = np.zeros(is_bought.shape, dtype=bool)
    n = min(_N_BEST, is_bought.shape[1])
    if n == 0:
        return chosen
    for name in _BEST_OF:
        best = np.argpartition(-np.where(is_bought, -np.inf, scores[name]), n - 1, axis=1)[:, :n]
        np.put_along_axis(chosen, best, True, axis=1)
    return chosen & ~is_bought


def user_features(histories: PurchaseHistories) -> Floats:
    """float32 ``(Q, 4)``, columns :data:`USER_FEATURES`; all 0 without a history."""
    return stacked(_user_columns(histories))


def _user_columns(histories: PurchaseHistories) -> dict[str, Column]:
    n_orders, n_lines = histories.n_orders, histories.n_lines
    key = histories.query * (int(histories.product.max(initial=0)) + 1) + histories.product
    n_distinct = np.bincount(histories.query[np.unique(key, return_index=True)[1]], minlength=len(histories))
    return {
        "user_orders": linear(np.log1p(n_orders)),
        "user_basket_size": log_scaled(np.log1p(n_lines / np.maximum(n_orders, 1))),
        "user_distinct": linear(np.log1p(n_distinct)),
        "user_reorder_share": linear((n_lines - n_distinct) / np.maximum(n_lines, 1)),
    }


USER_FEATURES = features_of(_user_columns(NOBODY))
"""The columns of :func:`user_features`."""

REPEAT_FEATURES = (*HISTORY_FEATURES, *AFFINITY_FEATURES)
"""The columns of :func:`repeat_candidates`."""

EXPLORE_FEATURES = (*EXPLORE_AFFINITY_FEATURES, *USER_FEATURES, *STATISTICS)
"""The columns of :func:`explore_candidates`."""
