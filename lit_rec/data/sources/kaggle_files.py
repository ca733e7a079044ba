"""Kaggle's Instacart files on disk: found, unpacked, looked at from both ends; none is read whole into memory.

Each file is found under its own name as CSV, gzip, zip or parquet, or in Kaggle's one outer zip.
"""

import csv
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import polars as pl

from lit_rec.errors import Problem

OUTER_ZIP = "instacart-market-basket-analysis.zip"
ENDINGS = (".csv", ".csv.gz", ".csv.zip", ".zip", ".parquet")
DOWNLOAD = "Download it again from https://www.kaggle.com/c/instacart-market-basket-analysis/data"

_REORDERED = "reordered"  # Kaggle's own column that is not needed, so no misspelling of another
_CHUNK = 1 << 24
_TAIL = 1 << 16  # bytes, more than any line
_OPEN_QUOTE = "a quote is opened and never closed"


@dataclass(frozen=True)
class RawFile:
    """A file ready to be read.

    Args:
        stem: which of the six it is.
        path: a plain CSV or a parquet file, perhaps unpacked to a temporary folder.
        name: what the user calls it.
        columns: those of its header that are used.
        quoted: it holds quotes, so that a row may span lines.
    """

    stem: str
    path: Path
    name: str
    columns: tuple[str, ...] = ()
    quoted: bool = False

    @property
    def is_csv(self) -> bool:
        """Whether it has lines, so that a row is a place in a text."""
        return self.path.suffix == ".csv"


def find_file(folder: Path, stem: str) -> Path | None:
    """A file of this name with any of :data:`ENDINGS`; the same on file systems that are blind to case."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return next((folder / f"{stem}{ending}" for ending in ENDINGS if f"{stem}{ending}" in names), None)


def ready_files(
    data_dir: Path, wanted: Mapping[str, Iterable[str]], scratch: Path, progress: Callable[[str], None]
) -> tuple[list[RawFile], list[Problem]]:
    """Those of the wanted files whose columns can be read, and what is wrong with the others.

    Args:
        data_dir: folder of the files, or of Kaggle's outer zip.
        wanted: name of each file without its ending, to the columns that are used of it.
        scratch: an existing folder to unpack into; the files are read from there.
        progress: called with a sentence at each step.
    """
    files: list[RawFile] = []
    problems: list[Problem] = []
    for stem in wanted:
        progress(f"looking at {stem}")
        file, found = _ready_file(data_dir, stem, wanted, scratch)
        files += [file] if file is not None and file.columns else []
        problems += found
    return files, problems


def _ready_file(
    data_dir: Path, stem: str, wanted: Mapping[str, Iterable[str]], scratch: Path
) -> tuple[RawFile | None, list[Problem]]:
    path, outer = find_file(data_dir, stem), data_dir / OUTER_ZIP
    name = path.name if path is not None else OUTER_ZIP
    try:
        if path is None and outer.is_file():
            path = _from_outer_zip(outer, stem, scratch)
            name = f"{OUTER_ZIP}/{path.name}" if path is not None else name
        if path is None:
            return None, [_missing_file(data_dir, stem, wanted)]
        return _with_columns(RawFile(stem, _plain(path, stem, scratch), name), tuple(wanted[stem]))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        return None, [Problem(name, f"cannot be unpacked ({error})", DOWNLOAD)]


def _missing_file(data_dir: Path, stem: str, stems: Iterable[str]) -> Problem:
    """Name the file that looks most like the one that is not there."""
    if not data_dir.is_dir():
        return Problem(f"{stem}.csv", f"is missing: there is no folder {data_dir}", "Pass the folder of the six files")
    # A near name counts where it is nearer to this file than to any of the other five.
    names = sorted(path.name for path in data_dir.iterdir())
    near = [name for name in names if get_close_matches(_stem(name).lower(), stems, 1, 0.75) == [stem]]
    what = f"is missing from {data_dir}"
    if not near:
        return Problem(f"{stem}.csv", what, f"Put {stem}.csv (or .csv.gz, .csv.zip, .zip, .parquet) there")
    ending = near[0][len(_stem(near[0])) :].lower()
    do = f"If that is it, save it as {stem}{ending if ending in ENDINGS else '.csv'}"
    return Problem(f"{stem}.csv", f"{what}, which has {near[0]}", do)


def _stem(name: str) -> str:
    """``orders`` of ``orders.csv.gz``."""
    return name.split(".")[0]


def _from_outer_zip(outer: Path, stem: str, scratch: Path) -> Path | None:
    with zipfile.ZipFile(outer) as archive:
        members = {PurePosixPath(member).name: member for member in archive.namelist()}
        name = next((f"{stem}{ending}" for ending in ENDINGS if f"{stem}{ending}" in members), None)
        if name is None:
            return None
        with archive.open(members[name]) as source, (scratch / name).open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    return scratch / name


def _plain(path: Path, stem: str, scratch: Path) -> Path:
    """The file itself, or what a gzip or a zip holds, written to a CSV in the scratch folder."""
    if path.suffix not in (".gz", ".zip"):
        return path
    plain = scratch / f"{stem}.csv"
    with plain.open("wb") as target:
        if path.suffix == ".gz":
            with gzip.open(path) as source:
                shutil.copyfileobj(source, target, _CHUNK)
            return plain
        with zipfile.ZipFile(path) as archive:
            inside = [m for m in archive.namelist() if m.endswith(".csv") and not m.startswith("__MACOSX/")]
            if len(inside) != 1:
                raise zipfile.BadZipFile(f"it holds {len(inside)} CSV files instead of one")
            with archive.open(inside[0]) as member:
                shutil.copyfileobj(member, target, _CHUNK)
    return plain


def _with_columns(file: RawFile, wanted: Sequence[str]) -> tuple[RawFile, list[Problem]]:
    """The file with the columns that can be read (none of a broken file), and what is wrong with it."""
    if file.path.stat().st_size == 0:
        return file, [Problem(file.name, "the file is empty (0 bytes)", DOWNLOAD)]
    if not file.is_csv:
        try:
            header = pl.read_parquet_schema(file.path)
        except (OSError, pl.exceptions.PolarsError) as error:
            return file, [unreadable(file, error)]
        return _used(file, wanted, list(header), [])
    with file.path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        header_line = next(csv.reader(text), [])
        if not next(text, ""):
            what = "the file has a header and no rows" if header_line else "the file is empty"
            return _used(file, wanted, header_line, [Problem(file.name, what, DOWNLOAD)], empty=True)
    quoted, problem = _end_problem(file, len(header_line))
    if problem is not None and problem.what.startswith(_OPEN_QUOTE):
        return _used(file, wanted, header_line, [problem], empty=True)  # every row after the quote would be misread
    return _used(replace(file, quoted=quoted), wanted, header_line, [problem] if problem else [])


def _used(
    file: RawFile, wanted: Sequence[str], header: Sequence[str], problems: list[Problem], *, empty: bool = False
) -> tuple[RawFile, list[Problem]]:
    """Take the columns that are needed out of a header; each that is not there is a problem."""
    for column in wanted:
        if column not in header:
            unused = [name for name in header if name not in (*wanted, _REORDERED)]
            lower = {name.lower(): name for name in reversed(unused)}
            separated = len(header) > 1  # else by something other than commas
            near = get_close_matches(column, lower, 1, 0.5) if separated else []
            do = f"Rename {lower[near[0]]!r} to {column!r}" if near else f"Add it; the header has {', '.join(header)}"
            problems.append(Problem(file.name, "this column is missing", do, column))
    columns = () if empty else tuple(column for column in wanted if column in header)
    return replace(file, columns=columns), problems


def _end_problem(file: RawFile, width: int) -> tuple[bool, Problem | None]:
    """Whether a CSV holds quotes, and what shows that it was cut: looks at bytes, parses one line."""
    quotes, tail = 0, b""
    with file.path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            quotes += chunk.count(b'"')
            tail = (tail + chunk[-_TAIL:])[-_TAIL:]
    if quotes % 2:
        with file.path.open("rb") as source:
            row = max(number for number, line in enumerate(source, 1) if line.count(b'"') % 2)
        return True, Problem(file.name, _OPEN_QUOTE, f"Close it; if the file was cut there: {DOWNLOAD}", row=row)
    last = tail.rstrip(b"\r\n").rpartition(b"\n")[2].decode(errors="replace")
    fields = len(next(csv.reader([last]), []))
    what = ""
    if not tail.endswith((b"\n", b"\r")):
        what = f"the last line has no newline at its end, as in a file that was cut: {last[-80:]!r}"
    elif fields < width and last.count('"') % 2 == 0:  # else it is the tail of a row of several lines
        what = f"the last line is cut: {last[-80:]!r} has {fields} of {width} fields"
    do = f"If the line is whole, end it with a newline; if not: {DOWNLOAD}"
    return quotes > 0, Problem(file.name, what, do, row=_line_count(file.path)) if what else None


def _line_count(path: Path) -> int:
    with path.open("rb") as source:
        return sum(1 for _ in source)


def unreadable(file: RawFile, error: Exception) -> Problem:
    """A file that the reader gives up on; the line where it is bytes that are no text."""
    reason = str(error).splitlines()[0]
    if not file.is_csv or "utf-8" not in reason:
        return Problem(file.name, f"cannot be read ({reason})", f"Mend the file, or: {DOWNLOAD}")
    with file.path.open(encoding="utf-8", errors="surrogateescape") as text:
        odd = (
            (number, line) for number, line in enumerate(text, 1) if any("\udc80" <= sign <= "\udcff" for sign in line)
        )
        row, line = next(odd, (None, ""))
    what = f"is not UTF-8 text: {line.strip()[:80]!a}"
    return Problem(file.name, what, "Save the file as UTF-8", row=row)
