"""The split is a function of user and seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.data.split import seeded_fractions, split_users

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
