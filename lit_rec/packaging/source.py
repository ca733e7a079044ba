"""Which lit_rec this is: one hash over the files of the installed package."""

import hashlib
from pathlib import Path

import lit_rec
from lit_rec.core.files import sha256_of_file


def source_sha256(package: Path | None = None) -> str:
    """Hexadecimal sha256 over names and contents of a package's files; of what Python caches, nothing.

    Args:
        package: the folder; by default that of the lit_rec which runs.
    """
    folder = package or Path(lit_rec.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).as_posix()):
        name = file.relative_to(folder)
        if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
