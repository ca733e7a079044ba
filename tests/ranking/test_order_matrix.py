import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.ranking.order_matrix import OrderMatrix, highest, rows_at_a_time


def test_orders_of_users(build):
    """The second user's only order and the third's oldest are both 1 ago: they are two orders all the same."""
    orders = OrderMatrix.of(build.histories([[3, 0], [1, 1]], [[2]], [[2, 0]], [], [[1], [], [1, 0]]), 4)
    assert orders.incidence.toarray().tolist() == [
        [1, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    assert orders.order_start.tolist() == [0, 2, 3, 4, 4, 6]
    assert orders.orders_ago.tolist() == [2, 1, 1, 1, 3, 1]
    assert orders.n_orders.tolist() == [2, 1, 1, 0, 3]  # an order without a product is an order
    assert orders.n_orders_of_order.tolist() == [2, 2, 1, 1, 3, 3]
    assert orders.popularity.tolist() == [3, 3, 2, 1]
    assert orders.frequency().toarray()[4].tolist() == [1, 2, 0, 0]
    assert orders.distinct().toarray()[4].tolist() == [1, 1, 0, 0]
    assert orders.decayed(0.5).toarray()[4].tolist() == [1, 1.25, 0, 0]


def test_orders_of_weight_0_leave_no_entry(build):
    orders = OrderMatrix.of(build.histories([[3], [1]]), 4)
    assert orders.summed(np.array([0.0, 2.0])).indices.tolist() == [1]


@given(
    st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=6, max_size=6), max_size=4), st.integers(1, 8)
)
def test_highest_equals_a_stable_sort(rows, k):
    values = np.array(rows).reshape(-1, 6)
    expected = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(expected, np.argsort(-values, axis=1, kind="stable")[:, :k], True, axis=1)
    np.testing.assert_array_equal(highest(values, k), expected)


@pytest.mark.parametrize(("n_columns", "expected"), [(0, 2**25), (2**20, 32), (2**30, 1)])
def test_rows_at_a_time_take_256_mebibytes(n_columns, expected):
    assert rows_at_a_time(n_columns) == expected
