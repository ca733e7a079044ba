"""Loggers of a run, and Weights & Biases in the mode that this machine allows."""

import logging
import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger, WandbLogger

from lit_rec.core.errors import first_line

logger = logging.getLogger(__name__)

_MODES = {"dryrun": "offline", "run": "online", "disabled": "off", "online": "online", "offline": "offline"}
_SECONDS = 5  # for the server to answer in; a run that went offline can be synced later


def wandb_mode(asked: str) -> str:
    """Whether Weights & Biases is 'online', 'offline' or 'off'.

    Args:
        asked: one of the three, or 'auto': what ``WANDB_MODE`` says, else online where there is a key.
    """
    if asked != "auto":
        return asked
    if mode := os.environ.get("WANDB_MODE"):
        if mode.strip().lower() not in _MODES:
            known = ", ".join(_MODES)
            logger.warning("WANDB_MODE is %r, which is none of %s: Weights & Biases is offline", mode, known)
        return _MODES.get(mode.strip().lower(), "offline")
    return "online" if has_wandb_key() else "offline"


def has_wandb_key() -> bool:
    """Whether the environment names a key, or ``wandb login`` has left one."""
    import wandb

    if os.environ.get("WANDB_API_KEY"):
        return True
    servers = [os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url, "https://api.wandb.ai"]
    try:
        return any(netrc().authenticators(urlparse(server).hostname or "") is not None for server in servers)
    except (OSError, NetrcParseError):
        return False


def wandb_loggers(folder: Path, mode: str) -> list[Logger]:
    """Weights & Biases, begun here and not in mid-training: it waits for minutes, and then fails, where it cannot.

    Args:
        folder: wandb/ is made in it.
        mode: 'online', 'offline' or 'off'.

    Returns:
        One logger, offline where the server cannot be reached or refuses the key; none where it is off, or the folder
        is not to be written into.
    """
    if mode == "off":
        return []
    import wandb

    os.environ["WANDB_MODE"] = mode  # wandb refuses OFFLINE
    settings = wandb.Settings(init_timeout=_SECONDS)
    options: dict[str, Any] = {"name": folder.name, "save_dir": folder, "settings": settings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = WandbLogger(project="lit_rec", offline=mode == "offline", mode=mode, **options)
        made.experiment  # noqa: B018 - begins the run
    except (wandb.Error, OSError) as error:
        if mode == "offline":
            logger.warning("Weights & Biases is off, it cannot begin a run in %s: %s", folder, first_line(error))
            return []
        logger.warning("Weights & Biases is offline: %s", first_line(error))
        return wandb_loggers(folder, "offline")
    return [made]
