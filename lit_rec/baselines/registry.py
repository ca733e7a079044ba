"""The baselines by name. Asking for one imports it; the names alone import nothing."""

import logging
from importlib import import_module

from lit_rec.baselines.base import Baseline
from lit_rec.core.errors import SettingError

logger = logging.getLogger(__name__)

BASELINES = {
    "popularity": "popularity.Popularity",
    "personal_frequency": "personal_frequency.PersonalFrequency",
    "recency_frequency": "recency_frequency.RecencyFrequency",
    "last_basket": "last_basket.LastBasket",
    "tifu_knn": "tifu_knn.TifuKnn",
    "up_cf": "up_cf.UpCf",
    "item_item_seed": "item_item.ItemItemSeed",
    "item_item": "item_item.ItemItem",
    "co_visitation": "co_visitation.CoVisitation",
    "content_based": "content_based.ContentBased",
    "boosted_trees": "boosted_trees.BoostedTrees",
}
"""Module and class of each baseline by its name, in the order of reports: counting first, learning last."""

_FORMER = {"item_item_reference": "item_item_seed"}  # of version 0.1; to be removed with version 0.3


def baseline_class(name: str) -> type[Baseline]:
    """The baseline of that name.

    Raises:
        SettingError: there is none.

    >>> baseline_class("popularity").__name__
    'Popularity'
    """
    if name in _FORMER:
        logger.warning("The baseline %s is now %s; version 0.3 will not take the former name", name, _FORMER[name])
        name = _FORMER[name]
    if name not in BASELINES:
        raise SettingError(f"No baseline {name!r}", f"there are {', '.join(BASELINES)}", "Name one of those")
    module, _, class_name = BASELINES[name].partition(".")
    found: type[Baseline] = getattr(import_module(f"lit_rec.baselines.{module}"), class_name)
    return found
