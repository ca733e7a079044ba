import numpy as np
import pytest

from lit_rec.core import schema
from lit_rec.data.dataset import EvaluationQueries
from lit_rec.data.histories import histories_of
from lit_rec.data.history_files import read_eval_histories
from lit_rec.data.orders import UserHistory
from lit_rec.data.processed import ProcessedFolder
from lit_rec.packaging.users import held_out_users


@pytest.fixture(scope="module")
def folder(processed_dir):
    return ProcessedFolder(processed_dir)


def real_id(folder, user):
    """Whom a user of the bundle is made of; no two have the same past and the same next order."""
    same = [i for i, text in folder.queries.items() if text == user["context"]]
    (found,) = [i for i in same if folder.relevant_docs[i] == user["next"]]
    return found


def test_the_orders_make_the_same_history_again(folder):
    users = held_out_users(folder, 100)
    position = {product_id: row for row, product_id in enumerate(folder.corpus)}
    made = histories_of([UserHistory.from_record(user) for user in users.values()], position)
    read = read_eval_histories(folder, [real_id(folder, user) for user in users.values()])
    for name in ("line_start", "product", "cart_position", "line_dow", "line_hour", "dow", "hour"):
        np.testing.assert_array_equal(getattr(made, name), getattr(read, name), err_msg=name)
    for name in ("days_ago", "days_since_prior"):
        np.testing.assert_allclose(getattr(made, name), getattr(read, name), atol=0.01, err_msg=name)


def test_they_are_held_out_for_testing(folder):
    every = EvaluationQueries.read(folder)
    of_test = {every.query_ids[row] for row in every.of_split(schema.Split.TEST)}
    users = held_out_users(folder, 100)
    assert {real_id(folder, user) for user in users.values()} == of_test
    assert users["demo-1"]["orders"][0]["days_since_prior_order"] is None


def test_neither_their_names_nor_their_order_say_who_they_are(folder):
    users = held_out_users(folder, 100)
    assert list(users) == [f"demo-{number}" for number in range(1, len(users) + 1)]
    real = [real_id(folder, user) for user in users.values()]
    assert real != sorted(real)
    assert not any(query_id in str(users.keys()) for query_id in real)


def test_the_sample_is_seeded(folder):
    few = held_out_users(folder, 3, seed=1)
    assert len(few) == 3
    assert few == held_out_users(folder, 3, seed=1)
    assert few != held_out_users(folder, 3, seed=2)
