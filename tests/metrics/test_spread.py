"""Spread of embeddings: hand-computed spaces, and independent numpy."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lit_rec.metrics.spread import embedding_spread


def random_embeddings(n, d, seed=0):
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(("n", "d"), [(2, 2), (40, 8), (500, 32)])
def test_a_collapsed_space(n, d):
    spread = embedding_spread(random_embeddings(1, d).expand(n, d))
    assert spread["mean_cosine"] == pytest.approx(1, abs=1e-5)
    assert spread["mean_std"] == pytest.approx(0, abs=1e-6)
    assert spread["effective_rank"] == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("d", [2, 3, 16])
def test_orthonormal_products(d):
    spread = embedding_spread(torch.eye(d))
    assert spread["mean_cosine"] == pytest.approx(0, abs=1e-6)
    # Centring takes away one of the d directions; the others are alike.
    assert spread["effective_rank"] == pytest.approx(d - 1, rel=1e-3)
    assert spread["mean_std"] == pytest.approx(math.sqrt(1 / d - 1 / d**2), rel=1e-5)


def test_opposite_products_lie_on_a_line():
    spread = embedding_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert spread == pytest.approx({"mean_cosine": -1, "mean_std": 0.5, "effective_rank": 1}, abs=1e-6)


def test_a_cross_fills_the_plane_evenly():
    spread = embedding_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    # Of 6 pairs 2 are opposite, the others at right angles; a dimension holds 1, -1, 0, 0.
    expected = {"mean_cosine": -1 / 3, "mean_std": math.sqrt(1 / 2), "effective_rank": 2}
    assert spread == pytest.approx(expected, abs=1e-6)


def test_an_uneven_cross_by_hand():
    spread = embedding_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]] * 9 + [[0.0, 1.0], [0.0, -1.0]]))
    # Singular values sqrt(18) and sqrt(2), shares 3/4 and 1/4.
    assert spread["effective_rank"] == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(3, 8), (50, 8), (200, 16)])
@pytest.mark.parametrize("offset", [0.0, 0.5], ids=["spread out", "leaning one way"])
def test_equals_brute_force(n, d, offset):
    embeddings = normalize(random_embeddings(n, d) + offset, dim=1)
    x = embeddings.double().numpy()
    pairs = [float(x[i] @ x[j]) for i in range(n) for j in range(n) if i != j]
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    share = singular / singular.sum()
    share = share[share > 1e-12]
    expected = {
        "mean_cosine": sum(pairs) / len(pairs),
        "mean_std": float(x.std(axis=0).mean()),
        "effective_rank": float(np.exp(-(share * np.log(share)).sum())),
    }
    assert embedding_spread(embeddings) == pytest.approx(expected, rel=1e-2, abs=1e-5)


def test_a_space_that_leans_one_way_is_seen():
    leaning = embedding_spread(normalize(random_embeddings(200, 16) + 0.5, dim=1))
    assert leaning["mean_cosine"] > 0.5 > abs(embedding_spread(random_embeddings(200, 16))["mean_cosine"]) * 10


def test_one_product_has_no_pair():
    spread = embedding_spread(torch.tensor([[0.6, 0.8]]))
    assert spread == pytest.approx({"mean_cosine": 0, "mean_std": 0, "effective_rank": 1}, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_plain_floats_of_any_precision_and_no_gradient(dtype):
    embeddings = random_embeddings(50, 8).to(dtype).requires_grad_()
    spread = embedding_spread(embeddings)
    assert all(type(value) is float for value in spread.values())
    assert spread == pytest.approx(embedding_spread(random_embeddings(50, 8)), rel=2e-2, abs=2e-3)
    assert embeddings.grad is None
