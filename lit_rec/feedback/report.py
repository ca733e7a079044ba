"""What came of the recommendations: rates with intervals, by position, model, day and arm, and the funnels."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from lit_rec.feedback.impressions import ACTIONS, left_out, read_products
from lit_rec.metrics.intervals import LEVEL, clustered_difference, wilson
from lit_rec.store.database import FeedbackStore
from lit_rec.store.events import EventType

RATES = {
    "ctr": EventType.CLICK.value,
    "add_to_cart_rate": EventType.ADD_TO_CART.value,
    "purchase_rate": EventType.PURCHASE.value,
}
"""Name of each rate, to the action counted; all are shares of the unique impressions."""

_CONTROL = "control"
_ACTIONS = [action.value for action in ACTIONS]

Report = dict[str, Any]


def make_report(
    store: FeedbackStore,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    include_page: bool = False,
    n_funnels: int = 3,
    seed: int = 0,
) -> Report:
    """Measure what is in the store.

    A unique impression is a product shown in a request, however often that was reported. What was done with a product
    without a reported impression is in the funnels and counted apart, but in no rate.

    Args:
        store: the database.
        since: only what was shown from this moment on, whatever came of it later.
        until: only what was shown before this moment.
        include_page: with what was done on the service's own page, by whoever tried it.
        n_funnels: requests whose funnel is listed, deepest first.
        seed: of the bootstrap.

    Returns:
        Plain values, for JSON. ``by_*`` are lists in order, each row with its counts and ``rates``; ``arm_differences``
        compare each arm with ``control``, or else with the first by name.
    """
    every = read_products(store, since=since, until=until, include_page=include_page)
    shown = every.filter(pl.col("shown_at").is_not_null())
    unseen = every.filter(pl.col("shown_at").is_null())
    by_day = shown.with_columns(day=pl.col("shown_at").dt.date().cast(pl.String))
    return {
        "database": store.url.render_as_string(hide_password=True),
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "level": LEVEL,
        "left_out": left_out(store, since, until, include_page=include_page),
        "n_requests": every["request_id"].n_unique(),
        "n_users": every["user"].n_unique(),
        "overall": _measured(shown),
        "without_impression": {name: int(unseen[name].sum()) for name in _ACTIONS},
        "by_position": _by(shown, "position"),
        "by_model_version": _by(shown, "model_version"),
        "by_day": _by(by_day, "day"),
        "by_arm": _by(shown, "arm"),
        "arm_differences": _arm_differences(shown, seed),
        "funnels": _funnels(every, n_funnels),
    }


def _measured(shown: pl.DataFrame) -> Report:
    n = len(shown)
    counts = {name: int(shown[name].sum()) for name in _ACTIONS}
    rates = {rate: wilson(counts[action], n).as_json() for rate, action in RATES.items()}
    return {EventType.IMPRESSION.value: n, **counts, "rates": rates}


def _by(shown: pl.DataFrame, name: str) -> list[Report]:
    """One row a value, ascending; impressions of which it is not known are left out."""
    known = shown.filter(pl.col(name).is_not_null())
    groups = known.partition_by(name, as_dict=True)
    return [{name: key[0], **_measured(groups[key])} for key in sorted(groups)]


def _arm_differences(shown: pl.DataFrame, seed: int) -> list[Report]:
    arms = sorted(shown["arm"].drop_nulls().unique())
    if len(arms) < 2:
        return []
    baseline = _CONTROL if _CONTROL in arms else arms[0]
    counts = {
        arm: shown.filter(pl.col("arm") == arm)
        .group_by("user", maintain_order=True)
        .agg(pl.len(), pl.col(_ACTIONS).sum())
        for arm in arms
    }
    return [
        {
            "arm": arm,
            "baseline": baseline,
            "rate": rate,
            "n_users": [len(counts[each]) for each in (baseline, arm)],
            **clustered_difference(*(_of_users(counts[each], action) for each in (baseline, arm)), seed=seed).as_json(),
        }
        for arm in arms
        if arm != baseline
        for rate, action in RATES.items()
    ]


def _of_users(counts: pl.DataFrame, action: str) -> Any:  # noqa: ANN401 - int64 (U, 2)
    return counts.select("len", action).to_numpy().astype(np.int64)


def _funnels(every: pl.DataFrame, n_funnels: int) -> list[Report]:
    """Requests with the most purchases, then carts, then clicks, first."""
    seen = pl.col("shown_at").is_not_null().sum().alias(EventType.IMPRESSION.value)
    deepest: Sequence[str] = [*reversed(_ACTIONS), "request_id"]
    funnels = every.group_by("request_id").agg(seen, pl.col(_ACTIONS).sum())
    return funnels.sort(deepest, descending=[True] * len(_ACTIONS) + [False]).head(n_funnels).to_dicts()
