"""With a two-layer encoder of random weights in the place of SBERT."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from lit_rec.baselines import content_based
from lit_rec.baselines.content_based import ContentBased
from lit_rec.data.histories import Queries

TEXTS = ["Product: Milk. Aisle: milk. Department: dairy.", "Product: Bread.", "Product: Eggs. Aisle: eggs.", "Product"]


@pytest.fixture
def fitted(build, tiny_model):
    return ContentBased(str(tiny_model), device="cpu").fit(build.histories([[2], [2, 0]]), TEXTS)


def test_cosines_of_context_and_products(build, fitted, tiny_model):
    contexts = ["[w0h0] Milk, Eggs.", "[w3h9] Bread."]
    found = fitted.scores(Queries(contexts, build.histories([[0, 2]], [[1]])))
    model = SentenceTransformer(str(tiny_model), device="cpu")
    one, other = model.encode(contexts), model.encode(TEXTS)
    cosines = one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(found, cosines, atol=1e-6)
    assert found.dtype == np.float64


def test_without_history_by_popularity(build, fitted):
    found = fitted.scores(build.queries([[1]], []))
    assert build.ranking(found)[1] == [2, 0, 1, 3]
    assert fitted.scores(build.queries()).shape == (0, 4)


def test_any_number_of_texts_at_a_time(build, fitted, tiny_model, monkeypatch):
    monkeypatch.setattr(content_based, "_TEXTS_PER_CHUNK", 1)
    queries = build.queries([[1]], [[0]])
    again = ContentBased(str(tiny_model), device="cpu", batch_size=1).fit(build.histories([[2]]), TEXTS)
    np.testing.assert_allclose(again.scores(queries), fitted.scores(queries), atol=1e-6)
