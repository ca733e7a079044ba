"""All that the ranker is told of a product that the user has bought: its own purchases, and its affinity.

Shapes: M candidates, F features.
"""

import numpy as np

from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates, Floats
from lit_rec.ranking.explore_features import AFFINITY_FEATURES, Affinity, ItemItemModel, affinity_features
from lit_rec.ranking.history_features import HISTORY_FEATURES, history_features
from lit_rec.ranking.statistics import ProductStatistics

REPEAT_FEATURES = (*HISTORY_FEATURES, *AFFINITY_FEATURES)
"""Columns of :func:`repeat_features`."""


def repeat_features(
    histories: PurchaseHistories,
    candidates: Candidates,
    affinity: Affinity,
    statistics: ProductStatistics,
    item_item: ItemItemModel,
) -> Floats:
    """float32 ``(M, F)``, columns :data:`REPEAT_FEATURES`; NaN where not known.

    Args:
        histories: of some users.
        candidates: of the same.
        affinity: of the same.
        statistics: of other users.
        item_item: of other users.
    """
    own = history_features(histories, candidates, statistics)
    return np.concatenate([own, affinity_features(candidates, affinity, item_item)], axis=1)
