"""Intervals: against a plain loop and against scipy's, their coverage; queries and users stay whole."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.metrics import intervals
from lit_rec.metrics.intervals import (
    UNKNOWN,
    Estimate,
    clustered_difference,
    paired_difference,
    percentile_estimates,
    resampled_means,
    wilson,
)


def test_the_same_as_a_loop_over_resamples():
    rng = np.random.default_rng(1)
    values = rng.random((23, 3))
    values[::4, 1] = np.nan
    resampled = resampled_means(values, 200, seed=5)
    draws = np.random.default_rng(5)
    for found in resampled:
        rows = draws.integers(0, 23, 23)
        assert found == pytest.approx(np.nanmean(values[rows], axis=0))


def test_memory_bounded_chunks_give_the_same(monkeypatch):
    values = np.random.default_rng(2).random((11, 2))
    whole = resampled_means(values, 100, seed=3)
    monkeypatch.setattr(intervals, "_CELLS", 40)
    np.testing.assert_allclose(resampled_means(values, 100, seed=3), whole)


def test_another_seed_gives_other_resamples_and_the_same_seed_the_same():
    values = np.random.default_rng(2).random((11, 1))
    one, again, other = (resampled_means(values, 50, seed=seed) for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()


def test_intervals_are_percentiles():
    (found,) = percentile_estimates([500], np.arange(1001.0)[:, np.newaxis])
    assert (found.value, found.low, found.high) == pytest.approx((500, 25, 975))
    (found,) = percentile_estimates([500], np.arange(1001.0)[:, np.newaxis], level=0.5)
    assert (found.low, found.high) == pytest.approx((250, 750))


def test_nan_does_not_count_in_an_interval():
    values = np.array([[np.nan, np.nan], [1, np.nan], [1, np.nan]])
    first, second = percentile_estimates([1, np.nan], values)
    assert (first.low, first.high) == (1, 1)
    assert math.isnan(second.low)
    assert math.isnan(second.high)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(300):
        (found,) = percentile_estimates([0], resampled_means(rng.beta(1, 3, (80, 1)), 400, seed=trial))
        hits += found.low <= 0.25 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_pairing_takes_out_what_queries_share():
    """Two methods that differ by 0.01 on each of very unlike queries: the paired interval is that, the others wide."""
    rng = np.random.default_rng(4)
    first = rng.random(200)
    resampled = resampled_means(np.stack([first, first + 0.01], axis=1), 500)
    alone = percentile_estimates([0, 0], resampled)[0]
    paired = paired_difference(first, first + 0.01, n_resamples=500)
    assert alone.high - alone.low > 0.05
    assert (paired.low, paired.high) == pytest.approx((0.01, 0.01))


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 2))], ids=["a row", "no query"])
def test_what_cannot_be_resampled(values):
    with pytest.raises(ShapeError):
        resampled_means(values)


def test_no_resamples():
    with pytest.raises(SettingError, match="n_resamples"):
        resampled_means(np.zeros((2, 1)), 0)


def test_the_paired_interval_covers_as_promised():
    """Of many draws of queries with a true difference of 0.1, 95 % of the intervals hold it, or nearly so."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        hard = rng.normal(size=60)  # queries differ much more than methods do
        found = paired_difference(hard, hard + rng.normal(0.1, 0.2, size=60), n_resamples=300)
        held += found.low <= 0.1 <= found.high
        assert found.high - found.low < 0.2
    assert 0.88 <= held / 300 <= 0.99


def test_paired_differences_leave_out_what_does_not_apply():
    nan = float("nan")
    assert paired_difference([0.0, nan, 0.5, 1.0], [0.5, 1.0, 1.0, nan]) == Estimate(0.5, 0.5, 0.5)
    assert paired_difference([nan], [1.0]) is UNKNOWN
    with pytest.raises(ShapeError, match=r"\(Q,\)"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(SettingError, match="n_resamples"):
        paired_difference([1.0], [1.0], n_resamples=0)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (1_234, 100_000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_is_scipys(successes, trials, level):
    theirs = binomtest(successes, trials).proportion_ci(level, method="wilson")
    ours = wilson(successes, trials, level)
    assert (ours.value, ours.low, ours.high) == pytest.approx((successes / trials, theirs.low, theirs.high), abs=1e-12)


def test_without_trials_nothing_is_known():
    assert wilson(0, 0) is UNKNOWN
    assert clustered_difference(np.empty((0, 2), int), np.array([[3, 1]])) is UNKNOWN


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


def test_json_has_no_nan():
    assert UNKNOWN.as_json() == {"value": None, "low": None, "high": None}
    assert Estimate(0.5, 0.25, 1.0).as_json("difference") == {"difference": 0.5, "low": 0.25, "high": 1.0}


def test_users_without_impressions_do_no_harm():
    groups = np.array([[0, 0], [4, 1]]), np.array([[0, 0], [0, 0], [4, 2]])
    found = clustered_difference(*groups, n_resamples=200)
    assert found.value == 0.25
    assert np.isfinite([found.low, found.high]).all()


def test_another_shape_is_refused():
    with pytest.raises(ShapeError, match="trials and successes"):
        clustered_difference(np.zeros((3, 3), int), np.zeros((3, 2), int))
