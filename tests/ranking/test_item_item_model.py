"""What is counted of products that are bought together."""

import numpy as np
import pytest

from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders
from lit_rec.ranking.item_item import ItemItemModel

AISLE = (np.arange(30) % 4).astype(np.int32)


def test_auxiliary_orders_count_beside_the_histories(build):
    training = build.histories([[0, 1]])
    auxiliary_orders = AuxiliaryOrders(
        np.array([0, 0, 1, 1]), np.array([0, 2, 0, 2], np.int32), np.full(4, 0.5, np.float32), np.zeros(4, bool)
    )
    item_item = ItemItemModel.fit(training, AISLE, auxiliary_orders)
    assert item_item.popularity[:4].tolist() == [3, 1, 2, 0]
    assert item_item.cosine.toarray()[0, 1:] == pytest.approx([1 / 3**0.5, 2 / 6**0.5])


def test_the_candidate_products_are_the_most_popular(build):
    training = build.histories([[0, 1, 2]], [[2, 1]], [[2]])
    assert ItemItemModel.fit(training, AISLE, n_candidate_products=2).candidate_products.tolist() == [1, 2]


def test_arrays_and_back(build):
    item_item = ItemItemModel.fit(build.histories(*build.users(60, 30, seed=1)), AISLE)
    again = ItemItemModel.from_arrays(item_item.arrays())
    assert (again.cosine != item_item.cosine).nnz == 0
    np.testing.assert_array_equal(again.candidate_products, item_item.candidate_products)
