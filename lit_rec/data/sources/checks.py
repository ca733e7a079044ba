"""Raw files against a declared schema: types, ranges, missing values, keys and references, told all together.

Every step adds to one list of problems and goes on with what is left, so that one run tells all that is wrong.
A whole number may be written ``6.0``. Each word of :data:`MISSING` counts as an empty field, in every column.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lit_rec.core.errors import InputError, Problem
from lit_rec.data.sources.raw_files import RawFile, odd_line, ready_files, unreadable

MISSING = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "Null", "null", "None", "none", "NaN", "nan", r"\N")
"""What R, SQL, pandas and spreadsheets write where there is no value."""
ALWAYS, NEVER = pl.lit(True), pl.lit(False)


@dataclass(frozen=True)
class Column:
    """What a column may hold.

    Args:
        dtype: narrow type that it is read as.
        expected: the rule in words.
        low: smallest value, where there is one.
        high: largest value, where there is one.
        choices: the only values, where there are some.
        required: expression over the row that is true where a value has to be.
    """

    dtype: pl.DataType
    expected: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    required: pl.Expr = ALWAYS

    def kept(self, raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        r"""A raw column of type ``dtype`` in its declared type, null where it breaks the rule.

        A fraction is no whole number. In text, Kaggle's ``\"`` is a quote, and a run of blanks one blank.
        """
        if self.dtype == pl.String:
            raw = raw.cast(pl.String).str.replace_all('\\"', '"', literal=True).str.replace_all(r"\s+", " ")
            raw = raw.str.strip_chars()
        elif self.dtype.is_integer() and not dtype.is_integer():
            raw = raw.cast(pl.Float64, strict=False)
            raw = pl.when(raw == raw.round()).then(raw)
        value = raw.cast(self.dtype, strict=False)
        rules = [value >= self.low] if self.low is not None else []
        rules += [value <= self.high] if self.high is not None else []
        rules += [value.is_finite()] if self.dtype.is_float() else []
        rules += [value.is_in(self.choices)] if self.choices else []
        return pl.when(pl.all_horizontal(rules)).then(value) if rules else value


@dataclass(frozen=True)
class TableSchema:
    """A table of one file, or of several with the same columns.

    Args:
        files: names that they are looked for by, such as ``orders.csv``.
        columns: the columns that are used.
        keys: columns that together are there once at most; one column, or two of integers of up to 32 bits.
        references: column to the table whose column of the same name holds its values.
    """

    files: tuple[str, ...]
    columns: Mapping[str, Column]
    keys: Sequence[tuple[str, ...]] = ()
    references: Mapping[str, str] = field(default_factory=dict)


class Part(NamedTuple):
    """A file of a table and its rows; a value that broke its column's rule is null."""

    file: RawFile
    rows: pl.DataFrame

    def has(self, *columns: str) -> bool:
        """Whether the file has these columns."""
        return set(columns) <= set(self.rows.columns)


def read_tables(
    data_dir: Path,
    schemas: Mapping[str, TableSchema],
    remedy: str,
    progress: Callable[[str], None],
    further_problems: Callable[[Mapping[str, list[Part]], Sequence[Problem]], Iterable[Problem]] = lambda *_: (),
) -> dict[str, pl.DataFrame]:
    """Each table, of the columns that its schema declares, checked.

    Args:
        data_dir: folder of the files, or of an archive of them, or that archive.
        schemas: each table by name.
        remedy: where to get whole files, as a sentence.
        progress: called with a sentence at each step.
        further_problems: what no schema says; called with the files of each table, and the problems found before.

    Raises:
        InputError: with all that is wrong, by file, column and line.
    """
    wanted = {file: schema.columns for schema in schemas.values() for file in schema.files}
    with tempfile.TemporaryDirectory(prefix="lit_rec_") as scratch:
        files, problems = ready_files(data_dir, wanted, remedy, Path(scratch), progress)
        parts: dict[str, Part] = {}
        for file in files:
            progress(f"reading {file.name}")
            try:
                rows, found = _read(file, {column: wanted[file.declared][column] for column in file.columns})
            except (OSError, pl.exceptions.PolarsError) as error:
                rows, found = None, [unreadable(file, error)]
            problems += found
            if rows is not None:
                parts[file.declared] = Part(file, rows)
        progress("checking keys and references")
        tables = {name: [parts[file] for file in schema.files if file in parts] for name, schema in schemas.items()}
        told = tuple(problems)
        for name, schema in schemas.items():
            for column, target in schema.references.items():
                if is_sound(tables[target], schemas[target], column, told):
                    problems += _reference_problems(tables[name], column, tables[target])
        for name, schema in schemas.items():
            for key in schema.keys:
                problems += _key_problems([part for part in tables[name] if part.has(*key)], key)
        problems += further_problems(tables, problems)
    if problems:
        raise InputError(str(data_dir), problems)
    return {name: pl.concat([part.rows for part in parts]) for name, parts in tables.items()}


def _read(file: RawFile, columns: Mapping[str, Column]) -> tuple[pl.DataFrame | None, list[Problem]]:
    """Rows of a file, or None where they are not to be trusted, and the first problems of each column.

    The file is read in its declared types, which is fast. Where that fails, or a value breaks a rule, it is read once
    more as text, to name the value as it is written.
    """
    for as_text in (False, True):
        try:
            raw = _read_raw(file, columns, as_text)
        except pl.exceptions.PolarsError:
            if as_text:
                raise
            continue
        rows = raw.select(column.kept(pl.col(name), raw.schema[name]).alias(name) for name, column in columns.items())
        problems: list[Problem] = []
        for name, column in columns.items():
            lacks = raw[name].is_null()
            # A rule about a column that is itself missing says nothing.
            if set(column.required.meta.root_names()) <= set(columns):
                absent = rows.select(pl.lit(lacks) & column.required.fill_null(False)).to_series()
                do = f"Write {column.expected} there (empty, {', '.join(MISSING)}: all count as missing)"
                problems += problems_where(Part(file, raw), absent, (name,), "a value is missing", do)
            what, do = f"{{}} is not {column.expected}", f"Write {column.expected} there"
            problems += problems_where(Part(file, raw), rows[name].is_null() & ~lacks, (name,), what, do)
        if not problems:
            break
    if problems and file.is_csv and (problem := odd_line(file)):
        return None, [problem]
    return rows, problems if rows.height else [Problem(file.name, "the file has columns and no rows", file.remedy)]


def _read_raw(file: RawFile, columns: Mapping[str, Column], as_text: bool) -> pl.DataFrame:
    """The columns of a file, with null for whatever means missing: empty text, blanks, NA, pandas' NaN in parquet."""
    if as_text or not file.is_csv:
        source = _scan(file)
    else:
        dtypes = {name: column.dtype for name, column in columns.items()}
        source = pl.scan_csv(file.path, schema_overrides=dtypes, glob=False)
    types = source.collect_schema()
    values = {name: pl.col(name).str.strip_chars() for name in columns if types[name] == pl.String}
    texts = [pl.when(~value.is_in(["", *MISSING])).then(value) for value in values.values()]
    others = [pl.col(name).fill_nan(None) if types[name].is_float() else name for name in columns if name not in values]
    return source.select(*texts, *others).collect(engine="streaming")


def _scan(file: RawFile) -> pl.LazyFrame:
    """A file, a CSV's values as text; its path is no pattern."""
    if not file.is_csv:
        return pl.scan_parquet(file.path, glob=False)
    return pl.scan_csv(file.path, infer_schema=False, glob=False)


def is_sound(parts: Sequence[Part], schema: TableSchema, column: str, told: Sequence[Problem]) -> bool:
    """Whether a table holds all values of a column; what follows from those that are wrong or lost is not told too."""
    names = [part.file.name for part in parts if part.has(column)]
    is_told = any(problem.file in names and (problem.column or column).startswith(column) for problem in told)
    return len(names) == len(schema.files) and not is_told


def _reference_problems(parts: Sequence[Part], column: str, others: Sequence[Part]) -> Iterator[Problem]:
    """Values that the table they refer to does not hold."""
    known = pl.concat([other.rows[column] for other in others])
    files = " or ".join(other.file.name for other in others)
    for part in (part for part in parts if part.has(column)):
        unknown = part.rows[column].unique().drop_nulls()
        unknown = unknown.filter(~unknown.is_in(known.implode()))
        if unknown.len():
            wrong = part.rows[column].is_in(unknown.implode())
            do = f"Add it to {files} or take the row out"
            yield from problems_where(part, wrong, (column,), f"{{}} is not in {files}", do)


def _key_problems(parts: Sequence[Part], key: tuple[str, ...]) -> Iterator[Problem]:
    """Keys that are there twice, within one file or over all; blame falls on the rows that repeat one."""
    if not parts:
        return
    keys = pl.concat([part.rows.select(pack(*key)).to_series() for part in parts])
    in_order = keys.drop_nulls().sort()  # one sort of integers takes little memory, at 34 M lines too
    twice = in_order.filter(in_order == in_order.shift(1)).unique()
    if twice.len():
        repeats = keys.is_in(twice.implode()) & ~keys.is_first_distinct()
        for part in parts:
            wrong, repeats = repeats.head(part.rows.height), repeats.slice(part.rows.height)
            yield from problems_where(part, wrong, key, "{} is there twice", "Keep one of the two rows")


def pack(first: str, second: str | None = None) -> pl.Expr:
    """Two narrow columns as one integer of 64 bits, which sorts and compares faster than two; one as it is."""
    return pl.col(first).cast(pl.Int64) * 2**32 + pl.col(second).cast(pl.Int64) if second else pl.col(first)


def problems_where(part: Part, wrong: pl.Series, columns: Sequence[str], what: str, do: str) -> Iterator[Problem]:
    """One problem for all rows of a file that are wrong, none if there are none.

    Args:
        part: file and rows.
        wrong: whether each row is wrong.
        columns: those to blame.
        what: what is wrong, with ``{}`` for their values in the first of these rows.
        do: what to do next.
    """
    if not wrong.any():
        return
    file, count, row = part.file, wrong.sum(), wrong.arg_max() or 0
    what = what.replace("{}", ", ".join(repr(part.rows[column][row]) for column in columns))
    line = row + 2 if file.is_csv else row + 1  # after the header
    if file.quoted:  # a row before it may span lines
        breaks = _scan(file).head(row).select(pl.sum_horizontal(pl.all().str.count_matches("\n").sum()))
        line += int(breaks.collect().item())
    yield Problem(file.name, what + (f" (the first of {count:,})" if count > 1 else ""), do, ", ".join(columns), line)
