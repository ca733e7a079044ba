"""What libraries say to each other, kept from those who can do nothing about it."""

import logging
import warnings

_NOISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # lightning 2.6 under torch 2.13
    "Be aware that when using `ckpt_path`",  # validate, test and predict need none of fit's checkpoint callbacks
    "The dirpath has changed from",  # a relative path in the checkpoint's place
    r"`ModelCheckpoint\(monitor=",  # without validation queries, which fit says itself
    "Early stopping conditioned on metric",
    "Total length of `list` across ranks is zero",
    "Precision .* is not supported by the model summary",
    "The 'train_dataloader' does not have many workers",  # batches are slices of arrays
)


def quiet_lightning() -> None:
    """Warnings that matter still come through."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
