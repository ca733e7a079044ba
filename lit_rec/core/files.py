"""Files that are whole or not there: folders and files replaced in one step, JSON, content hashes."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lit_rec.core import schema
from lit_rec.core.errors import FileError, LitRecError

_IN_USE: set[Path] = set()  # unfinished folders of this process

# What may stand in a folder of ours beside what its record names.
_BESIDE = {schema.TOKEN_CACHE, schema.INDEX_CACHE, schema.RANKER, schema.RANKER_WEIGHTS, schema.ONNX, ".DS_Store"}


# What fit makes beside a model folder, and older versions let export put one around.
_OF_RUNS = {"checkpoints", "logs", "wandb", "predictions", "final", "learning_curve.png", "test_metrics.json"}


@contextmanager
def replaced_when_complete(folder: Path, record: str | None = None) -> Iterator[Path]:
    """A hidden sibling to write into, put in the folder's place when the block ends without an error.

    The folder of before is moved aside, not taken apart, so whenever this process is killed, the place holds the old
    folder or the new one or none; an old one that was moved aside is brought back by the next run. What killed runs
    left behind is removed on the way.

    Args:
        folder: the place; a link is followed.
        record: see :func:`check_replaceable`. None for an entry of a cache, which is replaced whatever it holds.

    Raises:
        FileError: the place holds something that is not ours.
    """
    if record is not None:
        check_replaceable(folder, record)
    place = Path(os.path.realpath(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(place)
    unfinished = place.with_name(f".{place.name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    _IN_USE.add(unfinished)
    try:
        with _system_errors(unfinished):
            yield unfinished
            # What new files have; safetensors makes its own for the owner alone.
            mode = unfinished.stat().st_mode & 0o666
            for file in unfinished.rglob("*"):
                if file.is_file():
                    file.chmod(mode)
        _swap(unfinished, place, record)
    finally:
        _IN_USE.discard(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)


def _swap(unfinished: Path, place: Path, record: str | None) -> None:
    aside = place.with_name(f".{place.name}.replaced-{os.getpid()}")
    while True:
        try:
            with suppress(FileNotFoundError):  # nothing is there, or another process has just moved it
                place.rename(aside)
                if record is not None:  # others may have written there during the work
                    _check_ours(aside, record, place)
            unfinished.rename(place)
            return
        except OSError as error:
            # Another process was between: the last one wins.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            _finish(aside, place)


def _finish(aside: Path, place: Path) -> None:
    """A folder moved aside comes back where nothing has taken its place, else it goes."""
    if aside.exists() and not place.exists():
        aside.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _clear_up(place: Path) -> None:
    """Take away, or bring back, what dead processes left behind beside a place."""
    name = glob.escape(place.name)
    for kind, settle in (("unfinished", shutil.rmtree), ("replaced", partial(_finish, place=place))):
        for leftover in place.parent.glob(f".{name}.{kind}-*"):
            if leftover not in _IN_USE and not _is_another_process(leftover.name.rpartition("-")[2]):
                with suppress(OSError):
                    settle(leftover)


@contextmanager
def replaced_file(file: Path) -> Iterator[Path]:
    """A hidden sibling to write, put in the file's place when the block ends without an error.

    Args:
        file: the place; a link is followed, and folders that are missing are made.
    """
    check_writable(file)
    place = Path(os.path.realpath(file))
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.unfinished-{os.getpid()}")
    try:
        unfinished.touch()
        mode = stat.S_IMODE(unfinished.stat().st_mode)
        with _system_errors(file):
            yield unfinished
        unfinished.chmod(mode)  # safetensors makes a file of its own, for its owner alone
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)


def check_replaceable(folder: Path, record: str) -> None:
    """Make sure that a folder may be written: it is not there, or empty, or holds what we wrote and nothing else.

    To be called before the work whose result goes there.

    Args:
        folder: the place; a link is followed.
        record: name of the JSON file that tells a folder of this kind; what its ``sha256`` names is ours.

    Raises:
        FileError: the folder cannot be written, or something in it would be lost.
    """
    place = Path(os.path.realpath(folder))
    _clear_up(place)  # brings back what a killed run had moved aside
    if place.is_dir():
        _check_ours(place, record, folder)
        if os.path.ismount(place):
            raise FileError(f"{folder} cannot be replaced", "a file system is mounted there", "Name a folder inside it")
    elif os.path.lexists(place):
        raise FileError(f"No folder can be written at {folder}", "a file is there", "Name another folder")
    _check_parent(place, folder)


def check_writable(*files: Path | None) -> None:
    """Make sure that files may be written, before the work whose results go there; None is left out.

    Raises:
        FileError: one cannot.
    """
    for file in files:
        if file is None:
            continue
        place = Path(os.path.realpath(file))
        if os.path.lexists(place) and not place.is_file():
            found = "a folder is there" if place.is_dir() else "what is there is no regular file"
            raise FileError(f"No file can be written at {file}", found, "Name another file")
        _check_parent(place, file)


def check_folder(folder: Path) -> None:
    """Make sure that files may be written into a folder, which need not be there yet.

    Raises:
        FileError: they cannot.
    """
    _check_parent(Path(os.path.realpath(folder)) / "file", folder)


def _check_parent(place: Path, asked: Path) -> None:
    parent = next(folder for folder in place.parents if folder.exists())
    if not parent.is_dir():
        raise FileError(f"{asked} cannot be written", f"{parent} is a file", "Name another place")
    try:
        with TemporaryFile(dir=parent):  # os.access would let root write to read-only places
            pass
    except OSError as error:
        found, do = f"{parent}: {error.strerror}", "Name another place, or make this one writable"
        raise FileError(f"{asked} cannot be written", found, do) from error


def _check_ours(place: Path, record: str, asked: Path) -> None:
    if foreign := _foreign(place, record):
        more = f" and {len(foreign) - 5:,} more" if len(foreign) > 5 else ""
        raise FileError(
            f"{asked} is not replaced",
            f"it holds {', '.join(foreign[:5])}{more}, which would be lost",
            "Name a new or an empty folder, or move away what is in this one",
        )


def _foreign(place: Path, record: str) -> list[str]:
    """What is in a folder that we did not write."""
    found = sorted(
        item.name for item in place.iterdir() if item.name not in _BESIDE and ".unfinished-" not in item.name
    )
    try:
        content = read_json(place / record)
        written = content.get("sha256")
    except (OSError, ValueError, AttributeError):
        return found
    if "lit_rec_version" not in content and record != schema.PARAMS:  # the Instacart seed's does not name one
        return found
    if written is None:  # of an older version, or of the Instacart seed
        return [name for name in found if name in _OF_RUNS or name.endswith((".ckpt", ".db"))]
    ours = {record, *(name.partition("/")[0] for name in written)}
    return [name for name in found if name not in ours and not _is_hollow(place / name)]


def _is_hollow(item: Path) -> bool:
    return item.is_dir() and not item.is_symlink() and all(inner.is_dir() for inner in item.rglob("*"))


@contextmanager
def _system_errors(place: Path) -> Iterator[None]:
    """An error of the system that shutil, or a library of Rust, hands on in the words of its own is one here too."""
    try:
        yield
    except Exception as error:
        number = re.search(r"(?:os error |Errno )(\d+)", str(error))
        is_one = isinstance(error, OSError | LitRecError) and not isinstance(error, shutil.Error)
        if number is None or is_one:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(place)) from error


def _is_another_process(pid: str) -> bool:
    # A container starts anew with the number it was killed with, so our own number is no other process.
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def read_json(file: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Parse a UTF-8 JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def write_json(file: Path, value: object, indent: int | None = 0) -> None:
    """Write a UTF-8 JSON file, whole or not at all; by default one entry a line."""
    with replaced_file(file) as unfinished:
        unfinished.write_text(json.dumps(value, ensure_ascii=False, indent=indent), encoding="utf-8")


def sha256_of_file(file: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by its path within."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256_of_file(file) for file in files}


def changed_files(folder: Path, sha256: Mapping[str, str]) -> list[str]:
    """Files, by their path within a folder, that are not there or do not have the hash that they were written with."""
    paths = {name: folder / name for name in sha256}
    return [name for name, file in paths.items() if not file.is_file() or sha256_of_file(file) != sha256[name]]


def sha256_of_texts(texts: Iterable[str]) -> str:
    """Hexadecimal sha256 of a sequence of texts; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()
