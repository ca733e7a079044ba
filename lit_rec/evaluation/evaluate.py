"""The command ``evaluate``: any models and baselines on the same queries, measured, compared, written and drawn."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lit_rec.artifacts.model_folder import processed_folder_of
from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL
from lit_rec.baselines.registry import BASELINES
from lit_rec.core import schema
from lit_rec.core.errors import LitRecError, SettingError
from lit_rec.core.files import check_folder, check_writable, replaced_file, write_json
from lit_rec.core.former_names import present_method
from lit_rec.core.schema import Split
from lit_rec.data.histories import Queries
from lit_rec.data.processed import ProcessedFolder, find_processed_folder
from lit_rec.evaluation.cost import measured_cost
from lit_rec.evaluation.held_out import HeldOut, Training, read_held_out, read_training
from lit_rec.evaluation.measure import measure
from lit_rec.evaluation.methods import Method, baseline_method, model_methods
from lit_rec.evaluation.per_query import PerQuery, save_per_query
from lit_rec.evaluation.plots import plot_report
from lit_rec.evaluation.report import Report, make_report
from lit_rec.evaluation.settings import ALL_BASELINES, EvaluationSettings
from lit_rec.evaluation.tables import markdown, report_tables

logger = logging.getLogger(__name__)


def evaluate(settings: EvaluationSettings, command: str = "") -> Report:
    """Measure the methods, print and write what is asked for.

    A method that fails (a :class:`~lit_rec.core.errors.LitRecError`) does not lose the others: it is named under
    ``failed`` in the report.

    Args:
        settings: what is asked.
        command: as typed, for the report.

    Raises:
        FileError: a result cannot be written where it is to go.
        SettingError: no queries, an unknown baseline, two methods of one name, or ``baseline`` is none of them.
        LitRecError: every method failed.
    """
    check_writable(settings.json, settings.markdown, settings.per_query)
    if settings.plots_dir is not None:
        check_folder(settings.plots_dir)
    folder = processed_folder_of(settings.model_dir, settings.processed_dir)
    held_out = read_held_out(folder, None if settings.split == "all" else Split(settings.split))
    if not len(held_out):
        raise SettingError(
            f"No {settings.split} queries in {folder.path}",
            f"it holds {len(folder.queries):,} queries, {held_out.n_left_out:,} of the split without a known product",
            "Pass another --split, or prepare with a larger --eval_frac",
        )
    train_folder = ProcessedFolder(find_processed_folder(settings.train_dir)) if settings.train_dir else None
    training = cache(partial(read_training, folder, train_folder, held_out))
    methods = _methods(settings, folder, training)
    baseline = present_method(settings.baseline) if settings.baseline else None
    if baseline is not None and baseline not in (names := [method.name for method in methods]):
        raise SettingError(
            f"Cannot compare with {baseline!r}", "it is not evaluated", f"Pass one of {', '.join(names)}"
        )
    baselines = [method.name for method in methods if method.is_baseline]
    fitted_on = training() if baselines else None  # read before any work, so that what is wrong is said at once
    results, failed = _measured(methods, held_out, settings.chunk_size)
    if not results:
        why = "\n".join(f"  {name}: {error}" for name, error in failed.items())
        raise LitRecError("No method could be measured", f"all failed:\n{why}")
    validation = fitted_on.validation if fitted_on and settings.tune else None
    report = make_report(
        results,
        baselines=baselines,
        baseline=None if baseline in failed else baseline,
        n_resamples=settings.n_resamples,
        seed=settings.seed,
        about={
            "command": command,
            "processed_dir": str(folder.path),
            "split": settings.split,
            "n_left_out": held_out.n_left_out,
            "n_products": len(held_out.product_ids),
            "fitted_on": fitted_on.source if fitted_on else None,
            "n_validation_queries": len(validation) if validation else 0,
            "tuned_by": settings.tune_by if validation else None,
            "failed": failed,
        },
    )
    Console().print(report_tables(report))
    _write(report, results, settings)
    return report


def _methods(settings: EvaluationSettings, folder: ProcessedFolder, training: Callable[[], Training]) -> list[Method]:
    """All that is asked for, baselines last; nothing is loaded or fitted yet."""
    models = [*settings.model_dir, *([DEFAULT_BASE_MODEL] if settings.base_model else [])]
    corpus = folder.path / schema.EVAL_CORPUS
    methods = [method for model in models for method in model_methods(model, corpus, settings.device)]
    names = list(BASELINES) if ALL_BASELINES in settings.baselines else settings.baselines
    tune_by = settings.tune_by if settings.tune else None
    methods += [baseline_method(name, training, tune_by=tune_by, chunk_size=settings.chunk_size) for name in names]
    found = [method.name for method in methods]
    if doubled := {name for name in found if found.count(name) > 1}:
        raise SettingError("Each method is named once", f"got several times: {', '.join(sorted(doubled))}")
    return methods


def _measured(methods: Sequence[Method], held_out: HeldOut, chunk_size: int) -> tuple[list[PerQuery], dict[str, str]]:
    """The results of those that work, and why the others do not."""
    results: list[PerQuery] = []
    failed: dict[str, str] = {}
    first = held_out.select(np.arange(min(chunk_size, len(held_out))))
    measure(_WarmUp(len(held_out.product_ids)), first, chunk_size)  # first calls load code, which is nobody's cost
    for number, method in enumerate(methods, 1):
        logger.info("%d of %d: %s", number, len(methods), method.name)
        try:
            fitted = method.fit()
            with measured_cost() as cost:
                result = measure(fitted.scorer, held_out, chunk_size)
        except LitRecError as error:
            logger.error("%s failed, the others go on: %s", method.name, error)
            failed[method.name] = f"{type(error).__name__}: {error}"
            continue
        results.append(
            replace(
                result,
                fit_seconds=fitted.fit_seconds,
                peak_gb=float(np.fmax(fitted.fit_gb, cost.peak_gb)),
                settings=[fitted.settings] if fitted.settings else [],
            )
        )
    return results, failed


@dataclass(frozen=True)
class _WarmUp:
    """Scores every product alike.

    Args:
        n_products: size of the catalogue.
    """

    n_products: int
    name: str = "warm-up"

    def scores(self, queries: Queries) -> NDArray[np.float64]:
        return np.zeros((len(queries), self.n_products))


def _write(report: Report, results: Sequence[PerQuery], settings: EvaluationSettings) -> None:
    if settings.json is not None:
        write_json(settings.json, report, indent=2)
    if settings.markdown is not None:
        with replaced_file(settings.markdown) as unfinished:
            unfinished.write_text(markdown(report), encoding="utf-8")
    if settings.per_query is not None:
        save_per_query(settings.per_query, results)
    if settings.plots_dir is not None:
        plot_report(report, settings.plots_dir)
