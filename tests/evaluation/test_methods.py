"""Baselines by name, their hyper-parameters chosen on validation queries alone; model folders as methods."""

import json
import shutil

import numpy as np
import pytest

from lit_rec.baselines.base import Baseline
from lit_rec.baselines.recency_frequency import RecencyFrequency
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.evaluation.held_out import Training
from lit_rec.evaluation.methods import ModelScorer, baseline_method, fitted, hyper_parameters, model_methods
from lit_rec.inference.recommender import Recommender


class Favourite(Baseline):
    """Puts one product first; counts how often it was fitted."""

    name = "favourite"
    n_fits = 0

    def __init__(self, product=0):
        self.product = product

    @classmethod
    def grid(cls):
        return [cls(product) for product in (0, 149, 2, 3)]

    def fit(self, training, product_texts):
        type(self).n_fits += 1
        self.n_products = len(product_texts)
        return self

    def scores(self, queries):
        scores = np.zeros((len(queries), self.n_products))
        scores[:, self.product] = 1
        return scores


@pytest.fixture
def training(make):
    """Product 2 is bought in two of three validation queries, and 150 products follow it."""
    validation = make.held_out([[], [[3]], []], [[2], [3], [2]], 150)
    return Training(make.histories([[[0]]]), ["text"] * 150, validation, "made up")


@pytest.fixture(autouse=True)
def _no_fits():
    Favourite.n_fits = 0


def test_the_best_of_the_grid_on_the_validation_queries(training):
    found = fitted(Favourite, training)
    assert found.settings == {"product": 2}
    assert found.scorer.product == 2
    assert Favourite.n_fits == 4
    assert found.fit_seconds >= 0
    assert found.fit_gb >= 0


def test_the_metric_that_chooses(make, training):
    """By ndcg@10 product 3 wins, a repeat; product 149 is the only new one."""
    validation = make.held_out([[[3]], [[3]], []], [[3], [3], [149]], 150)
    training = Training(training.histories, training.product_texts, validation, "made up")
    assert fitted(Favourite, training).settings == {"product": 3}
    assert fitted(Favourite, training, tune_by="explore_filtered_recall@100").settings == {"product": 149}


@pytest.mark.parametrize("reason", ["told not to", "no validation queries"])
def test_otherwise_the_first_of_the_grid(training, reason):
    if reason == "told not to":
        found = fitted(Favourite, training, tune_by=None)
    else:
        found = fitted(Favourite, Training(training.histories, training.product_texts, None, ""))
    assert found.settings == {"product": 0}
    assert Favourite.n_fits == 1


def test_hyper_parameters_are_what_it_was_made_with():
    assert hyper_parameters(RecencyFrequency(0.7)) == {"beta": 0.7}


def test_nothing_is_read_or_fitted_before_its_turn(training):
    reads = []

    def read():
        reads.append(1)
        return training

    method = baseline_method("last_basket", read, tune_by=None)
    assert (method.name, method.is_baseline) == ("last_basket", True)
    assert not reads
    assert method.fit().scorer.name == "last_basket"
    assert reads


def test_an_unknown_baseline_is_refused_at_once():
    with pytest.raises(SettingError, match="'popularty'"):
        baseline_method("popularty", pytest.fail, tune_by=None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "eval_corpus.json"
    texts = {"11": "Product: Milk.", "12": "Product: Bread.", "13": "Product: Fresh Apples."}
    file.write_text(json.dumps(texts), encoding="utf-8")
    return file


def test_the_encoder_scores_as_the_recommender_does(make, tiny_model, corpus):
    recommender = Recommender(tiny_model, corpus, use_index=False, device="cpu")
    queries = make.held_out([[[0]], [[1]]], [[0], [1]], 3).queries
    scores = ModelScorer(recommender, "encoder", encoder_only=True).scores(queries)
    assert scores.shape == (2, 3)
    for row, context in enumerate(queries.contexts):
        expected = {item.product_id: item.score for item in recommender.recommend(context)}
        assert dict(zip(("11", "12", "13"), scores[row], strict=True)) == pytest.approx(expected, abs=1e-5)


def test_a_folder_without_a_ranker_is_one_method(tiny_model, corpus):
    (method,) = model_methods(str(tiny_model), corpus, "cpu")
    assert (method.name, method.is_baseline) == (str(tiny_model), False)
    fitted_method = method.fit()
    assert fitted_method.scorer.name == str(tiny_model)
    assert np.isnan(fitted_method.fit_seconds)


def test_a_folder_with_a_ranker_is_two(tiny_model, corpus, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / schema.RANKER).write_text("{}", encoding="utf-8")
    assert [one.name for one in model_methods(str(model), corpus)] == [str(model), f"{model}, encoder only"]


def test_the_ranker_answers_for_a_recommender_that_has_one(make):
    class Ranked:
        def scores(self, queries):
            return np.ones((len(queries), 3))

    queries = make.held_out([[], []], [[0], [1]], 3).queries
    assert ModelScorer(Ranked(), "ranker").scores(queries).shape == (2, 3)


def test_a_model_that_is_not_there(corpus, tmp_path):
    (method,) = model_methods(str(tmp_path / "none"), corpus, "cpu")
    with pytest.raises(ModelFolderError):
        method.fit()
