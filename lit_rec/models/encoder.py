"""The shared encoder: one SentenceTransformer for contexts and products alike."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_rec.errors import SettingError
from lit_rec.pretrained import load_sentence_transformer

# B texts, L tokens, D embedding


class TextEncoder(nn.Module):
    """Token ids to unit vectors.

    Args:
        base_model: a folder or a hub id that ``SentenceTransformer`` can load.
        max_seq_length: texts are cut to this many tokens.
        truncation_side: where longer texts are cut. A context ends in its newest order, so 'left' keeps that.
        dropout: replaces the base model's own, in training; None leaves it.
        gradient_checkpointing: compute activations twice instead of keeping them: less memory, more time.

    Raises:
        ModelFolderError: the model cannot be loaded.
        SettingError: the model has fewer positions than ``max_seq_length``.
    """

    def __init__(
        self,
        base_model: str,
        *,
        max_seq_length: int = 256,
        truncation_side: Literal["left", "right"] = "left",
        dropout: float | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.sentence_transformer = load_sentence_transformer(base_model)
        config = getattr(self.sentence_transformer.transformers_model, "config", None)
        positions = getattr(config, "max_position_embeddings", None) or max_seq_length
        if not 1 <= max_seq_length <= positions:
            raise SettingError(f"max_seq_length must be from 1 to {base_model}'s {positions}", f"got {max_seq_length}")
        self.sentence_transformer.max_seq_length = max_seq_length
        tokenizer = self.sentence_transformer.tokenizer
        tokenizer.truncation_side = truncation_side
        tokenizer.init_kwargs["truncation_side"] = truncation_side  # else saved only by a tokenizer that has cut a text
        for name, parameter in self.named_parameters():
            if ".pooler." in name:  # BERT's, which a mean over tokens leaves unused: DDP would wait for its gradient
                parameter.requires_grad = False
        if dropout is not None:
            for module in self.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
        if gradient_checkpointing:
            self.sentence_transformer.gradient_checkpointing_enable({"use_reentrant": False})  # as DDP needs it

    @property
    def embedding_size(self) -> int:
        """D."""
        return int(self.sentence_transformer.get_embedding_dimension() or 0)

    @property
    def max_seq_length(self) -> int:
        """Tokens that texts are cut to."""
        return int(self.sentence_transformer.max_seq_length or 0)

    @property
    def pad_token_id(self) -> int:
        """The id that fills up short rows."""
        return int(self.sentence_transformer.tokenizer.pad_token_id)

    @property
    def fingerprint(self) -> str:
        """Changes when the token ids of any text would."""
        tokenizer = self.sentence_transformer.tokenizer
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        for of_last_call in ("truncation", "padding"):
            del backend[of_last_call]
        return hashlib.sha256(
            json.dumps([backend, self.max_seq_length, tokenizer.truncation_side]).encode()
        ).hexdigest()

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special ones included, cut to ``max_seq_length``."""
        encoded = self.sentence_transformer.tokenizer(
            list(texts), truncation=True, max_length=self.max_seq_length, return_attention_mask=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def forward(self, chunks: Sequence[dict[str, Tensor]]) -> Tensor:
        """Encode texts that are padded in chunks.

        Args:
            chunks: each with ``input_ids`` and ``attention_mask``, int64 ``(B_i, L_i)``.

        Returns:
            float32 ``(sum of B_i, D)``, of length 1.
        """
        embeddings = [self.sentence_transformer(dict(chunk))["sentence_embedding"] for chunk in chunks]
        return F.normalize(torch.cat(embeddings).float(), dim=-1)

    def save(self, folder: Path) -> None:
        """Write a folder that plain ``SentenceTransformer(folder)`` loads."""
        self.sentence_transformer.save(str(folder), create_model_card=False, safe_serialization=True)
