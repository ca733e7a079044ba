"""Kaggle's six Instacart files as validated tables.

Left as Kaggle has it: ``days_since_prior_order`` is empty for a first order and ``10.0`` otherwise, hours
are ``08`` or ``8``, orders of eval_set ``test`` have no lines, further columns do not matter. An order
without lines is let through, since a file of lines cut between two orders cannot be told from a small one;
the progress messages count them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import Problem
from lit_rec.data.sources import raw_files
from lit_rec.data.sources.checks import Column, Part, TableSchema, is_sound, pack, problems_where, read_tables
from lit_rec.data.tables import Tables

DOWNLOAD = "Download it again from https://www.kaggle.com/c/instacart-market-basket-analysis/data"

_ID = Column(pl.Int32(), "a whole number from 0 to 2147483647", low=0)
_POSITION = Column(pl.Int16(), "a whole number from 1 to 32767", low=1)
_NAME = Column(pl.String(), "a name")
_EVAL_SETS = (schema.PRIOR, schema.TARGET, schema.UNLABELLED)
SCHEMAS = {
    "aisles": TableSchema(("aisles.csv",), {"aisle_id": _ID, schema.AISLE: _NAME}, keys=[("aisle_id",)]),
    "departments": TableSchema(
        ("departments.csv",), {"department_id": _ID, schema.DEPARTMENT: _NAME}, keys=[("department_id",)]
    ),
    "products": TableSchema(
        ("products.csv",),
        {schema.PRODUCT_ID: _ID, schema.PRODUCT_NAME: _NAME, "aisle_id": _ID, "department_id": _ID},
        keys=[(schema.PRODUCT_ID,)],
        references={"aisle_id": "aisles", "department_id": "departments"},
    ),
    "orders": TableSchema(
        ("orders.csv",),
        {
            schema.ORDER_ID: _ID,
            schema.USER_ID: _ID,
            schema.EVAL_SET: Column(pl.String(), "one of prior, train, test", choices=_EVAL_SETS),
            schema.ORDER_NUMBER: _POSITION,
            schema.ORDER_DOW: Column(pl.Int8(), "a whole number from 0 to 6", low=0, high=6),
            schema.ORDER_HOUR: Column(pl.Int8(), "a whole number from 0 to 23", low=0, high=23),
            schema.DAYS_SINCE_PRIOR: Column(
                pl.Float32(),
                "a number of days from 0, empty for order_number 1 alone",
                low=0,
                required=pl.col(schema.ORDER_NUMBER) > 1,
            ),
        },
        keys=[(schema.ORDER_ID,), (schema.USER_ID, schema.ORDER_NUMBER)],
    ),
    "order_products": TableSchema(
        ("order_products__train.csv", "order_products__prior.csv"),
        {schema.ORDER_ID: _ID, schema.PRODUCT_ID: _ID, schema.CART_POSITION: _POSITION},
        keys=[(schema.ORDER_ID, schema.PRODUCT_ID)],
        references={schema.ORDER_ID: "orders", schema.PRODUCT_ID: "products"},
    ),
}


def load(data_dir: Path, progress: Callable[[str], None] = lambda message: None) -> Tables:
    """Kaggle's six Instacart files, read and checked.

    Args:
        data_dir: folder of the files, or of an archive of them such as Kaggle's outer zip, or that archive.
        progress: called with a sentence at each step.

    Returns:
        The validated tables: orders by user and order number, order lines (prior and train) by order and
        cart position, products in the order of their file.

    Raises:
        InputError: with all that is wrong, by file, column and line.
    """
    rows = read_tables(data_dir, SCHEMAS, DOWNLOAD, progress, _misplaced_lines)
    progress("sorting orders and order lines")
    products = rows["products"].join(rows["aisles"], on="aisle_id", how="left", maintain_order="left")
    products = products.join(rows["departments"], on="department_id", how="left", maintain_order="left")
    orders = rows["orders"].sort(schema.USER_ID, schema.ORDER_NUMBER)
    lines = rows.pop("order_products").sort(pack(schema.ORDER_ID, schema.CART_POSITION), maintain_order=True)
    empty = orders.filter(pl.col(schema.EVAL_SET) != schema.UNLABELLED).join(lines, on=schema.ORDER_ID, how="anti")
    progress(
        f"{orders[schema.USER_ID].n_unique():,} users, {orders.height:,} orders ({empty.height:,} of prior and train "
        f"without lines), {lines.height:,} order lines, {products.height:,} products"
    )
    return Tables.of(orders, lines, products)


def input_files(data_dir: Path) -> list[Path]:
    """The files in ``data_dir`` that :func:`load` reads, for a fingerprint of the input."""
    return sorted(raw_files.input_files(data_dir, [file for table in SCHEMAS.values() for file in table.files]))


def _misplaced_lines(tables: Mapping[str, list[Part]], told: Sequence[Problem]) -> Iterator[Problem]:
    """Lines of an order in the file of the other eval_set."""
    if not is_sound(tables["orders"], SCHEMAS["orders"], schema.ORDER_ID, told):
        return
    orders = tables["orders"][0]
    if not orders.has(schema.EVAL_SET):
        return
    for part in tables["order_products"]:
        if not part.has(schema.ORDER_ID):
            continue
        eval_set = schema.PRIOR if "prior" in part.file.declared else schema.TARGET
        others = orders.rows.filter(pl.col(schema.EVAL_SET) != eval_set)
        ids = part.rows[schema.ORDER_ID]
        wrong = ids.is_in(others[schema.ORDER_ID].implode())
        if wrong.any():
            first = ids.filter(wrong)[0]
            own = others.filter(pl.col(schema.ORDER_ID) == first)[schema.EVAL_SET][0]
            what = f"{{}} has eval_set {own} in {orders.file.name}, and this is the file of {eval_set}"
            do = f"Move the order's lines, or change its eval_set in {orders.file.name}"
            yield from problems_where(part, wrong, (schema.ORDER_ID,), what, do)
