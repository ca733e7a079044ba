"""Queries and training histories from processed folders, and from one catalogue to another."""

import numpy as np
import pytest

from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.schema import Split
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.data.sources import synthetic
from lit_rec.evaluation.held_out import catalogue, onto_catalogue, read_held_out, read_training


@pytest.fixture(scope="module")
def folder(processed_dir):
    return ProcessedFolder(processed_dir)


@pytest.fixture(scope="module")
def evaluation_only(raw_dir, tmp_path_factory):
    settings = PrepareSettings(eval_frac=1.0)
    return ProcessedFolder(prepare(RawData("instacart", raw_dir, tmp_path_factory.mktemp("sealed")), settings))


@pytest.fixture(scope="module")
def other_users(tmp_path_factory):
    """A folder of other users, whose orders have the same ids, with fewer products."""
    raw, processed = tmp_path_factory.mktemp("other"), tmp_path_factory.mktemp("other_processed")
    synthetic.generate(raw / "kaggle", n_users=40, n_products=150, seed=8)
    return ProcessedFolder(prepare(RawData("instacart", raw / "kaggle", processed), PrepareSettings(eval_frac=0.5)))


def test_the_queries_of_each_split(folder):
    every, test, val = (read_held_out(folder, split) for split in (None, Split.TEST, Split.VAL))
    assert len(test) > 5
    assert len(val) > 5
    assert set(test.query_ids) | set(val.query_ids) == set(every.query_ids) == set(folder.queries)
    assert not set(test.query_ids) & set(val.query_ids)


def test_what_a_query_holds(folder):
    held_out, ids = read_held_out(folder, Split.TEST), list(map(int, folder.corpus))
    for row, query in enumerate(held_out.query_ids):
        assert held_out.queries.contexts[row] == folder.queries[query]
        bought = {str(ids[product]) for product in held_out.relevant[row]}
        assert bought == set(folder.relevant_docs[query])
    assert held_out.product_ids.tolist() == ids
    assert (held_out.basket_size > 0).all()
    assert all((np.diff(products) > 0).all() for products in held_out.history)


def test_a_query_without_a_known_product_is_left_out(folder, monkeypatch):
    wanted = dict(folder.relevant_docs)
    first = read_held_out(folder, Split.TEST).query_ids[0]
    emptied = ProcessedFolder(folder.path)
    emptied.__dict__["relevant_docs"] = wanted | {first: ["999999"]}
    held_out = read_held_out(emptied, Split.TEST)
    assert held_out.n_left_out == 1
    assert first not in held_out.query_ids


def test_the_folders_own_training_users(folder):
    training = read_training(folder, None, read_held_out(folder, Split.TEST))
    assert len(training.histories) == folder.params["n_train_users"]
    assert training.validation.query_ids == read_held_out(folder, Split.VAL).query_ids
    assert list(training.product_texts) == list(folder.corpus.values())
    assert "train_history" in training.source


def test_without_training_users_the_past_of_the_evaluation_users(evaluation_only):
    reported = read_held_out(evaluation_only, Split.TEST)
    assert len(reported) == len(evaluation_only.queries), "all are test"
    training = read_training(evaluation_only, None, reported)
    assert len(training.histories) == len(reported)
    assert training.validation is None
    assert "own past orders" in training.source
    assert training.histories.n_lines.sum() == reported.queries.histories.n_lines.sum(), "no target is in them"


def test_another_folder_to_train_and_choose_on(evaluation_only, other_users):
    reported = read_held_out(evaluation_only, Split.TEST)
    training = read_training(evaluation_only, other_users, reported)
    assert len(training.histories) == other_users.params["n_train_users"]
    assert str(other_users.path) in training.source
    assert len(training.product_texts) == len(reported.product_ids)
    assert training.histories.product.max() < len(reported.product_ids)
    assert 0 < len(training.validation) <= other_users.params["n_val_queries"]
    assert training.validation.product_ids is reported.product_ids


def test_orders_that_are_asked_about_are_not_trained_on(evaluation_only, folder):
    with pytest.raises(ProcessedFolderError, match="must not be fitted on the orders that are evaluated"):
        read_training(evaluation_only, folder, read_held_out(evaluation_only, Split.TEST))


def test_a_training_folder_without_training_users(folder, evaluation_only):
    with pytest.raises(NotPreparedError):
        read_training(folder, evaluation_only, read_held_out(folder, Split.TEST))


def test_choosing_on_what_is_reported_is_said(folder, caplog):
    read_training(folder, None, read_held_out(folder, None))
    assert "also choose hyper-parameters" in caplog.text


def test_lines_of_products_that_the_other_catalogue_lacks_are_dropped(make):
    histories = make.histories([[[0, 1], [2]], [[1]], []])
    mapped = onto_catalogue(histories, np.array([5, -1, 3]))
    assert mapped.line_start.tolist() == [0, 2, 2, 2]
    assert mapped.product.tolist() == [5, 3]
    assert mapped.orders_ago.tolist() == [2, 1]
    assert mapped.cart_position.tolist() == [1, 1]


def test_queries_on_another_catalogue(make):
    held_out = make.held_out([[[0]], [[2]]], [[0, 1], [2]], 3)  # ids 1000, 1001, 1002
    moved = held_out.on(np.array([7, 1001, 1000]))
    assert moved.query_ids == ["100"]
    assert moved.relevant[0].tolist() == [1, 2]
    assert moved.history[0].tolist() == [2]
    assert moved.n_left_out == 1


def test_some_queries_alone(make):
    held_out = make.held_out([[[0]], [[1]], [[2]]], [[0], [1], [2]], 3)
    some = held_out.select(np.array([2, 0]))
    assert some.query_ids == ["102", "100"]
    assert [products.tolist() for products in some.history] == [[2], [0]]


def test_the_catalogue_in_its_order(folder):
    assert catalogue(folder).tolist() == [int(product_id) for product_id in folder.corpus]
