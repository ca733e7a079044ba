"""What every baseline copes with, and what none may depend on."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lit_rec.baselines.co_visitation import CoVisitation
from lit_rec.baselines.item_item import ItemItem, ItemItemSeed
from lit_rec.baselines.last_basket import LastBasket
from lit_rec.baselines.personal_frequency import PersonalFrequency
from lit_rec.baselines.popularity import Popularity
from lit_rec.baselines.recency_frequency import RecencyFrequency
from lit_rec.baselines.tifu_knn import TifuKnn
from lit_rec.baselines.up_cf import UpCf
from lit_rec.core.errors import SettingError

PERSONAL = [PersonalFrequency, RecencyFrequency, LastBasket, TifuKnn, UpCf]
ALL = [Popularity, *PERSONAL, ItemItemSeed, ItemItem, CoVisitation]
TRAINING = [[[4, 0], [4, 2]], [[4, 0]], [[0, 4], [4]]]  # 4 five times, 0 three times, 2 once, 1 and 3 never
BY_POPULARITY = [4, 0, 2, 1, 3]


def by_name(baseline):
    return baseline.name


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_users_without_history_get_what_is_popular(build, method):
    scores = build.fitted(method(), 5, *TRAINING).scores(build.queries([], [[1]], []))
    assert scores.shape == (3, 5)
    assert scores.dtype == np.float64
    assert build.ranking(scores)[0] == build.ranking(scores)[2] == BY_POPULARITY


@pytest.mark.parametrize("method", PERSONAL, ids=by_name)
def test_own_purchases_come_first_even_those_that_no_one_else_has_made(build, method):
    scores = build.fitted(method(), 5, *TRAINING).scores(build.queries([[3]]))
    assert build.ranking(scores)[0][0] == 3


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_without_training_users_the_catalogue_is_in_its_own_order(build, method):
    fitted = build.fitted(method(), 4)
    assert build.ranking(fitted.scores(build.queries([])))[0] == [0, 1, 2, 3]
    assert np.isfinite(fitted.scores(build.queries([[2], [2, 1]]))[:, 3]).all()


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_training_users_without_purchases_count_for_nothing(build, method):
    queries = build.queries([[2, 0], [0]], [])
    expected = build.fitted(method(), 5, *TRAINING).scores(queries)
    found = build.fitted(method(), 5, [], TRAINING[0], [], *TRAINING[1:], []).scores(queries)
    if method is TifuKnn:  # all three, or all six, are neighbours: those without purchases draw their mean to 0
        assert build.ranking(found) == build.ranking(expected)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_no_queries(build, method):
    assert build.fitted(method(), 5, *TRAINING).scores(build.queries()).shape == (0, 5)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_a_product_twice_in_an_order_counts_once(build, method):
    once = build.fitted(method(), 5, *TRAINING).scores(build.queries([[1, 2], [0, 2]]))
    doubled = [[[*order, order[0]] for order in orders] for orders in TRAINING]
    twice = build.fitted(method(), 5, *doubled).scores(build.queries([[1, 2, 1, 1], [0, 2, 2, 0]]))
    np.testing.assert_array_equal(twice, once)


@pytest.mark.parametrize("method", ALL, ids=by_name)
@settings(deadline=None, max_examples=10, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_neither_the_order_of_training_users_nor_who_else_asks_matters(build, method, seed):
    training, asking = build.users(12, 20, seed), build.users(5, 20, seed + 1)
    fitted = build.fitted(method(), 20, *training)
    expected = fitted.scores(build.queries(*asking))
    shuffled = [training[place] for place in np.random.default_rng(seed).permutation(len(training))]
    found = build.fitted(method(), 20, *shuffled).scores(build.queries(*asking))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    alone = np.concatenate([fitted.scores(build.queries(one)) for one in asking])
    np.testing.assert_allclose(alone, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_neither_histories_nor_fitted_state_change_in_use(build, method):
    training, queries = build.histories(*TRAINING, [[3, 1, 3, 0]]), build.queries([[3, 1, 3, 0]])
    before = [values.copy() for values in (training.product, queries.histories.product)]
    fitted = method().fit(training, [""] * 5)
    first = fitted.scores(queries)
    first_kept = first.copy()
    first += 1
    np.testing.assert_array_equal(fitted.scores(queries), first_kept)
    np.testing.assert_array_equal(training.product, before[0])
    np.testing.assert_array_equal(queries.histories.product, before[1])


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_the_grid_begins_with_the_defaults_and_names_no_setting_twice(method):
    grid = [vars(one) for one in method.grid()]
    assert grid[0] == vars(method())
    assert all(one not in grid[:place] for place, one in enumerate(grid))


@pytest.mark.parametrize(
    ("method", "settings", "found"),
    [
        (RecencyFrequency, {"beta": 0}, "beta must be above 0 and at most 1: got 0"),
        (RecencyFrequency, {"beta": 1.01}, "got 1.01"),
        (ItemItem, {"neighbours": 0}, "neighbours must be at least 1: got 0"),
        (CoVisitation, {"neighbours": -1}, "neighbours must be at least 1: got -1"),
        (CoVisitation, {"decay": 0.0}, "decay must be above 0"),
        (CoVisitation, {"asymmetry": 1.5}, "asymmetry must be at least 0 and at most 1"),
        (TifuKnn, {"n_neighbors": 0}, "n_neighbors must be at least 1"),
        (TifuKnn, {"n_groups": 0}, "n_groups must be at least 1"),
        (TifuKnn, {"within_decay": 0.0}, "within_decay must be above 0"),
        (TifuKnn, {"group_decay": 1.1}, "group_decay must be above 0 and at most 1"),
        (TifuKnn, {"alpha": -0.1}, "alpha must be at least 0"),
        (UpCf, {"recency": -1}, "recency must be at least 0"),
        (UpCf, {"n_neighbors": 0}, "n_neighbors must be at least 1"),
        (UpCf, {"asymmetry": 1.2}, "asymmetry must be at least 0 and at most 1"),
        (UpCf, {"locality": 0.5}, "locality must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(method, settings, found):
    with pytest.raises(SettingError, match=found):
        method(**settings)
