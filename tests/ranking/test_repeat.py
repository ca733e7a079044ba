"""History and affinity side by side."""

import numpy as np

from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.explore_features import Affinity, ItemItemModel, affinity_features
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
    statistics, item_item = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
    candidates, affinity = Candidates.of(histories, N), Affinity.of(histories, item_item)
    features = repeat_features(histories, candidates, affinity, statistics, item_item)
    assert features.shape == (len(candidates), len(REPEAT_FEATURES))
    assert len(set(REPEAT_FEATURES)) == len(REPEAT_FEATURES)
    parts = history_features(histories, candidates, statistics), affinity_features(candidates, affinity, item_item)
    np.testing.assert_array_equal(features, np.concatenate(parts, axis=1))
