"""Propensities that are found again in clicks made from them."""

import numpy as np
import pytest

from lit_rec.feedback.propensity import examination_by_position, negative_weights, positive_weights

TRUE = np.arange(1, 11) ** -0.8


def clicks_of(n_lists, seed, better_first=True):
    """Lists of ten; what the model scores higher is liked more, and mostly stands higher."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(n_lists, 10)) + rng.normal(size=(n_lists, 1))
    if better_first:
        score = -np.sort(-score, axis=1)
    liked = 0.7 / (1 + np.exp(-1.5 * score))
    clicked = rng.random(score.shape) < TRUE * liked
    position = np.broadcast_to(np.arange(1, 11), score.shape)
    return position.ravel(), clicked.ravel(), score.ravel()


def test_without_a_ranking_the_click_rates_are_the_propensities():
    position, clicked, _ = clicks_of(20_000, 0, better_first=False)
    assert examination_by_position(position, clicked, None)[1:] == pytest.approx(TRUE, abs=0.03)


def test_scores_tell_a_good_ranking_from_looking_no_further():
    position, clicked, score = clicks_of(20_000, 1)
    with_scores = examination_by_position(position, clicked, score)[1:]
    without = examination_by_position(position, clicked, None)[1:]
    assert with_scores == pytest.approx(TRUE, rel=0.1)
    assert without[-1] < 0.3 * TRUE[-1]


def test_what_is_not_a_position_counts_as_looked_at():
    position, clicked, score = clicks_of(100, 2)
    assert examination_by_position(position, clicked, score)[0] == 1


def test_positions_fall_and_the_first_is_one():
    position, clicked, score = clicks_of(60, 3)
    found = examination_by_position(position, clicked, score)[1:]
    assert found[0] == found.max() == 1
    assert (np.diff(found) <= 0).all()


@pytest.mark.parametrize("n", [0, 5])
def test_without_a_click_nothing_is_known_and_all_weigh_the_same(n):
    position = np.arange(1, n + 1)
    found = examination_by_position(position, np.zeros(n, dtype=bool), None)
    assert found.tolist() == [1] * (n + 1)
    assert positive_weights(found, 10.0).tolist() == [1] * (n + 1)


def test_weights_are_inverse_and_cut():
    assert positive_weights(np.array([1, 0.5, 0.2, 0.0]), 4.0).tolist() == [1, 2, 4, 4]


def test_weighted_clicks_are_what_would_have_been_clicked_on_top():
    """The estimator is unbiased: positions weigh as if all had been examined."""
    rng = np.random.default_rng(4)
    liked = 0.3
    clicked = rng.random((200_000, 10)) < TRUE * liked
    weighted = (clicked * positive_weights(TRUE, 10.0)).mean(axis=0)
    assert weighted == pytest.approx(np.full(10, liked), abs=0.01)


def test_what_was_hardly_looked_at_says_less_when_it_is_left_alone():
    attractiveness = 0.3
    weights = negative_weights(TRUE, attractiveness)
    assert (np.diff(weights) < 0).all()
    rng = np.random.default_rng(5)
    likes = rng.random((400_000, 10)) < attractiveness
    left_alone = ~(likes & (rng.random(likes.shape) < TRUE))
    not_liked = [(~likes[:, k])[left_alone[:, k]].mean() for k in range(10)]
    assert weights == pytest.approx(np.array(not_liked) / not_liked[0], abs=0.01)
