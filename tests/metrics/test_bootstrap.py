"""Intervals against a plain loop, their coverage, and paired differences."""

import math

import numpy as np
import pytest

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.metrics import bootstrap
from lit_rec.metrics.bootstrap import percentile_intervals, resampled_means


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
    monkeypatch.setattr(bootstrap, "_CELLS", 40)
    np.testing.assert_allclose(resampled_means(values, 100, seed=3), whole)


def test_another_seed_gives_other_resamples_and_the_same_seed_the_same():
    values = np.random.default_rng(2).random((11, 1))
    one, again, other = (resampled_means(values, 50, seed=seed) for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()


def test_intervals_are_percentiles():
    (interval,) = percentile_intervals(np.arange(1001.0)[:, np.newaxis])
    assert (interval.low, interval.high) == pytest.approx((25, 975))
    (interval,) = percentile_intervals(np.arange(1001.0)[:, np.newaxis], level=0.5)
    assert (interval.low, interval.high) == pytest.approx((250, 750))


def test_nan_does_not_count_in_an_interval():
    values = np.array([[np.nan, np.nan], [1, np.nan], [1, np.nan]])
    first, second = percentile_intervals(values)
    assert (first.low, first.high) == (1, 1)
    assert math.isnan(second.low)
    assert math.isnan(second.high)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(300):
        (interval,) = percentile_intervals(resampled_means(rng.beta(1, 3, (80, 1)), 400, seed=trial))
        hits += interval.low <= 0.25 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_pairing_takes_out_what_queries_share():
    """Two methods that differ by 0.01 on each of very unlike queries: the paired interval is that, the others wide."""
    rng = np.random.default_rng(4)
    first = rng.random(200)
    resampled = resampled_means(np.stack([first, first + 0.01], axis=1), 500)
    alone = percentile_intervals(resampled)[0]
    (paired,) = percentile_intervals(resampled[:, 1:] - resampled[:, :1])
    assert alone.high - alone.low > 0.05
    assert (paired.low, paired.high) == pytest.approx((0.01, 0.01))


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 2))], ids=["a row", "no query"])
def test_what_cannot_be_resampled(values):
    with pytest.raises(ShapeError):
        resampled_means(values)


def test_no_resamples():
    with pytest.raises(SettingError, match="n_resamples"):
        resampled_means(np.zeros((2, 1)), 0)
