"""Scaling of features, and the trained network in numpy."""

import numpy as np
import pytest
import torch

from lit_rec.ranking.feature_columns import Feature
from lit_rec.ranking.features import EXPLORE_FEATURES, REPEAT_FEATURES, USER_FEATURES
from lit_rec.ranking.network import Ensemble, RankerNetwork


def test_features_are_put_on_one_scale_and_what_is_not_known_is_average():
    rng = np.random.default_rng(0)
    features = np.stack([rng.normal(50, 9, 500), rng.exponential(20, 500)], axis=1).astype(np.float32)
    features[::5, 0] = np.nan
    member = Ensemble([Feature("hour", False), Feature("n_bought", True)], 4, 1, 0.0)
    member.fit_scale(features)
    assert member.mean.tolist() == pytest.approx([50, np.log1p(features[:, 1]).mean()], rel=0.02)
    assert member.std[0] == pytest.approx(9, rel=0.1)
    assert torch.isfinite(member(torch.from_numpy(features))).all()


def test_numpy_scores_as_torch_does():
    torch.manual_seed(1)
    network, rng = RankerNetwork(8, 3, 0.5).eval(), np.random.default_rng(1)

    def features(names):
        values = rng.exponential(30, (200, len(names))).astype(np.float32) * rng.choice([-1, 1], (200, 1))
        values[rng.random(values.shape) < 0.2] = np.nan
        return values.astype(np.float32)

    repeat, explore = features(REPEAT_FEATURES), features(EXPLORE_FEATURES)
    users, query = rng.random((5, len(USER_FEATURES))).astype(np.float32), np.sort(rng.integers(0, 5, 200))
    network.repeat.fit_scale(repeat)
    network.explore.fit_scale(explore)
    torch.nn.init.constant_(network.calibration_scale, 0.3)
    scoring = network.to_numpy()
    with torch.inference_mode():
        expected = network.repeat(torch.from_numpy(repeat)).mean(0)
        new = network.explore(torch.from_numpy(explore)).mean(0)
        merged = network.calibrate(new, torch.from_numpy(query), torch.from_numpy(users))
    np.testing.assert_allclose(scoring.repeat(repeat), expected, atol=1e-5)
    np.testing.assert_allclose(scoring.calibrate(scoring.explore(explore), query, users), merged, atol=1e-5)


def test_a_numpy_network_does_not_follow_further_training():
    network = RankerNetwork(4, 1, 0.0)
    scoring, features = network.to_numpy(), np.ones((1, len(REPEAT_FEATURES)), np.float32)
    before = scoring.repeat(features)
    torch.nn.init.ones_(network.repeat.members[0][6].bias)
    assert network.to_numpy().repeat(features) != pytest.approx(before)
    assert scoring.repeat(features) == before
