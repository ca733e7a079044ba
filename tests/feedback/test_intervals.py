"""Wilson's interval against scipy's, and a bootstrap that knows that a user's impressions belong together."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lit_rec.core.errors import ShapeError
from lit_rec.feedback import intervals
from lit_rec.feedback.intervals import UNKNOWN, clustered_difference, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (1_234, 100_000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_is_scipys(successes, trials, level):
    theirs = binomtest(successes, trials).proportion_ci(level, method="wilson")
    ours = wilson(successes, trials, level)
    assert (ours.value, ours.low, ours.high) == pytest.approx((successes / trials, theirs.low, theirs.high), abs=1e-12)


def test_without_trials_nothing_is_known():
    assert wilson(0, 0) == UNKNOWN
    assert clustered_difference(np.empty((0, 2), int), np.array([[3, 1]])) == UNKNOWN


def users(n, size, rate, rng):
    """Users who click on all they are shown, or on nothing: their impressions are one observation."""
    clicks = size * (rng.random(n) < rate)
    return np.column_stack([np.full(n, size), clicks]).astype(np.int64)


def test_the_difference_is_of_all_trials_together():
    first, second = np.array([[10, 1], [30, 3]]), np.array([[5, 1], [15, 9]])
    assert clustered_difference(first, second).value == pytest.approx(10 / 20 - 4 / 40)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = naive = 0
    for seed in range(100):
        first, second = users(80, 8, 0.3, rng), users(80, 8, 0.4, rng)
        found = clustered_difference(first, second, n_resamples=300, seed=seed)
        covered += found.low <= 0.1 <= found.high
        rates = [group[:, 1].sum() / group[:, 0].sum() for group in (first, second)]
        half = 1.96 * np.sqrt(sum(rate * (1 - rate) / 640 for rate in rates))
        naive += abs(rates[1] - rates[0] - 0.1) <= half
    assert covered >= 87
    assert naive <= 70, "impressions are not independent here: an interval that takes them so must fail"


def test_the_same_seed_gives_the_same_interval_whatever_the_chunks(monkeypatch):
    rng = np.random.default_rng(1)
    groups = users(50, 3, 0.5, rng), users(60, 4, 0.5, rng)
    whole = clustered_difference(*groups, n_resamples=100)
    assert clustered_difference(*groups, n_resamples=100) == whole
    assert clustered_difference(*groups, n_resamples=100, seed=1) != whole
    monkeypatch.setattr(intervals, "_CELLS", 700)
    assert clustered_difference(*groups, n_resamples=100) == whole


def test_users_without_impressions_do_no_harm():
    groups = np.array([[0, 0], [4, 1]]), np.array([[0, 0], [0, 0], [4, 2]])
    found = clustered_difference(*groups, n_resamples=200)
    assert found.value == 0.25
    assert np.isfinite([found.low, found.high]).all()


def test_another_shape_is_refused():
    with pytest.raises(ShapeError, match="trials and successes"):
        clustered_difference(np.zeros((3, 3), int), np.zeros((3, 2), int))
