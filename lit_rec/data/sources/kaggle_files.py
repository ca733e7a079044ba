"""Kaggle's Instacart files on disk: found, unpacked, looked at from both ends; none is read whole into memory.

Each file is found under its own name, in any case, as CSV, gzip, zip or parquet, or else in a zip or tar archive.
"""

import codecs
import csv
import gzip
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from itertools import product
from pathlib import Path, PurePosixPath
from typing import IO

import polars as pl

from lit_rec.core.errors import Problem

ENDINGS = (".csv", ".csv.gz", ".csv.zip", ".zip", ".parquet")
DOWNLOAD = "Download it again from https://www.kaggle.com/c/instacart-market-basket-analysis/data"

_TARS = (".tar", ".tar.gz", ".tgz")
_REORDERED = "reordered"  # Kaggle's own column that is not needed, so no misspelling of another
_CHUNK = 1 << 24
_END = 1 << 16  # bytes, more than any line
_PACKED = {b"\x1f\x8b": ".gz", b"PK": ".zip"}  # how such a file begins
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LONGEST_ROW = 1_000  # lines
_OPEN_QUOTE = "a quote is opened and never closed"
_UNREADABLE = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, csv.Error, UnicodeError),
    *(RuntimeError, NotImplementedError),  # a zip that is encrypted, or packed in a way that Python does not know
)


@dataclass(frozen=True)
class RawFile:
    """A file ready to be read.

    Args:
        stem: which of the six it is.
        path: a plain CSV or a parquet file, perhaps unpacked to a temporary folder.
        name: what the user calls it.
        columns: those of its header that are used.
        width: how many columns its header has.
        quoted: it holds quotes, so that a row may span lines.
    """

    stem: str
    path: Path
    name: str
    columns: tuple[str, ...] = ()
    width: int = 0
    quoted: bool = False

    @property
    def is_csv(self) -> bool:
        """Whether it has lines, so that a row is a place in a text."""
        return self.path.suffix.lower() != ".parquet"


def find_file(folder: Path, stem: str) -> Path | None:
    """A file of this name with any of :data:`ENDINGS`, in any case; or in a folder of this name, as Windows unpacks."""
    names = sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else []
    for name in (name for ending in ENDINGS for name in names if name.lower() == f"{stem}{ending}"):
        path = folder / name
        if found := path if path.is_file() else find_file(path, stem):
            return found
    return None


def find_archives(data_dir: Path) -> list[Path]:
    """The archives of a folder, or the one that ``data_dir`` itself is."""
    paths = sorted(data_dir.iterdir()) if data_dir.is_dir() else [data_dir]
    return [path for path in paths if path.name.lower().endswith((".zip", *_TARS)) and path.is_file()]


def ready_files(
    data_dir: Path, wanted: Mapping[str, Iterable[str]], scratch: Path, progress: Callable[[str], None]
) -> tuple[list[RawFile], list[Problem]]:
    """Those of the wanted files whose columns can be read, and what is wrong with the others.

    Args:
        data_dir: folder of the files, or of an archive of them, or that archive.
        wanted: name of each file without its ending, to the columns that are used of it.
        scratch: an existing folder to unpack into; the files are read from there.
        progress: called with a sentence at each step.
    """
    found = {stem: (path, path.name) for stem in wanted if (path := find_file(data_dir, stem)) is not None}
    lacking = [stem for stem in wanted if stem not in found]
    unpacked, problems = _from_archives(data_dir, lacking, scratch) if lacking else ({}, [])
    found |= unpacked
    if not problems:
        problems = _missing_files(data_dir, [stem for stem in wanted if stem not in found], wanted)
    files: list[RawFile] = []
    for stem, (path, name) in found.items():
        progress(f"looking at {name}")
        try:
            plain = _as_utf8(_plain(path, stem, scratch), scratch)
            file, more = _with_columns(RawFile(stem, plain, name), tuple(wanted[stem]))
        except _UNREADABLE as error:
            problems.append(_not_unpacked(name, error))
            continue
        files += [file] if file.columns else []
        problems += more
    return files, problems


def _not_unpacked(name: str, error: Exception) -> Problem:
    if isinstance(error, UnicodeError | csv.Error):
        return Problem(name, f"cannot be read ({error})", "Save it as CSV, in UTF-8")
    reason = str(error).partition("\n")[0]
    return Problem(name, f"cannot be unpacked ({reason})", f"Unpack it by hand to see why, or: {DOWNLOAD}")


def _missing_files(data_dir: Path, missing: Sequence[str], stems: Iterable[str]) -> list[Problem]:
    """Each file that is not there, or the folder that has them all."""
    if data_dir.is_dir() and set(missing) == set(stems):
        folders = [path for depth in ("*", "*/*") for path in sorted(data_dir.glob(depth)) if find_file(path, "orders")]
        if folders:
            do = " or ".join(f"--data_dir {folder}" for folder in folders)
            return [Problem(str(data_dir), f"has none of the {len(missing)} files, a folder in it has", f"Pass {do}")]
    return [_missing_file(data_dir, stem, stems) for stem in missing]


def _missing_file(data_dir: Path, stem: str, stems: Iterable[str]) -> Problem:
    """Name the file that looks most like the one that is not there."""
    if not data_dir.is_dir():
        return Problem(f"{stem}.csv", f"is missing: there is no folder {data_dir}", "Pass the folder of the six files")
    # A near name counts where it is nearer to this file than to any of the other five.
    names = sorted(path.name for path in data_dir.iterdir() if not path.name.startswith("."))
    near = [name for name in names if get_close_matches(_stem(name).lower(), stems, 1, 0.75) == [stem]]
    what = f"is missing from {data_dir}"
    if not near:
        return Problem(f"{stem}.csv", what, f"Put {stem}.csv (or .csv.gz, .csv.zip, .zip, .parquet) there")
    ending = near[0][len(_stem(near[0])) :].lower()
    do = f"If that is it, save it as {stem}{ending if ending in ENDINGS else '.csv'}"
    if not (data_dir / near[0]).is_file():
        do = "That is a folder, or a link to nothing: put the file there"
    return Problem(f"{stem}.csv", f"{what}, which has {near[0]}", do)


def _stem(name: str) -> str:
    """``orders`` of ``orders.csv.gz``."""
    return name.split(".")[0]


def _from_archives(
    data_dir: Path, lacking: Sequence[str], scratch: Path
) -> tuple[dict[str, tuple[Path, str]], list[Problem]]:
    """Unpack the files that are lacking: where each is now, and what it is called."""
    stems = {f"{stem}{ending}": stem for stem in lacking for ending in ENDINGS}
    found: dict[str, tuple[Path, str]] = {}
    problems: list[Problem] = []
    for archive in find_archives(data_dir):
        try:
            for member, source in _members(archive):
                file = PurePosixPath(member).name.lower()
                stem, name = stems.get(file), f"{archive.name}/{member}"
                if stem in found:
                    what = f"is there twice, as {found[stem][1]} and as {name}"
                    problems.append(Problem(f"{stem}.csv", what, "Take one of them away"))
                elif stem is not None:
                    _copy(source, scratch / file)
                    found[stem] = scratch / file, name
        except _UNREADABLE as error:
            problems.append(_not_unpacked(archive.name, error))
    return found, problems


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a zip or tar archive, without those that macOS adds (``__MACOSX/``, ``._orders.csv``)."""
    is_tar = archive.name.lower().endswith(_TARS)
    for member, source in _from_tar(archive) if is_tar else _from_zip(archive):
        if not PurePosixPath(member).name.startswith(".") and not member.startswith("__MACOSX/"):
            yield member, source


def _from_zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if not member.is_dir():
                with content.open(member) as source:
                    yield member.filename, source


def _from_tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as content:
        for member in content:
            if member.isfile() and (source := content.extractfile(member)) is not None:  # a link may lead nowhere
                yield member.name, source


def _copy(source: IO[bytes] | gzip.GzipFile, to: Path) -> None:
    with to.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)


def _plain(path: Path, stem: str, scratch: Path) -> Path:
    """The file itself, or what a gzip or a zip holds (whatever its name), written to a CSV in the scratch folder."""
    plain = scratch / f"{stem}.plain.csv"
    kind = path.suffix.lower()
    with path.open("rb") as source:
        kind = _PACKED.get(source.read(2), kind) if kind == ".csv" else kind
    if kind == ".gz":
        with gzip.open(path) as unpacked:
            _copy(unpacked, plain)
        return plain
    if kind != ".zip":
        return path
    names = [name for name, _ in _members(path) if name.lower().endswith(".csv")]
    own = [name for name in names if PurePosixPath(name).name.lower() == f"{stem}.csv"] or names
    if len(own) != 1:
        raise zipfile.BadZipFile(f"it holds {len(own)} CSV files instead of one")
    for name, member in _members(path):
        if name == own[0]:
            _copy(member, plain)
    return plain


def _as_utf8(path: Path, scratch: Path) -> Path:
    """The file itself, or a copy of a CSV in UTF-16, or with the CR of old Macs at the ends of its lines."""
    if path.suffix.lower() == ".parquet":
        return path
    with path.open("rb") as source:
        head = source.read(_END)
    encoding = _MARKS.get(head[:2]) or ("utf-16-le" if head[1:2] == b"\0" else None)
    if encoding is None and b"\0" in head:
        raise UnicodeError("it is no text")
    if encoding is None and not re.search(rb"\r[^\n]", head):
        return path
    copy = scratch / f"{path.stem}.utf8.csv"
    with (
        path.open(encoding=encoding or "utf-8", errors="strict" if encoding else "surrogateescape") as text,
        copy.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as target,
    ):
        shutil.copyfileobj(text, target, _CHUNK)
    return copy


def _with_columns(file: RawFile, wanted: Sequence[str]) -> tuple[RawFile, list[Problem]]:
    """The file with the columns that can be read (none of a broken file), and what is wrong with it."""
    if file.path.stat().st_size == 0:
        return file, [Problem(file.name, "the file is empty (0 bytes)", DOWNLOAD)]
    if not file.is_csv:
        try:
            header = pl.scan_parquet(file.path, glob=False).collect_schema().names()
        except (OSError, pl.exceptions.PolarsError) as error:
            return file, [unreadable(file, error)]
        return _used(file, wanted, header)
    with file.path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        header_line = next(csv.reader(text), [])
        has_rows = bool(next(text, ""))
    if len(header_line) == 1:
        what = f"the fields are not separated by commas: the header has {header_line[0][:80]}"
        return file, [Problem(file.name, what, "Save it with commas between the fields")]
    if not has_rows:
        what = "the file has a header and no rows" if header_line else "the file is empty"
        return replace(file, columns=()), [Problem(file.name, what, DOWNLOAD), *_used(file, wanted, header_line)[1]]
    with file.path.open("rb") as source:
        quoted = any(b'"' in chunk for chunk in iter(lambda: source.read(_CHUNK), b""))
    file = replace(file, width=len(header_line), quoted=quoted)
    if quoted and (problem := misshapen(file)):
        return file, [problem, *_used(file, wanted, header_line)[1]]  # every row after the quote would be misread
    file, problems = _used(file, wanted, header_line)
    return file, [*_cut_off(file), *problems]


def _used(file: RawFile, wanted: Sequence[str], header: Sequence[str]) -> tuple[RawFile, list[Problem]]:
    """Take the columns that are needed out of a header; each that is not there is a problem."""
    missing = [column for column in wanted if column not in header]
    renames = _renames(missing, [name for name in header if name not in (*wanted, _REORDERED)])
    problems = [Problem(file.name, "this column is missing", _mended(name, renames, header), name) for name in missing]
    twice = [column for column in wanted if list(header).count(column) > 1]
    problems += [Problem(file.name, "this column is there twice", "Take one of the two out", name) for name in twice]
    return replace(file, columns=tuple(column for column in wanted if column in header)), problems


def _mended(column: str, renames: Mapping[str, str], header: Sequence[str]) -> str:
    if column in renames:
        return f"Rename {renames[column]!r} to {column!r}"
    return f"Add it; the header has {', '.join(header)}"


def _renames(missing: Sequence[str], unused: Sequence[str]) -> dict[str, str]:
    """For a missing column the unused one that is most like it, where one is; none is meant for two."""

    def likeness(pair: tuple[str, str]) -> float:
        column, name = pair[0], pair[1].strip().lower()
        return 1 if column.endswith(f"_{name}") else SequenceMatcher(None, name, column).ratio()

    found: dict[str, str] = {}
    for column, name in sorted(product(missing, unused), key=likeness, reverse=True):
        if likeness((column, name)) >= 0.75 and column not in found and name not in found.values():
            found[column] = name
    return found


def misshapen(file: RawFile) -> Problem | None:
    """The first line of a CSV that no row can begin with: too many fields for the header, or a stray quote."""
    field = r'(?:[^",]*|"(?:[^"]|"")*")'
    row = rf"^{field}(?:,{field}){{0,{file.width - 1}}}\r?$"
    lines = pl.scan_csv(
        file.path, has_header=False, schema={"line": pl.String}, separator="\x1f", quote_char=None, glob=False
    )
    is_odd = ~pl.col("line").str.contains(row)
    odd = lines.with_row_index("row").filter(is_odd).select("row").collect(engine="streaming")["row"]
    if odd.is_empty():
        return None
    texts = lines.collect()["line"].fill_null("")
    at = 0
    while at < len(odd):  # a row of several lines begins and ends with lines that are odd by themselves
        first = odd[at]
        ends = (end for end in range(at + 1, min(at + 10, len(odd))) if odd[end] - first < _LONGEST_ROW)
        end = next((end for end in ends if re.match(row, "\n".join(texts[first : odd[end] + 1]))), None)
        if end is None:
            return _stray(file, texts[first], first + 1)
        at = end + 1
    return None


def _stray(file: RawFile, line: str, number: int) -> Problem:
    fields = len(next(csv.reader([line])))
    do = 'Put quotes around a field with commas or quotes, and write each quote in it as ""'
    if line.count('"') % 2:
        return Problem(file.name, f"{_OPEN_QUOTE}: {line[:80]!r}", f"{do}; if it was cut there: {DOWNLOAD}", row=number)
    what = f"{fields} fields instead of {file.width}" if fields > file.width else "a quote stands within a field"
    return Problem(file.name, f"{what}: {line[:80]!r}", do, row=number)


def _cut_off(file: RawFile) -> list[Problem]:
    """What shows that the end of a CSV is missing."""
    with file.path.open("rb") as source:
        source.seek(max(file.path.stat().st_size - _END, 0))
        tail = source.read()
    last = tail.rstrip(b"\r\n").rpartition(b"\n")[2].decode(errors="replace")
    fields = len(next(csv.reader([last]), []))
    what = ""
    if not tail.endswith((b"\n", b"\r")):
        what = f"the last line has no newline at its end, as in a file that was cut: {last[-80:]!r}"
    elif fields < file.width and last.count('"') % 2 == 0:  # else it is the tail of a row of several lines
        what = f"the last line is cut: {last[-80:]!r} has {fields} of {file.width} fields"
    do = f"If the line is whole, end it with a newline; if not: {DOWNLOAD}"
    return [Problem(file.name, what, do, row=_line_count(file.path))] if what else []


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
