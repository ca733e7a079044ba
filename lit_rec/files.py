"""Files that are whole or not there: folders replaced in one step, JSON, content hashes."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_IN_USE: set[Path] = set()  # unfinished folders of this process


@contextmanager
def replaced_when_complete(folder: Path) -> Iterator[Path]:
    """A hidden sibling to write into, put in the folder's place when the block ends without an error.

    Siblings left behind by killed runs are removed on the way.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.unfinished-*"):
        if leftover not in _IN_USE and not _is_another_process(leftover.name.rpartition("-")[2]):
            shutil.rmtree(leftover, ignore_errors=True)
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    _IN_USE.add(unfinished)
    try:
        yield unfinished
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        _IN_USE.discard(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)


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
    unfinished = file.with_name(f".{file.name}.unfinished-{os.getpid()}")
    unfinished.write_text(json.dumps(value, ensure_ascii=False, indent=indent), encoding="utf-8")
    unfinished.replace(file)


def sha256_of_file(file: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_texts(texts: Iterable[str]) -> str:
    """Hexadecimal sha256 of a sequence of texts; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()
