"""How texts become token ids, and token ids what an encoder's first module takes.

A transformer's tokenizer belongs to transformers and is told how to cut at each call; a static embedding's is a plain
``tokenizers.Tokenizer``, which keeps the length and the side it cuts at in its own file.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from lit_rec.core.errors import SettingError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer  # seconds to import, and it prints: parsing must not wait

TruncationSide = Literal["left", "right"]

# B texts, L tokens, S tokens of all texts together

_NO_PADDING = 0  # the id that fills up rows of a tokenizer without one; masks leave it out again


class TransformerTokenizer:
    """The tokenizer of a transformer; its special tokens count.

    Args:
        sentence_transformer: whose first module is a transformer; its length and side are set.
        max_seq_length: texts are cut to this many tokens.
        truncation_side: where longer texts are cut.

    Raises:
        SettingError: the model has fewer positions than ``max_seq_length``.
    """

    def __init__(
        self, sentence_transformer: "SentenceTransformer", max_seq_length: int, truncation_side: TruncationSide
    ) -> None:
        self._tokenizer: Any = sentence_transformer.tokenizer
        least = self._tokenizer.num_special_tokens_to_add() + 1
        positions = _positions(sentence_transformer.transformers_model) or max(max_seq_length, least)
        if not least <= max_seq_length <= positions:
            raise SettingError(
                f"max_seq_length must be from {least}, special tokens and one more, to the base model's {positions}",
                f"got {max_seq_length}",
            )
        sentence_transformer.max_seq_length = self.max_seq_length = max_seq_length
        self._tokenizer.truncation_side = truncation_side
        self._tokenizer.init_kwargs["truncation_side"] = truncation_side  # else saved only if it has cut a text
        self.pad_token_id = int(self._tokenizer.pad_token_id)

    @property
    def fingerprint(self) -> str:
        """Changes when the token ids of any text would."""
        backend = json.loads(self._tokenizer.backend_tokenizer.to_str())
        for of_last_call in ("truncation", "padding"):
            del backend[of_last_call]
        return _sha256([backend, self.max_seq_length, self._tokenizer.truncation_side])

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special ones included, cut to ``max_seq_length``."""
        encoded = self._tokenizer(
            list(texts), truncation=True, max_length=self.max_seq_length, return_attention_mask=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def features(self, chunks: Sequence[dict[str, Tensor]], dropout: float) -> list[dict[str, Tensor]]:
        """The chunks as they are; a transformer drops out by itself."""
        return [dict(chunk) for chunk in chunks]


def _positions(transformer: Any) -> int | None:  # noqa: ANN401 - untyped library
    """How many tokens a transformer has positions for; None where that is not bounded."""
    positions: int | None = getattr(getattr(transformer, "config", None), "max_position_embeddings", None)
    for name, module in transformer.named_modules() if positions else ():
        padding = getattr(module, "padding_idx", None) if name.endswith("position_embeddings") else None
        if positions and padding is not None:  # RoBERTa and its kin count from the one after that of the padding
            return min(positions, int(module.num_embeddings) - int(padding) - 1)
    return positions


class StaticTokenizer:
    """The tokenizer of a static embedding: no special tokens, so that they are no part of the mean.

    Args:
        sentence_transformer: whose first module is a ``StaticEmbedding``; its length and side are set.
        max_seq_length: texts are cut to this many tokens; there are no positions to run out of.
        truncation_side: where longer texts are cut.

    Raises:
        SettingError: ``max_seq_length`` is below 1.
    """

    def __init__(
        self, sentence_transformer: "SentenceTransformer", max_seq_length: int, truncation_side: TruncationSide
    ) -> None:
        if max_seq_length < 1:
            raise SettingError("max_seq_length must be at least 1", f"got {max_seq_length}")
        self.max_seq_length = max_seq_length
        self._tokenizer: Any = sentence_transformer.tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_seq_length, direction=truncation_side)
        pad_token_id = self._tokenizer.token_to_id("[PAD]")
        self.pad_token_id = _NO_PADDING if pad_token_id is None else int(pad_token_id)

    @property
    def fingerprint(self) -> str:
        """Changes when the token ids of any text would."""
        return _sha256(["static", json.loads(self._tokenizer.to_str())])

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, cut to ``max_seq_length``; none for an empty text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def features(self, chunks: Sequence[dict[str, Tensor]], dropout: float) -> list[dict[str, Tensor]]:
        """All chunks as one flat bag each text: one gradient of the size of the vocabulary, not one a chunk.

        Args:
            chunks: each with ``input_ids`` and ``attention_mask``, int64 ``(B_i, L_i)``.
            dropout: share of the tokens to leave out of the means.

        Returns:
            ``input_ids`` int64 ``(S,)``, and ``offsets`` int64 ``(sum of B_i,)``, where each text begins.
        """
        masks = [chunk["attention_mask"].bool() for chunk in chunks]
        if dropout > 0:
            masks = [mask & (torch.rand(mask.shape, device=mask.device) >= dropout) for mask in masks]
        ids = torch.cat([chunk["input_ids"][mask] for chunk, mask in zip(chunks, masks, strict=True)])
        lengths = torch.cat([mask.sum(dim=1) for mask in masks])
        return [{"input_ids": ids, "offsets": lengths.cumsum(0) - lengths}]


def is_static(sentence_transformer: "SentenceTransformer") -> bool:
    """Whether a model is a mean of token embeddings."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return isinstance(sentence_transformer[0], StaticEmbedding)


def static_from_token_embeddings(
    sentence_transformer: "SentenceTransformer", added_tokens: Sequence[str] = ()
) -> "SentenceTransformer":
    """A static model whose tokens start at a transformer's input embeddings.

    Args:
        sentence_transformer: whose first module is a transformer with a fast tokenizer.
        added_tokens: each becomes one token, wherever it stands as whole words; it starts at the mean of its pieces.

    Returns:
        A model of two modules, the mean of token embeddings and its normalisation.

    Raises:
        SettingError: it has no input embeddings or no fast tokenizer.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    transformer: Any = sentence_transformer.transformers_model
    backend = getattr(sentence_transformer.tokenizer, "backend_tokenizer", None)
    if transformer is None or backend is None:
        raise SettingError(
            "A static encoder starts from a transformer's token embeddings",
            f"{type(sentence_transformer[0]).__name__} has none, or no fast tokenizer",
            "Name another base model, or take encoder: transformer",
        )
    tokenizer: Any = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()  # MiniLM's own fills up to 128: added tokens would start at the mean of their padding
    weights = _with_added_tokens(
        tokenizer, transformer.get_input_embeddings().weight.detach().float().clone(), added_tokens
    )
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights), Normalize()])


def _with_added_tokens(tokenizer: Any, weights: Tensor, added_tokens: Sequence[str]) -> Tensor:  # noqa: ANN401 - untyped library
    """Add those names that are more than one token to ``tokenizer``; the weights ``(V, D)`` with their rows."""
    distinct = list({token.lower(): token for token in added_tokens}.values())  # one that is matched for all spellings
    encodings = tokenizer.encode_batch(distinct, add_special_tokens=False)
    pieces = {token: encoding.ids for token, encoding in zip(distinct, encodings, strict=True)}
    pieces = {token: ids for token, ids in pieces.items() if len(ids) > 1}
    tokenizer.add_tokens([AddedToken(token, single_word=True, normalized=True) for token in pieces])
    rows = {tokenizer.token_to_id(token): weights[ids].mean(dim=0) for token, ids in pieces.items()}
    grown = torch.zeros(max([len(weights), *(row + 1 for row in rows)]), weights.shape[1])
    grown[: len(weights)] = weights
    for row, embedding in rows.items():
        grown[row] = embedding
    return grown


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
