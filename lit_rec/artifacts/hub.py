"""Push a model folder to the Hugging Face Hub, in one commit, with a card written from what was measured."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rec import __version__
from lit_rec.artifacts.model_folder import check_files, model_record, recorded_metrics
from lit_rec.artifacts.pretrained import HUB_ID, MODEL_FILES, hub_token
from lit_rec.core import schema
from lit_rec.core.errors import HubError, LitRecError, ModelFolderError, NotPreparedError, SettingError, first_line

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard

logger = logging.getLogger(__name__)

CARD = "README.md"
_TAGS = ["sentence-transformers", "recommendation", "next-basket-recommendation", "lit_rec"]
_TOKEN = "Put HF_TOKEN, one with write access, into the environment or into .env"
_AGAIN = "Check the connection, and HF_ENDPOINT where it is set, and try again: nothing is uploaded twice"
_COUNTS = re.compile("n_.*")
_CARD = """\
---
{{ card_data }}
---

# {{ name }}

From a user's past orders, ranks a product catalogue so that what they will buy next comes first.
{%- if has_ranker %}
Two parts: a repeat-explore ranker of purchase histories (`ranker.safetensors`), and a text encoder for free words and
for users without a history.
{%- else %}
A text encoder; it has no ranker of purchase histories.
{%- endif %}

## Use

```python
from lit_rec.inference.recommender import load_recommender

recommender = load_recommender("{{ repo_id }}", "eval_corpus.json")  # pinned: "{{ repo_id }}@COMMIT"
for item in recommender.recommend("[+7d w4h14] Organic Milk, Whole Wheat Bread.", top_k=5):
    print(item.product_id, item.score, item.product_text)
```

`eval_corpus.json` maps product ids to texts.
{%- if has_corpus %} That of the training is here: `hf download {{ repo_id }} eval_corpus.json --local-dir .`
{%- else %} It is not part of this repository.
{%- endif %} The text encoder alone loads with plain `SentenceTransformer("{{ repo_id }}")`.

## Measured
{% if metrics %}
Held-out users of {{ processed }}, whole catalogue. These validation users also chose the checkpoint, so expect a
little less on others.

| metric |{% for part in metrics %} {{ part }} |{% endfor %}
|---|{% for part in metrics %}---:|{% endfor %}
{%- for metric in rows %}
| {{ metric }} |{% for values in metrics.values() %} {{ cell(values.get(metric)) }} |{% endfor %}
{%- endfor %}
{% else %}
Nothing was measured when this model was trained.
{% endif %}
## Made with

lit_rec {{ version }}
{%- for package, of in packages.items() %}, {{ package }} {{ of }}{% endfor %}.
Settings, data hashes and all evaluations stand in `lit_rec.json`{% if has_ranker %} and `ranker.json`{% endif %}.
"""


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


def push(
    model_dir: Path,
    repo_id: str,
    *,
    corpus: Path | None = None,
    branch: str | None = None,
    private: bool = False,
    allow_unmeasured: bool = False,
) -> Pushed:
    """Make the repository where there is none, and put a model folder into it as one commit.

    Files of an earlier push that this folder does not have, such as an old ranker, are taken away in that commit, so
    that a revision is one model.

    Args:
        model_dir: a model folder that export wrote, with or without a ranker.
        repo_id: ``owner/name``.
        corpus: JSON file, product id to text, to push beside the model.
        branch: push to this branch instead of main; made where there is none.
        private: a repository made here is private; one that is there already must be.
        allow_unmeasured: push a folder that records no metrics too.

    Raises:
        ModelFolderError: there is no such folder, it holds no weights, or it records no metrics.
        NotPreparedError: there is no such corpus.
        SettingError: the id is none, or the repository is public where a private one was asked for.
        HubError: the Hub cannot be reached, or refuses.
    """
    named = HUB_ID.fullmatch(repo_id)
    if named is None or named["revision"]:
        raise SettingError("repo_id must be owner/name", f"got {repo_id!r}")
    files = _files(model_dir, corpus)
    check_files(model_dir)
    card = model_card(model_dir, repo_id, has_corpus=corpus is not None)
    if not recorded_metrics(model_dir) and not allow_unmeasured:
        raise ModelFolderError(
            f"{model_dir} cannot be pushed as it is",
            f"{schema.MODEL_RECORD} and {schema.RANKER} record no metrics",
            "Train with validation, or pass --allow_unmeasured true",
        )
    from huggingface_hub import HfApi

    api = HfApi(token=hub_token(), library_name="lit_rec", library_version=__version__)
    with _refusals(repo_id):
        _make_repository(api, repo_id, branch, private=private)
        commit = api.create_commit(
            repo_id,
            [*_additions(files, card), *_removals(api, repo_id, branch, files)],
            commit_message=f"{model_dir.name} of lit_rec {__version__}",
            revision=branch,
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
        if not _COUNTS.fullmatch(metric)
    ]
    base = HUB_ID.fullmatch(record.get("model", {}).get("base_model") or "")
    name = repo_id.partition("/")[2]
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        base_model=base["repo_id"] if base is not None else None,
        tags=_TAGS,
        metrics=[metric for metric in rows if not _COUNTS.fullmatch(metric)] or None,
        model_name=name,
        eval_results=results or None,
    )
    card: ModelCard = ModelCard.from_template(
        data,
        template_str=_CARD,
        name=name,
        repo_id=repo_id,
        metrics=metrics,
        rows=rows,
        cell=_cell,
        processed=f"`{processed}`",
        has_corpus=has_corpus,
        has_ranker=(model_dir / schema.RANKER).is_file(),
        version=record.get("lit_rec_version"),
        packages=record.get("packages", {}),
    )
    return card


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value > 1 else f"{value:.4f}"


def _files(model_dir: Path, corpus: Path | None) -> dict[str, Path]:
    """Path in the repository to local file."""
    everything = [file for file in sorted(model_dir.rglob("*")) if file.is_file()]
    files = {
        file.relative_to(model_dir).as_posix(): file
        for file in everything
        if any(file.match(pattern) for pattern in MODEL_FILES)
    }
    if not any(name.endswith(".safetensors") for name in files):
        found = "it holds no weights in safetensors" if everything else "there is no such folder"
        raise ModelFolderError(f"No model folder at {model_dir}", found, "Make one with the command export")
    left = [file.relative_to(model_dir).as_posix() for file in everything if file not in files.values()]
    if left := [name for name in left if name != CARD]:
        logger.info("Not pushed, since loading never reads it: %s", ", ".join(left))
    if corpus is not None:
        if not corpus.is_file():
            raise NotPreparedError(f"No corpus at {corpus}", "there is no such file", "Name an eval_corpus.json")
        files[schema.EVAL_CORPUS] = corpus
    return files


def _make_repository(api: "HfApi", repo_id: str, branch: str | None, *, private: bool) -> None:
    api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise SettingError(
            f"{repo_id} must be private", "it is there already, and public", "Make it private on the Hub first"
        )
    if branch is not None:
        api.create_branch(repo_id, branch=branch, exist_ok=True)


def _additions(files: Mapping[str, Path], card: "ModelCard") -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    written = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    return [*written, CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=str(card).encode())]


def _removals(
    api: "HfApi", repo_id: str, branch: str | None, files: Mapping[str, Path]
) -> "Iterator[CommitOperationDelete]":
    from huggingface_hub import CommitOperationDelete

    for name in api.list_repo_files(repo_id, revision=branch):
        if name not in files and any(Path(name).match(pattern) for pattern in MODEL_FILES):
            yield CommitOperationDelete(path_in_repo=name)


@contextmanager
def _refusals(repo_id: str) -> Iterator[None]:
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
