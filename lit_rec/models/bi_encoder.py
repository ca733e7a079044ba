"""The bi-encoder as a LightningModule: steps and optimizer only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers import get_scheduler

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL
from lit_rec.core.bounds import PositiveFloat, PositiveInt, Share, check_arguments
from lit_rec.core.errors import CheckpointError
from lit_rec.core.former_names import present_names
from lit_rec.models.added_tokens import frequent_names
from lit_rec.models.encoder import EncoderKind, TextEncoder
from lit_rec.models.losses import (
    LossName,
    gather_candidates,
    global_mean,
    mean_over_anchors,
    multi_positive_loss,
    with_hard_negatives,
)
from lit_rec.models.tokenization import TruncationSide

ADDED_TOKENS_FROM_DATA = "data"
"""Value of ``added_tokens_from`` that stands for the processed folder that ``fit`` trains on."""

_TOKENS = "tokens_fingerprint"


class BiEncoder(LightningModule):
    """Contexts and products in one space, by one shared encoder, trained against in-batch negatives.

    Args:
        base_model: a folder or a hub id that SentenceTransformer can load.
        encoder: 'static' keeps only the base model's token embeddings, and a text is their mean: hundreds of times
            faster, and it trains in minutes on a CPU. 'transformer' keeps the base model as it is.
        added_tokens_from: a processed folder; names of products that it trains on become one token each of a static
            encoder, which starts at the mean of its pieces; 'data' for the folder that fit trains on. None for the
            base model's word pieces alone.
        added_token_min_count: a name becomes a token where it is in this many training pairs.
        max_seq_length: texts are cut to this many tokens.
        truncation_side: where they are cut; a context ends in its newest order, so 'left' keeps that.
        loss: 'multi_positive' takes all products of an order as positives and none of them as a negative, each
            order weighing the same; 'mnrl' weighs each pair the same, which on batches of single pairs is
            sentence-transformers' MultipleNegativesRankingLoss.
        temperature: similarities are divided by it; the seed's scale of 30 is a temperature of 1/30.
        logq_correction: subtract this times the log of a product's share of the training pairs from its
            score in training. In-batch negatives are drawn by popularity; 1 undoes that, 0 leaves it.
        learning_rate: peak of the schedule.
        weight_decay: of AdamW.
        warmup_frac: share of all steps over which the learning rate rises.
        schedule: what the learning rate does after that.
        dropout: replaces the base model's own; none leaves it. A static encoder leaves out this share of a text's
            tokens.
        gradient_checkpointing: less memory, more time.
        grad_cache_size: batches of any size in the memory of this many texts, for a third more time: embeddings
            first, then gradients this many texts at a time. The gradient is the same. None keeps all activations.
    """

    def __init__(
        self,
        base_model: str = DEFAULT_BASE_MODEL,
        encoder: EncoderKind = "transformer",
        added_tokens_from: str | None = None,
        added_token_min_count: PositiveInt = 3,
        max_seq_length: int = 256,
        truncation_side: TruncationSide = "left",
        loss: LossName = "multi_positive",
        temperature: PositiveFloat = 1 / 30,
        logq_correction: float = 0.0,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        warmup_frac: Share = 0.1,
        schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine",
        dropout: float | None = None,
        gradient_checkpointing: bool = False,
        grad_cache_size: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        base_model = _lasting(base_model)
        added_tokens_from = _lasting(added_tokens_from) if added_tokens_from else None
        self.save_hyperparameters()
        # LightningCLI keeps the words that were typed.
        self.hparams.update(base_model=base_model, added_tokens_from=added_tokens_from)
        check_arguments(BiEncoder.__init__, self.hparams)
        self.checkpoint_epoch: int | None = None
        self.encoder = TextEncoder(
            base_model,
            kind=encoder,
            added_tokens=frequent_names(Path(added_tokens_from), added_token_min_count) if added_tokens_from else (),
            max_seq_length=max_seq_length,
            truncation_side=truncation_side,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
            grad_cache_size=grad_cache_size,
        )
        self.encoder.train()  # it is loaded for inference, without its dropout

    def forward(self, chunks: Sequence[dict[str, Tensor]]) -> Tensor:
        """Encode texts; see :class:`~lit_rec.models.encoder.TextEncoder`."""
        embeddings: Tensor = self.encoder(chunks)
        return embeddings

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one batch of orders or pairs."""
        losses = self.batch_losses(batch)
        loss = global_mean(losses)
        n_anchors = len(batch["product_index"])
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=n_anchors)
        return loss

    def batch_losses(self, batch: dict[str, Any]) -> Tensor:
        """Losses whose mean over all processes is to be made small: one an order, or one a pair.

        Args:
            batch: what :class:`~lit_rec.data.dataset.OrderDataset` answers.
        """
        n_products = len(batch["product_position"])
        embeddings = self([*batch["anchor"], *batch["product"]])  # in one call: one gradient of a static vocabulary
        anchors = embeddings[:-n_products]
        products, positions, log_frequency = gather_candidates(
            embeddings[-n_products:], batch["product_position"], batch["log_frequency"]
        )
        with torch.autocast(anchors.device.type, enabled=False):  # 8 bits of a cosine are too few for a softmax
            scores = anchors @ products.T / self.hparams["temperature"]
        scores = scores - self.hparams["logq_correction"] * log_frequency
        anchor_index = batch["anchor_index"]
        column = torch.searchsorted(positions, batch["product_position"])  # of each product of this process
        if "negative_weight" in batch:
            negative = batch["negative_anchor_index"], column[batch["negative_product_index"]]
            scores = with_hard_negatives(scores, *negative, batch["negative_weight"])
        losses = multi_positive_loss(scores, anchor_index, column[batch["product_index"]])
        if "pair_weight" in batch:
            losses = losses * batch["pair_weight"]
        return losses if self.hparams["loss"] == "mnrl" else mean_over_anchors(losses, anchor_index, len(anchors))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the token ids were: they are made anew from base model and added tokens when it is loaded."""
        checkpoint[_TOKENS] = self.encoder.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of other tokens.

        Raises:
            CheckpointError: the base model or the folder of the added tokens has changed.
        """
        if checkpoint.get(_TOKENS, self.encoder.fingerprint) != self.encoder.fingerprint:
            names, base_model = self.hparams["added_tokens_from"], self.hparams["base_model"]
            raise CheckpointError(
                "The checkpoint's tokens are not those of this model",
                f"base_model {base_model!r} or added_tokens_from {names!r} has other content than in training",
                "Bring back what it was trained with",
            )
        self.checkpoint_epoch = checkpoint.get("epoch")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, *args: Any, **options: Any) -> Self:  # type: ignore[override] # noqa: ANN401
        """Lightning's own, which also takes checkpoints of version 0.1."""
        content = torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        settings = present_names(content["hyper_parameters"])
        return super().load_from_checkpoint(checkpoint_path, *args, **settings | options)

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Embeddings of a batch of products or queries; callbacks make metrics of them."""
        embeddings: Tensor = self(batch["tokens"])
        return embeddings

    test_step = validation_step
    predict_step = validation_step

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, a warm-up and a schedule over all steps of the fit."""
        options = self.hparams
        # One pass over memory instead of a dozen: on a CPU the step is several times faster. Mixed precision's gradient
        # clipping refuses it.
        fused = self.device.type == "cpu" and self.trainer.precision == "32-true"
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=options["learning_rate"],
            weight_decay=options["weight_decay"],
            fused=fused or None,
        )
        n_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = get_scheduler(
            options["schedule"],
            optimizer,
            num_warmup_steps=int(options["warmup_frac"] * n_steps),
            num_training_steps=n_steps,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _lasting(path_or_id: str) -> str:
    """A folder by its whole path, so that its checkpoint loads from anywhere; a hub id as it is."""
    return str(Path(path_or_id).absolute()) if Path(path_or_id).is_dir() else path_or_id
