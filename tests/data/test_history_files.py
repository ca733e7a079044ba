"""Histories of a processed folder: what prepare wrote, in product indices, and errors that say what to do."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pytest
from datasets import Dataset, load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.files import read_json, write_json
from lit_rec.data.histories import UNKNOWN, PurchaseHistories
from lit_rec.data.history_files import read_eval_histories, read_training_histories
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.processed_writer import write_processed
from lit_rec.data.rolling_targets import rolling_targets
from lit_rec.data.settings import PrepareSettings
from lit_rec.data.tables import Tables
from lit_rec.ranking.auxiliary_orders import read_auxiliary_orders


@pytest.fixture(scope="module")
def tables(make_random_tables):
    """The catalogue stands in another order than its ids, so that no id is a position."""
    tables = make_random_tables()
    return Tables(tables.orders, tables.order_lines, tables.products.reverse())


@pytest.fixture(scope="module")
def made(tables, tmp_path_factory):
    """Writes a folder, each only once; nobody may change it."""
    parent, folders = tmp_path_factory.mktemp("processed"), {}

    def write(eval_frac: float) -> ProcessedFolder:
        if eval_frac not in folders:
            write_processed(tables, PrepareSettings(eval_frac=eval_frac), parent / str(eval_frac), {})
            folders[eval_frac] = ProcessedFolder(parent / str(eval_frac))
        return folders[eval_frac]

    return write


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made(0.5).path, tmp_path / "copy")
    return ProcessedFolder(tmp_path / "copy")


@pytest.fixture
def made_by_hand(make_tables, bought, tmp_path):
    """A user of one order, and one of two."""
    users = {
        1: [bought("train", None, 1, 8, [3])],
        2: [bought("prior", None, 2, 9, [5]), bought("train", 3.0, 4, 10, [6])],
    }

    def write(eval_frac: float) -> ProcessedFolder:
        write_processed(make_tables(users), PrepareSettings(eval_frac=eval_frac), tmp_path / "made", {})
        return ProcessedFolder(tmp_path / "made")

    return write


def rows(folder: ProcessedFolder, name: str) -> list[dict]:
    return load_from_disk(folder.path / name).to_list()


def as_rows(folder: ProcessedFolder, histories: PurchaseHistories) -> list[dict]:
    """The columns of the dataset again, one dict a user."""
    ids = [int(product_id) for product_id in folder.corpus]
    return [
        {
            "history_product_ids": [ids[product] for product in one.product.tolist()],
            "history_orders_ago": one.orders_ago.tolist(),
            "history_days_ago": one.days_ago.tolist(),
            "history_cart_positions": one.cart_position.tolist(),
            "history_order_dows": one.line_dow.tolist(),
            "history_order_hours": one.line_hour.tolist(),
        }
        for one in (histories.select(slice(row, row + 1)) for row in range(len(histories)))
    ]


def without(row: dict, *names: str) -> dict:
    return {name: value for name, value in row.items() if name not in names}


OF_QUERIES = ("query_id", "user_id", "split", "days_since_prior_order", "order_dow", "order_hour_of_day")


def test_training_histories_are_those_of_the_dataset(made):
    folder = made(0.5)
    expected = rows(folder, schema.TRAIN_HISTORY)
    histories = read_training_histories(folder)
    assert as_rows(folder, histories) == [without(row, *OF_QUERIES) for row in expected]
    assert len(histories) > 10


def test_of_the_order_after_a_whole_history_nothing_is_known(made):
    histories = read_training_histories(made(0.5))
    assert np.isnan(histories.days_since_prior).all()
    assert set(histories.dow.tolist()) == set(histories.hour.tolist()) == {UNKNOWN}
    assert histories.days_ago[histories.orders_ago == 1].tolist() == [0.0] * int((histories.orders_ago == 1).sum())


def test_histories_of_queries_come_in_the_order_they_are_asked_for(made):
    folder = made(0.5)
    expected = {str(row["query_id"]): row for row in rows(folder, schema.EVAL_HISTORY)}
    asked = [*list(folder.queries)[::-2], next(iter(folder.queries))]
    histories = read_eval_histories(folder, asked)
    assert as_rows(folder, histories) == [without(expected[query], *OF_QUERIES) for query in asked]
    assert histories.dow.tolist() == [expected[query]["order_dow"] for query in asked]
    assert histories.hour.tolist() == [expected[query]["order_hour_of_day"] for query in asked]
    gaps = [expected[query]["days_since_prior_order"] for query in asked]
    np.testing.assert_array_equal(histories.days_since_prior, np.array(gaps, dtype=np.float32))  # None is NaN


def test_the_newest_target_of_a_training_history_is_the_query_of_the_same_order(made, tables):
    """Two ways to one moment: held out by prepare, or cut off a whole history."""
    trained, held_out = made(0.0), made(1.0)
    ids = [row["query_id"] for row in rows(trained, schema.TRAIN_HISTORY)]
    targets = rolling_targets(read_training_histories(trained), per_user=1)
    is_query = np.array([str(ids[user]) in held_out.queries for user in targets.user])
    found = targets.histories.select(np.flatnonzero(is_query))
    asked = [str(ids[user]) for user in targets.user[is_query]]
    expected = read_eval_histories(held_out, asked)
    for field in dataclasses.fields(PurchaseHistories):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(one, other, field.name)
        assert np.asarray(one).dtype == np.asarray(other).dtype, field.name
    bought = np.split(targets.target_product, targets.target_start[1:-1])
    products = list(held_out.corpus)
    for user, basket in zip(targets.user, bought, strict=True):
        if (query := str(ids[user])) in held_out.queries:
            assert [products[product] for product in basket] == held_out.relevant_docs[query]
    several = tables.orders.filter((pl.col("eval_set") == "train") & (pl.col("order_number") > 1))
    assert set(asked) == set(several["order_id"].cast(str))


def test_a_first_order_has_an_empty_history(made_by_hand):
    folder = made_by_hand(1.0)
    histories = read_eval_histories(folder, list(folder.queries))
    assert len(histories) == 2
    assert histories.n_lines.tolist() == histories.n_orders.tolist() == [0, 1]
    np.testing.assert_array_equal(histories.days_since_prior, np.array([np.nan, 3], dtype=np.float32))


def test_a_user_of_one_order_has_a_training_history_of_one_order(made_by_hand):
    histories = read_training_histories(made_by_hand(0.0))
    assert histories.n_lines.tolist() == histories.n_orders.tolist() == [1, 2]


def test_no_query_no_history(made):
    for folder in (made(0.5), made(0.0)):
        histories = read_eval_histories(folder, [])
        assert (len(histories), len(histories.product)) == (0, 0)


# --- baskets of others ---

LINES = {
    "order_id": [9, 4, 9, 4, 9, 9, 7],
    "product_id": [2, 5, 31, 6, 1, 5, 999],  # 31 and 999 are not in the catalogue
    "add_to_cart_order": [1, 2, 2, 1, 3, 4, 1],
    "reordered": [1, 0, 1, 1, 0, 1, 1],
}


def write_orders(file, **changes):
    pl.DataFrame({**LINES, **changes}).drop(name for name, values in changes.items() if values is None).write_parquet(
        file
    )
    return file


def test_baskets_are_orders_in_catalogue_positions_with_places_of_the_whole_cart(made, tmp_path):
    folder = made(0.5)
    ids = [int(product_id) for product_id in folder.corpus]
    found = read_auxiliary_orders(write_orders(tmp_path / "baskets.parquet"), folder)
    rows = zip(found.order, [ids[row] for row in found.product], found.place, found.reordered, strict=True)
    assert sorted(tuple(value.item() if hasattr(value, "item") else value for value in row) for row in rows) == [
        (0, 5, 0.75, False),
        (0, 6, 0.25, True),
        (2, 1, 0.625, False),  # 7 is order 1, of which nothing is known
        (2, 2, 0.125, True),
        (2, 5, 0.875, True),
    ]
    assert (np.diff(found.order) >= 0).all()
    kinds = (np.int64, np.int32, np.float32, np.bool_)
    assert tuple(getattr(found, field.name).dtype for field in dataclasses.fields(found)) == kinds


def test_baskets_of_another_catalogue_or_of_no_numbers_are_refused(made, tmp_path):
    others = write_orders(tmp_path / "others.parquet", product_id=range(900_001, 900_008))
    with pytest.raises(ProcessedFolderError, match=r"7 of their 7 lines are of products that it does not hold"):
        read_auxiliary_orders(others, made(0.5))
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ProcessedFolderError, match="must be parquet"):
        read_auxiliary_orders(tmp_path / "text.parquet", made(0.5))


def test_no_baskets_and_columns_that_lack_are_said(made, tmp_path):
    with pytest.raises(NotPreparedError, match=r"No auxiliary orders at .*none.parquet"):
        read_auxiliary_orders(tmp_path / "none.parquet", made(0.5))
    with pytest.raises(ProcessedFolderError, match=r"needs the columns order_id, .*without reordered"):
        read_auxiliary_orders(write_orders(tmp_path / "some.parquet", reordered=None), made(0.5))


# --- what cannot be read ---


def test_where_all_are_held_out_there_is_no_training_history_and_the_error_says_what_to_do(made):
    with pytest.raises(NotPreparedError, match=r"holds no train_history: .*eval_frac 1.0.*an --eval_frac below 1$"):
        read_training_histories(made(1.0))


def test_a_folder_of_the_seed_is_named_as_such(copy):
    shutil.rmtree(copy.path / schema.EVAL_HISTORY)
    write_json(copy.path / schema.PARAMS, {"eval_frac": 0.5})
    with pytest.raises(NotPreparedError, match=r"holds no eval_history: .* by the Instacart seed. Run prepare"):
        read_eval_histories(ProcessedFolder(copy.path), list(copy.queries))


def test_a_history_of_an_older_version_is_refused_with_the_next_step(copy):
    older = [without(row, schema.HISTORY_DOWS, schema.HISTORY_HOURS) for row in rows(copy, schema.EVAL_HISTORY)]
    shutil.rmtree(copy.path / schema.EVAL_HISTORY)
    Dataset.from_list(older).save_to_disk(copy.path / schema.EVAL_HISTORY)
    with pytest.raises(NotPreparedError, match=r"eval_history has no column history_order_dows.*Run prepare again"):
        read_eval_histories(copy, list(copy.queries))


def test_a_query_without_a_history_is_refused(made):
    with pytest.raises(ProcessedFolderError, match=r"does not fit .*: 2 queries have no history. Run prepare again"):
        read_eval_histories(made(0.5), [*made(0.5).queries, "1000001", "1000002"])


def test_a_purchase_that_is_not_in_the_catalogue_is_refused(copy):
    corpus = read_json(copy.path / schema.EVAL_CORPUS)
    write_json(copy.path / schema.EVAL_CORPUS, {key: text for key, text in corpus.items() if key != "7"})
    n_lines = sum(row["history_product_ids"].count(7) for row in rows(copy, schema.TRAIN_HISTORY))
    with pytest.raises(ProcessedFolderError, match=rf"{n_lines} of its [\d,]+ products are not there"):
        read_training_histories(ProcessedFolder(copy.path))
