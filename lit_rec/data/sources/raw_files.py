"""Raw files on disk: found, unpacked, looked at from both ends; none is read whole into memory.

Each file is found under its own name, in any case, as CSV, gzip, zip or parquet, or else in a zip or tar archive.
"""

import codecs
import csv
import gzip
import io
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from itertools import product
from pathlib import Path, PurePosixPath
from typing import IO

import polars as pl

from lit_rec.core import schema
from lit_rec.core.errors import Problem

ENDINGS = (".csv", ".csv.gz", ".csv.zip", ".zip", ".parquet")

_TARS = (".tar", ".tar.gz", ".tgz")
_CHUNK = 1 << 24
_END = 1 << 16  # bytes, more than any line
_PACKED = {b"\x1f\x8b": ".gz", b"PK": ".zip"}  # how such a file begins
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LONGEST_ROW = 1_000  # lines
_UNREADABLE = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, csv.Error, UnicodeError),
    *(RuntimeError, NotImplementedError),  # a zip that is encrypted, or packed in a way that Python does not know
)


@dataclass(frozen=True)
class RawFile:
    """A file ready to be read.

    Args:
        declared: the name that it is looked for by, such as ``orders.csv``.
        path: a plain CSV or a parquet file, perhaps unpacked to a temporary folder.
        name: what the user calls it.
        remedy: where to get a whole one.
        columns: those of its header that are used.
        width: how many columns its header has.
        quoted: it holds quotes, so that a row may span lines.
    """

    declared: str
    path: Path
    name: str
    remedy: str
    columns: tuple[str, ...] = ()
    width: int = 0
    quoted: bool = False

    @property
    def is_csv(self) -> bool:
        """Whether it has lines, so that a row is a place in a text."""
        return self.path.suffix.lower() != ".parquet"


# Find and unpack.


def input_files(data_dir: Path, names: Collection[str]) -> list[Path]:
    """The files of these names, and if one is not there the archives: what a fingerprint of the input covers."""
    found = [find_file(data_dir, name) for name in names]
    return [*filter(None, found), *(_archives(data_dir) if None in found else [])]


def find_file(folder: Path, name: str) -> Path | None:
    """A file of this name with any of :data:`ENDINGS`, in any case; or in a folder of this name, as Windows unpacks."""
    there = sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else []
    for wanted in dict.fromkeys([name, *(_stem(name) + ending for ending in ENDINGS)]):
        for path in (folder / other for other in there if other.lower() == wanted):
            if found := path if path.is_file() else find_file(path, name):
                return found
    return None


def _stem(name: str) -> str:
    """``orders`` of ``orders.csv.gz``."""
    return name.partition(".")[0]


def _archives(data_dir: Path) -> list[Path]:
    """The archives of a folder, or the one that ``data_dir`` itself is."""
    paths = sorted(data_dir.iterdir()) if data_dir.is_dir() else [data_dir]
    return [path for path in paths if path.name.lower().endswith((".zip", *_TARS)) and path.is_file()]


def ready_files(
    data_dir: Path, wanted: Mapping[str, Collection[str]], remedy: str, scratch: Path, progress: Callable[[str], None]
) -> tuple[list[RawFile], list[Problem]]:
    """Those of the wanted files whose columns can be read, and what is wrong with the others.

    Args:
        data_dir: folder of the files, or of an archive of them, or that archive.
        wanted: name of each file, such as ``orders.csv``, to the columns that are used of it.
        remedy: where to get whole files, as a sentence.
        scratch: an existing folder to unpack into; the files are read from there.
        progress: called with a sentence at each step.
    """
    problems: list[Problem] = []
    found = {name: (path, path.name) for name in wanted if (path := find_file(data_dir, name))}
    members = {_stem(name) + ending: name for name in wanted if name not in found for ending in ENDINGS}
    for archive in _archives(data_dir) if members else []:
        try:
            for member, source in _members(archive):
                file, label = PurePosixPath(member).name.lower(), f"{archive.name}/{member}"
                if (name := members.get(file)) in found:
                    what = f"is there twice, as {found[name][1]} and as {label}"
                    problems.append(Problem(name, what, "Take one of them away"))
                elif name:
                    _copy(source, scratch / file)
                    found[name] = scratch / file, label
        except _UNREADABLE as error:
            problems.append(_not_unpacked(archive.name, error, remedy))
    problems = problems or _missing_files(data_dir, [name for name in wanted if name not in found], wanted)
    files: list[RawFile] = []
    for name in (name for name in wanted if name in found):
        path, label = found[name]
        progress(f"looking at {label}")
        try:
            ready, more = _looked_at(RawFile(name, _as_csv(path, name, scratch), label, remedy), wanted[name])
        except _UNREADABLE as error:
            ready, more = None, [_not_unpacked(label, error, remedy)]
        files += [ready] if ready and ready.columns else []
        problems += more
    return files, problems


def _missing_files(data_dir: Path, missing: Sequence[str], wanted: Collection[str]) -> list[Problem]:
    """Each file that is not there, with the name that looks most like it; or the folders within that have some."""
    if not data_dir.is_dir():
        what = f"is missing from {data_dir}" if data_dir.is_file() else f"is missing: there is no folder {data_dir}"
        return [Problem(name, what, f"Pass the folder of the {len(wanted)} files") for name in missing]
    if len(missing) == len(wanted):
        folders = [path for depth in ("*", "*/*") for path in sorted(data_dir.glob(depth))]
        folders = [path for path in folders if any(find_file(path, name) for name in wanted)]
        if do := " or ".join(f"--data_dir {folder}" for folder in folders):
            what = f"has none of the {len(missing)} files, a folder in it has"
            return [Problem(str(data_dir), what, f"Pass {do}")]
    others = sorted(path.name for path in data_dir.iterdir() if not path.name.startswith("."))
    stems = [_stem(name) for name in wanted]
    problems: list[Problem] = []
    for name in missing:
        endings = ", ".join(ending for ending in ENDINGS if not name.endswith(ending))
        what, do = f"is missing from {data_dir}", f"Put {name} (or {endings}) there"
        # A near name counts for the one file that it is nearest to.
        near = [other for other in others if get_close_matches(_stem(other).lower(), stems, 1, 0.75) == [_stem(name)]]
        if near:
            what, ending = f"{what}, which has {near[0]}", near[0].removeprefix(_stem(near[0])).lower()
            do = f"If that is it, save it as {_stem(name)}{ending if ending in ENDINGS else '.csv'}"
            if not (data_dir / near[0]).is_file():
                do = "That is a folder, or a link to nothing: put the file there"
        problems.append(Problem(name, what, do))
    return problems


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a zip or tar archive, but for links and what macOS adds (``__MACOSX/``, ``._orders.csv``)."""
    with ExitStack() as opened:
        if archive.name.lower().endswith(_TARS):
            tar = opened.enter_context(tarfile.open(archive))
            files = ((entry.name, tar.extractfile(entry)) for entry in tar if entry.isfile())
        else:
            packed = opened.enter_context(zipfile.ZipFile(archive))
            files = ((name, packed.open(name)) for name in packed.namelist() if not name.endswith("/"))
        for name, source in files:
            if source and not PurePosixPath(name).name.startswith(".") and not name.startswith("__MACOSX/"):
                with source:
                    yield name, source


def _copy(source: IO[bytes] | gzip.GzipFile, to: Path) -> None:
    with to.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)


def _as_csv(path: Path, name: str, scratch: Path) -> Path:
    """The file itself where it is UTF-8 or parquet, else a copy in UTF-8, in the scratch folder.

    Gzip and zip (whatever the file's name), UTF-16 and the CR of old Macs at the ends of lines need a copy.
    """
    if path.suffix.lower() == ".parquet":
        return path
    with ExitStack() as opened:
        source: IO[bytes] | gzip.GzipFile = opened.enter_context(path.open("rb"))
        kind = _PACKED.get(source.read(2), path.suffix.lower())
        if kind == ".gz":
            source = opened.enter_context(gzip.open(path))
        if kind == ".zip":
            members = [member for member, _ in _members(path) if member.lower().endswith(".csv")]
            own = [member for member in members if PurePosixPath(member).stem.lower() == _stem(name)]
            if len(members := own or members) != 1:
                raise zipfile.BadZipFile(f"it holds {len(members)} CSV files instead of one")
            source = opened.enter_context(opened.enter_context(zipfile.ZipFile(path)).open(members[0]))
        source.seek(0)
        head = source.read(_END)
        source.seek(0)
        encoding = _MARKS.get(head[:2]) or ("utf-16-le" if head[1:2] == b"\0" else None)
        if encoding is None and b"\0" in head:
            raise UnicodeError("it is no text")
        copy = scratch / f"{name}.utf8.csv"
        if encoding or re.search(rb"\r[^\n]", head):
            text = io.TextIOWrapper(source, encoding or "utf-8", "strict" if encoding else "surrogateescape")
            with copy.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as target:
                shutil.copyfileobj(text, target, _CHUNK)
        elif kind in (".gz", ".zip"):
            _copy(source, copy)
        else:
            return path
    return copy


def _not_unpacked(name: str, error: Exception, remedy: str) -> Problem:
    if isinstance(error, UnicodeError | csv.Error):
        return Problem(name, f"cannot be read ({error})", "Save it as CSV, in UTF-8")
    reason = str(error).partition("\n")[0]
    return Problem(name, f"cannot be unpacked ({reason})", f"Unpack it by hand to see why, or: {remedy}")


# Look at header and end.


def _looked_at(file: RawFile, wanted: Collection[str]) -> tuple[RawFile | None, list[Problem]]:
    """The file with the columns that can be read, or None if it is broken, and what is wrong with it."""
    if file.path.stat().st_size == 0:
        return None, [Problem(file.name, "the file is empty (0 bytes)", file.remedy)]
    try:
        if not file.is_csv:
            header = pl.scan_parquet(file.path, glob=False).collect_schema().names()
            file = replace(file, columns=tuple(column for column in wanted if column in header))
            return file, _header_problems(file, wanted, header)
    except (OSError, pl.exceptions.PolarsError) as error:
        return None, [unreadable(file, error)]
    with file.path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        header = next(csv.reader(text), [])
        has_rows = bool(next(text, ""))
    if len(header) == 1:
        what = f"the fields are not separated by commas: the header has {header[0][:80]}"
        return None, [Problem(file.name, what, "Save it with commas between the fields")]
    problems = _header_problems(file, wanted, header)
    if not has_rows:
        what = "the file has a header and no rows" if header else "the file is empty"
        return None, [Problem(file.name, what, file.remedy), *problems]
    with file.path.open("rb") as source:
        quoted = any(b'"' in chunk for chunk in iter(lambda: source.read(_CHUNK), b""))
    columns = tuple(column for column in wanted if column in header)
    file = replace(file, columns=columns, width=len(header), quoted=quoted)
    if quoted and (problem := odd_line(file)):
        return None, [problem, *problems]  # every row after the quote would be misread
    return file, [*_cut_off(file), *problems]


def _header_problems(file: RawFile, wanted: Collection[str], header: Sequence[str]) -> list[Problem]:
    """Each wanted column that is not there, with the unused one that is most like it, and each that is there twice."""

    def likeness(pair: tuple[str, str]) -> float:
        column, name = pair[0], pair[1].strip().lower()
        return 1 if column.endswith(f"_{name}") else SequenceMatcher(None, name, column).ratio()

    missing = [column for column in wanted if column not in header]
    # Kaggle's own column that nothing uses is no misspelling of another.
    unused = [name for name in header if name not in (*wanted, schema.REORDERED)]
    renames: dict[str, str] = {}  # the likest pair first; no column is meant for two
    for column, name in sorted(product(missing, unused), key=likeness, reverse=True):
        if likeness((column, name)) >= 0.75 and column not in renames and name not in renames.values():
            renames[column] = name
    add = f"Add it; the header has {', '.join(header)}"
    mend = {column: f"Rename {renames[column]!r} to {column!r}" if column in renames else add for column in missing}
    twice = [column for column in wanted if list(header).count(column) > 1]
    return [
        *(Problem(file.name, "this column is missing", do, column) for column, do in mend.items()),
        *(Problem(file.name, "this column is there twice", "Take one of the two out", column) for column in twice),
    ]


def odd_line(file: RawFile) -> Problem | None:
    """The first line of a CSV that no row can begin with: not UTF-8, too many fields for the header, a stray quote."""
    field = r'(?:[^",]*|"(?:[^"]|"")*")'
    row = rf"{field}(?:,{field}){{0,{file.width - 1}}}\r?"
    lines = pl.scan_csv(
        file.path, has_header=False, schema={"line": pl.String}, separator="\x1f", quote_char=None, glob=False
    )
    with suppress(pl.exceptions.PolarsError):  # the quick way: each line is a row
        if lines.select(pl.col("line").str.contains(f"^{row}$").all()).collect(engine="streaming").item():
            return None
    text, first = "", 1  # of the row that began on line `first`; it goes on while a quote is open
    with file.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as source:
        for number, line in enumerate(source, 1):
            if not line.isascii() and re.search("[\udc80-\udcff]", line):
                what = f"is not UTF-8 text: {line.strip()[:80]!a}"
                return Problem(file.name, what, "Save the file as UTF-8", row=number)
            text += line
            is_open = text.count('"') % 2 == 1
            if not is_open and re.fullmatch(f"{row}\n?", text):
                text, first = "", number + 1
            elif not is_open or number - first >= _LONGEST_ROW:
                break
    if not text:
        return None
    line = text.partition("\n")[0].rstrip("\r")
    do = 'Put quotes around a field with commas or quotes, and write each quote in it as ""'
    fields = len(next(csv.reader([line])))
    what = f"{fields} fields instead of {file.width}" if fields > file.width else "a quote stands within a field"
    if line.count('"') % 2:
        what, do = "a quote is opened and never closed", f"{do}; if it was cut there: {file.remedy}"
    return Problem(file.name, f"{what}: {line[:80]!r}", do, row=first)


def _cut_off(file: RawFile) -> list[Problem]:
    """What shows that the end of a CSV is missing."""
    with file.path.open("rb") as source:
        source.seek(max(file.path.stat().st_size - _END, 0))
        tail = source.read()
    last = tail.rstrip(b"\r\n").rpartition(b"\n")[2].decode(errors="replace")
    fields = len(next(csv.reader([last]), []))
    if not tail.endswith((b"\n", b"\r")):
        what = f"the last line has no newline at its end, as in a file that was cut: {last[-80:]!r}"
    elif fields < file.width and last.count('"') % 2 == 0:  # else it is the tail of a row of several lines
        what = f"the last line is cut: {last[-80:]!r} has {fields} of {file.width} fields"
    else:
        return []
    with file.path.open("rb") as source:
        row = sum(1 for _ in source)
    return [Problem(file.name, what, f"If the line is whole, end it with a newline; if not: {file.remedy}", row=row)]


def unreadable(file: RawFile, error: Exception) -> Problem:
    """A file that the reader gives up on, with the line to blame where one is."""
    reason = str(error).partition("\n")[0]
    problem = odd_line(file) if file.is_csv else None
    return problem or Problem(file.name, f"cannot be read ({reason})", f"Mend the file, or: {file.remedy}")
