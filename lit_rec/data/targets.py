"""Which orders are to be predicted: a user's last one, and on demand some before it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Split
from lit_rec.data.order_arrays import OrderArrays
from lit_rec.data.settings import PrepareSettings
from lit_rec.data.split import fold_users, seeded_fractions, split_users


@dataclass(frozen=True)
class TargetOrders:
    """The orders to be predicted, as positions in :class:`OrderArrays`.

    Args:
        train: int64, in time order within a user.
        eval: int64, one a held-out user.
        eval_split: :class:`~lit_rec.core.schema.Split` of each of ``eval``.
        train_users: int64, the users whose orders may be trained on, as positions in ``user_ids``.
    """

    train: NDArray[np.int64]
    eval: NDArray[np.int64]
    eval_split: NDArray[np.str_]
    train_users: NDArray[np.int64]


def choose_targets(arrays: OrderArrays, settings: PrepareSettings) -> TargetOrders:
    """Pick the orders to train on and the orders to evaluate on; no user is on both sides.

    Args:
        arrays: all orders.
        settings: what was asked.

    Raises:
        SettingError: the settings leave no order at all.
    """
    side = _sides(arrays.user_ids, settings)
    last = np.flatnonzero(arrays.is_target & (arrays.lines_per_order > 0))
    taking_part = _users_taking_part(arrays, last, settings)
    last = last[taking_part[arrays.order_user[last]]]
    side_of_last = side[arrays.order_user[last]]
    train = last[side_of_last == Split.TRAIN]
    if settings.targets == "rolling":
        rolling = _rolling_targets(arrays, settings.rolling_targets)
        rolling_user = arrays.order_user[rolling]
        train = np.union1d(train, rolling[(side[rolling_user] == Split.TRAIN) & taking_part[rolling_user]])
    if settings.sample_frac is not None:
        fractions = seeded_fractions(arrays.order_ids[train], seed=settings.seed, question="sample")
        train = train[fractions < settings.sample_frac]
    held_out = side_of_last != Split.TRAIN
    if len(train) + held_out.sum() == 0:
        raise SettingError(
            "No order is left to train or evaluate on",
            f"{len(arrays.user_ids):,} users, {int(arrays.is_target.sum()):,} labelled last orders, "
            f"eval_frac {settings.eval_frac}, sample_frac {settings.sample_frac}",
            "Use more data, or a larger sample_frac",
        )
    return TargetOrders(
        train=train,
        eval=last[held_out],
        eval_split=side_of_last[held_out],
        train_users=np.flatnonzero(taking_part & (side == Split.TRAIN)),
    )


def _sides(user_ids: NDArray[np.int64], settings: PrepareSettings) -> NDArray[np.str_]:
    val_frac, seed = settings.val_frac, settings.seed
    if settings.n_folds:
        return fold_users(user_ids, n_folds=settings.n_folds, fold=settings.fold, val_frac=val_frac, seed=seed)
    val_frac = 0.0 if settings.trains_nothing else val_frac
    return split_users(user_ids, eval_frac=settings.eval_frac, val_frac=val_frac, seed=seed)


def _users_taking_part(arrays: OrderArrays, last: NDArray[np.int64], settings: PrepareSettings) -> NDArray[np.bool_]:
    """Bool ``(U,)``: all users, or a seeded ``max_target_orders`` of those with a labelled last order."""
    if settings.max_target_orders is None:
        return np.ones(len(arrays.user_ids), dtype=bool)
    users = arrays.order_user[last]
    lots = seeded_fractions(arrays.user_ids[users], seed=settings.seed, question="max_target_orders")
    chosen = np.zeros(len(arrays.user_ids), dtype=bool)
    chosen[users[np.argsort(lots)[: settings.max_target_orders]]] = True
    return chosen


def _rolling_targets(arrays: OrderArrays, per_user: int) -> NDArray[np.int64]:
    """Past orders with an order before them: each user's newest ``per_user``, or all where that is 0."""
    is_past = ~arrays.is_target & (arrays.lines_per_order > 0)
    candidates = np.flatnonzero(is_past & (arrays.order_number >= 2))
    if per_user == 0:
        return candidates
    user = arrays.order_user[candidates]
    candidates_until = np.searchsorted(user, user, side="right")  # sorted by user: the end of each one's run
    return candidates[candidates_until - np.arange(len(candidates)) <= per_user]
