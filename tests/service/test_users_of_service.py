"""Users by id, from a bundle's file and from a processed folder's."""

import json

import pytest

from lit_rec.core.errors import ProcessedFolderError
from lit_rec.data.orders import Order, UserHistory
from lit_rec.service.users import read_users

RECORD = {
    "context": "[w1h8] Milk.",
    "orders": [{"product_ids": ["1", "2"], "days_since_prior_order": None, "order_dow": 1, "order_hour_of_day": 8}],
    "days_since_prior_order": 3.0,
    "order_dow": 2,
    "order_hour_of_day": 9,
    "next": ["4"],
}


@pytest.fixture
def read(tmp_path):
    def of(content):
        file = tmp_path / "users.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_users(file)

    return of


def test_a_bundle_knows_their_orders(read):
    users = read({"a": RECORD})
    assert list(users) == ["a"]
    user = users["a"]
    assert user.history == UserHistory([Order(["1", "2"], None, 1, 8)], 3.0, 2, 9)
    assert (user.context, user.next_product_ids) == ("[w1h8] Milk.", ("4",))


def test_a_processed_folder_knows_their_contexts(read):
    user = read({"a": "[w1h8] Milk."})["a"]
    assert (user.context, user.history) == ("[w1h8] Milk.", None)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 7}', '{"a": {"context": "x"}}', '{"a": {"orders": [{}]}}'])
def test_anything_else_is_named(read, content):
    with pytest.raises(ProcessedFolderError, match=r"users\.json must map"):
        read(content)
