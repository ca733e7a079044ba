"""A Hub of our own, and a small measured model folder to put on it."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from fake_hub import FakeHub

from lit_rec.core import schema
from lit_rec.data.contexts import product_text

CORPUS = {f"p{row}": product_text(f"Product {row}", f"aisle {row % 4}", "food") for row in range(30)}
METRICS = {"ndcg@10": 0.25, "recall@10": 0.125, "explore_recall@100": float("nan"), "n_queries": 1200.0}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A fake Hub that huggingface_hub's client in this process talks to, with an empty cache.

    The client reads its environment when it is imported, hence the constants.
    """
    fake = FakeHub()
    constants = {
        "ENDPOINT": fake.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": fake.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache" / "hub"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(tmp_path / "no_token"),
    }
    for name, value in constants.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setenv("HF_TOKEN", fake.token)
    monkeypatch.chdir(tmp_path)  # where .env is looked for
    yield fake
    fake.close()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "catalogue" / schema.EVAL_CORPUS
    file.parent.mkdir()
    file.write_text(json.dumps(CORPUS), encoding="utf-8")
    return file


def record_metrics(model_dir: Path) -> None:
    record = {
        "lit_rec_version": "0.1.0",
        "packages": {"torch": "2.13.0"},
        "checkpoint": "models/tiny/checkpoints/best.ckpt",
        "epoch": 1,
        "global_step": 20,
        "model": {"base_model": "sentence-transformers/all-MiniLM-L6-v2"},
        "data": {"processed_dir": "/home/someone/processed/p5_mp20_ef0.5", "sha256": {}},
        "metrics": {
            "untrained": {"step": 0, "ndcg@10": 0.01},
            "epoch 0": {"step": 10, "ndcg@10": 0.2},
            "epoch 1": {"step": 20, **METRICS},
            "test": {"ndcg@10": 0.9},
        },
    }
    (model_dir / schema.MODEL_RECORD).write_text(json.dumps(record), encoding="utf-8")


def add_ranker(build, model_dir: Path) -> None:
    """A network of chance weights, which always says the same."""
    import torch

    from lit_rec.ranking.item_item import ItemItemModel
    from lit_rec.ranking.network import RankerNetwork
    from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
    from lit_rec.ranking.ranker import Ranker

    torch.manual_seed(0)
    training, aisle = build.histories(*build.users(40, len(CORPUS), 0)), aisles_of(list(CORPUS.values()))
    known = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
    settings = {"hidden_size": 8, "ensemble_size": 2, "dropout": 0.1}
    record = {"settings": settings, "metrics": {"ndcg@10": 0.5, "n_queries": 1200.0, "mean_cosine": np.nan}}
    Ranker(RankerNetwork(8, 2, 0.1).to_numpy(), *known, list(CORPUS), record).save(model_dir)


@pytest.fixture
def model_dir(build, tiny_model: Path, tmp_path: Path) -> Path:
    """An encoder and a ranker, with recorded metrics."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "final"))
    record_metrics(folder)
    add_ranker(build, folder)
    return folder
