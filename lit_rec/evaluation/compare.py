"""The command ``compare``: what training did to a model, on the same queries before and after.

Shapes: Q queries, N products, D embedding, K ranks.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torch import Tensor

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, local_model
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.core.files import check_folder, check_writable, read_json, write_json
from lit_rec.core.schema import Split
from lit_rec.data.dataset import EvaluationQueries, padded
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.collapse import random_pair_cosines, spectrum, spread_of, verdict
from lit_rec.evaluation.compare_pictures import metric_bars, pair_cosine_histograms, spectra
from lit_rec.inference.backends import TorchBackend
from lit_rec.inference.recommender import Recommender
from lit_rec.metrics.intervals import Estimate, paired_difference
from lit_rec.metrics.ranking import top_k
from lit_rec.metrics.retrieval import MAX_RANK, per_query

logger = logging.getLogger(__name__)

UNTRAINED, TRAINED = "untrained", "trained"
DECIDES = "ndcg@10"
"""The metric that says whether training helped."""

_HEADLINE = (
    "ndcg@10",
    "recall@10",
    "accuracy@10",
    "mrr@10",
    "map@100",
    "repeat_recall@10",
    "explore_recall@10",
    "explore_recall@100",
)
_QUERIES_PER_CHUNK = 256  # times 50,000 products: 50 MB of scores

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """What is known of one model.

    Args:
        products: float32 ``(N, D)``, of length 1.
        queries: float32 ``(Q, D)``, of length 1.
        values: metric name to its value for each query, ``(Q,)``; NaN where it does not apply.
    """

    products: Floats
    queries: Floats
    values: dict[str, NDArray[np.float64]]

    def means(self) -> dict[str, float | None]:
        """Of each metric over the queries that it applies to; None where there is none."""
        return {name: float(np.nanmean(v)) if not np.isnan(v).all() else None for name, v in self.values.items()}


@dataclass(frozen=True)
class Sample:
    """The queries that both models are asked.

    Args:
        folder: whose queries and catalogue.
        texts: Q contexts.
        relevant: int64 ``(Q, R)``, product indices, padded with -1.
        history: int64 ``(Q, H)``, product indices, padded with -1.
    """

    folder: ProcessedFolder
    texts: list[str]
    relevant: Tensor
    history: Tensor


def compare(
    model_dir: str,
    base_model: str | None,
    folder: ProcessedFolder,
    *,
    split: Split = Split.TEST,
    sample_queries: int | None = None,
    json: Path | None = None,
    pictures: Path | None = None,
    device: str | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a model before and after training on the same queries, print it, and write what is asked for.

    The untrained model cuts long contexts as the trained one does: the difference is what training did.

    Args:
        model_dir: the trained model: a folder, or a hub id.
        base_model: the untrained one; None for what the model folder records as its base.
        folder: a processed folder.
        split: whose queries.
        sample_queries: ask this many of them only (seeded); None for all.
        json: file for the report.
        pictures: folder for the pictures.
        device: to encode on; None for the best there is.
        n_resamples: of the bootstrap.
        seed: of the sample, the pairs and the bootstrap.

    Returns:
        ``metrics`` (model to metric to mean), ``differences`` (metric to difference, low, high), ``spread`` (model to
        products and queries to figures), ``health``, ``verdict`` and what was compared.

    Raises:
        SettingError: no queries, or a sample of none.
    """
    check_writable(json)
    if pictures is not None:
        check_folder(pictures)
    base = base_model or recorded_base_model(model_dir)
    sample = draw_sample(folder, split, sample_queries, seed)
    untrained, trained = (TorchBackend(local_model(name), device=device) for name in (base, model_dir))
    untrained.copy_truncation(trained)
    measured = {}
    for label, encoder in ((UNTRAINED, untrained), (TRAINED, trained)):
        logger.info("%s: %s", label, encoder.name)
        measured[label] = measure(encoder, sample)
    report = make_report(measured, n_resamples=n_resamples, seed=seed)
    report = {
        "model_dir": str(model_dir),
        "base_model": str(base),
        "processed_dir": str(sample.folder.path),
        "split": split.value,
        "sample_queries": sample_queries,
        **report,
    }
    Console().print(terminal_tables(report))
    if json is not None:
        write_json(json, report, indent=2)
    if pictures is not None:
        draw(report, measured, pictures, seed)
    return report


def recorded_base_model(model_dir: str) -> str:
    """What a model folder says it was trained from; the default base model where it says nothing."""
    try:
        record = local_model(model_dir) / schema.MODEL_RECORD
    except ModelFolderError:  # loading says it again
        return DEFAULT_BASE_MODEL
    if not record.is_file():
        return DEFAULT_BASE_MODEL
    return str(read_json(record).get("model", {}).get("base_model", DEFAULT_BASE_MODEL))


def draw_sample(folder: ProcessedFolder, split: Split, sample_queries: int | None, seed: int) -> Sample:
    """Queries of a split that have something to be found, in the folder's order.

    Args:
        folder: whose queries.
        split: val or test.
        sample_queries: at most this many; None for all.
        seed: of the choice.

    Raises:
        SettingError: there is none, or fewer than 2 are asked for.
    """
    if sample_queries is not None and sample_queries < 2:
        raise SettingError("sample_queries must be at least 2", f"got {sample_queries}")
    every = EvaluationQueries.read(folder)
    rows = [row for row in every.of_split(split).tolist() if len(every.relevant[row])]
    if sample_queries is not None and sample_queries < len(rows):
        rows = sorted(np.random.default_rng(seed).choice(rows, sample_queries, replace=False).tolist())
    if len(rows) < 2:
        raise SettingError(
            f"Too few {split} queries to compare on in {folder.path}",
            f"found {len(rows)}",
            "Pass another --split, or prepare with a larger --eval_frac",
        )
    return Sample(
        folder,
        [folder.queries[every.query_ids[row]] for row in rows],
        padded([every.relevant[row] for row in rows]),
        padded([every.history[row] for row in rows]),
    )


def measure(encoder: TorchBackend, sample: Sample) -> Measured:
    """Embed catalogue and queries, rank the one for each of the other, and score the ranks.

    The catalogue's embeddings are kept beside the corpus, as :class:`~lit_rec.inference.recommender.Recommender` does.

    Args:
        encoder: of a model.
        sample: the queries.
    """
    corpus = sample.folder.path / schema.EVAL_CORPUS
    recommender = Recommender(encoder.name, corpus, encoder=encoder, show_progress=True, use_ranker=False)
    products = np.asarray(recommender.index.embeddings, dtype=np.float32)
    queries = recommender.encoder.encode(sample.texts, show_progress=True)
    return Measured(products, queries, _ranked_and_scored(products, queries, sample))


def _ranked_and_scored(products: Floats, queries: Floats, sample: Sample) -> dict[str, NDArray[np.float64]]:
    catalogue, k = torch.from_numpy(products).T, min(MAX_RANK, len(products))
    parts: list[dict[str, Tensor]] = []
    starts = range(0, len(queries), _QUERIES_PER_CHUNK)
    for start in track(starts, "Ranking", disable=len(starts) < 3, transient=True):
        rows = slice(start, start + _QUERIES_PER_CHUNK)
        _, ranked = top_k(torch.from_numpy(queries[rows]) @ catalogue, k)
        parts.append(per_query(ranked, sample.relevant[rows], sample.history[rows]))
    return {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}


def make_report(measured: Mapping[str, Measured], *, n_resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Means, paired differences, spread and the verdict, of an untrained and a trained model on the same queries."""
    before, after = measured[UNTRAINED], measured[TRAINED]
    differences = {
        name: paired_difference(before.values[name], after.values[name], n_resamples=n_resamples, seed=seed)
        for name in _HEADLINE
    }
    spread = {
        label: {
            "products": spread_of(one.products, random_pair_cosines(one.products, seed=seed)),
            "queries": spread_of(one.queries, random_pair_cosines(one.queries, seed=seed)),
        }
        for label, one in measured.items()
    }
    health, of_spaces = verdict(**spread[TRAINED])
    return {
        "n_queries": len(after.queries),
        "n_products": len(after.products),
        "metrics": {label: one.means() for label, one in measured.items()},
        "differences": {name: found.as_json("difference") for name, found in differences.items()},
        "spread": {
            label: {what: figures.as_json() for what, figures in both.items()} for label, both in spread.items()
        },
        "health": health.value,
        "verdict": f"{of_spaces} {_of_metrics(differences[DECIDES])}",
        "bootstrap": {"n_resamples": n_resamples, "seed": seed, "level": 0.95, "method": "percentile, paired"},
    }


def terminal_tables(report: Mapping[str, Any]) -> Group:
    """Metrics and spread, and the verdict."""
    metrics = Table(title=f"{report['n_queries']:,} queries, {report['n_products']:,} products", title_justify="left")
    for name in ("", UNTRAINED, TRAINED, "difference", "95 % interval"):
        metrics.add_column(name, justify="left" if not name else "right")
    for name, found in report["differences"].items():
        cells = [_cell(report["metrics"][label][name]) for label in (UNTRAINED, TRAINED)]
        low, high = found["low"], found["high"]
        interval = "" if low is None else f"{low:+.4f} to {high:+.4f}"
        metrics.add_row(name, *cells, _cell(found["difference"], "+.4f"), interval)
    spaces = Table(title="Spread of the embeddings", title_justify="left")
    for name in ("", UNTRAINED, TRAINED):
        spaces.add_column(name, justify="left" if not name else "right")
    for what in ("products", "queries"):
        for figure in ("mean_cosine", "std_cosine", "mean_std", "effective_rank"):
            values = [report["spread"][label][what][figure] for label in (UNTRAINED, TRAINED)]
            shown = "{:.1f}" if figure == "effective_rank" else "{:.4f}"
            spaces.add_row(f"{what}: {figure}", *(shown.format(value) for value in values))
    names = f"{UNTRAINED}: {escape(report['base_model'])}\n{TRAINED}: {escape(report['model_dir'])}\n"
    return Group(names, metrics, spaces, f"\n{escape(report['verdict'])}")


def draw(report: Mapping[str, Any], measured: Mapping[str, Measured], folder: Path, seed: int = 0) -> None:
    """Write ``metrics.png``, ``pair_cosines.png`` and ``singular_values.png``."""
    shown = {
        label: {name: value for name in _HEADLINE if (value := report["metrics"][label][name]) is not None}
        for label in measured
    }
    metric_bars(folder / "metrics.png", shown, f"Before and after training, {report['n_queries']:,} queries")
    texts = {what: {label: getattr(one, what) for label, one in measured.items()} for what in ("products", "queries")}
    pair_cosine_histograms(
        folder / "pair_cosines.png",
        {what: {label: random_pair_cosines(v, seed=seed) for label, v in of.items()} for what, of in texts.items()},
    )
    spectra(
        folder / "singular_values.png",
        {what: {label: spectrum(vectors) for label, vectors in of.items()} for what, of in texts.items()},
        {what: {label: report["spread"][label][what]["effective_rank"] for label in of} for what, of in texts.items()},
    )
    logger.info("Pictures: %s", ", ".join(str(file) for file in sorted(folder.glob("*.png"))))


def _of_metrics(found: Estimate) -> str:
    interval = f"{DECIDES} {found.value:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}"
    if found.low > 0:
        return f"Training helped: {interval}."
    return f"Training did harm: {interval}." if found.high < 0 else f"Training made no difference shown: {interval}."


def _cell(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)
