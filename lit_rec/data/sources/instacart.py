"""Kaggle's six Instacart files as validated tables.

The way in is: find, unpack, look at header and end (cheap; :mod:`lit_rec.data.sources.kaggle_files`), read
with a fixed schema, compare the files with each other. Every step adds to one list of problems and goes on
with what is left, so that one run tells all that is wrong. Only a file whose fast read fails is read a
second time, as text, to find the line to blame.

Left as Kaggle has it: ``days_since_prior_order`` is empty for a first order and ``10.0`` otherwise, hours
are ``08`` or ``8``, orders of eval_set ``test`` have no lines, further columns do not matter. An order
without lines is let through, since a file of lines cut between two orders cannot be told from a small one;
the progress messages count them. A whole number may be written ``6.0``. Each word of :data:`MISSING` counts
as an empty field, in every column.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import InputError, Problem
from lit_rec.data.sources.kaggle_files import (
    DOWNLOAD,
    RawFile,
    find_archives,
    find_file,
    misshapen,
    ready_files,
    unreadable,
)
from lit_rec.data.tables import ORDER_LINES_SCHEMA, ORDERS_SCHEMA, PRODUCTS_SCHEMA, Tables

ORDERS, PRODUCTS, AISLES, DEPARTMENTS = "orders", "products", "aisles", "departments"
PRIOR_LINES, TRAIN_LINES = "order_products__prior", "order_products__train"
AISLE_ID, DEPARTMENT_ID = "aisle_id", "department_id"
MISSING = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "Null", "null", "None", "none", "NaN", "nan", r"\N")
"""What R, SQL, pandas and spreadsheets write where there is no value."""

_ROW = "row"


@dataclass(frozen=True)
class _Column:
    """What a column may hold.

    Args:
        dtype: narrow type that it is read as.
        expected: the rule in words.
        low: smallest value, where there is one.
        high: largest value, where there is one.
        choices: the only values, where there are some.
        required: expression over the row that is true where a value has to be.
    """

    dtype: type[pl.DataType]
    expected: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    required: pl.Expr = pl.lit(True)  # noqa: RUF009

    def allows(self, value: pl.Expr) -> pl.Expr:
        """True where a value that was read keeps the rule."""
        rules = [value >= self.low] if self.low is not None else []
        rules += [value <= self.high] if self.high is not None else []
        rules += [value.is_finite()] if self.dtype.is_float() else []
        rules += [value.is_in(self.choices)] if self.choices else []
        return pl.all_horizontal(value.is_not_null(), *rules)


_ID = _Column(pl.Int32, "a whole number from 0 to 2147483647", low=0)
_POSITION = _Column(pl.Int16, "a whole number from 1 to 32767", low=1)
_NAME = _Column(pl.String, "a name")
_LINE_COLUMNS = {schema.ORDER_ID: _ID, schema.PRODUCT_ID: _ID, schema.CART_POSITION: _POSITION}
FILES: Mapping[str, Mapping[str, _Column]] = {
    AISLES: {AISLE_ID: _ID, schema.AISLE: _NAME},
    DEPARTMENTS: {DEPARTMENT_ID: _ID, schema.DEPARTMENT: _NAME},
    PRODUCTS: {schema.PRODUCT_ID: _ID, schema.PRODUCT_NAME: _NAME, AISLE_ID: _ID, DEPARTMENT_ID: _ID},
    ORDERS: {
        schema.ORDER_ID: _ID,
        schema.USER_ID: _ID,
        schema.EVAL_SET: _Column(
            pl.String, "one of prior, train, test", choices=(schema.PRIOR, schema.TARGET, schema.UNLABELLED)
        ),
        schema.ORDER_NUMBER: _POSITION,
        schema.ORDER_DOW: _Column(pl.Int8, "a whole number from 0 to 6", low=0, high=6),
        schema.ORDER_HOUR: _Column(pl.Int8, "a whole number from 0 to 23", low=0, high=23),
        schema.DAYS_SINCE_PRIOR: _Column(
            pl.Float32,
            "a number of days from 0, empty for order_number 1 alone",
            low=0,
            required=pl.col(schema.ORDER_NUMBER) > 1,
        ),
    },
    TRAIN_LINES: _LINE_COLUMNS,
    PRIOR_LINES: _LINE_COLUMNS,
}
_KEYS = (
    (AISLES, (AISLE_ID,)),
    (DEPARTMENTS, (DEPARTMENT_ID,)),
    (PRODUCTS, (schema.PRODUCT_ID,)),
    (ORDERS, (schema.ORDER_ID,)),
    (ORDERS, (schema.USER_ID, schema.ORDER_NUMBER)),
)
_REFERENCES = (
    (PRODUCTS, AISLE_ID, AISLES),
    (PRODUCTS, DEPARTMENT_ID, DEPARTMENTS),
    (TRAIN_LINES, schema.ORDER_ID, ORDERS),
    (TRAIN_LINES, schema.PRODUCT_ID, PRODUCTS),
    (PRIOR_LINES, schema.ORDER_ID, ORDERS),
    (PRIOR_LINES, schema.PRODUCT_ID, PRODUCTS),
)
_LINES_OF = {TRAIN_LINES: schema.TARGET, PRIOR_LINES: schema.PRIOR}


@dataclass(frozen=True)
class _Table:
    """A file and its rows; a value that broke its column's rule is null."""

    file: RawFile
    rows: pl.DataFrame

    def has(self, *columns: str) -> bool:
        return set(columns) <= set(self.rows.columns)


def load(data_dir: Path, progress: Callable[[str], None] = lambda message: None) -> Tables:
    """Read and check Kaggle's six Instacart files.

    Args:
        data_dir: folder of the files, or of an archive of them such as Kaggle's outer zip, or that archive.
        progress: called with a sentence at each step.

    Returns:
        The validated tables: orders by user and order number, order lines (prior and train) by order and
        cart position, products in the order of their file.

    Raises:
        InputError: with all that is wrong, by file, column and line.
    """
    with tempfile.TemporaryDirectory(prefix="lit_rec_instacart_") as scratch:
        files, problems = ready_files(data_dir, FILES, Path(scratch), progress)
        tables: dict[str, _Table] = {}
        for file in files:
            progress(f"reading {file.name}")
            table, found = _read(file)
            problems += found
            if table is not None:
                tables[file.stem] = table
        progress("checking keys and references")
        problems += _reference_problems(tables, problems)
        problems += _key_problems(tables) + _line_key_problems(tables)
        problems += _eval_set_problems(tables, problems)
    if problems:
        raise InputError(str(data_dir), problems)
    return _joined({stem: tables.pop(stem).rows for stem in FILES}, progress)


def input_files(data_dir: Path) -> list[Path]:
    """The files in ``data_dir`` that :func:`load` reads, for a fingerprint of the input."""
    found = [find_file(data_dir, stem) for stem in FILES]
    paths = [path for path in found if path is not None]
    return sorted([*paths, *find_archives(data_dir)] if None in found else paths)


# Read one file.


def _read(file: RawFile) -> tuple[_Table | None, list[Problem]]:
    """Read the used columns of a file, fast if it is sound and once more as text if it is not."""
    columns = {name: FILES[file.stem][name] for name in file.columns}
    narrow = {name: column.dtype for name, column in columns.items()}
    tolerant = {name: pl.Float64 if dtype.is_integer() else dtype for name, dtype in narrow.items()}  # for 6.0
    try:
        for dtypes, missing in ((narrow, ()), (tolerant, MISSING)):
            rows = _fast(file, columns, dtypes, missing)
            if rows is not None:
                return _Table(file, rows), [] if rows.height else [_no_rows(file)]
        if file.is_csv and (problem := misshapen(file)):
            return None, [problem]
        return _slow(file, columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        return None, [unreadable(file, error)]


def _no_rows(file: RawFile) -> Problem:
    return Problem(file.name, "the file has columns and no rows", DOWNLOAD)


def _fast(
    file: RawFile,
    columns: Mapping[str, _Column],
    dtypes: Mapping[str, type[pl.DataType]],
    missing: Sequence[str],
) -> pl.DataFrame | None:
    """All rows, read from a CSV in the given types, or None where any value breaks a rule."""
    source = _scan(file, dtypes, missing)
    types = source.collect_schema()
    typed = [
        _typed(_raw(name, types[name]), types[name], column, strict=True).alias(name)
        for name, column in columns.items()
    ]
    try:
        rows = source.select(typed).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return None
    broken = rows.select(
        _absent(pl.col(name), column, columns) | ~column.allows(pl.col(name)) & pl.col(name).is_not_null()
        for name, column in columns.items()
    ).select(pl.any_horizontal(pl.all().any()))
    return None if broken.item() else rows


def _slow(file: RawFile, columns: Mapping[str, _Column]) -> tuple[_Table, list[Problem]]:
    """All rows with null for each broken value, and the first broken value of each column."""
    source = _scan(file, None)
    types = source.collect_schema()
    raw = {name: _raw(name, types[name]) for name in columns}
    typed = {name: _typed(raw[name], types[name], column, strict=False) for name, column in columns.items()}
    both = source.with_row_index(_ROW).select(
        _ROW,
        *(value.alias(f"raw {name}") for name, value in raw.items()),
        *(pl.when(columns[name].allows(value)).then(value).alias(name) for name, value in typed.items()),
    )
    absent = {name: _absent(pl.col(f"raw {name}"), column, columns) for name, column in columns.items()}
    broken = {name: pl.col(name).is_null() & pl.col(f"raw {name}").is_not_null() for name in columns}
    facts = both.select(
        pl.struct(
            mask.sum().alias("count"),
            pl.col(_ROW).filter(mask).first().alias("first"),
            pl.col(f"raw {name}").filter(mask).first().cast(pl.String).alias("value"),
        ).alias(f"{kind} {name}")
        for kind, masks in (("absent", absent), ("broken", broken))
        for name, mask in masks.items()
    ).collect(engine="streaming")
    problems: list[Problem] = []
    for name, column in columns.items():
        gone, bad = facts[f"absent {name}"][0], facts[f"broken {name}"][0]
        if gone["count"]:
            what = f"a value is missing{_among(gone['count'])}"
            do = f"Write {column.expected} there (empty, {', '.join(MISSING)}: all count as missing)"
            problems.append(_at(file, what, do, name, gone["first"]))
        if bad["count"]:
            what = f"{bad['value']!r} is not {column.expected}{_among(bad['count'])}"
            problems.append(_at(file, what, f"Write {column.expected} there", name, bad["first"]))
    return _Table(file, both.select(*columns).collect(engine="streaming")), problems


def _scan(file: RawFile, dtypes: Mapping[str, type[pl.DataType]] | None, missing: Sequence[str] = ()) -> pl.LazyFrame:
    """The file with the given types, or with a CSV's values as text; its path is no pattern."""
    if not file.is_csv:
        return pl.scan_parquet(file.path, glob=False)
    if dtypes is None:
        return pl.scan_csv(file.path, infer_schema=False, glob=False)
    return pl.scan_csv(file.path, schema_overrides=dict(dtypes), null_values=list(missing) or None, glob=False)


def _raw(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column with null for whatever means missing: empty text, blanks, NA, pandas' NaN in a parquet file."""
    value = pl.col(name)
    if dtype == pl.String:
        value = value.str.strip_chars()
        return pl.when(~value.is_in(["", *MISSING])).then(value)
    return value.fill_nan(None) if dtype.is_float() else value


def _typed(raw: pl.Expr, dtype: pl.DataType, column: _Column, *, strict: bool) -> pl.Expr:
    """A raw column in the type of its rule, names cleaned; a fraction is no whole number."""
    if column.dtype == pl.String:
        text = raw.cast(pl.String).str.replace_all('\\"', '"', literal=True).str.replace_all(r"\s+", " ")
        return text.str.strip_chars()
    if column.dtype.is_integer() and not dtype.is_integer():
        raw = raw.cast(pl.Float64, strict=strict)
        raw = pl.when(raw == raw.round()).then(raw)
    return raw.cast(column.dtype, strict=strict)


def _absent(raw: pl.Expr, column: _Column, columns: Mapping[str, _Column]) -> pl.Expr:
    """True where a value has to be and is not; a rule about a column that is itself missing says nothing."""
    if not set(column.required.meta.root_names()) <= set(columns):
        return pl.lit(False)
    return raw.is_null() & column.required.fill_null(False)


# Compare files.


def _key_problems(tables: Mapping[str, _Table]) -> list[Problem]:
    """A key that is there twice; blame falls on the first row that repeats one."""
    problems: list[Problem] = []
    for stem, key in _KEYS:
        table = tables.get(stem)
        if table is None or not table.has(*key):
            continue
        keys = table.rows.select(key)
        repeated = ~keys.select(pl.struct(key).is_first_distinct()).to_series()
        repeated &= keys.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
        problems += _first_problem(table, key, repeated, "is there twice", "Keep one of the two rows")
    return problems


def _line_key_problems(tables: Mapping[str, _Table]) -> list[Problem]:
    """A product that is twice in an order, within one file or over both."""
    key = (schema.ORDER_ID, schema.PRODUCT_ID)
    parts = [table for stem in _LINES_OF if (table := tables.get(stem)) is not None and table.has(*key)]
    packed = [table.rows.select(_packed(key)).to_series() for table in parts]
    if not packed:
        return []
    ordered = pl.concat(packed).drop_nulls().sort()  # one sort of integers: little memory at 34 M lines
    twice = ordered.filter(ordered == ordered.shift(1)).unique()
    if twice.is_empty():
        return []
    seen = pl.Series(packed[0].name, [], pl.Int64)
    problems: list[Problem] = []
    for table, keys in zip(parts, packed, strict=True):
        repeated = keys.is_in(seen.implode()) | keys.is_in(twice.implode()) & ~keys.is_first_distinct()
        problems += _first_problem(table, key, repeated, "is there twice", "Keep one of the two rows")
        seen = keys.filter(keys.is_in(twice.implode()))
    return problems


def _packed(key: tuple[str, str]) -> pl.Expr:
    """Two narrow columns as one integer of 64 bits, which sorts and compares faster than two."""
    return pl.col(key[0]).cast(pl.Int64) * 2**32 + pl.col(key[1]).cast(pl.Int64)


def _is_unsound(file: RawFile, key: str, told: Sequence[Problem]) -> bool:
    """Whether ids of a file may be wrong, or lost, by what is told already: what follows from that is not told too."""
    return any(problem.file == file.name and (problem.column or key).startswith(key) for problem in told)


def _reference_problems(tables: Mapping[str, _Table], told: Sequence[Problem]) -> list[Problem]:
    """An id that the file it points to does not hold."""
    problems: list[Problem] = []
    for stem, column, target in _REFERENCES:
        table, other = tables.get(stem), tables.get(target)
        if table is None or other is None or not table.has(column) or not other.has(column):
            continue
        if _is_unsound(other.file, column, told):
            continue
        known = other.rows[column]
        unknown = table.rows[column].unique().drop_nulls()
        unknown = unknown.filter(~unknown.is_in(known.implode()))
        if unknown.len():
            dangling = table.rows[column].is_in(unknown.implode())
            do = f"Add it to {other.file.name} or take the row out"
            problems += _first_problem(table, (column,), dangling, f"is not in {other.file.name}", do)
    return problems


def _eval_set_problems(tables: Mapping[str, _Table], told: Sequence[Problem]) -> list[Problem]:
    """Lines of an order in the file of the other eval_set."""
    orders = tables.get(ORDERS)
    if orders is None or not orders.has(schema.ORDER_ID, schema.EVAL_SET):
        return []
    if _is_unsound(orders.file, schema.ORDER_ID, told):
        return []
    problems: list[Problem] = []
    for stem, eval_set in _LINES_OF.items():
        table = tables.get(stem)
        if table is None or not table.has(schema.ORDER_ID):
            continue
        others = orders.rows.filter(pl.col(schema.EVAL_SET) != eval_set)
        ids = table.rows[schema.ORDER_ID].unique()
        misplaced = ids.filter(ids.is_in(others[schema.ORDER_ID].implode()))
        if misplaced.len():
            own = others.filter(pl.col(schema.ORDER_ID) == _first_of(table, misplaced))[schema.EVAL_SET][0]
            what = f"has eval_set {own} in {orders.file.name}, and this is the file of {eval_set}"
            wrong = table.rows[schema.ORDER_ID].is_in(misplaced.implode())
            do = f"Move the order's lines, or change its eval_set in {orders.file.name}"
            problems += _first_problem(table, (schema.ORDER_ID,), wrong, what, do)
    return problems


def _first_of(table: _Table, ids: pl.Series) -> int:
    first: int = table.rows[schema.ORDER_ID].filter(table.rows[schema.ORDER_ID].is_in(ids.implode()))[0]
    return first


def _first_problem(table: _Table, columns: Sequence[str], wrong: pl.Series, what: str, do: str) -> Iterator[Problem]:
    """One problem for all rows that are wrong, none if there are none."""
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        value = ", ".join(str(table.rows[column][row]) for column in columns)
        place = ", ".join(columns)
        yield _at(table.file, f"{value} {what}{_among(int(wrong.sum()))}", do, place, row)


def _among(count: int) -> str:
    return f" (the first of {count:,})" if count > 1 else ""


def _at(file: RawFile, what: str, do: str, column: str, row: int) -> Problem:
    """A problem at a row, counted from 0, as the line of the file that the row starts on."""
    line = row + 1
    if file.is_csv:
        line += 1  # the header
    if file.quoted:
        before = _scan(file, None).head(row)
        line += int(before.select(pl.sum_horizontal(pl.all().str.count_matches("\n").sum())).collect().item())
    return Problem(file.name, what, do, column, line)


# Build the tables.


def _joined(rows: dict[str, pl.DataFrame], progress: Callable[[str], None]) -> Tables:
    """Sound files as the three tables. Takes the frames out of ``rows``, to hold the lines once less."""
    progress("sorting orders and order lines")
    products = (
        rows[PRODUCTS]
        .join(rows[AISLES], on=AISLE_ID, how="left", maintain_order="left")
        .join(rows[DEPARTMENTS], on=DEPARTMENT_ID, how="left", maintain_order="left")
    )
    orders = rows[ORDERS].sort(schema.USER_ID, schema.ORDER_NUMBER)
    lines = pl.concat([rows.pop(PRIOR_LINES), rows.pop(TRAIN_LINES)])
    lines = lines.sort(_packed((schema.ORDER_ID, schema.CART_POSITION)), maintain_order=True)
    empty = orders.filter(pl.col(schema.EVAL_SET) != schema.UNLABELLED).join(lines, on=schema.ORDER_ID, how="anti")
    progress(
        f"{orders[schema.USER_ID].n_unique():,} users, {orders.height:,} orders ({empty.height:,} of prior and train "
        f"without lines), {lines.height:,} order lines, {products.height:,} products"
    )
    return Tables(
        orders=orders.select(ORDERS_SCHEMA.names()).cast(ORDERS_SCHEMA),
        order_lines=lines.select(ORDER_LINES_SCHEMA.names()).cast(ORDER_LINES_SCHEMA),
        products=products.select(PRODUCTS_SCHEMA.names()).cast(PRODUCTS_SCHEMA),
    )
