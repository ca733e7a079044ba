"""The processed folder: nothing lost, nothing leaked, nothing half done, and in the seed's forms."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from datasets import load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import FileError, InputError, NotPreparedError, ProcessedFolderError, SettingError
from lit_rec.core.files import read_json, write_json
from lit_rec.data.history_files import read_eval_histories
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import ProcessedFolder, content_hashes, find_processed_folder
from lit_rec.data.processed_writer import write_processed
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.data.split import split_users
from lit_rec.data.tables import Tables

ROLLING = PrepareSettings(eval_frac=0.4, targets="rolling")
HISTORIES = ("train_history", "eval_history")
SIDES = {"eval_frac": 0.4, "val_frac": 0.5, "seed": 42}


@pytest.fixture
def make(tmp_path):
    """Writes a processed folder and opens it."""

    def write(tables: Tables, settings: PrepareSettings = ROLLING, name: str = "made") -> ProcessedFolder:
        write_processed(tables, settings, tmp_path / name, {"source": "instacart"})
        return ProcessedFolder(tmp_path / name)

    return write


@pytest.fixture(scope="module")
def tables(make_random_tables):
    return make_random_tables()


@pytest.fixture(scope="module")
def made(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processed") / "made"
    write_processed(tables, ROLLING, folder, {"source": "instacart"})
    return ProcessedFolder(folder)


def rows(folder: ProcessedFolder, name: str) -> list[dict]:
    return load_from_disk(folder.path / name).to_list()


def baskets(tables: Tables) -> dict[int, list[int]]:
    """Order id to its products in cart order."""
    lines = tables.order_lines.sort(schema.ORDER_ID, schema.CART_POSITION)
    grouped = lines.group_by(schema.ORDER_ID, maintain_order=True).agg(schema.PRODUCT_ID)
    return dict(grouped.iter_rows())


# --- nothing lost ---


@pytest.mark.parametrize(("dataset", "count"), [("train_dataset", "n_train_pairs"), ("eval_dataset", "n_eval_pairs")])
def test_every_line_of_a_target_order_is_one_pair(made, tables, dataset, count):
    pairs = rows(made, dataset)
    found: dict[int, list[int]] = {}
    for pair in pairs:
        found.setdefault(pair["query_id"], []).append(pair["product_id"])
    bought = baskets(tables)
    assert found == {query: bought[query] for query in found}
    assert len(pairs) == made.params[count] > 0


@pytest.mark.parametrize("dataset", ["train_dataset", "eval_dataset"])
def test_the_pairs_of_an_order_stand_together_and_share_their_context(made, dataset):
    pairs = rows(made, dataset)
    runs = [
        pair["query_id"]
        for pair, before in zip(pairs, [None, *pairs], strict=False)
        if before is None or pair["query_id"] != before["query_id"]
    ]
    assert len(runs) == len(set(runs)) == len({(pair["query_id"], pair["anchor"]) for pair in pairs})


def test_a_positive_is_the_text_of_its_product(made):
    for dataset in ("train_dataset", "eval_dataset"):
        assert all(pair["positive"] == made.corpus[str(pair["product_id"])] for pair in rows(made, dataset))


def test_what_is_relevant_is_the_basket_that_was_bought(made, tables):
    bought = baskets(tables)
    assert made.relevant_docs == {query: [str(i) for i in bought[int(query)]] for query in made.queries}
    assert made.queries


def test_the_recorded_counts_are_those_of_the_files(made, tables):
    params, history = made.params, rows(made, "eval_history")
    assert params["n_users"] == tables.orders["user_id"].n_unique()
    assert params["n_train_users"] == params["n_users"] - sum(
        side != "train" for side in split_users(tables.orders["user_id"].unique().to_numpy(), **SIDES)
    )
    assert params["n_train_orders"] == len({pair["query_id"] for pair in rows(made, "train_dataset")})
    assert params["n_eval_queries"] == len(made.queries) == len(made.relevant_docs) == len(history)
    assert params["n_val_queries"] == sum(row["split"] == "val" for row in history)
    assert params["n_test_queries"] == sum(row["split"] == "test" for row in history)
    assert params["n_corpus"] == len(made.corpus) == 30


# --- nothing leaked ---


def test_no_user_is_trained_on_and_evaluated_on(made, tables):
    user_of = dict(tables.orders.select("order_id", "user_id").iter_rows())
    trained = {user_of[pair["query_id"]] for pair in rows(made, "train_dataset")}
    evaluated = {user_of[int(query)] for query in made.queries}
    assert trained.isdisjoint(evaluated)
    assert trained
    assert evaluated


@pytest.mark.parametrize(
    "settings",
    [
        ROLLING,
        PrepareSettings(eval_frac=0.4, next_order_in_context="always"),
        PrepareSettings(eval_frac=0.4, truncate="keep_oldest", max_product_names=5),
    ],
)
def test_no_context_query_or_history_depends_on_what_the_target_orders_hold(
    make, tables, replace_target_products, settings
):
    one = make(tables, settings, "one")
    other = make(replace_target_products(tables), settings, "other")
    assert one.relevant_docs != other.relevant_docs
    assert (one.path / schema.EVAL_QUERIES).read_bytes() == (other.path / schema.EVAL_QUERIES).read_bytes()
    assert (
        one.sha256["eval_history/data-00000-of-00001.arrow"] == other.sha256["eval_history/data-00000-of-00001.arrow"]
    )
    for dataset in ("train_dataset", "eval_dataset"):
        contexts = [{pair["query_id"]: pair["anchor"] for pair in rows(folder, dataset)} for folder in (one, other)]
        assert contexts[0] == contexts[1]


def test_a_context_names_products_of_strictly_earlier_orders_alone(make, make_tables, bought):
    """Each order has a product of its own, so that a name tells its order: 10 * user + order number."""
    users = {
        user: [
            bought("train" if number == 6 else "prior", 1.0 if number > 1 else None, 1, 1, [10 * user + number])
            for number in range(1, 7)
        ]
        for user in range(1, 13)
    }
    products = [10 * user + number for user in users for number in range(1, 7)]
    settings = PrepareSettings(eval_frac=0.5, targets="rolling", rolling_targets=0, max_prior_orders=3)
    folder = make(make_tables(users, products), settings)
    pairs = rows(folder, "train_dataset") + rows(folder, "eval_dataset")
    assert {pair["product_id"] % 10 for pair in pairs} == {2, 3, 4, 5, 6}
    for pair in pairs:
        user, number = divmod(pair["product_id"], 10)
        named = [int(name) for name in re.findall(r"Product (\d+)", pair["anchor"])]
        assert named == [10 * user + earlier for earlier in range(max(number - 3, 1), number)]


def test_the_history_is_every_earlier_line_with_its_age(make, make_tables, bought):
    users = {
        7: [
            bought("prior", None, 0, 8, [5, 3]),
            bought("prior", 10.0, 1, 9, []),
            bought("prior", 4.0, 2, 10, [3]),
            bought("train", 7.0, 6, 23, [1, 2]),
        ],
    }
    folder = make(make_tables(users), PrepareSettings(eval_frac=1.0))
    assert rows(folder, "eval_history") == [
        {
            "query_id": 795,
            "user_id": 7,
            "split": "test",
            "days_since_prior_order": 7.0,
            "order_dow": 6,
            "order_hour_of_day": 23,
            "history_product_ids": [5, 3, 3],
            "history_orders_ago": [3, 3, 1],
            "history_days_ago": [21.0, 21.0, 7.0],
            "history_cart_positions": [1, 2, 1],
            "history_order_dows": [0, 0, 2],
            "history_order_hours": [8, 8, 10],
        }
    ]
    assert folder.queries == {"795": "[w0h8] Product 5, Product 3; [+4d w2h10] Product 3."}
    assert folder.relevant_docs == {"795": ["1", "2"]}


# --- purchase histories, line by line ---


@pytest.fixture(scope="module")
def with_gaps(tables):
    """The same users, but every seventh order of the past without its lines."""
    past = tables.orders.filter(pl.col("eval_set") == "prior").sort("order_id")["order_id"]
    lines = tables.order_lines.filter(~pl.col("order_id").is_in(past.gather_every(7).implode()))
    return Tables(tables.orders, lines, tables.products)


def orders_of(tables: Tables) -> dict[int, list[dict]]:
    """User to orders in time, each with its products in cart order."""
    bought = baskets(tables)
    users: dict[int, list[dict]] = {}
    for order in tables.orders.sort("user_id", "order_number").to_dicts():
        users.setdefault(order["user_id"], []).append({**order, "products": bought.get(order["order_id"], [])})
    return users


def lines_before(orders: list[dict], asked_at: int, newest: int) -> dict[str, list]:
    """The columns of a history: of the orders up to ``newest``, seen from the moment of ``orders[asked_at]``."""
    lines = [
        (
            product,
            newest + 1 - number,
            sum(later["days_since_prior_order"] for later in orders[number + 1 : asked_at + 1]),
            cart,
            order["order_dow"],
            order["order_hour_of_day"],
        )
        for number, order in enumerate(orders[: newest + 1])
        for cart, product in enumerate(order["products"], 1)
    ]
    names = ("product_ids", "orders_ago", "days_ago", "cart_positions", "order_dows", "order_hours")
    columns = zip(*lines, strict=True) if lines else [()] * len(names)
    return {f"history_{name}": list(column) for name, column in zip(names, columns, strict=True)}


def test_the_history_of_a_query_is_what_its_user_bought_before(make, with_gaps):
    folder = make(with_gaps)
    expected = []
    for user, orders in orders_of(with_gaps).items():
        (side,) = split_users(np.array([user]), **SIDES)
        if side != "train" and orders[-1]["eval_set"] == "train":
            told = {"query_id": orders[-1]["order_id"], "user_id": user, "split": side}
            told |= {name: orders[-1][name] for name in ("days_since_prior_order", "order_dow", "order_hour_of_day")}
            expected.append(told | lines_before(orders, len(orders) - 1, len(orders) - 2))
    assert rows(folder, "eval_history") == expected
    assert list(folder.queries) == [str(row["query_id"]) for row in expected]


def test_the_history_of_a_training_user_is_all_of_its_orders_up_to_the_last_known_one(make, with_gaps):
    expected = []
    for user, orders in orders_of(with_gaps).items():
        last = len(orders) - 1 if orders[-1]["products"] else len(orders) - 2
        if last >= 0 and split_users(np.array([user]), **SIDES)[0] == "train":
            told = {"query_id": orders[last]["order_id"], "user_id": user, "split": "train"}
            told |= dict.fromkeys(("days_since_prior_order", "order_dow", "order_hour_of_day"))
            expected.append(told | lines_before(orders, last, last))
    assert rows(make(with_gaps), "train_history") == expected
    assert any(row["history_orders_ago"][-1] == 1 for row in expected)


def test_users_of_one_order_train_with_it_and_only_where_its_products_are_known(make, make_tables, bought):
    users = {
        1: [bought("train", None, 1, 1, [4, 2])],
        2: [bought("test", None, 1, 1, [])],
        3: [bought("prior", None, 1, 1, [7]), bought("test", 8.0, 1, 1, [])],
        4: [bought("prior", None, 1, 1, [7]), bought("train", 8.0, 1, 1, [])],
    }
    folder = make(make_tables(users), PrepareSettings(eval_frac=0.0))
    found = {row["user_id"]: row for row in rows(folder, "train_history")}
    assert {user: row["history_product_ids"] for user, row in found.items()} == {1: [4, 2], 3: [7], 4: [7]}
    assert all(row["history_orders_ago"] == [1] * len(row["history_days_ago"]) for row in found.values())
    assert all(set(row["history_days_ago"]) == {0.0} for row in found.values())


def test_every_line_is_of_a_training_user_of_a_history_or_of_a_query(made, tables):
    """Only what held-out users without a labelled last order bought is nowhere."""
    evaluated = {row["user_id"] for row in rows(made, "eval_history")}
    trained = {row["user_id"] for row in rows(made, "train_history")}
    users_of_lines = tables.order_lines.join(tables.orders, on="order_id")["user_id"]
    n_lines = {name: sum(len(r["history_product_ids"]) for r in rows(made, name)) for name in HISTORIES}
    assert n_lines["train_history"] == users_of_lines.is_in(list(trained)).sum()
    n_bought = sum(map(len, made.relevant_docs.values()))
    assert n_lines["eval_history"] + n_bought == users_of_lines.is_in(list(evaluated)).sum()
    neither = tables.orders.filter(~pl.col("user_id").is_in(list(evaluated | trained)))
    assert neither["eval_set"].is_in(["prior", "test"]).all()


def test_no_history_of_a_user_who_is_held_out_is_trained_on(made):
    trained, evaluated = ({row["user_id"] for row in rows(made, name)} for name in HISTORIES)
    assert trained.isdisjoint(evaluated)


def test_users_that_take_no_part_have_no_training_history(make, tables):
    folder = make(tables, PrepareSettings(eval_frac=0.4, max_target_orders=10))
    histories = [row["query_id"] for row in rows(folder, "train_history")]
    assert histories == list(dict.fromkeys(pair["query_id"] for pair in rows(folder, "train_dataset")))
    assert len(histories) == folder.params["n_train_users"] == 10 - folder.params["n_eval_queries"]


def test_in_a_cross_validation_every_labelled_order_is_a_test_query_once(make, tables):
    """And no user of a test query, or of a query that chooses, is trained on in that fold."""
    asked = []
    for fold in range(3):
        folder = make(tables, PrepareSettings(n_folds=3, fold=fold), f"fold{fold}")
        trained, history = rows(folder, "train_history"), rows(folder, "eval_history")
        assert {row["user_id"] for row in trained}.isdisjoint(row["user_id"] for row in history)
        assert {row["split"] for row in history} == {"val", "test"}
        asked += [row["query_id"] for row in history if row["split"] == "test"]
    labelled = tables.orders.filter(pl.col("eval_set") == "train")["order_id"]
    assert sorted(asked) == sorted(labelled)


# --- what was asked ---


def test_eval_frac_one_writes_evaluation_artefacts_alone_and_all_are_test(make, tables):
    folder = make(tables, PrepareSettings(eval_frac=1.0))
    assert not (folder.path / schema.TRAIN_DATASET).exists()
    assert not (folder.path / schema.TRAIN_HISTORY).exists()
    assert {row["split"] for row in rows(folder, "eval_history")} == {"test"}
    assert [folder.params[name] for name in ("n_train_users", "n_train_pairs", "n_val_queries")] == [0, 0, 0]
    assert folder.params["n_test_queries"] == tables.orders.filter(pl.col("eval_set") == "train").height


def test_eval_frac_zero_writes_no_eval_dataset_and_empty_queries(make, tables):
    folder = make(tables, PrepareSettings(eval_frac=0.0))
    assert not (folder.path / schema.EVAL_DATASET).exists()
    assert folder.queries == folder.relevant_docs == {}
    assert len(load_from_disk(folder.path / schema.EVAL_HISTORY)) == 0
    assert folder.params["n_train_pairs"] == len(load_from_disk(folder.path / schema.TRAIN_DATASET))


@pytest.mark.parametrize(
    ("next_order", "in_training", "in_queries"),
    [("never", False, False), ("training", True, False), ("always", True, True)],
)
def test_the_next_segment_is_where_it_was_asked_for(make, tables, next_order, in_training, in_queries):
    settings = PrepareSettings(eval_frac=0.4, next_order_in_context=next_order)
    folder = make(tables, settings)

    def all_or_none(contexts):
        (answer,) = {bool(re.search(r"\. Next: (\+\d+d )?w\dh\d+$", context)) for context in contexts}
        return answer

    assert all_or_none(pair["anchor"] for pair in rows(folder, "train_dataset")) == in_training
    assert all_or_none(folder.queries.values()) == in_queries
    assert all(pair["anchor"] == folder.queries[str(pair["query_id"])] for pair in rows(folder, "eval_dataset"))


def test_the_next_segment_tells_gap_weekday_and_hour_of_the_target(make, make_tables, bought):
    users = {1: [bought("prior", None, 3, 22, [1]), bought("train", 23.0, 6, 6, [2])]}
    settings = PrepareSettings(eval_frac=1.0, next_order_in_context="always")
    assert make(make_tables(users), settings).queries == {"197": "[w3h22] Product 1. Next: +23d w6h6"}


def test_a_first_order_that_is_a_target_has_no_prior_orders(make, make_tables, bought):
    folder = make(make_tables({1: [bought("train", None, 1, 1, [1])]}), PrepareSettings(eval_frac=1.0))
    assert folder.queries == {"198": "(no prior orders)."}
    assert rows(folder, "eval_history")[0]["history_product_ids"] == []


# --- the seed's forms ---


def test_json_files_have_the_forms_of_the_seed(made, tables):
    for name in (schema.EVAL_QUERIES, schema.EVAL_CORPUS, schema.EVAL_RELEVANT_DOCS):
        text = (made.path / name).read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=0, ensure_ascii=False)
    assert list(made.corpus) == [str(product) for product in tables.products["product_id"]]
    assert made.corpus["7"] == "Product: Product 7. Aisle: aisle 2. Department: food."
    labelled = tables.orders.filter(pl.col("eval_set") == "train")["order_id"].cast(str).to_list()
    assert set(made.queries) == set(made.relevant_docs) < set(labelled)
    assert all(isinstance(i, str) for ids in made.relevant_docs.values() for i in ids)


def test_the_parameters_hold_all_that_the_seed_records(raw_dir, processed_dir):
    params = read_json(processed_dir / schema.PARAMS)
    assert params["data_dir"] == str(raw_dir)
    assert params["output_dir"] == str(processed_dir)
    assert set(params) >= {
        *("max_prior_orders", "max_product_names", "sample_frac", "eval_frac", "eval_serve_time"),
        *("max_target_orders", "seed", "n_train_pairs", "n_eval_pairs", "n_eval_queries", "n_corpus"),
    }
    assert (processed_dir / schema.PARAMS).read_text().startswith('{\n  "')


def test_datasets_have_the_columns_of_the_seed_and_the_ids(made):
    columns = ["anchor", "positive", "query_id", "product_id"]
    assert load_from_disk(made.path / "train_dataset").column_names == columns
    assert load_from_disk(made.path / "eval_dataset").column_names == columns


# --- nothing but what was asked decides the bytes ---


def test_recorded_hashes_are_those_of_the_files(made):
    names = {
        path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.suffix in (".json", ".arrow")
    }
    of_datasets = {name for name in names if name.endswith(("state.json", "dataset_info.json"))}
    assert set(made.params["sha256"]) == names - of_datasets - {schema.PARAMS}
    for name, digest in made.params["sha256"].items():
        assert hashlib.sha256((made.path / name).read_bytes()).hexdigest() == digest


def test_two_runs_write_the_same_content_whatever_the_order_of_rows(made, make, tables, shuffled):
    assert make(tables).sha256 == made.sha256
    assert make(shuffled(tables, 3), name="shuffled").sha256 == made.sha256


@pytest.mark.parametrize("name", ["shop[1]", "shop*"])
def test_folders_whose_names_are_patterns_are_read_and_written_by_their_names(raw_dir, tmp_path, name):
    settings = PrepareSettings(eval_frac=0.5)
    plain = ProcessedFolder(prepare(RawData("instacart", raw_dir, tmp_path / "shop1"), settings))
    assert find_processed_folder(tmp_path / "shop1") == plain.path
    shutil.copytree(raw_dir, tmp_path / name)
    header, _, aisles = (raw_dir / "aisles.csv").read_text().partition("\n")
    (tmp_path / name / "aisles.csv").write_text(f"{header}\n{aisles.upper()}")
    folder = ProcessedFolder(prepare(RawData("instacart", tmp_path / name, tmp_path / name), settings))
    assert folder.path == tmp_path / name / plain.path.name
    assert folder.corpus != plain.corpus
    assert folder.queries == plain.queries
    query_ids = list(folder.queries)
    of_patterns, of_plain = (read_eval_histories(made, query_ids).product for made in (folder, plain))
    assert np.array_equal(of_patterns, of_plain)


def test_a_path_that_datasets_takes_for_a_chain_of_paths_is_refused_before_any_work(raw_dir, tmp_path):
    with pytest.raises(SettingError, match=r"needs a path without ::.*Pass another --output_dir"):
        prepare(RawData("instacart", raw_dir, tmp_path / "a::b"), PrepareSettings())
    assert list(tmp_path.iterdir()) == []


# --- whole or not there ---


def test_a_finished_folder_is_reused(raw_dir, processed_dir):
    before = (processed_dir / schema.PARAMS).stat()
    settings = PrepareSettings(targets="rolling", eval_frac=0.5)
    assert prepare(RawData("instacart", raw_dir, processed_dir.parent), settings) == processed_dir
    after = (processed_dir / schema.PARAMS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.fixture
def of_an_older_version(raw_dir, tmp_path):
    """A folder as it was before there were folds and training histories."""
    folder = prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings())
    shutil.rmtree(folder / schema.TRAIN_HISTORY)
    record = read_json(folder / schema.PARAMS)
    newer = ("n_train_users", "n_folds", "fold")
    write_json(folder / schema.PARAMS, {name: value for name, value in record.items() if name not in newer})
    return folder


def test_a_folder_of_an_older_version_is_made_anew(raw_dir, of_an_older_version, caplog):
    with caplog.at_level("INFO"):
        again = prepare(RawData("instacart", raw_dir, of_an_older_version.parent), PrepareSettings())
    assert "is of an older version, without train_history: making it anew" in caplog.text
    assert again == of_an_older_version
    assert ProcessedFolder(again).params["n_train_users"] == len(rows(ProcessedFolder(again), "train_history"))


def test_a_folder_of_an_older_version_that_holds_something_else_is_kept(raw_dir, of_an_older_version):
    with pytest.raises(ProcessedFolderError, match=r": rolling_targets differ.*--overwrite true"):
        prepare(RawData("instacart", raw_dir, of_an_older_version.parent), PrepareSettings(rolling_targets=7))
    assert not (of_an_older_version / schema.TRAIN_HISTORY).exists()


def test_a_folder_of_the_seed_is_not_replaced_unasked(raw_dir, tmp_path):
    (tmp_path / "p5_mp20_ef0.1").mkdir()
    write_json(tmp_path / "p5_mp20_ef0.1" / schema.PARAMS, {"eval_frac": 0.1, "n_corpus": 3})
    with pytest.raises(ProcessedFolderError, match=r"source, input_sha256 differ.*--overwrite true"):
        prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings())
    assert read_json(tmp_path / "p5_mp20_ef0.1" / schema.PARAMS)["n_corpus"] == 3


def test_other_input_is_refused_until_overwriting_is_asked_for(raw_dir, tmp_path):
    data_dir = tmp_path / "raw"
    shutil.copytree(raw_dir, data_dir)
    folder = prepare(RawData("instacart", data_dir, tmp_path / "out"), PrepareSettings())
    products = data_dir / "products.csv"
    products.write_text(products.read_text().replace("Organic", "Unheard Of"))
    with pytest.raises(ProcessedFolderError, match=r"input_sha256 differ.*--overwrite true"):
        prepare(RawData("instacart", data_dir, tmp_path / "out"), PrepareSettings())
    assert "Unheard Of" not in (folder / schema.EVAL_CORPUS).read_text()
    assert prepare(RawData("instacart", data_dir, tmp_path / "out"), PrepareSettings(), overwrite=True) == folder
    assert "Unheard Of" in (folder / schema.EVAL_CORPUS).read_text()


def test_settings_that_the_name_does_not_tell_are_compared_too(raw_dir, tmp_path):
    """Two settings of one folder name: rolling_targets says nothing where only last orders are targets."""
    prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings())
    with pytest.raises(ProcessedFolderError, match="rolling_targets differ"):
        prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings(rolling_targets=7))


def test_a_folder_whose_record_is_damaged_is_named(raw_dir, tmp_path):
    folder = prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings())
    (folder / schema.PARAMS).write_text("{")
    with pytest.raises(ProcessedFolderError, match=r"data_prep_params.json cannot be read"):
        prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings())


def test_missing_input_leaves_no_folder(raw_dir, tmp_path):
    data_dir = tmp_path / "raw"
    shutil.copytree(raw_dir, data_dir)
    (data_dir / "orders.csv").unlink()
    with pytest.raises(InputError, match=r"orders\.csv"):
        prepare(RawData("instacart", data_dir, tmp_path / "out"), PrepareSettings())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("on_full", "ending"), [("SIG_IGN", "an exception"), ("SIG_DFL", "a kill that Python never sees")]
)
def test_a_run_that_ends_in_its_middle_leaves_nothing_that_looks_finished(raw_dir, tmp_path, on_full, ending):
    """The kernel ends the run, or fails its write, when a file grows beyond 20 kB."""
    script = f"""
import resource, signal
from pathlib import Path
from lit_rec.data.prepare import prepare
from lit_rec.data.settings import PrepareSettings, RawData
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
signal.signal(signal.SIGXFSZ, signal.{on_full})
prepare(RawData("instacart", Path({str(raw_dir)!r}), Path({str(tmp_path)!r})), PrepareSettings(targets="rolling"))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    killed = on_full == "SIG_DFL"
    assert (run.returncode < 0) == killed, run.stderr
    assert ("File too large" in run.stderr) != killed
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    assert len(list(tmp_path.iterdir())) == killed  # nobody was there to tidy up
    with pytest.raises(NotPreparedError):
        find_processed_folder(tmp_path)
    folder = prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings(targets="rolling"))
    assert list(tmp_path.iterdir()) == [folder]
    assert find_processed_folder(tmp_path) == folder


def test_what_was_finished_before_stays_until_its_replacement_is_whole(made, tables, tmp_path):
    folder = tmp_path / "made"
    shutil.copytree(made.path, folder)
    broken = Tables(tables.orders, tables.order_lines, tables.products.drop(schema.AISLE))
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        write_processed(broken, ROLLING, folder, {})
    assert ProcessedFolder(folder).params == made.params
    assert [path for path in tmp_path.iterdir() if path != folder] == []


def test_made_up_users_are_generated_where_there_are_none(tmp_path):
    data_dir = tmp_path / "synthetic"
    folder = prepare(
        RawData("synthetic", data_dir, tmp_path, n_users=30, n_products=60), PrepareSettings(eval_frac=0.5)
    )
    assert folder.name == "synthetic_p5_mp20_ef0.5"
    assert len(ProcessedFolder(folder).corpus) == 60
    assert Path(data_dir / "orders.csv").is_file()


def test_made_up_users_of_another_size_or_seed_are_others(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    n_users = {}
    for size, seed in ((30, 1), (50, 1), (30, 2)):
        settings = PrepareSettings(eval_frac=0.5, seed=seed)
        folder = prepare(RawData("synthetic", None, Path(f"out{size}"), n_users=size, n_products=60), settings)
        n_users[folder] = ProcessedFolder(folder).params["n_users"]
    assert list(n_users.values()) == [30, 50, 30]
    assert [path.name for path in sorted(Path("data").iterdir())] == [
        "synthetic_u30_p60_s1",
        "synthetic_u30_p60_s2",
        "synthetic_u50_p60_s1",
    ]
    with caplog.at_level("INFO"):
        prepare(RawData("synthetic", None, Path("out30"), n_users=30, n_products=60), settings)
    assert "Using the users in data/synthetic_u30_p60_s2" in caplog.text
    with pytest.raises(SettingError, match=r"holds n_users 30, n_products 60, seed 2"):
        prepare(
            RawData("synthetic", Path("data/synthetic_u30_p60_s2"), Path("out"), n_users=31, n_products=60), settings
        )


# --- what is in the place ---


def test_what_is_not_ours_is_refused_before_the_input_is_read(raw_dir, tmp_path):
    folder = tmp_path / PrepareSettings().folder_name("instacart")
    folder.mkdir()
    (folder / "notes.txt").touch()
    with pytest.raises(FileError, match=r"it holds notes\.txt, which would be lost"):
        prepare(RawData("instacart", tmp_path / "no such folder", tmp_path), PrepareSettings(), overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("lost", ["eval_corpus.json", "train_dataset", "eval_history/state.json"])
def test_a_record_is_not_believed_where_its_files_are_gone(lost, processed_dir, raw_dir, tmp_path, caplog):
    folder = shutil.copytree(processed_dir, tmp_path / processed_dir.name)
    whole = content_hashes(folder)
    shutil.rmtree(folder / lost) if (folder / lost).is_dir() else (folder / lost).unlink()
    settings = PrepareSettings(targets="rolling", eval_frac=0.5)
    with caplog.at_level("INFO", "lit_rec"):
        assert prepare(RawData("instacart", raw_dir, tmp_path), settings) == folder
    assert f"lacks {lost}" in caplog.text
    assert content_hashes(folder) == whole
    caplog.clear()
    with caplog.at_level("INFO", "lit_rec"):
        prepare(RawData("instacart", raw_dir, tmp_path), settings)
    assert "already holds this" in caplog.text


def test_a_folder_that_is_only_read_again_may_hold_anything(processed_dir, raw_dir, tmp_path):
    folder = shutil.copytree(processed_dir, tmp_path / processed_dir.name)
    (folder / "notes.md").write_text("mine")
    settings = PrepareSettings(targets="rolling", eval_frac=0.5)
    assert prepare(RawData("instacart", raw_dir, tmp_path), settings) == folder
    with pytest.raises(FileError, match=r"it holds notes\.md, which would be lost"):
        prepare(RawData("instacart", raw_dir, tmp_path), settings, overwrite=True)
    assert (folder / "notes.md").read_text() == "mine"
