"""The command ``compare``: what training did to a model, on the same queries before and after.

Shapes: Q queries, N products, D embedding.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lit_rec.artifacts.model_folder import processed_folder_of
from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, local_model
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.core.files import check_folder, check_writable, read_json, write_json
from lit_rec.core.schema import Split
from lit_rec.data.histories import Queries
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.embedding_report import EmbeddingReport, diagnosis
from lit_rec.evaluation.held_out import HeldOut, read_held_out
from lit_rec.evaluation.measure import measure
from lit_rec.evaluation.per_query import PerQuery
from lit_rec.evaluation.plots import plot_comparison
from lit_rec.evaluation.report import Report, without_nan
from lit_rec.evaluation.settings import ComparisonSettings
from lit_rec.evaluation.tables import comparison_tables
from lit_rec.inference.backends import TorchBackend
from lit_rec.inference.recommender import Recommender
from lit_rec.metrics.headline import CHOOSING_METRIC, INTERVAL_METRICS
from lit_rec.metrics.intervals import LEVEL, N_RESAMPLES, Estimate, paired_difference

logger = logging.getLogger(__name__)

UNTRAINED, TRAINED = "untrained", "trained"

_QUERIES_PER_CHUNK = 256  # times 50,000 products: 50 MB of scores

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class EncodedModel:
    """An encoder's embeddings of the catalogue and of all queries; scores are their cosines.

    Args:
        name: what progress bars call it.
        products: float32 ``(N, D)``, of length 1.
        queries: float32 ``(Q, D)``, of length 1.
        row_of: context to row of ``queries``.
    """

    name: str
    products: Embeddings
    queries: Embeddings
    row_of: dict[str, int]

    def scores(self, queries: Queries) -> Embeddings:
        """float32 ``(Q, N)``.

        Args:
            queries: some of those that are encoded.
        """
        return self.queries[[self.row_of[context] for context in queries.contexts]] @ self.products.T


def compare(model_dir: str, settings: ComparisonSettings) -> Report:
    """Measure a model before and after training on the same queries, print it, and write what is asked for.

    The untrained model cuts long contexts as the trained one does: the difference is what training did.

    Args:
        model_dir: the trained model: a folder, or a hub id.
        settings: what is asked; its own ``model_dir`` is not looked at.

    Returns:
        ``metrics`` (model to metric to mean), ``differences`` (metric to difference, low, high), ``embedding_report``
        (model to products and queries to figures), ``state`` of the embeddings, ``diagnosis`` in words, and what was
        compared.

    Raises:
        FileError: a result cannot be written where it is to go.
        SettingError: fewer than 2 queries.
    """
    check_writable(settings.json)
    if settings.plots is not None:
        check_folder(settings.plots)
    folder = processed_folder_of([model_dir], settings.processed_dir)
    base = settings.base_model or recorded_base_model(model_dir)
    held_out = draw_sample(folder, settings.split, settings.sample_queries, settings.seed)
    untrained, trained = (TorchBackend(local_model(name), device=settings.device) for name in (base, model_dir))
    untrained.copy_truncation(trained)
    models, results = {}, {}
    for label, encoder in ((UNTRAINED, untrained), (TRAINED, trained)):
        logger.info("%s: %s", label, encoder.name)
        models[label] = encode(encoder, folder, held_out)
        results[label] = measure(models[label], held_out, _QUERIES_PER_CHUNK)
    report = {
        "model_dir": model_dir,
        "base_model": base,
        "processed_dir": str(folder.path),
        "split": settings.split.value,
        "sample_queries": settings.sample_queries,
        **make_report(models, results, n_resamples=settings.n_resamples, seed=settings.seed),
    }
    Console().print(comparison_tables(report))
    if settings.json is not None:
        write_json(settings.json, report, indent=2)
    if settings.plots is not None:
        texts = ("products", "queries")
        embeddings = {what: {label: getattr(model, what) for label, model in models.items()} for what in texts}
        plot_comparison(report, embeddings, settings.plots, settings.seed)
        logger.info("Plots: %s", ", ".join(str(file) for file in sorted(settings.plots.glob("*.png"))))
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


def draw_sample(folder: ProcessedFolder, split: Split, sample_queries: int | None, seed: int) -> HeldOut:
    """Queries of a split that have something to be found, in the folder's order.

    Args:
        folder: whose queries.
        split: val or test.
        sample_queries: at most this many; None for all.
        seed: of the choice.

    Raises:
        SettingError: there are fewer than 2.
    """
    held_out = read_held_out(folder, split)
    if sample_queries is not None and sample_queries < len(held_out):
        rows = np.random.default_rng(seed).choice(len(held_out), sample_queries, replace=False)
        held_out = held_out.select(np.sort(rows))
    if len(held_out) < 2:
        raise SettingError(
            f"Too few {split} queries to compare on in {folder.path}",
            f"found {len(held_out)}",
            "Pass another --split, or prepare with a larger --eval_frac",
        )
    return held_out


def encode(encoder: TorchBackend, folder: ProcessedFolder, held_out: HeldOut) -> EncodedModel:
    """Embeddings of catalogue and queries.

    The catalogue's embeddings are kept beside the corpus, as :class:`~lit_rec.inference.recommender.Recommender` does.

    Args:
        encoder: of a model.
        folder: whose catalogue.
        held_out: the queries.
    """
    corpus = folder.path / schema.EVAL_CORPUS
    recommender = Recommender(encoder.name, corpus, encoder=encoder, show_progress=True, use_ranker=False)
    products = np.asarray(recommender.index.embeddings, dtype=np.float32)
    contexts = held_out.queries.contexts
    row_of = {context: row for row, context in enumerate(contexts)}
    return EncodedModel(encoder.name, products, encoder.encode(contexts, show_progress=True), row_of)


def make_report(
    models: dict[str, EncodedModel], results: dict[str, PerQuery], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Report:
    """Means, paired differences, embedding reports and the diagnosis, of an untrained and a trained model.

    Args:
        models: the two.
        results: theirs, on the same queries.
        n_resamples: of the bootstrap.
        seed: of the pairs and the bootstrap.
    """
    before, after = results[UNTRAINED].values, results[TRAINED].values
    differences = {
        name: paired_difference(before[name], after[name], n_resamples=n_resamples, seed=seed)
        for name in INTERVAL_METRICS
    }
    embeddings = {
        label: {
            "products": EmbeddingReport.of(model.products, seed),
            "queries": EmbeddingReport.of(model.queries, seed),
        }
        for label, model in models.items()
    }
    state, words = diagnosis(**embeddings[TRAINED])
    return {
        "n_queries": len(models[TRAINED].queries),
        "n_products": len(models[TRAINED].products),
        "metrics": {label: without_nan(result.means()) for label, result in results.items()},
        "differences": {name: found.as_json("difference") for name, found in differences.items()},
        "embedding_report": {
            label: {what: figures.as_json() for what, figures in both.items()} for label, both in embeddings.items()
        },
        "state": state.value,
        "diagnosis": f"{words} {_effect_of_training(differences[CHOOSING_METRIC])}",
        "bootstrap": {"n_resamples": n_resamples, "seed": seed, "level": LEVEL, "method": "percentile, paired"},
    }


def _effect_of_training(found: Estimate) -> str:
    effect = "helped" if found.low > 0 else "did harm" if found.high < 0 else "made no difference shown"
    interval = f"{found.value:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}"
    return f"Training {effect}: {CHOOSING_METRIC} {interval}."
