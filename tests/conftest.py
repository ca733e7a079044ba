"""Tiny folders, histories and a tiny encoder, written by hand or drawn at random; nothing comes from the network."""

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from lit_rec.data.histories import UNKNOWN, PurchaseHistories, Queries
from lit_rec.data.ragged import starts

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


settings.register_profile("busy machine", deadline=None)  # several processes at once
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def require():
    """Skip a test where something is missing; in CI, which has to bring it along, fail it."""

    def require(is_there, what):
        if not is_there:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")

    return require


_WITHOUT = """
import importlib.metadata, sys

missing = {missing!r}
# sentence_transformers imports datasets where it is installed, and asks the metadata whether it is
for name in missing:
    sys.modules[name] = None  # importing it is an ImportError
real = importlib.metadata.metadata

def metadata(name):
    if name in missing:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)

importlib.metadata.metadata = metadata
{script}
assert all(sys.modules[name] is None for name in missing)
"""


@pytest.fixture(scope="session")
def run_without():
    """Run a script in a process of its own as if some packages were not installed; returns the last line it prints."""

    def run(missing, script, *arguments, warnings="ignore"):
        code = _WITHOUT.format(missing=missing.split(), script=script)
        command = [sys.executable, "-W", warnings, "-c", code, *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    return run


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's six files of 60 made-up users."""
    from lit_rec.data.sources import synthetic

    folder = tmp_path_factory.mktemp("raw") / "kaggle"
    synthetic.generate(folder, n_users=60, n_products=200, seed=7)
    return folder


@pytest.fixture(scope="session")
def processed_dir(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processed folder of those users with rolling targets."""
    from lit_rec.data.prepare import prepare
    from lit_rec.data.settings import PrepareSettings, RawData

    settings = PrepareSettings(targets="rolling", eval_frac=0.5)
    return prepare(RawData("instacart", raw_dir, tmp_path_factory.mktemp("processed")), settings)


@pytest.fixture(scope="session")
def tiny_model(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder of 16 dimensions whose words are those of the tiny catalogue."""
    return build_tiny_model(raw_dir, tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def onnx_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder, cut at the left at 40 tokens, with its ONNX graph: exporting takes seconds, so once for all."""
    from lit_rec.models.encoder import TextEncoder
    from lit_rec.packaging.onnx_export import export_onnx

    folder = tmp_path_factory.mktemp("onnx_model") / "model"
    TextEncoder(str(tiny_model), max_seq_length=40).save(folder)
    export_onnx(folder)
    return folder


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


def histories_of(*users):
    """Each user a list of orders, oldest first, each a list of products in cart order."""
    lines = [
        (product, len(orders) - number, place)
        for orders in users
        for number, order in enumerate(orders)
        for place, product in enumerate(order, 1)
    ]
    product, orders_ago, cart_position = np.array(lines, dtype=np.int32).reshape(-1, 3).T
    n_lines = np.array([sum(map(len, orders)) for orders in users], dtype=np.int64)
    unknown_lines = np.full(len(lines), UNKNOWN, dtype=np.int8)
    unknown = np.full(len(users), UNKNOWN, dtype=np.int8)
    return PurchaseHistories(
        line_start=starts(n_lines),
        product=product.copy(),
        orders_ago=orders_ago.copy(),
        days_ago=orders_ago.astype(np.float32) * 7,
        cart_position=cart_position.copy(),
        line_dow=unknown_lines,
        line_hour=unknown_lines,
        days_since_prior=np.full(len(users), 7, dtype=np.float32),
        dow=unknown,
        hour=unknown,
    )


def queries_of(*users):
    return Queries(["(no prior orders)." if not orders else "[w0h0] A." for orders in users], histories_of(*users))


def ranking(scores):
    """Products of each row, best first; of equal scores the first in the catalogue."""
    return np.argsort(-scores, axis=1, kind="stable").tolist()


def random_users(n_users, n_products, seed, longest=9):
    """Popular products in front, one to ``longest`` orders, some products twice in an order."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, n_products + 1)
    draw = lambda n: rng.choice(n_products, n, p=weights / weights.sum()).tolist()  # noqa: E731
    return [[draw(rng.integers(1, 7)) for _ in range(rng.integers(1, longest + 1))] for _ in range(n_users)]


def cornac_baskets(users, n_products):
    """cornac's form of the same: users and products by position, a product once an order."""
    from cornac.data import BasketDataset  # seconds to import

    lines = [
        (user, f"{user}.{number}", product, number)
        for user, orders in enumerate(users)
        for number, order in enumerate(orders)
        for product in dict.fromkeys(order)
    ]
    positions = OrderedDict((product, product) for product in range(n_products))
    return BasketDataset.build(lines, fmt="UBIT", global_iid_map=positions)


@pytest.fixture
def build():
    """The functions above, for test modules, which cannot import a conftest by name."""

    class Build:
        histories = staticmethod(histories_of)
        queries = staticmethod(queries_of)
        ranking = staticmethod(ranking)
        users = staticmethod(random_users)
        cornac_baskets = staticmethod(cornac_baskets)

        @staticmethod
        def fitted(baseline, n_products, *users):
            return baseline.fit(histories_of(*users), [""] * n_products)

    return Build
