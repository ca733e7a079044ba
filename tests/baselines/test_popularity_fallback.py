import numpy as np
from scipy.sparse import csr_array

from lit_rec.baselines.popularity_fallback import (
    popularity_rank,
    rank_with_popularity_fallback,
    score_with_popularity_fallback,
)


def test_equally_popular_products_have_one_rank():
    assert popularity_rank(np.array([5, 0, 5, 9, 0])).tolist() == [1, 0, 1, 2, 0]
    assert popularity_rank(np.array([], dtype=np.int64)).tolist() == []


def test_the_second_key_never_overrules_the_first():
    """Nor does popularity, however close the keys are: the next float after 1 is above 1."""
    entries = csr_array(np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0]]))
    first = np.array([1.0, np.nextafter(1.0, 2), 1.0, 1e-300, 0.0])
    second = np.array([1e300, -1e300, 0.0, 0.0, 0.0])
    scores = rank_with_popularity_fallback(entries, [first, second], np.array([2.0, 0.0, 1.0, 3.0]))
    assert scores.tolist() == [[2 + 8, 0 + 12, 1 + 4, 3], [2, 0, 1, 3], [2, 0 + 8, 1 + 4, 3]]


def test_equal_keys_are_left_to_popularity():
    entries = csr_array(np.array([[1, 1, 0]]))
    assert rank_with_popularity_fallback(entries, [np.ones(2)], np.array([0.0, 1.0, 2.0])).tolist() == [[3, 4, 2]]


def test_scores_of_0_go_below_all_others_by_popularity():
    scores = score_with_popularity_fallback(np.array([[1e-30, 0.0, 0.0, 5.0]]), np.array([3.0, 0.0, 2.0, 1.0]))
    assert scores.tolist() == [[1e-30, -1, -0.5, 5]]
