"""Synthetic users: the files are Kaggle's in form, the same bytes every time, and hold what can be learnt."""

import re
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lit_rec.core.errors import SettingError
from lit_rec.data.sources import instacart, synthetic

N_USERS, N_PRODUCTS = 2_500, 10_000  # two blocks of users
FILES = (
    "aisles.csv",
    "departments.csv",
    "order_products__prior.csv",
    "order_products__train.csv",
    "orders.csv",
    "products.csv",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("synthetic") / "data"
    synthetic.generate(data_dir, n_users=N_USERS, n_products=N_PRODUCTS, seed=7)
    return data_dir


@pytest.fixture(scope="module")
def orders(folder):
    return pl.read_csv(folder / "orders.csv")


@pytest.fixture(scope="module")
def lines(folder, orders):
    """All lines with their order's columns, by user, time and cart position."""
    files = [pl.read_csv(folder / f"order_products__{name}.csv") for name in ("prior", "train")]
    joined = pl.concat(files).join(orders, on="order_id", how="left", validate="m:1")
    return joined.sort("user_id", "order_number", "add_to_cart_order")


@pytest.fixture(scope="module")
def products(folder):
    return pl.read_csv(folder / "products.csv")


def contents(data_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data_dir.iterdir()}


def small(data_dir: Path, seed: int = 3, **settings) -> dict[str, bytes]:
    synthetic.generate(data_dir, **{"n_users": 50, "n_products": 200, "seed": seed, **settings})
    return contents(data_dir)


# --- form ---


def test_the_files_pass_every_check_of_the_instacart_source(folder, orders, lines):
    tables = instacart.load(folder)
    assert (tables.orders.height, tables.order_lines.height) == (orders.height, lines.height)


def test_headers_are_kaggles(folder):
    headers = {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in folder.glob("*.csv")}
    lines_header = "order_id,product_id,add_to_cart_order,reordered"
    assert headers == {
        "aisles.csv": "aisle_id,aisle",
        "departments.csv": "department_id,department",
        "order_products__prior.csv": lines_header,
        "order_products__train.csv": lines_header,
        "orders.csv": "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order",
        "products.csv": "product_id,product_name,aisle_id,department_id",
    }


def test_orders_are_written_as_kaggle_writes_them(folder):
    row = re.compile(r"\d+,\d+,(prior,1,[0-6],[0-2]\d,|(prior|train|test),\d+,[0-6],[0-2]\d,([12]?\d|30)\.0)")
    rows = (folder / "orders.csv").read_text().splitlines()[1:]
    assert [text for text in rows if not row.fullmatch(text)] == []


def test_orders_are_by_user_and_numbered_from_one(orders):
    assert orders["order_id"].sort().to_list() == list(range(1, orders.height + 1))
    assert orders["user_id"].unique(maintain_order=True).to_list() == list(range(1, N_USERS + 1))
    assert orders["user_id"].is_sorted()
    expected = orders.select(pl.int_range(1, pl.len() + 1).over("user_id"))
    assert orders["order_number"].to_list() == expected.to_series().to_list()
    per_user = orders.group_by("user_id").len()["len"]
    assert (per_user.min(), per_user.max()) == (4, 100)


def test_the_last_order_alone_is_the_target_and_the_stated_share_is_unlabelled(orders):
    last = orders.group_by("user_id", maintain_order=True).last()
    assert (orders["eval_set"] != "prior").sum() == N_USERS
    assert (last["eval_set"] == "test").sum() == round(75_000 / 206_209 * N_USERS)
    assert (last["eval_set"] == "prior").sum() == 0


def test_weekdays_follow_the_gaps(orders):
    step = orders.with_columns(
        expected=(pl.col("order_dow").shift() + pl.col("days_since_prior_order").cast(pl.Int64)) % 7
    ).filter(pl.col("days_since_prior_order") < 30)
    assert (step["expected"] == step["order_dow"]).all()


def test_every_order_with_known_products_has_lines_and_no_other(orders, lines):
    known = orders.filter(pl.col("eval_set") != "test")["order_id"]
    assert set(known) == set(lines["order_id"])


def test_lines_have_positions_from_one(lines):
    expected = lines.select(pl.int_range(1, pl.len() + 1).over("order_id"))
    assert lines["add_to_cart_order"].to_list() == expected.to_series().to_list()


def test_each_file_of_lines_is_sorted_by_order(folder):
    for name in ("prior", "train"):
        assert pl.read_csv(folder / f"order_products__{name}.csv")["order_id"].is_sorted()


def test_reordered_says_whether_the_user_had_bought_it_before(lines):
    before = lines.select(pl.int_range(pl.len()).over("user_id", "product_id") > 0)
    assert (before.to_series().cast(pl.Int64) == lines["reordered"]).all()


def test_products_fill_all_aisles_and_departments(folder, products):
    aisles, departments = pl.read_csv(folder / "aisles.csv"), pl.read_csv(folder / "departments.csv")
    assert (aisles.height, departments.height) == (134, 21)
    assert products["product_id"].to_list() == list(range(1, N_PRODUCTS + 1))
    assert products["product_name"].n_unique() == N_PRODUCTS
    assert set(products["aisle_id"]) == set(aisles["aisle_id"])
    assert set(products["department_id"]) == set(departments["department_id"])
    assert products.select("aisle_id", "department_id").unique().height == aisles.height


@pytest.mark.parametrize("n_products", [synthetic.MIN_PRODUCTS, 200, 5_000])
def test_kaggles_quirks_are_among_the_names_at_any_size(tmp_path, n_products):
    text = small(tmp_path / "data", n_users=1, n_products=n_products)["products.csv"].decode()
    assert ',"8\\"" Celebration Cake",' in text
    assert ',"Flour, Self Rising",' in text
    assert ",2.5% Lowfat Milk," in text


# --- the same bytes, or nothing ---


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, again, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", seed=4)
    assert sorted(first) == sorted([*FILES, synthetic.RECORD])
    assert first == again
    assert {name for name in FILES if first[name] == other[name]} <= {"aisles.csv", "departments.csv"}


def test_bytes_do_not_depend_on_how_much_is_written_at_a_time(tmp_path, monkeypatch):
    whole = small(tmp_path / "whole")
    monkeypatch.setattr(synthetic, "_ORDERS_A_WRITE", 7)
    assert small(tmp_path / "parts") == whole


@pytest.mark.parametrize("stop_at", [1, 2])  # while shopping, while writing lines
def test_an_interrupted_run_leaves_nothing(tmp_path, stop_at):
    def interrupt(step, n_steps):
        assert n_steps == 2
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "data", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_step(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_ORDERS_A_WRITE", 100)
    seen = []
    small(tmp_path / "data", progress=lambda *step: seen.append(step))
    n_steps = len(seen)
    assert n_steps > 5
    assert seen == [(step, n_steps) for step in range(1, n_steps + 1)]


def test_an_empty_folder_is_filled_and_a_used_one_is_refused_untouched(tmp_path):
    made = small(tmp_path)
    with pytest.raises(SettingError, match="is there and not empty"):
        small(tmp_path)
    assert contents(tmp_path) == made


def test_a_folder_holds_what_it_was_made_with_and_nothing_else(tmp_path):
    asked = {"n_users": 50, "n_products": 200, "seed": 3}
    assert not synthetic.holds(tmp_path / "data", **asked)
    small(tmp_path / "data")
    assert synthetic.holds(tmp_path / "data", **asked)
    for other in ({"n_users": 51}, {"n_products": 201}, {"seed": 4}):
        with pytest.raises(SettingError, match=r"data holds n_users 50, n_products 200, seed 3.*--source instacart"):
            synthetic.holds(tmp_path / "data", **{**asked, **other})
    (tmp_path / "data" / synthetic.RECORD).unlink()
    with pytest.raises(SettingError, match=r"data holds no synthetic.json of its making"):
        synthetic.holds(tmp_path / "data", **asked)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(SettingError, match="is there and not empty"):
        small(tmp_path / "data")


@pytest.mark.parametrize(
    "setting", [{"n_users": 0}, {"n_products": 23}, {"n_products": 200_001}, {"seed": -1}, {"unlabelled_share": 1.1}]
)
def test_settings_out_of_range_are_refused_by_name(tmp_path, setting):
    with pytest.raises(SettingError, match=next(iter(setting))):
        small(tmp_path / "data", **setting)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("share", "n_targets"), [(0, 50), (1, 0)])
def test_all_or_none_of_the_last_orders_can_be_unlabelled(tmp_path, share, n_targets):
    small(tmp_path / "data", unlabelled_share=share)
    assert pl.read_csv(tmp_path / "data/order_products__train.csv")["order_id"].n_unique() == n_targets


def test_fifty_users_take_no_time(tmp_path):
    begin = time.perf_counter()
    small(tmp_path / "data")
    assert time.perf_counter() - begin < 2


# --- what can be learnt ---


def test_orders_and_baskets_have_instacarts_size(orders, lines):
    per_user = orders.group_by("user_id").len()["len"]
    assert 9 <= per_user.median() <= 12  # 10 at Kaggle
    assert 15 <= per_user.mean() <= 18  # 16.6
    assert 8.5 <= lines.height / lines["order_id"].n_unique() <= 11.5  # 10.1


def test_repeats_are_as_frequent_as_instacarts(lines):
    shares = {name: rows["reordered"].mean() for (name,), rows in lines.group_by("eval_set")}
    assert 0.55 <= shares["prior"] <= 0.65  # 0.59 at Kaggle
    assert 0.58 <= shares["train"] <= 0.70  # 0.60
    early, late = (lines.filter(pl.col("order_number").is_between(*span)) for span in ((2, 3), (10, 100)))
    assert late["reordered"].mean() > early["reordered"].mean() + 0.1


def test_gaps_are_short_with_a_week_rhythm_and_a_pile_at_the_cap(orders):
    gaps = orders["days_since_prior_order"].drop_nulls()
    share = {day: (gaps == day).mean() for day in (6, 7, 8, 29, 30)}
    assert 9 <= gaps.mean() <= 12.5
    assert share[7] > 1.5 * max(share[6], share[8])
    assert share[30] > 5 * share[29]


def test_popularity_is_heavy_tailed(lines):
    counts = lines["product_id"].value_counts().sort("count", descending=True)["count"]
    top = counts[: N_PRODUCTS // 100].sum() / counts.sum()
    assert 0.2 <= top <= 0.5
    assert counts[0] < 0.05 * counts.sum()
    assert counts.len() > 0.7 * N_PRODUCTS  # the tail is bought too


def test_users_have_favourite_aisles(lines, products):
    """A user's commonest aisle takes more of the lines than the commonest of all takes overall."""
    aisles = lines.join(products, on="product_id").select("user_id", "aisle_id")
    per_user = aisles.group_by("user_id", "aisle_id").len().group_by("user_id").agg(pl.col("len").max() / pl.sum("len"))
    overall = aisles["aisle_id"].value_counts()["count"]
    assert per_user["len"].mean() > 1.5 * overall.max() / overall.sum()


def test_the_usual_interval_tells_what_is_due(orders, lines):
    """Of what a user bought thrice, that is bought next whose usual interval has just passed: AUC by user.

    Not what is long overdue: that was given up, here as in the real data.
    """
    days = orders.with_columns(day=pl.col("days_since_prior_order").fill_null(0).cum_sum().over("user_id"))
    target = days.filter(pl.col("eval_set") == "train").select("user_id", "order_id", target_day="day")
    own = (
        lines.filter(pl.col("eval_set") == "prior")
        .join(days.select("order_id", "day"), on="order_id")
        .group_by("user_id", "product_id")
        .agg(pl.len(), interval=pl.col("day").sort().diff().median(), last=pl.col("day").max())
        .filter(pl.col("len") >= 3, pl.col("interval") > 0)
        .join(target, on="user_id")
        .join(lines.select("order_id", "product_id", bought=1), on=["order_id", "product_id"], how="left")
        .with_columns(
            off=((pl.col("target_day") - pl.col("last") + 0.5) / pl.col("interval")).log().abs(),
            bought=pl.col("bought").is_not_null(),
        )
    )
    areas = []
    for _, rows in own.group_by("user_id", maintain_order=True):
        bought, other = (rows.filter(pl.col("bought") == side)["off"].to_numpy() for side in (True, False))
        if bought.size and other.size:
            difference = np.subtract.outer(other, bought)
            areas.append(np.mean(difference > 0) + np.mean(difference == 0) / 2)
    assert len(areas) > 500
    assert np.mean(areas) > 0.65
