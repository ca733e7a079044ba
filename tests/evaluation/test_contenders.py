"""Baselines made by name, and their hyper-parameters chosen on validation queries alone."""

import numpy as np
import pytest

from lit_rec.baselines.base import Baseline
from lit_rec.baselines.recency_frequency import RecencyFrequency
from lit_rec.core.errors import SettingError
from lit_rec.evaluation.contenders import baseline_contenders, fitted, hyper_parameters
from lit_rec.evaluation.inputs import Training


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
    ready = fitted(Favourite, training)
    assert ready.settings == {"product": 2}
    assert ready.method.product == 2
    assert Favourite.n_fits == 4
    assert ready.fit_seconds >= 0
    assert ready.fit_gb >= 0


def test_the_metric_that_chooses(make, training):
    """By ndcg@10 product 3 wins, a repeat; product 149 is the only new one."""
    validation = make.held_out([[[3]], [[3]], []], [[3], [3], [149]], 150)
    training = Training(training.histories, training.product_texts, validation, "made up")
    assert fitted(Favourite, training).settings == {"product": 3}
    assert fitted(Favourite, training, tune_by="explore_part_recall@100").settings == {"product": 149}


@pytest.mark.parametrize("reason", ["told not to", "no validation queries"])
def test_otherwise_the_first_of_the_grid(training, reason):
    if reason == "told not to":
        ready = fitted(Favourite, training, tune_by=None)
    else:
        ready = fitted(Favourite, Training(training.histories, training.product_texts, None, ""))
    assert ready.settings == {"product": 0}
    assert Favourite.n_fits == 1


def test_hyper_parameters_are_what_it_was_made_with():
    assert hyper_parameters(RecencyFrequency(0.7)) == {"beta": 0.7}


def test_nothing_is_read_or_fitted_before_its_turn(training):
    reads = []

    def read():
        reads.append(1)
        return training

    contenders = baseline_contenders(["popularity", "last_basket"], read)
    assert [(one.name, one.is_baseline) for one in contenders] == [("popularity", True), ("last_basket", True)]
    assert not reads
    assert contenders[1].make().method.name == "last_basket"
    assert reads


def test_an_unknown_baseline_is_refused_at_once():
    with pytest.raises(SettingError, match="'popularty'"):
        baseline_contenders(["popularty"], pytest.fail)
