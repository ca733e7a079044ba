"""Names of version 0.1 that version 0.2 still takes: of settings in flags, configs, checkpoints and records.

To be removed with version 0.3.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SETTINGS = {
    "against": "baseline",
    "ask_by": "request_mode",
    "behaviour": "click_model",
    "baskets": "auxiliary_orders",
    "gradient_cache_rows": "grad_cache_size",
    "log_frequency_correction": "logq_correction",
    "n_members": "ensemble_size",
    "n_shoppers": "n_users",
    "name_budget": "truncate",
    "other_factor": "irrelevant_factor",
    "pictures": "plots",
    "phrase_min_count": "added_token_min_count",
    "phrases_from": "added_tokens_from",
    "rows_per_forward": "micro_batch_size",
    "targets_per_shopper": "targets_per_user",
}
"""Former to present name of a setting, whatever it is nested in."""

VALUES = {
    ("baseline", "item_item_reference"): "item_item_seed",
    ("click_model", "position_bias"): "position_based",
    ("click_model", "rates"): "random",
    ("loss", "pair"): "mnrl",
    ("tune_by", "explore_part_recall@100"): "explore_filtered_recall@100",
    ("truncate", "newest"): "keep_recent",
    ("truncate", "oldest"): "keep_oldest",
}
"""Present name of a setting and former value to present value."""

VARIABLES = {
    "serve_shoppers": "serve_users",
    "shoppers_path": "users_path",
    "store_served": "store_exposures",
}
"""Former to present name of a setting of the service, whose environment variable is ``LIT_REC_NAME`` or ``NAME``."""

FEATURES = {
    "again_rate": "repurchase_rate",
    "aisle_choice": "aisle_probability",
    "aisle_share": "user_aisle_share",
    "days_due": "day_gap_ratio",
    "goes_with": "item_item_confidence",
    "goes_with_cosine": "item_item_cosine",
    "goes_with_last": "item_item_confidence_newest",
    "goes_with_others": "item_item_confidence",
    "goes_with_others_cosine": "item_item_cosine",
    "goes_with_others_last": "item_item_confidence_newest",
    "market_cart_position": "global_cart_position",
    "market_log_popularity": "global_log_popularity",
    "market_reorder_share": "global_reorder_share",
    "orders_due": "order_gap_ratio",
    "share_of_aisle": "product_share_in_aisle",
}
"""Former to present name of a ranker's feature, in ``ranker.json``."""

TENSORS = {
    "catalogue.pool": "catalogue.candidate_products",
    "network.explore.log": "network.explore.is_log_scaled",
    "network.log_scale": "network.calibration_scale",
    "network.offset.0.bias": "network.calibration_offset.0.bias",
    "network.offset.0.weight": "network.calibration_offset.0.weight",
    "network.offset.2.bias": "network.calibration_offset.2.bias",
    "network.offset.2.weight": "network.calibration_offset.2.weight",
    "network.repeat.log": "network.repeat.is_log_scaled",
}
"""Former to present name of a ranker's tensor, in ``ranker.safetensors``."""

FILES = {"users.json": "shoppers.json"}
"""Present to former name of a file."""


_NEXT_ORDER = "next_order_in_context"
_SWITCHES = {"next_segment": False, "eval_serve_time": True}
"""The two settings that ``next_order_in_context`` was, with their defaults."""

_SWITCHES_OF = {
    "never": _SWITCHES,
    "training": {"next_segment": True, "eval_serve_time": True},
    "always": {"next_segment": True, "eval_serve_time": False},
}


def _next_order(switches: Mapping[str, Any]) -> str:
    if not switches["next_segment"]:
        return "never"
    return "training" if switches["eval_serve_time"] else "always"


def present_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their present names and with their present values, nested ones too.

    >>> present_names({"model": {"phrases_from": "data", "loss": "pair"}, "seed": 1})
    {'model': {'added_tokens_from': 'data', 'loss': 'mnrl'}, 'seed': 1}
    """
    if settings.keys() & _SWITCHES and _NEXT_ORDER not in settings:
        switches = {name: settings.get(name, default) for name, default in _SWITCHES.items()}
        settings = {name: value for name, value in settings.items() if name not in _SWITCHES}
        settings |= {_NEXT_ORDER: _next_order(switches)}
    present = {}
    for former, value in settings.items():
        name = SETTINGS.get(former, former)
        if isinstance(value, Mapping):
            value = present_names(value)
        elif isinstance(value, str):
            value = VALUES.get((name, value), value)
        present[name] = value
    return present


def present_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A model's record under present names; the ``next_segment`` of its context was that of serving, so of all.

    >>> present_record({"context": {"next_segment": True}})
    {'context': {'next_order_in_context': 'always'}}
    """
    context = record.get("context")
    if isinstance(context, Mapping) and "next_segment" in context:
        record = {**record, "context": {**context, "eval_serve_time": False}}
    return present_names(record)


def present_words(words: Sequence[str]) -> list[str]:
    """A command line with its flags and config files under their present names; each change is a warning.

    >>> present_words(["fit", "--model.phrases_from", "data", "--model.loss=pair"])
    ['fit', '--model.added_tokens_from', 'data', '--model.loss=mnrl']
    """
    present: list[str] = []
    switches = dict(_SWITCHES)  # as the flags and configs so far have them
    former = ""  # name of the flag before, whose value may follow
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            place, dot, former = flag.rpartition(".")
            name = _NEXT_ORDER if former in switches else SETTINGS.get(former, former)
            new = f"--{place}{dot}{name}{equals}{_present_value(former, value, switches) if equals else ''}"
        else:
            new, former = _present_value(former, word, switches), ""
        if new != word:
            now = "read under present names" if "\n" in new else f"now {new}"
            logger.warning("%s is %s; version 0.3 will not take the former ones", word, now)
        present.append(new)
    return present


def _present_value(former: str, value: str, switches: dict[str, Any]) -> str:
    """A flag's value; of a config file with former names its content under present ones, which the parsers take too."""
    import yaml  # not for help

    if former in switches:
        switches[former] = yaml.safe_load(value)
        return _next_order(switches)
    if former != "config" or not Path(value).is_file():
        return VALUES.get((SETTINGS.get(former, former), value), value)
    try:
        content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return value  # the parser says what is wrong with it
    if not isinstance(content, dict):
        return value
    present = present_names(content)
    switches |= _SWITCHES_OF.get(_found_next_order(present), {})
    if present == content:
        return value
    return str(yaml.safe_dump(present, sort_keys=False))


def _found_next_order(settings: Mapping[str, Any]) -> str:
    """``next_order_in_context``, wherever it is nested; empty where it is nowhere."""
    nested = [_found_next_order(value) for value in settings.values() if isinstance(value, Mapping)]
    return str(settings.get(_NEXT_ORDER, "")) or next(filter(None, nested), "")


def present_metric(name: str) -> str:
    """A metric's name as it is now.

    >>> present_metric("explore_part_recall@100")
    'explore_filtered_recall@100'
    """
    return name.replace("explore_part_", "explore_filtered_")


def present_method(name: str) -> str:
    """The name of an evaluated method as it is now.

    >>> present_method("models/mine/final, text alone")
    'models/mine/final, encoder only'
    """
    if name.endswith(", text alone"):
        return name.removesuffix("text alone") + "encoder only"
    return VALUES.get(("baseline", name), name)


def present_variables(variables: Mapping[str, str | None], prefix: str) -> dict[str, str | None]:
    """Environment variables with those of the service's settings under their present names; each change is a warning.

    Args:
        variables: in small letters, as pydantic-settings reads them.
        prefix: of the variables, or nothing.

    >>> present_variables({"lit_rec_store_served": "false", "home": "/root"}, "lit_rec_")
    {'lit_rec_store_served': 'false', 'home': '/root', 'lit_rec_store_exposures': 'false'}
    """
    present = dict(variables)
    for former, name in VARIABLES.items():
        former, name = prefix + former, prefix + name
        if former in variables and name not in variables:
            logger.warning("%s is now %s; version 0.3 will not take the former one", former.upper(), name.upper())
            present[name] = variables[former]
    return present
