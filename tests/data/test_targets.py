"""Which orders are predicted: the right ones, nobody on two sides, and each choice seeded."""

import numpy as np
import pytest

from lit_rec.core.errors import SettingError
from lit_rec.data.order_arrays import OrderArrays
from lit_rec.data.settings import PrepareSettings
from lit_rec.data.split import fold_users, split_users
from lit_rec.data.targets import choose_targets


@pytest.fixture(scope="module")
def histories(make_random_tables):
    return OrderArrays.from_tables(make_random_tables(n_users=300))


def ids(histories, targets):
    return set(histories.order_ids[targets].tolist())


def users(histories, targets):
    return set(histories.user_ids[histories.order_user[targets]].tolist())


def labelled(histories):
    return {int(order) for order in histories.order_ids[histories.is_target]}


def test_by_default_the_last_labelled_order_of_every_user_is_a_target_once(histories):
    targets = choose_targets(histories, PrepareSettings(eval_frac=0.3))
    train, held_out = ids(histories, targets.train), ids(histories, targets.eval)
    assert train.isdisjoint(held_out)
    assert train | held_out == labelled(histories)


@pytest.mark.parametrize("settings", [{}, {"targets": "rolling"}, {"targets": "rolling", "rolling_targets": 0}])
def test_no_user_is_on_both_sides(histories, settings):
    targets = choose_targets(histories, PrepareSettings(eval_frac=0.4, **settings))
    assert users(histories, targets.train).isdisjoint(users(histories, targets.eval))
    assert len(users(histories, targets.eval)) == len(targets.eval) > 0


def test_the_split_of_each_query_is_its_users(histories):
    targets = choose_targets(histories, PrepareSettings(eval_frac=0.5, val_frac=0.3))
    user_ids = histories.user_ids[histories.order_user[targets.eval]]
    expected = split_users(user_ids, eval_frac=0.5, val_frac=0.3, seed=42)
    assert targets.eval_split.tolist() == expected.tolist()
    assert set(expected.tolist()) == {"val", "test"}


@pytest.mark.parametrize("settings", [{"eval_frac": 0.4}, {"n_folds": 4, "fold": 2}])
def test_training_users_are_all_who_are_not_held_out_labelled_or_not(histories, settings):
    targets = choose_targets(histories, PrepareSettings(targets="rolling", rolling_targets=0, **settings))
    trained, held_out = set(histories.user_ids[targets.train_users].tolist()), users(histories, targets.eval)
    assert users(histories, targets.train) <= trained
    assert trained.isdisjoint(held_out)
    unlabelled = set(histories.user_ids.tolist()) - users(histories, np.flatnonzero(histories.is_target))
    assert set(histories.user_ids.tolist()) - trained - held_out <= unlabelled
    assert trained & unlabelled


def test_the_sides_of_a_fold_are_those_of_its_users(histories):
    targets = choose_targets(histories, PrepareSettings(n_folds=4, fold=2, val_frac=0.3, eval_frac=1.0))
    side = fold_users(histories.user_ids, n_folds=4, fold=2, val_frac=0.3, seed=42)
    assert targets.eval_split.tolist() == side[histories.order_user[targets.eval]].tolist()
    assert targets.train_users.tolist() == np.flatnonzero(side == "train").tolist()
    assert set(targets.eval_split.tolist()) == {"val", "test"}


@pytest.mark.parametrize("per_user", [1, 3, 0])
def test_rolling_adds_the_newest_past_orders_of_training_users(histories, per_user):
    settings = PrepareSettings(eval_frac=0.3, targets="rolling", rolling_targets=per_user)
    last = choose_targets(histories, PrepareSettings(eval_frac=0.3))
    rolling = choose_targets(histories, settings)
    assert ids(histories, rolling.eval) == ids(histories, last.eval)
    side = split_users(histories.user_ids, eval_frac=0.3, val_frac=0.5, seed=42)
    expected = ids(histories, last.train)
    for user in np.flatnonzero(side == "train"):
        past = [
            order
            for order in range(histories.order_start[user], histories.order_start[user + 1])
            if not histories.is_target[order]
            and histories.order_number[order] > 1
            and histories.products_of(order).size
        ]
        expected |= ids(histories, past[-per_user:])
    assert ids(histories, rolling.train) == expected
    assert (np.diff(rolling.train) > 0).all()


def test_rolling_makes_use_of_users_without_a_labelled_last_order(histories):
    targets = choose_targets(histories, PrepareSettings(targets="rolling"))
    unlabelled = set(histories.user_ids.tolist()) - users(histories, np.flatnonzero(histories.is_target))
    assert len(users(histories, targets.train) & unlabelled) > 50


def test_a_first_order_is_no_rolling_target_and_an_order_without_lines_is_none_at_all(make_tables, bought):
    users = {
        1: [bought("prior", None, 1, 1, [1]), bought("prior", 2.0, 1, 1, []), bought("train", 3.0, 1, 1, [2])],
        2: [bought("prior", None, 1, 1, [1]), bought("train", 3.0, 1, 1, [])],
    }
    histories = OrderArrays.from_tables(make_tables(users))
    targets = choose_targets(histories, PrepareSettings(eval_frac=0.0, targets="rolling", rolling_targets=0))
    assert ids(histories, targets.train) == {196}


def test_sample_frac_takes_a_seeded_share_of_training_orders_and_leaves_the_queries_alone(histories):
    whole, half = (
        choose_targets(histories, PrepareSettings(targets="rolling", rolling_targets=0, sample_frac=share))
        for share in (None, 0.5)
    )
    assert ids(histories, half.train) < ids(histories, whole.train)
    assert len(half.train) == pytest.approx(len(whole.train) / 2, rel=0.15)
    assert half.eval.tolist() == whole.eval.tolist()


def test_max_target_orders_takes_a_seeded_number_of_users_not_the_first(histories):
    few = choose_targets(histories, PrepareSettings(eval_frac=0.5, max_target_orders=40))
    chosen = users(histories, few.train) | users(histories, few.eval)
    assert len(few.train) + len(few.eval) == len(chosen) == 40
    assert set(histories.user_ids[few.train_users].tolist()) == users(histories, few.train)
    assert max(chosen) > 200
    more = choose_targets(histories, PrepareSettings(eval_frac=0.5, max_target_orders=80))
    assert ids(histories, few.eval) < ids(histories, more.eval)
    other = choose_targets(histories, PrepareSettings(eval_frac=0.5, max_target_orders=40, seed=1))
    assert ids(histories, few.train) != ids(histories, other.train)


def test_max_target_orders_limits_rolling_users_too(histories):
    few = choose_targets(histories, PrepareSettings(targets="rolling", max_target_orders=40))
    assert len(users(histories, few.train) | users(histories, few.eval)) == 40


def test_more_users_asked_for_than_there_are_is_all_of_them(histories):
    targets = choose_targets(histories, PrepareSettings(max_target_orders=10_000))
    assert ids(histories, targets.train) | ids(histories, targets.eval) == labelled(histories)


def test_eval_frac_one_holds_everybody_out_and_all_are_test(histories):
    targets = choose_targets(histories, PrepareSettings(eval_frac=1.0, targets="rolling"))
    assert len(targets.train) == 0
    assert ids(histories, targets.eval) == labelled(histories)
    assert set(targets.eval_split.tolist()) == {"test"}
    assert len(targets.train_users) == 0


def test_no_target_at_all_is_refused_with_the_next_step(make_tables, bought):
    histories = OrderArrays.from_tables(make_tables({1: [bought("prior", None, 1, 1, [1])]}))
    with pytest.raises(SettingError, match=r"No order is left.*1 users, 0 labelled last orders.*Use more data"):
        choose_targets(histories, PrepareSettings())
