"""All that the ranker is told of a product that the user has bought: its own purchases, and its company.

Shapes: M candidates, F features.
"""

import numpy as np

from lit_rec.data.purchases import PurchaseHistories
from lit_rec.ranking.candidates import Candidates, Floats
from lit_rec.ranking.explore_features import SUPPORT_FEATURES, Company, CoPurchases, support_features
from lit_rec.ranking.history_features import HISTORY_FEATURES, history_features
from lit_rec.ranking.statistics import ProductStatistics

REPEAT_FEATURES = (*HISTORY_FEATURES, *SUPPORT_FEATURES)
"""Columns of :func:`repeat_features`."""


def repeat_features(
    histories: PurchaseHistories,
    candidates: Candidates,
    company: Company,
    statistics: ProductStatistics,
    co_purchases: CoPurchases,
) -> Floats:
    """float32 ``(M, F)``, columns :data:`REPEAT_FEATURES`; NaN where not known.

    Args:
        histories: of some users.
        candidates: of the same.
        company: of the same.
        statistics: of other users.
        co_purchases: of other users.
    """
    own = history_features(histories, candidates, statistics)
    return np.concatenate([own, support_features(candidates, company, co_purchases)], axis=1)
