"""What ``package`` can be asked; light, so that help comes at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lit_rec.core.bounds import CheckedSettings, NonNegativeInt
from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Backend


@dataclass(frozen=True)
class PackageSettings(CheckedSettings):
    """What is packaged, and what becomes of it.

    Args:
        model_dir: a model folder, with or without a ranker, or a hub id.
        corpus: JSON file, product id to text; by default eval_corpus.json of the processed folder that the model was
            trained on. One that shares less than half of its products with the model's is refused.
        backend: 'torch'; 'onnx': ONNX Runtime, without torch; 'onnx_int8': smaller and faster, nearly as good.
        name: first part of the model version; by default the model folder's name.
        n_users: held-out users of the processed folder, which the service then knows as demo-1 and so on.
        build: build a bento; false leaves it at the BentoML model.
        output_dir: write a plain folder instead, for LIT_REC_BUNDLE or LIT_REC_ARMS of the service; no BentoML is then
            needed. An older bundle there is replaced; a folder that holds anything else is left alone.
        allow_unmeasured: package a model that records no metrics too.
    """

    model_dir: str
    corpus: Path | None = None
    backend: Literal["torch", "onnx", "onnx_int8"] = "torch"
    name: str | None = None
    n_users: NonNegativeInt = 200
    build: bool = True
    output_dir: Path | None = None
    allow_unmeasured: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backend not in list(Backend):
            raise SettingError("Unknown back end", repr(self.backend), f"Take one of {', '.join(Backend)}")
