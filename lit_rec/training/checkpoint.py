"""Checkpoints that ``fit`` wrote, read with care: whole, of this project, and those of version 0.1 too."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from lit_rec.core.errors import CheckpointError, first_line
from lit_rec.core.former_names import present_names, present_record

DATA_STATE = "NextOrderDataModule"
"""What a checkpoint calls the state of its data module."""


def read_checkpoint(ckpt_path: Path) -> dict[str, Any]:
    """The content of a checkpoint whose every byte is as it was written; its tensors stay on disk.

    Settings that version 0.1 wrote are under their present names.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is no checkpoint of this project.
    """
    if not ckpt_path.is_file():
        do = "fit writes checkpoints/best.ckpt and last.ckpt"
        raise CheckpointError(f"No checkpoint at {ckpt_path}", "there is no such file", do)
    try:
        with zipfile.ZipFile(ckpt_path) as archive:  # torch writes a checksum of each part, and does not look at it
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"its part {damaged} is not what was written")
        content: dict[str, Any] = torch.load(ckpt_path, map_location="cpu", weights_only=True, mmap=True)
        if missing := {"epoch", "global_step", "hyper_parameters", "state_dict"} - set(content):
            raise KeyError(f"it holds no {min(missing)}")
    except zipfile.BadZipFile as error:
        do = "Name another one that fit wrote, such as best.ckpt or last.ckpt beside it, or run fit again"
        raise CheckpointError(f"{ckpt_path} is damaged, or no checkpoint", str(error), do) from error
    except (KeyError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise no_checkpoint(ckpt_path, error) from error
    settings, data = present_names(content["hyper_parameters"]), present_record(content.get(DATA_STATE, {}))
    return {**content, "hyper_parameters": settings, DATA_STATE: data}


def model_settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint's model; Lightning keeps its own among them."""
    return {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}


def no_checkpoint(ckpt_path: Path, error: Exception) -> CheckpointError:
    """What to raise where something else was saved in a file."""
    found = first_line(error).strip("'\"")  # a KeyError is the repr of its key
    return CheckpointError(f"{ckpt_path} is no checkpoint of this project", found, "Name one that fit wrote")
