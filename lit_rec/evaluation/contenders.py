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
from lit_rec.evaluation.measure import CHUNK_SIZE, Method, mean_ndcg

logger = logging.getLogger(__name__)


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
    names: Sequence[str], training: Callable[[], Training], *, tune: bool = True, chunk_size: int = CHUNK_SIZE
) -> list[Contender]:
    """Baselines by name.

    Args:
        names: of the registry.
        training: reads what they are fitted on, once the first of them needs it.
        tune: choose hyper-parameters on the validation queries, where there are any.
        chunk_size: validation queries scored at a time.

    Raises:
        SettingError: there is no baseline of that name.
    """
    classes = {name: baseline_class(name) for name in names}

    def contender(name: str) -> Contender:
        return Contender(
            name, lambda: fitted(classes[name], training(), tune=tune, chunk_size=chunk_size), is_baseline=True
        )

    return [contender(name) for name in classes]


def fitted(baseline: type[Baseline], training: Training, *, tune: bool = True, chunk_size: int = CHUNK_SIZE) -> Ready:
    """Fit a baseline, with the hyper-parameters of its grid that rank the validation queries best by NDCG@10.

    Without validation queries, or with ``tune`` off, it is the first of the grid. Of equal ones the first wins. The
    cost is that of fitting the chosen one, once.

    Args:
        baseline: which.
        training: what to fit on and what to choose by.
        tune: whether to choose.
        chunk_size: validation queries scored at a time.
    """
    grid = baseline.grid()
    validation = training.validation if tune and len(grid) > 1 else None
    if validation is None:
        return _fitted(grid[0], training)
    best, best_ndcg = None, -1.0
    for number, candidate in enumerate(grid, 1):
        ready = _fitted(candidate, training)
        ndcg = mean_ndcg(ready.method, validation, chunk_size)
        logger.info("%s %d of %d, %s: val ndcg@10 %.4f", baseline.name, number, len(grid), ready.settings, ndcg)
        if best is None or ndcg > best_ndcg:
            best, best_ndcg = ready, ndcg
    assert best is not None
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
