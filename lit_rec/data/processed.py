"""A processed folder as its readers see it; light enough for the serving path."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError, UnknownQueryError
from lit_rec.core.files import read_json, sha256_of_file
from lit_rec.core.former_names import present_names
from lit_rec.core.next_steps import command

logger = logging.getLogger(__name__)


def find_processed_folder(path: Path) -> Path:
    """The processed folder at ``path``, or the newest one inside it.

    Args:
        path: a processed folder, or a folder that holds some.

    Raises:
        NotPreparedError: there is none.
    """
    if (path / schema.PARAMS).is_file():
        return path
    found = [record.parent for record in path.glob(f"*/{schema.PARAMS}") if not record.parent.name.startswith(".")]
    if not found:
        raise NotPreparedError(
            f"No prepared data at {path}",
            f"neither it nor a folder in it holds {schema.PARAMS}",
            "Name the folder that prepare made, or make one here: "
            + command("prepare", "--source", "complete_journey", "--output_dir", path),
        )
    newest = max(found, key=lambda folder: (folder / schema.PARAMS).stat().st_mtime_ns)
    logger.info("Using %s%s", newest, f", the newest of {len(found)} prepared folders" if len(found) > 1 else "")
    return newest


def read_corpus(file: Path) -> dict[str, str]:
    """A corpus file, of a processed folder or by itself: product id to text.

    Raises:
        NotPreparedError: there is no such file.
        ProcessedFolderError: it holds something else.
    """
    if not file.is_file():
        raise NotPreparedError(
            f"No corpus at {file}",
            "there is no such file",
            f"Run prepare, or name another folder's {schema.EVAL_CORPUS}",
        )
    try:
        content = read_json(file)
    except ValueError as error:
        raise ProcessedFolderError(f"{file} is no JSON", str(error), "Run prepare again") from error
    if not isinstance(content, dict) or not content or not all(isinstance(text, str) for text in content.values()):
        found = type(content).__name__ if content else "nothing"
        raise ProcessedFolderError(f"{file} must map product ids to texts", f"found {found}", "Run prepare again")
    return content


def content_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every artefact of a processed folder, by its path within."""
    artefacts = [*folder.glob("*.json"), *folder.glob("*/*.arrow")]
    return {
        file.relative_to(folder).as_posix(): sha256_of_file(file)
        for file in sorted(artefacts)
        if file.name != schema.PARAMS
    }


def missing_files(folder: Path, record: dict[str, Any]) -> list[str]:
    """Files that a folder's record names, or that a dataset of it needs, and that are not there."""
    artefacts = set(record.get("sha256", {}))
    datasets = {name.partition("/")[0] for name in artefacts if "/" in name}
    artefacts |= {f"{name}/{file}" for name in datasets for file in ("state.json", "dataset_info.json")}
    return sorted(name for name in artefacts if not (folder / name).is_file())


@dataclass(frozen=True)
class ProcessedFolder:
    """Reads the JSON artefacts of a finished processed folder, each when it is first asked for.

    Args:
        path: the folder.
    """

    path: Path

    @cached_property
    def params(self) -> dict[str, Any]:
        """Settings under their present names, counts and content hashes."""
        return present_names(self._read(schema.PARAMS))

    @cached_property
    def corpus(self) -> dict[str, str]:
        """Product id to product text, in catalogue order."""
        return self._read(schema.EVAL_CORPUS)

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query id to context string."""
        return self._read(schema.EVAL_QUERIES)

    @cached_property
    def relevant_docs(self) -> dict[str, list[str]]:
        """Query id to the ids of the products that were really bought."""
        return self._read(schema.EVAL_RELEVANT_DOCS)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Content hashes of the artefacts: as recorded, or computed where the Instacart seed made the folder."""
        return self.params.get("sha256") or content_hashes(self.path)

    @property
    def is_instacart_seed(self) -> bool:
        """Whether chen-bowen/instacart_next_order_recommendation made the folder, which this project calls the seed.

        It then has no history, no splits and no recorded hashes.
        """
        return "lit_rec_version" not in self.params

    def query(self, query_id: str) -> str:
        """The context string of one evaluation query.

        Raises:
            UnknownQueryError: the folder holds no such query.
        """
        if query_id not in self.queries:
            examples = ", ".join(list(self.queries)[:3])
            raise UnknownQueryError(
                f"No evaluation query {query_id!r} in {self.path / schema.EVAL_QUERIES}",
                f"it holds {len(self.queries):,} order ids" + (f" such as {examples}" if examples else ""),
                "Pass one of those as --eval_query_id",
            )
        return self.queries[query_id]

    def _read(self, name: str) -> dict[str, Any]:
        file = self.path / name
        if not file.is_file():
            raise NotPreparedError(
                f"{file} is missing", f"{self.path} is not a whole processed folder", "Run prepare again"
            )
        try:
            content = read_json(file)
        except ValueError as error:
            raise ProcessedFolderError(f"{file} cannot be read", str(error), "Run prepare again") from error
        if not isinstance(content, dict):
            found = f"it holds a {type(content).__name__}, not an object"
            raise ProcessedFolderError(f"{file} cannot be read", found, "Run prepare again")
        return content
