"""Files that are whole or not there: folders replaced in one step, JSON, content hashes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replaced_when_complete(folder: Path) -> Iterator[Path]:
    """A hidden sibling to write into, put in the folder's place when the block ends without an error.

    Siblings left behind by killed runs are removed on the way.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.unfinished-*"):
        if not _is_running(int(leftover.name.rpartition("-")[2])):
            shutil.rmtree(leftover, ignore_errors=True)
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    try:
        yield unfinished
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
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
