"""Ranker, encoder and baselines, cross-validated by user: each user is tested once, by models that never saw one.

For each fold: prepare, fit the static encoder, export, fit the ranker, evaluate; all by the commands, as a user would
run them. Hyper-parameters of the baselines are chosen on validation users of the fold, never on its test users; what is
bought together is tuned a second time for finding new products. The folds' queries are then pooled into one report
with paired intervals.

    python scripts/benchmarks/cross_validation.py --data_dir ../shared/data/instacart-sample \
        --auxiliary_orders ../shared/data/instacart-baskets/order_products.parquet
    python scripts/benchmarks/cross_validation.py --source complete_journey --rolling_targets 8 --max_epochs 1 \
        --content_based true

Writes results/cross_validation_<source>.json, .md and plots. A fold that an earlier, interrupted run has evaluated
is not run again (delete --work_dir to begin anew); two processes may share out the folds with --folds, and the last
one to end pools them.
"""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from jsonargparse import auto_cli

from lit_rec.baselines.registry import BASELINES
from lit_rec.core.files import write_json
from lit_rec.data.settings import PrepareSettings, SourceName
from lit_rec.evaluation.per_query import load_per_query, pool
from lit_rec.evaluation.plots import plot_report
from lit_rec.evaluation.report import make_report
from lit_rec.evaluation.tables import markdown

RANKER, TEXT, FOR_NEW = "ranker", "encoder only", "co_visitation, tuned for new products"
COUNTING = (
    "popularity",
    "personal_frequency",
    "recency_frequency",
    "last_basket",
    "tifu_knn",
    "up_cf",
    "co_visitation",
)
RESULTS = Path("results")
_TEXT_BASELINE = "content_based"  # encodes the catalogue in each fold, for minutes: left out unless asked for
_PARTS = {
    "baselines": ("--baselines", *(name for name in BASELINES if name != _TEXT_BASELINE)),
    "for_new": ("--baselines", "co_visitation", "--tune_by", "explore_filtered_recall@100"),
    _TEXT_BASELINE: ("--baselines", _TEXT_BASELINE),
    "model": ("--model_dir", "{final}"),
}
"""What of a fold is evaluated in one go, into a file of its own."""


def lit_rec(*words: object) -> None:
    """Run a command."""
    command = [sys.executable, "-m", "lit_rec", *map(str, words)]
    print("$ python -m lit_rec", *words, flush=True)
    subprocess.run(command, check=True, env={**os.environ, "WANDB_MODE": "offline"})


def run_fold(
    fold: int,
    n_folds: int,
    source: SourceName,
    data_dir: Path | None,
    work_dir: Path,
    *,
    auxiliary_orders: Path | None,
    rolling_targets: int,
    max_epochs: int,
    parts: list[str],
) -> None:
    """One fold, unless its results are there."""
    folder = work_dir / f"fold{fold}"
    if is_finished(folder, parts):
        return
    settings = PrepareSettings(targets="rolling", rolling_targets=rolling_targets, n_folds=n_folds, fold=fold)
    processed = work_dir / "processed" / settings.folder_name(source)
    data = ["--data_dir", data_dir] if data_dir else []
    lit_rec(
        *("prepare", "--source", source, *data, "--output_dir", processed.parent, "--targets", "rolling"),
        *("--rolling_targets", rolling_targets, "--n_folds", n_folds, "--fold", fold),
    )
    final = folder / "final"
    if not (final / "lit_rec.json").exists():
        lit_rec(
            *("fit", "--config", f"configs/{source}_static.yaml", "--data.processed_dir", processed),
            *("--model.added_tokens_from", processed, "--output_dir", folder, "--wandb", "off"),
            *("--trainer.num_sanity_val_steps", 0, "--trainer.max_epochs", max_epochs),
        )
        lit_rec("export", "--ckpt_path", folder / "checkpoints" / "best.ckpt", "--output_dir", final)
    if not (final / "ranker.json").exists():
        lit_rec(
            "fit_ranker",
            "--model_dir",
            final,
            "--processed_dir",
            processed,
            *(["--auxiliary_orders", auxiliary_orders] if auxiliary_orders else []),
        )
    common = ("evaluate", "--processed_dir", processed, "--split", "test", "--n_resamples", 100)
    for part in parts:
        if not (file := per_query_file(folder, part)).exists():
            lit_rec(*common, *(word.format(final=final) for word in _PARTS[part]), "--per_query", file)


def per_query_file(folder: Path, part: str) -> Path:
    """Where the metrics of a part of a fold are."""
    return folder / f"{part}.parquet"


def is_finished(folder: Path, parts: list[str]) -> bool:
    """Whether these parts of a fold have been evaluated."""
    return all(per_query_file(folder, part).exists() for part in parts)


def main(
    source: SourceName = "instacart",
    data_dir: Path | None = None,
    auxiliary_orders: Path | None = None,
    n_folds: int = 5,
    folds: list[int] | None = None,
    rolling_targets: int = 0,
    max_epochs: int = 5,
    content_based: bool = False,
    work_dir: Path | None = None,
) -> None:
    """Run the folds, pool them, write the report.

    Args:
        source: instacart or complete_journey.
        data_dir: Kaggle-format files; for complete_journey the installed package by default.
        auxiliary_orders: single orders of further users for the ranker's product statistics.
        n_folds: parts of the users.
        folds: run only these; by default all.
        rolling_targets: past orders of each user that the encoder is trained on; 0 for all.
        max_epochs: of the encoder.
        content_based: measure an untrained sentence encoder too, which takes minutes a fold.
        work_dir: everything that is made on the way; by default models/cross_validation_<source>.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    work_dir = work_dir or Path("models") / f"cross_validation_{source}"
    parts = [part for part in _PARTS if content_based or part != _TEXT_BASELINE]
    for fold in range(n_folds) if folds is None else folds:
        run_fold(
            fold,
            n_folds,
            source,
            data_dir,
            work_dir,
            auxiliary_orders=auxiliary_orders,
            rolling_targets=rolling_targets,
            max_epochs=max_epochs,
            parts=parts,
        )
    finished = [fold for fold in range(n_folds) if is_finished(work_dir / f"fold{fold}", parts)]
    if len(finished) < n_folds and folds is not None:
        print(f"Folds {finished} of {n_folds} are done; the report comes with the last one")
        return
    write_report(source, work_dir, finished, parts)


def write_report(source: SourceName, work_dir: Path, folds: list[int], parts: list[str]) -> None:
    """Pool what the folds measured."""
    measured = []
    for fold in folds:
        folder = work_dir / f"fold{fold}"
        final = str(folder / "final")
        names = {final: RANKER, f"{final}, encoder only": TEXT}
        of_part = {part: load_per_query(per_query_file(folder, part)) for part in parts}
        results = [replace(one, method=names[one.method]) for one in of_part["model"]]
        results += of_part["baselines"] + of_part.get(_TEXT_BASELINE, [])
        results += [replace(one, method=FOR_NEW) for one in of_part["for_new"]]
        measured.append(results)
    pooled = pool(measured)
    counting = [one for one in pooled if one.method in COUNTING]
    best = max(counting, key=lambda one: one.summary()["ndcg@10"]).method
    report = make_report(
        pooled,
        baselines=[one.method for one in pooled if one.method not in (RANKER, TEXT)],
        baseline=best,
        about={
            "command": " ".join(["python", *sys.argv]),
            "processed_dir": f"{len(folds)} folds of {source}",
            "split": "test",
            "n_left_out": 0,
            "n_products": pooled[0].n_products,
            "fitted_on": "the training users of each fold",
            "n_validation_queries": 0,
            "tuned_by": "ndcg@10 of the validation users of each fold",
            "failed": {},
        },
    )
    name = RESULTS / f"cross_validation_{source}"
    RESULTS.mkdir(exist_ok=True)
    write_json(name.with_suffix(".json"), report, indent=2)
    name.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    plot_report(report, name)
    of_ranker, of_best = (next(one for one in pooled if one.method == m).summary() for m in (RANKER, best))
    print(f"ranker / {best}, ndcg@10: {of_ranker['ndcg@10'] / of_best['ndcg@10']:.3f}")
    print(f"The report is in {name}.json, .md and {name}/")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
