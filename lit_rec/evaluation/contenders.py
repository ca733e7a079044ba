"""Methods that can be asked for by name: each is made, and fitted where it needs that, when its turn comes."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from lit_rec.baselines.base import Baseline
from lit_rec.baselines.registry import baseline_class
from lit_rec.evaluation.cost import measured_cost
from lit_rec.evaluation.inputs import Training
from lit_rec.evaluation.measure import CHUNK_SIZE, Method, measure

logger = logging.getLogger(__name__)

CHOOSING_METRIC = "ndcg@10"
"""What hyper-parameters are chosen by, if not told otherwise."""


@dataclass(frozen=True)
class Ready:
    """A method that can rank.

    Args:
        method: it.
        settings: its hyper-parameters.
        fit_seconds: what fitting took; NaN where it was fitted elsewhere.
        fit_gb: memory that fitting grew by.
    """

    method: Method
    settings: Mapping[str, Any] = field(default_factory=dict)
    fit_seconds: float = nan
    fit_gb: float = nan


@dataclass(frozen=True)
class Contender:
    """A method yet to be made.

    Args:
        name: what tables call it.
        make: loads or fits it.
        is_baseline: whether it may be what others are compared with.
    """

    name: str
    make: Callable[[], Ready]
    is_baseline: bool = False


def baseline_contenders(
    names: Sequence[str],
    training: Callable[[], Training],
    *,
    tune_by: str | None = CHOOSING_METRIC,
    chunk_size: int = CHUNK_SIZE,
) -> list[Contender]:
    """Baselines by name.

    Args:
        names: of the registry.
        training: reads what they are fitted on.
        tune_by: the metric that chooses hyper-parameters on the validation queries, where there are any; None for the
            published ones.
        chunk_size: validation queries scored at a time.

    Raises:
        SettingError: there is no baseline of that name.
    """

    def contender(name: str) -> Contender:
        baseline = baseline_class(name)
        return Contender(
            name, lambda: fitted(baseline, training(), tune_by=tune_by, chunk_size=chunk_size), is_baseline=True
        )

    return [contender(name) for name in names]


def fitted(
    baseline: type[Baseline],
    training: Training,
    *,
    tune_by: str | None = CHOOSING_METRIC,
    chunk_size: int = CHUNK_SIZE,
) -> Ready:
    """Fit a baseline, with the hyper-parameters of its grid that rank the validation queries best.

    Without validation queries, or without ``tune_by``, it is the first of the grid. Of equal ones the first wins. The
    cost is that of fitting the chosen one, once.

    Args:
        baseline: which.
        training: what to fit on and what to choose by.
        tune_by: the metric that chooses; None not to choose.
        chunk_size: validation queries scored at a time.
    """
    grid = baseline.grid()
    best = _fitted(grid[0], training)
    if tune_by is None or training.validation is None or len(grid) == 1:
        return best
    best_mean = -1.0
    for number, candidate in enumerate(grid, 1):
        ready = best if number == 1 else _fitted(candidate, training)
        mean = measure(ready.method, training.validation, chunk_size).summary()[tune_by]
        logger.info("%s %d of %d, %s: val %s %.4f", baseline.name, number, len(grid), ready.settings, tune_by, mean)
        if mean > best_mean:
            best, best_mean = ready, mean
    return best


def hyper_parameters(baseline: Baseline) -> dict[str, Any]:
    """What it was made with: the attributes that its ``__init__`` has arguments for."""
    names = inspect.signature(type(baseline)).parameters
    return {name: getattr(baseline, name) for name in names if hasattr(baseline, name)}


def _fitted(candidate: Baseline, training: Training) -> Ready:
    settings = hyper_parameters(candidate)
    with measured_cost() as cost:
        method = candidate.fit(training.histories, training.product_texts)
    return Ready(method, settings, cost.seconds, cost.peak_gb)
