"""A tiny catalogue, tiny raw and processed folders and a tiny encoder; nothing comes from the network."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's six files of 60 made-up shoppers."""
    from lit_rec.data.sources import synthetic

    folder = tmp_path_factory.mktemp("raw") / "kaggle"
    synthetic.generate(folder, n_users=60, n_products=200, seed=7)
    return folder


@pytest.fixture(scope="session")
def processed_dir(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processed folder of those shoppers with rolling targets."""
    from lit_rec.data.prepare import prepare
    from lit_rec.data.settings import PrepareSettings

    settings = PrepareSettings(targets="rolling", eval_frac=0.5)
    return prepare("instacart", raw_dir, tmp_path_factory.mktemp("processed"), settings)


@pytest.fixture(scope="session")
def tiny_model(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder of 16 dimensions whose words are those of the tiny catalogue."""
    return build_tiny_model(raw_dir, tmp_path_factory.mktemp("tiny_model"))


def build_tiny_model(raw_dir: Path, folder: Path) -> Path:
    """A BERT with random weights (seeded), saved as SentenceTransformer saves."""
    import re

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    names = (raw_dir / "products.csv").read_text(encoding="utf-8")
    words = sorted(set(re.findall(r"[a-z]+|\d", names.lower())) | {"product", "aisle", "department", *".,:;[]+()"})
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 5,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    plain = folder / "plain"
    BertModel(config).save_pretrained(plain)
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(16), Normalize()], device="cpu")
    saved = folder / "model"
    model.save(str(saved))
    return saved
