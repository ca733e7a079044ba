"""Settings out of range are refused; a folder's name says how it was made, as the seed names it."""

import pytest

from lit_rec.core.errors import SettingError
from lit_rec.data.settings import PrepareSettings


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "p5_mp20_ef0.1"),
        ({"max_prior_orders": 3, "max_product_names": 10, "eval_frac": 0.2}, "p3_mp10_ef0.2"),
        ({"next_order_in_context": "always"}, "p5_mp20_ef0.1_no_serve_next"),
        ({"sample_frac": 0.5}, "p5_mp20_ef0.1_sf0.5"),
        ({"max_target_orders": 1000}, "p5_mp20_ef0.1_mt1000"),
        (
            {"next_order_in_context": "always", "sample_frac": 0.5, "max_target_orders": 1000},
            "p5_mp20_ef0.1_no_serve_sf0.5_mt1000_next",
        ),
        ({"eval_frac": 1}, "p5_mp20_ef1.0"),
        ({"truncate": "keep_oldest", "next_order_in_context": "training"}, "p5_mp20_ef0.1_oldest_next"),
        ({"targets": "rolling"}, "p5_mp20_ef0.1_roll4"),
        ({"targets": "rolling", "rolling_targets": 0}, "p5_mp20_ef0.1_rollall"),
        ({"val_frac": 0.25, "seed": 7}, "p5_mp20_ef0.1_vf0.25_s7"),
        ({"n_folds": 5, "fold": 3}, "p5_mp20_fold3of5"),
        ({"n_folds": 5, "eval_frac": 1.0, "targets": "rolling"}, "p5_mp20_fold0of5_roll4"),
    ],
)
def test_a_folder_is_named_as_the_seed_names_it_and_what_is_new_is_added(settings, name):
    assert PrepareSettings(**settings).folder_name("instacart") == name


def test_another_source_is_named_first():
    assert PrepareSettings().folder_name("complete_journey") == "complete_journey_p5_mp20_ef0.1"


def test_whole_numbers_and_fractions_of_the_same_value_share_a_name():
    assert PrepareSettings(eval_frac=1).folder_name("instacart") == PrepareSettings(eval_frac=1.0).folder_name(
        "instacart"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_prior_orders", 0),
        ("max_product_names", 0),
        ("rolling_targets", -1),
        ("eval_frac", -0.01),
        ("eval_frac", 1.01),
        ("eval_frac", float("nan")),
        ("val_frac", -0.01),
        ("val_frac", 1.01),
        ("sample_frac", 0.0),
        ("sample_frac", 1.01),
        ("max_target_orders", 0),
        ("n_folds", -1),
        ("fold", -1),
        ("n_folds", 1),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_name_and_value(name, value):
    with pytest.raises(SettingError, match=f"{name} must be .*: got {value}"):
        PrepareSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eval_frac", 0.0),
        ("eval_frac", 1.0),
        ("val_frac", 0.0),
        ("val_frac", 1.0),
        ("sample_frac", 1.0),
        ("rolling_targets", 0),
    ],
)
def test_the_ends_of_a_range_are_allowed(name, value):
    assert getattr(PrepareSettings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("n_folds", "fold", "message"),
    [
        (5, 5, r"got 5 of 5\. Pass a --fold of 0 to 4$"),
        (0, 1, r"got 1 of 0\. Pass --n_folds too, at least 2$"),
    ],
)
def test_a_fold_that_there_is_not_is_refused_with_the_next_step(n_folds, fold, message):
    with pytest.raises(SettingError, match=f"^fold must be one of n_folds, counted from 0: {message}"):
        PrepareSettings(n_folds=n_folds, fold=fold)


def test_two_folds_of_which_one_tests_and_the_other_chooses_leave_nobody_to_train():
    with pytest.raises(SettingError, match=r"^val_frac must be below 1 with n_folds 2: nobody is left to train"):
        PrepareSettings(n_folds=2, val_frac=1.0)
    assert PrepareSettings(n_folds=3, val_frac=1.0).val_frac == 1.0


def test_nothing_is_trained_where_all_are_held_out_and_there_are_no_folds():
    assert PrepareSettings(eval_frac=1.0).trains_nothing
    assert not PrepareSettings(eval_frac=0.9).trains_nothing
    assert not PrepareSettings(eval_frac=1.0, n_folds=5).trains_nothing
