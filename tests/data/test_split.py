"""The split is a function of user and seed alone."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rec.data.split import fold_users, seeded_fractions, split_users

USERS = np.arange(1, 20_001)
user_ids = st.lists(st.integers(0, 2**62), max_size=50).map(lambda ids: np.array(ids, dtype=np.int64))
shares = st.floats(0, 1)
seeds = st.integers(0, 2**31)


def sides(ids=USERS, *, eval_frac=0.3, val_frac=0.5, seed=42):
    return split_users(ids, eval_frac=eval_frac, val_frac=val_frac, seed=seed)


def test_the_same_ids_fall_on_the_same_sides_on_every_machine():
    ids = np.array([1, 2, 3, 206_209, 2**53 + 1])
    assert sides(ids, eval_frac=0.5).tolist() == ["train", "test", "test", "val", "test"]
    assert seeded_fractions(ids[:3], seed=42, question="eval") == pytest.approx(
        [0.9445860706535487, 0.1502643692924304, 0.10988911161607728], abs=1e-15
    )


@given(user_ids, shares, shares, seeds)
def test_every_user_has_one_side_whoever_else_is_there_and_in_whatever_order(ids, eval_frac, val_frac, seed):
    together = sides(ids, eval_frac=eval_frac, val_frac=val_frac, seed=seed)
    alone = [sides(ids[[row]], eval_frac=eval_frac, val_frac=val_frac, seed=seed)[0] for row in range(len(ids))]
    assert together.tolist() == alone
    assert set(alone) <= {"train", "val", "test"}


@given(user_ids, shares, shares, seeds)
def test_a_larger_share_keeps_those_held_out_before(ids, one, other, seed):
    less, more = sorted((one, other))
    held_out_of_less = sides(ids, eval_frac=less, seed=seed) != "train"
    held_out_of_more = sides(ids, eval_frac=more, seed=seed) != "train"
    assert (held_out_of_more | ~held_out_of_less).all()


def test_a_larger_eval_frac_leaves_nobody_changing_between_val_and_test():
    before, after = sides(eval_frac=0.1), sides(eval_frac=0.3)
    assert (before == after)[before != "train"].all()


@pytest.mark.parametrize(("eval_frac", "val_frac"), [(0.1, 0.5), (0.5, 0.2), (0.9, 0.9)])
def test_shares_are_near_what_is_asked(eval_frac, val_frac):
    found = sides(eval_frac=eval_frac, val_frac=val_frac)
    held_out = found != "train"
    assert held_out.mean() == pytest.approx(eval_frac, abs=0.015)
    assert (found[held_out] == "val").mean() == pytest.approx(val_frac, abs=0.04)


def test_none_and_all_are_exact():
    assert (sides(eval_frac=0.0) == "train").all()
    assert (sides(eval_frac=1.0, val_frac=0.0) == "test").all()
    assert (sides(eval_frac=1.0, val_frac=1.0) == "val").all()


def test_another_seed_gives_an_unrelated_split():
    one, other = sides(seed=1) != "train", sides(seed=2) != "train"
    assert (one & other).mean() == pytest.approx(0.09, abs=0.01)


@given(user_ids, seeds, st.text(max_size=5))
def test_fractions_are_below_one(ids, seed, question):
    fractions = seeded_fractions(ids, seed=seed, question=question)
    assert fractions.shape == ids.shape
    assert ((fractions >= 0) & (fractions < 1)).all()


# --- cross-validation ---

n_folds_drawn = st.integers(2, 12)


def all_folds(ids, n_folds, *, val_frac=0.5, seed=42):
    """The sides ``(n_folds, U)`` of each user in each fold."""
    return np.array(
        [fold_users(ids, n_folds=n_folds, fold=fold, val_frac=val_frac, seed=seed) for fold in range(n_folds)]
    ).reshape(n_folds, len(ids))


@settings(deadline=None)  # a busy machine is no failure
@given(user_ids, n_folds_drawn, shares, seeds)
def test_every_user_is_in_the_test_part_of_one_fold_and_chooses_at_most_in_the_one_before(ids, n_folds, val_frac, seed):
    sides_of_folds = all_folds(ids, n_folds, val_frac=val_frac, seed=seed)
    assert set(sides_of_folds.ravel().tolist()) <= {"train", "val", "test"}
    assert ((sides_of_folds == "test").sum(0) == 1).all()
    before_its_own = np.roll(sides_of_folds == "test", -1, axis=0)
    assert before_its_own[sides_of_folds == "val"].all()


@settings(deadline=None)  # a busy machine is no failure
@given(user_ids, n_folds_drawn, shares, seeds)
def test_a_users_side_in_a_fold_depends_on_nobody_else(ids, n_folds, val_frac, seed):
    together = all_folds(ids, n_folds, val_frac=val_frac, seed=seed)
    backwards = all_folds(ids[::-1], n_folds, val_frac=val_frac, seed=seed)
    assert together.tolist() == backwards[:, ::-1].tolist()
    assert together[:, :1].tolist() == all_folds(ids[:1], n_folds, val_frac=val_frac, seed=seed).tolist()


@pytest.mark.parametrize(("n_folds", "val_frac"), [(2, 0.5), (5, 0.5), (10, 0.2)])
def test_folds_are_of_about_one_size_and_choose_with_the_share_that_is_asked(n_folds, val_frac):
    found = all_folds(USERS, n_folds, val_frac=val_frac)
    assert (found == "test").mean(1) == pytest.approx(1 / n_folds, abs=0.015)
    assert (found == "val").mean(1) == pytest.approx(val_frac / n_folds, abs=0.015)


def test_the_ends_of_val_frac_are_exact_in_folds_too():
    assert (all_folds(USERS, 4, val_frac=0.0) != "val").all()
    chooses = all_folds(USERS, 4, val_frac=1.0) == "val"
    assert (chooses.sum(0) == 1).all()


@given(st.integers(2, 50), st.sampled_from([0.0, 2.0**-53, 0.5, 1 - 2.0**-53]), st.integers(0, 50), st.integers(-2, 2))
def test_fractions_at_the_edge_of_a_fold_fall_into_one_fold(n_folds, anywhere, edge, steps):
    """The hash gives multiples of 2 ** -53; those beside the edges are where rounding could lose a user."""
    beside = np.clip(np.round(min(edge, n_folds) / n_folds * 2**53) + steps, 0, 2**53 - 1) / 2**53
    fractions = np.array([anywhere, beside])
    with mock.patch("lit_rec.data.split.seeded_fractions", return_value=fractions):
        assert ((all_folds(np.array([1, 2]), n_folds) == "test").sum(0) == 1).all()


def test_another_seed_gives_unrelated_folds():
    one, other = (all_folds(USERS, 5, seed=seed)[0] == "test" for seed in (1, 2))
    assert (one & other).mean() == pytest.approx(0.04, abs=0.006)
