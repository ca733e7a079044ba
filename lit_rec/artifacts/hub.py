"""Push a model folder to the Hugging Face Hub, in one commit, with a card written from what was measured."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rec import __version__
from lit_rec.artifacts.model_record import check_files, metrics_to_publish, model_record, recorded_metrics
from lit_rec.artifacts.pretrained import HUB_ID, MODEL_FILES, hub_token
from lit_rec.core import schema
from lit_rec.core.errors import HubError, LitRecError, ModelFolderError, NotPreparedError, SettingError, first_line

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard

logger = logging.getLogger(__name__)

CARD = "README.md"
_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_TAGS = ["sentence-transformers", "recommendation", "next-basket-recommendation", "lit_rec"]
_TOKEN = "Put HF_TOKEN, one with write access, into the environment or into .env"
_AGAIN = "Check the connection, and HF_ENDPOINT where it is set, and try again: nothing is uploaded twice"


@dataclass(frozen=True)
class PushSettings:
    """What is pushed, and where it goes.

    Args:
        model_dir: a model folder that export wrote, with or without a ranker.
        repo_id: where it goes, owner/name; made where there is none.
        corpus: push this corpus file too.
        branch: push to this branch instead of main; made where there is none.
        private: make the repository private; one that is there already must be.
        allow_unmeasured: push a folder that records no metrics too.
    """

    model_dir: Path
    repo_id: str
    corpus: Path | None = None
    branch: str | None = None
    private: bool = False
    allow_unmeasured: bool = False

    def __post_init__(self) -> None:
        named = HUB_ID.fullmatch(self.repo_id)
        if named is None or named["revision"]:
            raise SettingError("repo_id must be owner/name", f"got {self.repo_id!r}")


@dataclass(frozen=True)
class Pushed:
    """A commit on the Hub.

    Args:
        repo_id: ``owner/name``.
        commit: its whole hash.
        url: where to look at it.
    """

    repo_id: str
    commit: str
    url: str

    @property
    def pinned(self) -> str:
        """What loads exactly this: ``owner/name@commit``."""
        return f"{self.repo_id}@{self.commit}"


def push(settings: PushSettings) -> Pushed:
    """Make the repository where there is none, and put a model folder into it as one commit.

    Files of an earlier push that this folder does not have, such as an old ranker, are deleted in that commit, so that
    a revision is one model.

    Args:
        settings: what, and where to.

    Raises:
        ModelFolderError: there is no such folder, it holds no weights, or it is damaged.
        NotMeasuredError: it records no metrics.
        NotPreparedError: there is no such corpus.
        SettingError: the repository is public where a private one was asked for.
        HubError: the Hub cannot be reached, or refuses.
    """
    model_dir, repo_id = settings.model_dir, settings.repo_id
    files = _files(model_dir, settings.corpus)
    check_files(model_dir)
    card = model_card(model_dir, repo_id, has_corpus=settings.corpus is not None)
    metrics_to_publish(model_dir, allow_unmeasured=settings.allow_unmeasured)
    from huggingface_hub import HfApi

    api = HfApi(token=hub_token(), library_name="lit_rec", library_version=__version__)
    with _hub_errors(repo_id):
        api.create_repo(repo_id, private=settings.private, exist_ok=True)
        if settings.private and not api.model_info(repo_id).private:
            found, do = "it is there already, and public", "Make it private on the Hub first"
            raise SettingError(f"{repo_id} must be private", found, do)
        if settings.branch is not None:
            api.create_branch(repo_id, branch=settings.branch, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            list(_operations(api, settings, files, card)),
            commit_message=f"{model_dir.name} of lit_rec {__version__}",
            revision=settings.branch,
        )
    return Pushed(repo_id, str(commit.oid), str(commit.commit_url))


def model_card(model_dir: Path, repo_id: str, *, has_corpus: bool = False) -> "ModelCard":
    """The card of a model folder: front matter with every recorded metric, how to use it, how good it is.

    Args:
        model_dir: a model folder.
        repo_id: ``owner/name``, for the examples.
        has_corpus: the corpus is pushed too.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    record, metrics = model_record(model_dir), recorded_metrics(model_dir)
    rows = list(dict.fromkeys(metric for values in metrics.values() for metric in values))
    processed = Path(record.get("data", {}).get("processed_dir") or "unnamed data").name
    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Next order",
            dataset_type=processed,
            dataset_name=processed,
            dataset_split="validation",
            metric_type=metric,
            metric_name=f"{metric}, {part}",
            metric_value=value,
        )
        for part, values in metrics.items()
        for metric, value in values.items()
        if not metric.startswith("n_")
    ]
    base = HUB_ID.fullmatch(record.get("model", {}).get("base_model") or "")
    name = repo_id.partition("/")[2]
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        base_model=base["repo_id"] if base is not None else None,
        tags=_TAGS,
        metrics=[metric for metric in rows if not metric.startswith("n_")] or None,
        model_name=name,
        eval_results=results or None,
    )
    card: ModelCard = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        name=name,
        repo_id=repo_id,
        metrics=metrics,
        rows=rows,
        processed=f"`{processed}`",
        has_corpus=has_corpus,
        has_ranker=(model_dir / schema.RANKER).is_file(),
        version=record.get("lit_rec_version"),
        packages=record.get("packages", {}),
    )
    return card


def _files(model_dir: Path, corpus: Path | None) -> dict[str, Path]:
    """Path in the repository to local file, of all that is pushed."""
    every = {file.relative_to(model_dir).as_posix(): file for file in sorted(model_dir.rglob("*")) if file.is_file()}
    files = {name: file for name, file in every.items() if _is_pushed(name)}
    if not any(name.endswith(".safetensors") for name in files):
        found = "it holds no weights in safetensors" if every else "there is no such folder"
        raise ModelFolderError(f"No model folder at {model_dir}", found, "Make one with the command export")
    if left_out := [name for name in every if name not in files and name != CARD]:
        logger.info("Not pushed, since loading never reads it: %s", ", ".join(left_out))
    if corpus is not None:
        if not corpus.is_file():
            raise NotPreparedError(f"No corpus at {corpus}", "there is no such file", "Name an eval_corpus.json")
        files[schema.EVAL_CORPUS] = corpus
    return files


def _is_pushed(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in MODEL_FILES)


def _operations(
    api: "HfApi", settings: PushSettings, files: dict[str, Path], card: "ModelCard"
) -> "Iterator[CommitOperationAdd | CommitOperationDelete]":
    """What the commit adds, and which files of an earlier push it deletes."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    for name, file in files.items():
        yield CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)
    yield CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=str(card).encode())
    for name in api.list_repo_files(settings.repo_id, revision=settings.branch):
        if name not in files and _is_pushed(name):
            yield CommitOperationDelete(path_in_repo=name)


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """What the Hub's client raises, as an error of ours. Its messages hold addresses, never the token."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    asked = f"{repo_id} could not be pushed"
    try:
        yield
    except LitRecError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(asked, "HF_HUB_OFFLINE is set", "Unset it") from error
    except LocalTokenNotFoundError as error:
        raise HubError(asked, "no token was given", _TOKEN) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            found = "no token was given" if hub_token() is None else "the token may not write there"
            raise HubError(asked, found, _TOKEN) from error
        raise HubError(asked, error.server_message or first_line(error), _AGAIN) from error
    except (HTTPError, RuntimeError, ValueError) as error:  # no connection; an upload that failed; a refused card
        why = f": {first_line(error.__cause__)}" if isinstance(error.__cause__, Exception) else ""
        raise HubError(asked, first_line(error) + why, _AGAIN) from error
