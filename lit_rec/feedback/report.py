"""What came of the recommendations: rates with intervals, by position, model, day and arm, and the funnels."""

from typing import Any

import polars as pl

from lit_rec.feedback.impressions import ACTIONS, left_out, read_products
from lit_rec.feedback.settings import ReportSettings
from lit_rec.metrics.intervals import LEVEL, clustered_difference, wilson
from lit_rec.store.database import FeedbackStore
from lit_rec.store.events import EventType

STEPS = dict(zip(map(str, EventType), ("Impressions", "Clicks", "Carts", "Purchases"), strict=True))
"""Each step of the funnel, as people read it."""

RATES = {
    "ctr": EventType.CLICK.value,
    "add_to_cart_rate": EventType.ADD_TO_CART.value,
    "purchase_rate": EventType.PURCHASE.value,
}
"""Name of each rate, to the action counted; all are shares of the unique impressions."""

_CONTROL = "control"
_ACTIONS = [action.value for action in ACTIONS]

Report = dict[str, Any]


def make_report(store: FeedbackStore, settings: ReportSettings) -> Report:
    """Rates, their differences between arms, and the deepest funnels of what is in the store.

    A unique impression is a product shown in a request, however often that was reported. What was done with a product
    without a reported impression is in the funnels and counted apart, but in no rate.

    Args:
        store: the database.
        settings: which feedback, and how much of it.

    Returns:
        Plain values, for JSON. ``by_*`` are lists in order, each row with its counts and ``rates``; ``arm_differences``
        compare each arm with ``control``, or else with the first by name.
    """
    products = read_products(store, settings)
    is_shown = pl.col("shown_at").is_not_null()
    shown = products.filter(is_shown).with_columns(day=pl.col("shown_at").dt.date().cast(pl.String))
    not_shown = products.filter(~is_shown)
    funnels = products.group_by("request_id").agg(
        is_shown.sum().alias(EventType.IMPRESSION.value), pl.col(_ACTIONS).sum()
    )
    deepest_first = funnels.sort([*reversed(_ACTIONS), "request_id"], descending=[True] * len(_ACTIONS) + [False])
    return {
        "database": store.where,
        "since": settings.begin.isoformat() if settings.begin else None,
        "until": settings.end.isoformat() if settings.end else None,
        "level": LEVEL,
        "left_out": left_out(store, settings),
        "n_requests": products["request_id"].n_unique(),
        "n_users": products["user"].n_unique(),
        "overall": _measured(shown),
        "without_impression": {name: int(not_shown[name].sum()) for name in _ACTIONS},
        **{f"by_{name}": _by(shown, name) for name in ("position", "model_version", "day", "arm")},
        "arm_differences": _arm_differences(shown, settings.seed),
        "funnels": deepest_first.head(settings.show_funnel_sample).to_dicts(),
    }


def _measured(shown: pl.DataFrame) -> Report:
    counts = {name: int(shown[name].sum()) for name in _ACTIONS}
    rates = {rate: wilson(counts[action], len(shown)).as_json() for rate, action in RATES.items()}
    return {EventType.IMPRESSION.value: len(shown), **counts, "rates": rates}


def _by(shown: pl.DataFrame, name: str) -> list[Report]:
    """Counts and rates of each value, ascending; impressions of which it is not known are left out."""
    groups = shown.drop_nulls(name).partition_by(name, as_dict=True)
    return [{name: key[0], **_measured(groups[key])} for key in sorted(groups)]


def _arm_differences(shown: pl.DataFrame, seed: int) -> list[Report]:
    users = shown.drop_nulls("arm").group_by("arm", "user", maintain_order=True)
    of_users = users.agg(pl.len(), pl.col(_ACTIONS).sum())
    counts = {str(arm): table for (arm,), table in of_users.partition_by("arm", as_dict=True).items()}
    if len(counts) < 2:
        return []
    baseline = _CONTROL if _CONTROL in counts else min(counts)
    differences = []
    for arm in sorted(counts.keys() - {baseline}):
        for rate, action in RATES.items():
            pair = [counts[each].select(pl.col("len", action).cast(pl.Int64)).to_numpy() for each in (baseline, arm)]
            differences.append(
                {
                    "arm": arm,
                    "baseline": baseline,
                    "rate": rate,
                    "n_users": [len(each) for each in pair],
                    **clustered_difference(*pair, seed=seed).as_json(),
                }
            )
    return differences
