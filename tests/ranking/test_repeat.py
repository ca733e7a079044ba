"""History and company side by side."""

import numpy as np

from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.explore_features import Company, CoPurchases, support_features
from lit_rec.ranking.history_features import history_features
from lit_rec.ranking.repeat_features import REPEAT_FEATURES, repeat_features
from lit_rec.ranking.statistics import ProductStatistics

N = 20


def test_a_bought_product_is_told_by_its_purchases_and_its_company(build):
    training, histories = (
        build.histories(*build.users(30, N, seed=1)),
        build.histories(*build.users(5, N, seed=2)),
    )
    aisle = np.zeros(N, dtype=np.int32)
    statistics, co_purchases = ProductStatistics.fit(training, aisle), CoPurchases.fit(training, aisle)
    candidates, company = Candidates.of(histories, N), Company.of(histories, co_purchases)
    features = repeat_features(histories, candidates, company, statistics, co_purchases)
    assert features.shape == (len(candidates), len(REPEAT_FEATURES))
    assert len(set(REPEAT_FEATURES)) == len(REPEAT_FEATURES)
    parts = history_features(histories, candidates, statistics), support_features(candidates, company, co_purchases)
    np.testing.assert_array_equal(features, np.concatenate(parts, axis=1))
