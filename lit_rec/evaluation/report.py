"""What an evaluation found, for JSON: means, intervals, paired differences, slices, versions."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from lit_rec import __version__
from lit_rec.core.errors import SettingError
from lit_rec.evaluation.per_query import PerQuery
from lit_rec.evaluation.slices import sliced
from lit_rec.metrics.headline import CHOOSING_METRIC, INTERVAL_METRICS
from lit_rec.metrics.intervals import LEVEL, N_RESAMPLES, percentile_estimates, resampled_means

_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "sentence-transformers")

Report = dict[str, Any]


def make_report(
    results: Sequence[PerQuery],
    *,
    baselines: Sequence[str] = (),
    baseline: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Report:
    """Everything that is reported of some methods on the same queries.

    Args:
        results: one a method, at least one.
        baselines: names of those that are baselines.
        baseline: what the others are compared with; by default the best of the baselines by NDCG@10, or the first
            method where there is none.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        about: further entries, such as the folder and the command.

    Returns:
        ``methods``: name to metric to value, flat (None where nothing applies); ``intervals``: name to metric to
        ``[low, high]``; ``differences`` from ``baseline``: name to metric to ``difference``, ``low``, ``high``;
        ``slices``, ``settings``, ``versions``, and what ``about`` holds.

    Raises:
        SettingError: no result, results on different queries, or ``baseline`` is none of the methods.
    """
    if not results or not len(results[0]):
        raise SettingError("A report is of at least one method and one query", "got none")
    for result in results[1:]:
        if result.query_ids != results[0].query_ids:
            raise SettingError(
                "Methods are compared on the same queries",
                f"{result.method} has others than {results[0].method}",
                "Evaluate them together",
            )
    means = {result.method: result.summary() for result in results}
    if baseline is None:
        measured = [name for name in means if name in baselines]
        baseline = max(measured, key=lambda name: means[name][CHOOSING_METRIC]) if measured else results[0].method
    elif baseline not in means:
        raise SettingError(f"Cannot compare with {baseline!r}", f"measured were {', '.join(means)}")
    intervals, differences = _uncertainty(results, means, baseline, n_resamples, seed)
    return {
        **(about or {}),
        "n_queries": len(results[0]),
        "baseline": baseline,
        "methods": {method: without_nan(of) for method, of in means.items()},
        "intervals": intervals,
        "differences": differences,
        "slices": sliced(results),
        "settings": {
            result.method: result.settings[0] if len(result.settings) == 1 else list(result.settings)
            for result in results
            if result.settings
        },
        "bootstrap": {"n_resamples": n_resamples, "seed": seed, "level": LEVEL, "method": "percentile, paired"},
        "versions": versions(),
    }


def without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same values with None for NaN, which JSON does not have."""
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def queries_of(report: Report) -> str:
    """How many queries of which split, such as ``310 test queries``."""
    split = report.get("split", "all")
    return f"{report['n_queries']:,} {'' if split == 'all' else f'{split} '}queries"


def versions() -> dict[str, str]:
    """Versions of lit_rec, Python and what numbers depend on."""
    found = {"lit_rec": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _uncertainty(
    results: Sequence[PerQuery], means: Mapping[str, Mapping[str, float]], baseline: str, n_resamples: int, seed: int
) -> tuple[Report, Report]:
    """Intervals of every method's means, and differences from the baseline; from the same resamples."""
    metrics = [name for name in INTERVAL_METRICS if all(name in result.values for result in results)]
    columns = [result.values[metric].astype(np.float64) for result in results for metric in metrics]
    resampled = np.split(resampled_means(np.stack(columns, axis=1), n_resamples, seed), len(results), axis=1)
    of_method = {result.method: part for result, part in zip(results, resampled, strict=True)}
    intervals, differences = {}, {}
    for method, values in of_method.items():
        own = [means[method][metric] for metric in metrics]
        ends = [estimate.as_json() for estimate in percentile_estimates(own, values)]
        intervals[method] = {metric: [end["low"], end["high"]] for metric, end in zip(metrics, ends, strict=True)}
        if method != baseline:
            found = np.subtract(own, [means[baseline][metric] for metric in metrics])
            estimates = percentile_estimates(found, values - of_method[baseline])
            differences[method] = {m: e.as_json("difference") for m, e in zip(metrics, estimates, strict=True)}
    return intervals, differences
