"""Model folders as methods."""

import json
import shutil

import numpy as np
import pytest

from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError
from lit_rec.evaluation.models import Ranker, TextTower, model_contenders
from lit_rec.inference.recommender import Recommender


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "eval_corpus.json"
    texts = {"11": "Product: Milk.", "12": "Product: Bread.", "13": "Product: Fresh Apples."}
    file.write_text(json.dumps(texts), encoding="utf-8")
    return file


def test_the_text_tower_scores_as_the_recommender_does(make, tiny_model, corpus):
    recommender = Recommender(tiny_model, corpus, use_index=False, device="cpu")
    queries = make.held_out([[[0]], [[1]]], [[0], [1]], 3).queries
    scores = TextTower(recommender, "tower").scores(queries)
    assert scores.shape == (2, 3)
    for row, context in enumerate(queries.contexts):
        expected = {item.product_id: item.score for item in recommender.recommend(context)}
        assert dict(zip(("11", "12", "13"), scores[row], strict=True)) == pytest.approx(expected, abs=1e-5)


def test_a_folder_without_a_ranker_is_one_method(tiny_model, corpus):
    (contender,) = model_contenders(str(tiny_model), corpus, "cpu")
    assert (contender.name, contender.is_baseline) == (str(tiny_model), False)
    ready = contender.make()
    assert ready.method.name == str(tiny_model)
    assert np.isnan(ready.fit_seconds)


def test_a_folder_with_a_ranker_is_two(tiny_model, corpus, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / schema.RANKER).write_text("{}", encoding="utf-8")
    assert [one.name for one in model_contenders(str(model), corpus)] == [str(model), f"{model}, text alone"]


def test_the_ranker_answers_for_a_recommender_that_has_one(make):
    class Ranked:
        def scores(self, queries):
            return np.ones((len(queries), 3))

    queries = make.held_out([[], []], [[0], [1]], 3).queries
    assert Ranker(Ranked(), "ranker").scores(queries).shape == (2, 3)


def test_a_model_that_is_not_there(corpus, tmp_path):
    (contender,) = model_contenders(str(tmp_path / "none"), corpus, "cpu")
    with pytest.raises(ModelFolderError):
        contender.make()
