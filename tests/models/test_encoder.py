from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from lit_rec.artifacts.pretrained import load_sentence_transformer
from lit_rec.core.errors import ModelFolderError, NotPreparedError, SettingError
from lit_rec.data.tokens import TokenTable, length_sorted_chunks
from lit_rec.inference.backends import model_fingerprint
from lit_rec.models.added_tokens import frequent_names
from lit_rec.models.encoder import TextEncoder, split_chunks

SHORT = ["", "milk", "(no prior orders).", "Product: organic milk. Aisle: milk. Department: dairy."]
OLDEST = "[w1h1] product, milk; " * 30
LONG = [OLDEST + "[w5h9] aisle department.", "[w3h8] rice; " * 40]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more."""
    torch.set_num_threads(1)


@pytest.fixture
def encoder(tiny_model: Path) -> TextEncoder:
    return TextEncoder(str(tiny_model), max_seq_length=32).eval()


def chunk_of(encoder: TextEncoder, texts: list[str]) -> dict[str, torch.Tensor]:
    rows = encoder.token_ids(texts)
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [encoder.pad_token_id] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }


def encode(encoder: TextEncoder, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return encoder([chunk_of(encoder, texts)])


def test_embeddings_are_unit_vectors(encoder: TextEncoder) -> None:
    embeddings = encode(encoder, SHORT + LONG)
    assert embeddings.shape == (len(SHORT + LONG), 16) == (6, 16)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))


def test_texts_in_chunks_are_encoded_as_in_one_batch(encoder: TextEncoder) -> None:
    rows = sorted(encoder.token_ids(SHORT + LONG), key=len)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    table = TokenTable(np.concatenate(rows).astype(np.int32), starts, encoder.pad_token_id)
    chunks = length_sorted_chunks(table, np.arange(6), 4)
    assert [len(chunk["input_ids"]) for chunk in chunks] == [4, 2]
    assert chunks[0]["input_ids"].shape[1] < chunks[1]["input_ids"].shape[1]
    with torch.no_grad():
        torch.testing.assert_close(encoder(chunks), encoder([table.padded(np.arange(6))]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_are_cut_and_encoded_as_sentence_transformers_does(tiny_model: Path, side: str) -> None:
    ours = TextEncoder(str(tiny_model), max_seq_length=32, truncation_side=side).eval()
    theirs = SentenceTransformer(str(tiny_model), device="cpu")
    theirs.max_seq_length = 32
    theirs.tokenizer.truncation_side = side
    assert {len(ids) for ids in ours.token_ids(LONG)} == {32}
    expected = theirs.encode(SHORT + LONG, convert_to_tensor=True)
    torch.testing.assert_close(encode(ours, SHORT + LONG), expected, atol=1e-6, rtol=0)


def test_cutting_left_keeps_the_newest_order_and_right_the_oldest(tiny_model: Path) -> None:
    def kept(side: str) -> str:
        encoder = TextEncoder(str(tiny_model), max_seq_length=16, truncation_side=side)
        (ids,) = encoder.token_ids([OLDEST + "[w5h9] aisle department."])
        return encoder.sentence_transformer.tokenizer.decode(ids)

    left, right = kept("left"), kept("right")
    assert "aisle department" in left
    assert "aisle" not in right
    for text in (left, right):  # what a model of this kind needs around every text
        assert text.startswith("[CLS]")
        assert text.endswith("[SEP]")


def test_a_saved_encoder_is_a_plain_sentence_transformer(encoder: TextEncoder, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01)
    encoder.save(tmp_path / "saved")
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert plain.max_seq_length == 32
    expected = encode(encoder, SHORT + LONG)
    torch.testing.assert_close(plain.encode(SHORT + LONG, convert_to_tensor=True), expected, atol=1e-6, rtol=0)
    again = TextEncoder(str(tmp_path / "saved"), max_seq_length=32).eval()
    assert again.fingerprint == encoder.fingerprint
    suffixes = {file.suffix for file in (tmp_path / "saved").rglob("*") if file.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".txt", ".md"}, "nothing that unpickles"


def test_gradient_checkpointing_changes_no_gradient(tiny_model: Path) -> None:
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        encoder = TextEncoder(str(tiny_model), max_seq_length=32, dropout=0.0, gradient_checkpointing=checkpointing)
        encoder.train()
        is_on = [getattr(module, "gradient_checkpointing", False) for module in encoder.modules()]
        assert any(is_on) is checkpointing
        (encoder([chunk_of(encoder, SHORT), chunk_of(encoder, LONG)]) @ torch.randn(16)).sum().backward()
        return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys()
    assert any("layer.0" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-5)


def test_every_parameter_that_trains_gets_a_gradient(tiny_model: Path) -> None:
    """DDP waits for the gradients of all that require one; BERT's pooler, which pooling does not use, has none."""
    encoder = TextEncoder(str(tiny_model), max_seq_length=32)
    (encoder([chunk_of(encoder, SHORT)]) @ torch.randn(16)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_fingerprint_is_that_of_the_token_ids(tiny_model: Path) -> None:
    encoder = TextEncoder(str(tiny_model), max_seq_length=32)
    before = encoder.fingerprint
    encoder.token_ids(LONG)
    encoder.sentence_transformer.encode(SHORT)
    assert encoder.fingerprint == before
    assert TextEncoder(str(tiny_model), max_seq_length=32, dropout=0.3).fingerprint == before
    others = {
        TextEncoder(str(tiny_model), max_seq_length=31).fingerprint,
        TextEncoder(str(tiny_model), max_seq_length=32, truncation_side="right").fingerprint,
    }
    assert len(others - {before}) == 2


def test_dropout_is_replaced_only_where_asked(tiny_model: Path) -> None:
    def spread_of_two_passes(dropout: float | None) -> float:
        encoder = TextEncoder(str(tiny_model), max_seq_length=32, dropout=dropout).train()
        return (encode(encoder, SHORT) - encode(encoder, SHORT)).abs().max().item()

    assert spread_of_two_passes(0.0) == 0
    assert spread_of_two_passes(None) > 1e-3  # BERT's own 0.1
    assert spread_of_two_passes(0.5) > spread_of_two_passes(None) > 0


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="nowhere"):
        TextEncoder(str(tmp_path / "nowhere"))


def test_longer_texts_than_the_model_has_positions_for_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match=r"max_seq_length.*64"):
        TextEncoder(str(tiny_model), max_seq_length=65)


def test_the_plain_loader_leaves_the_models_own_settings(tiny_model: Path) -> None:
    assert load_sentence_transformer(str(tiny_model)).max_seq_length == 64


STATIC = {"kind": "static", "max_seq_length": 32}


def static_embeddings(tiny_model: Path, texts: list[str]) -> torch.Tensor:
    """By hand: the mean of the base model's input embeddings over a text's pieces, of length 1."""
    base = SentenceTransformer(str(tiny_model), device="cpu")
    weights = base.transformers_model.get_input_embeddings().weight.detach()
    means = [weights[base.tokenizer(text, add_special_tokens=False)["input_ids"][-32:]].mean(dim=0) for text in texts]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def test_a_static_encoder_is_the_mean_of_the_base_models_token_embeddings(tiny_model: Path) -> None:
    """Without special tokens, and of the newest tokens where a text is longer."""
    encoder = TextEncoder(str(tiny_model), **STATIC).eval()
    texts = SHORT[1:] + LONG
    torch.testing.assert_close(encode(encoder, texts), static_embeddings(tiny_model, texts), atol=1e-6, rtol=0)
    assert max(map(len, encoder.token_ids(LONG))) == 32
    assert encoder.token_ids([""]) == [[]]
    assert encode(encoder, ["", "milk"]).norm(dim=1).tolist() == pytest.approx([0, 1])


def test_a_static_encoder_encodes_chunks_as_one_batch(tiny_model: Path) -> None:
    encoder = TextEncoder(str(tiny_model), **STATIC).eval()
    with torch.no_grad():
        found = encoder([chunk_of(encoder, SHORT), chunk_of(encoder, LONG)])
    torch.testing.assert_close(found, encode(encoder, SHORT + LONG))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_saved_static_encoder_is_a_plain_sentence_transformer(tiny_model: Path, tmp_path: Path, side: str) -> None:
    encoder = TextEncoder(str(tiny_model), **STATIC, truncation_side=side, added_tokens=["organic milk"]).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
    encoder.save(tmp_path / "saved")
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    expected = encode(encoder, SHORT + LONG)
    torch.testing.assert_close(plain.encode(SHORT + LONG, convert_to_tensor=True), expected, atol=1e-6, rtol=0)
    again = TextEncoder(str(tmp_path / "saved"), max_seq_length=32, truncation_side=side).eval()
    assert again.is_static
    assert again.fingerprint == encoder.fingerprint
    torch.testing.assert_close(encode(again, SHORT + LONG), expected, atol=1e-6, rtol=0)
    assert {file.suffix for file in (tmp_path / "saved").rglob("*") if file.is_file()} <= {".safetensors", ".json"}


def test_fingerprints_of_static_encoders_tell_their_tokens_apart(tiny_model: Path) -> None:
    kinds = [
        {},
        {"max_seq_length": 31},
        {"truncation_side": "right"},
        {"added_tokens": ["organic milk"]},
        {"kind": "transformer"},
    ]
    encoders = [TextEncoder(str(tiny_model), **(STATIC | kind)) for kind in kinds]
    assert len({encoder.fingerprint for encoder in encoders}) == len(kinds)
    assert len({model_fingerprint(encoder.sentence_transformer) for encoder in encoders}) == len(kinds)
    before = encoders[0].fingerprint
    encoders[0].sentence_transformer.encode(LONG)
    assert encoders[0].fingerprint == before == TextEncoder(str(tiny_model), **STATIC).fingerprint


def test_a_phrase_is_one_token_that_starts_at_the_mean_of_its_pieces(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = SentenceTransformer(str(tiny_model), device="cpu")
    base.tokenizer.backend_tokenizer.enable_padding(length=8)  # as MiniLM's file has it
    base.tokenizer.backend_tokenizer.enable_truncation(1)
    monkeypatch.setattr("lit_rec.models.encoder.load_sentence_transformer", lambda _: base)
    plain = TextEncoder(str(tiny_model), **STATIC)
    added_tokens = ["Organic Milk", "organic milk", "milk", "dairy product aisle"]
    encoder = TextEncoder(str(tiny_model), **STATIC, added_tokens=added_tokens)
    weights = encoder.sentence_transformer[0].embedding.weight
    assert len(weights) == len(plain.sentence_transformer[0].embedding.weight) + 2  # milk is one token already
    (pieces,), (token,) = plain.token_ids(["organic milk"]), encoder.token_ids(["ORGANIC MILK"])
    assert (len(pieces), len(token)) == (2, 1)
    torch.testing.assert_close(weights[token[0]], weights[pieces].mean(dim=0))
    rows = encoder.token_ids(["rice, organic milk; organic milks", "organic, milk"])
    assert rows[0].count(token[0]) == 1, "whole words only"
    assert token[0] not in rows[1]
    assert rows[1] == plain.token_ids(["organic, milk"])[0]


def test_dropout_leaves_tokens_out_in_training_only(tiny_model: Path) -> None:
    encoder = TextEncoder(str(tiny_model), **STATIC, dropout=0.5).train()
    assert (encode(encoder, LONG) - encode(encoder, LONG)).abs().max() > 1e-3
    encoder.eval()
    torch.testing.assert_close(encode(encoder, LONG), static_embeddings(tiny_model, LONG), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kind": "static", "gradient_checkpointing": True}, "gradient_checkpointing"),
        ({"kind": "static", "grad_cache_size": 2}, "grad_cache_size"),
        ({"kind": "static", "max_seq_length": 0}, "max_seq_length"),
        ({"kind": "transformer", "added_tokens": ["organic milk"]}, "static"),
    ],
)
def test_what_an_encoder_has_not_is_refused(settings: dict[str, object], named: str, tiny_model: Path) -> None:
    with pytest.raises(SettingError, match=named):
        TextEncoder(str(tiny_model), **({"max_seq_length": 32} | settings))


def test_frequent_names_are_those_of_the_training_pairs(processed_dir: Path, tmp_path: Path) -> None:
    from datasets import load_from_disk

    from lit_rec.data.contexts import product_name

    counts = Counter(map(product_name, load_from_disk(processed_dir / "train_dataset")["positive"]))
    expected = sorted(name for name, count in counts.items() if count >= 3)
    assert 3 < len(expected) < len(counts)
    assert frequent_names(processed_dir, 3) == expected
    with pytest.raises(NotPreparedError):
        frequent_names(tmp_path, 3)


def test_split_chunks_hold_the_same_texts(tiny_model: Path) -> None:
    encoder = TextEncoder(str(tiny_model), max_seq_length=32).eval()
    chunks = [chunk_of(encoder, SHORT), chunk_of(encoder, LONG)]
    parts = split_chunks(chunks, 3)
    assert [len(part["input_ids"]) for part in parts] == [3, 1, 2]
    assert parts[0]["input_ids"].shape[1] < chunks[0]["input_ids"].shape[1]
    with torch.no_grad():
        torch.testing.assert_close(encoder(parts), encoder(chunks), atol=1e-6, rtol=0)


def test_a_gradient_cache_keeps_no_activations_of_the_whole_batch(tiny_model: Path) -> None:
    """What is saved for the way back: all of it without a cache; with one, token ids and masks only."""

    def saved_elements(rows: int | None) -> int:
        encoder = TextEncoder(str(tiny_model), max_seq_length=32, dropout=0.0, grad_cache_size=rows).train()
        parameters = {parameter.data_ptr() for parameter in encoder.parameters()}
        saved: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in parameters and tensor.is_floating_point():
                saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoder([chunk_of(encoder, LONG * 8)])
        return sum(saved)

    assert saved_elements(2) < saved_elements(None) / 50
