"""The shared encoder: one SentenceTransformer for contexts and products alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lit_rec.artifacts.pretrained import default_prompt, load_sentence_transformer
from lit_rec.core.errors import SettingError
from lit_rec.core.files import sha256_of_texts
from lit_rec.models.tokenization import (
    StaticTokenizer,
    TransformerTokenizer,
    TruncationSide,
    is_static,
    static_from_token_embeddings,
)

EncoderKind = Literal["transformer", "static"]

# B texts, L tokens, D embedding


class TextEncoder(nn.Module):
    """Token ids to unit vectors.

    Args:
        base_model: a folder or a hub id that ``SentenceTransformer`` can load.
        kind: 'static' keeps only the base model's token embeddings, and a text is their mean: hundreds of times
            faster. 'transformer' keeps the base model as it is; one that is static already stays so.
        added_tokens: each is one token of a static encoder; see :mod:`lit_rec.models.added_tokens`.
        max_seq_length: texts are cut to this many tokens.
        truncation_side: where longer texts are cut. A context ends in its newest order, so 'left' keeps that.
        dropout: replaces the base model's own, in training; None leaves it. A static encoder leaves out this share
            of a text's tokens.
        gradient_checkpointing: compute activations twice instead of keeping them: less memory, more time.
        grad_cache_size: keep no activations of any text until the gradients of all embeddings are known, then
            encode again and go back this many texts at a time: memory for the activations of that many, whatever the
            batch; the gradient is the same. None keeps all.

    Raises:
        ModelFolderError: the model cannot be loaded.
        SettingError: the model has fewer positions than ``max_seq_length``, or a static encoder is asked for what it
            has not.
    """

    def __init__(
        self,
        base_model: str,
        *,
        kind: EncoderKind = "transformer",
        added_tokens: Sequence[str] = (),
        max_seq_length: int = 256,
        truncation_side: TruncationSide = "left",
        dropout: float | None = None,
        gradient_checkpointing: bool = False,
        grad_cache_size: int | None = None,
    ) -> None:
        super().__init__()
        self.sentence_transformer = load_sentence_transformer(base_model)
        if kind == "static" and not is_static(self.sentence_transformer):
            self.sentence_transformer = static_from_token_embeddings(self.sentence_transformer, added_tokens)
        elif added_tokens:
            raise SettingError(
                "Added tokens are tokens of a static encoder that is started from a transformer",
                f"got {len(added_tokens):,} of them for {base_model!r} as encoder: {kind}",
                "Leave added_tokens_from out, or take encoder: static and a transformer as its base model",
            )
        self.is_static = is_static(self.sentence_transformer)
        self._prompt = default_prompt(self.sentence_transformer)
        self.sentence_transformer.set_pooling_include_prompt(True)  # as it is trained, here and in every back end
        tokenizer = StaticTokenizer if self.is_static else TransformerTokenizer
        self._tokenizer = tokenizer(self.sentence_transformer, max_seq_length, truncation_side)
        self._token_dropout = (dropout or 0.0) if self.is_static else 0.0
        for name, parameter in self.named_parameters():
            if ".pooler." in name:  # BERT's, which a mean over tokens leaves unused: DDP would wait for its gradient
                parameter.requires_grad = False
        if dropout is not None:
            for module in self.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
        self._check_memory_settings(gradient_checkpointing, grad_cache_size)
        self.grad_cache_size = grad_cache_size
        if gradient_checkpointing:
            self.sentence_transformer.gradient_checkpointing_enable({"use_reentrant": False})  # as DDP needs it

    @property
    def max_seq_length(self) -> int:
        """Tokens that texts are cut to."""
        return self._tokenizer.max_seq_length

    @property
    def pad_token_id(self) -> int:
        """The id that fills up short rows."""
        return self._tokenizer.pad_token_id

    @property
    def fingerprint(self) -> str:
        """Changes when the token ids of any text would."""
        own = self._tokenizer.fingerprint
        return sha256_of_texts([own, self._prompt]) if self._prompt else own

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text behind the model's default prompt, special ones included, cut to ``max_seq_length``."""
        return self._tokenizer.token_ids([self._prompt + text for text in texts])

    def forward(self, chunks: Sequence[dict[str, Tensor]]) -> Tensor:
        """Encode texts that are padded in chunks.

        Args:
            chunks: each with ``input_ids`` and ``attention_mask``, int64 ``(B_i, L_i)``.

        Returns:
            float32 ``(sum of B_i, D)``, of length 1; zeros for a static encoder's text without a token.
        """
        if self.grad_cache_size is not None and torch.is_grad_enabled():
            embeddings = self._encode_with_grad_cache(chunks, self.grad_cache_size)
        else:
            features = self._tokenizer.features(chunks, self._token_dropout if self.training else 0.0)
            embeddings = [self._encode(each) for each in features]
        return F.normalize(torch.cat(embeddings).float(), dim=-1)

    def save(self, folder: Path) -> None:
        """Write a folder that plain ``SentenceTransformer(folder)`` loads."""
        self.sentence_transformer.save(str(folder), create_model_card=False, safe_serialization=True)

    def _encode(self, features: dict[str, Tensor]) -> Tensor:
        embeddings: Tensor = self.sentence_transformer(dict(features))["sentence_embedding"]
        return embeddings

    def _encode_with_grad_cache(self, chunks: Sequence[dict[str, Tensor]], rows: int) -> list[Tensor]:
        """Embeddings whose activations are computed again on the way back, ``rows`` texts at a time.

        An activation checkpoint around each part is GradCache, run by autograd: encode without a graph; loss; gradients
        of the embeddings; then part after part encoded again, with the same dropout, and gone back through. Clipping,
        accumulation, precision and DDP stay what they are.

        Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (2021).
        """
        return [checkpoint(self._encode, part, use_reentrant=False) for part in split_chunks(chunks, rows)]

    def _check_memory_settings(self, gradient_checkpointing: bool, grad_cache_size: int | None) -> None:
        asked = {"gradient_checkpointing": gradient_checkpointing, "grad_cache_size": grad_cache_size}
        if self.is_static and (found := [name for name, value in asked.items() if value]):
            raise SettingError(
                f"{' and '.join(found)} saves the memory of layers", "a static encoder has none", "Leave it out"
            )


def split_chunks(chunks: Sequence[dict[str, Tensor]], rows: int) -> list[dict[str, Tensor]]:
    """The same texts in the same order, at most ``rows`` a chunk, each chunk padded to its own longest text.

    Args:
        chunks: each with ``input_ids`` and ``attention_mask``, int64 ``(B_i, L_i)``.
        rows: at least 1.
    """
    parts = []
    for chunk in chunks:
        for start in range(0, len(chunk["input_ids"]), rows):
            mask = chunk["attention_mask"][start : start + rows]
            longest = int(mask.sum(dim=1).max())
            part = {"input_ids": chunk["input_ids"][start : start + rows], "attention_mask": mask}
            parts.append({name: tensor[:, :longest] for name, tensor in part.items()})
    return parts
