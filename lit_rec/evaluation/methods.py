"""Methods that can be asked for by name: each is loaded, or fitted on training histories, when its turn comes.

Shapes: Q queries, N products.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_rec.artifacts.pretrained import local_model
from lit_rec.baselines.base import Baseline
from lit_rec.baselines.registry import baseline_class
from lit_rec.core import schema
from lit_rec.core.devices import one_thread
from lit_rec.core.errors import ModelFolderError
from lit_rec.data.histories import Queries
from lit_rec.evaluation.cost import measured_cost
from lit_rec.evaluation.held_out import Training
from lit_rec.evaluation.measure import CHUNK_SIZE, Scorer, measure
from lit_rec.inference.recommender import Recommender
from lit_rec.metrics.headline import CHOOSING_METRIC

logger = logging.getLogger(__name__)

ENCODER_ONLY = "{}, encoder only"


@dataclass(frozen=True)
class FittedMethod:
    """A method that can rank.

    Args:
        scorer: what scores the catalogue.
        settings: its hyper-parameters.
        fit_seconds: what fitting took; NaN where it was fitted elsewhere.
        fit_gb: memory that fitting grew by.
    """

    scorer: Scorer
    settings: Mapping[str, Any] = field(default_factory=dict)
    fit_seconds: float = nan
    fit_gb: float = nan


@dataclass(frozen=True)
class Method:
    """A method yet to be loaded or fitted.

    Args:
        name: what tables call it.
        fit: loads or fits it.
        is_baseline: whether it may be what others are compared with.
    """

    name: str
    fit: Callable[[], FittedMethod]
    is_baseline: bool = False


@dataclass(frozen=True)
class ModelScorer:
    """A model folder as a method.

    Args:
        recommender: encoder, catalogue, and the ranker where there is one.
        name: what tables call it.
        encoder_only: rank by the cosine of context and product, without the ranker; histories are not looked at.
    """

    recommender: Recommender
    name: str
    encoder_only: bool = False

    def scores(self, queries: Queries) -> NDArray[np.floating[Any]]:
        """Float ``(Q, N)``: the ranker's scores, or cosines, -1 to 1.

        Args:
            queries: contexts and histories.
        """
        if self.encoder_only:
            return self.recommender.text_scores(queries.contexts)
        with one_thread():
            return self.recommender.scores(queries)


def model_methods(model_dir: str, corpus: Path, device: str | None = None) -> list[Method]:
    """The methods of a model folder: its ranker, where it has one, and its encoder only; loaded once for both.

    Args:
        model_dir: a model folder, or a hub id; also the name.
        corpus: the catalogue, product id to text.
        device: see :class:`~lit_rec.inference.recommender.Recommender`.
    """

    @cache
    def load() -> Recommender:
        return Recommender(model_dir, corpus, device=device, show_progress=True)

    def encoder_only(name: str) -> Method:
        return Method(name, lambda: FittedMethod(ModelScorer(load(), name, encoder_only=True)))

    try:
        has_ranker = (local_model(model_dir) / schema.RANKER).is_file()
    except ModelFolderError:
        has_ranker = False  # loading says it again, and the other methods go on
    if not has_ranker:
        return [encoder_only(model_dir)]
    ranker = Method(model_dir, lambda: FittedMethod(ModelScorer(load(), model_dir)))
    return [ranker, encoder_only(ENCODER_ONLY.format(model_dir))]


def baseline_method(
    name: str, training: Callable[[], Training], *, tune_by: str | None, chunk_size: int = CHUNK_SIZE
) -> Method:
    """A baseline by name.

    Args:
        name: of the registry.
        training: reads what it is fitted on.
        tune_by: see :func:`fitted`.
        chunk_size: validation queries scored at a time.

    Raises:
        SettingError: there is no baseline of that name.
    """
    baseline = baseline_class(name)
    return Method(name, lambda: fitted(baseline, training(), tune_by=tune_by, chunk_size=chunk_size), is_baseline=True)


def fitted(
    baseline: type[Baseline],
    training: Training,
    *,
    tune_by: str | None = CHOOSING_METRIC,
    chunk_size: int = CHUNK_SIZE,
) -> FittedMethod:
    """Fit a baseline, with the hyper-parameters of its grid that rank the validation queries best.

    Without validation queries, or without ``tune_by``, it is the first of the grid, which holds the published ones. Of
    equal ones the first wins. The cost is that of fitting the chosen one, once.

    Args:
        baseline: which.
        training: what to fit on and what to choose by.
        tune_by: the metric that chooses; None not to choose.
        chunk_size: validation queries scored at a time.
    """
    grid = baseline.grid()
    best = _fit(grid[0], training)
    if tune_by is None or training.validation is None or len(grid) == 1:
        return best
    best_mean = -1.0
    for number, candidate in enumerate(grid, 1):
        found = best if number == 1 else _fit(candidate, training)
        mean = measure(found.scorer, training.validation, chunk_size).means()[tune_by]
        logger.info("%s %d of %d, %s: val %s %.4f", baseline.name, number, len(grid), found.settings, tune_by, mean)
        if mean > best_mean:
            best, best_mean = found, mean
    return best


def hyper_parameters(baseline: Baseline) -> dict[str, Any]:
    """What a baseline was made with: the attributes that its ``__init__`` has arguments for."""
    names = inspect.signature(type(baseline)).parameters
    return {name: getattr(baseline, name) for name in names if hasattr(baseline, name)}


def _fit(candidate: Baseline, training: Training) -> FittedMethod:
    settings = hyper_parameters(candidate)
    with measured_cost() as cost:
        scorer = candidate.fit(training.histories, training.product_texts)
    return FittedMethod(scorer, settings, cost.seconds, cost.peak_gb)
