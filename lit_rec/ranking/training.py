"""Trains the repeat-explore ranker of a model folder on the histories of a processed folder."""

import logging
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

from lit_rec import __version__
from lit_rec.artifacts.model_folder import check_catalogue
from lit_rec.artifacts.model_record import model_record
from lit_rec.core import schema
from lit_rec.core.devices import one_thread
from lit_rec.core.errors import ProcessedFolderError, SettingError
from lit_rec.core.files import check_writable
from lit_rec.core.quiet import quiet_lightning
from lit_rec.core.schema import Split
from lit_rec.data.batching import BatchSampler
from lit_rec.data.dataset import EvaluationQueries, padded
from lit_rec.data.histories import PurchaseHistories
from lit_rec.data.history_files import read_eval_histories, read_training_histories
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.rolling_targets import RollingTargets, rolling_targets
from lit_rec.metrics.retrieval import MAX_RANK, RetrievalMetrics
from lit_rec.metrics.top_k import top_k
from lit_rec.ranking.auxiliary_orders import INSTEAD, AuxiliaryOrders, read_auxiliary_orders
from lit_rec.ranking.dataset import RankingDataset
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.module import RankerModule
from lit_rec.ranking.network import RankerNetwork
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
from lit_rec.ranking.ranker import Ranker
from lit_rec.ranking.settings import RankerSettings

logger = logging.getLogger(__name__)

_QUERIES_AT_A_TIME = 64
_PRODUCTS_TO_COMPARE = 100  # sold both in the histories and in the auxiliary orders; the correlation of fewer is chance
_LEAST_CORRELATION = 0.2  # of their ranks by sales: 0.4 to 0.7 within Instacart, from 500 order lines; 0 by chance


@one_thread()
def fit_ranker(folder: ProcessedFolder, model_dir: Path, settings: RankerSettings) -> dict[str, float]:
    """Train a ranker and write it into the model folder.

    Args:
        folder: a processed folder with training users.
        model_dir: a model folder; the ranker goes in.
        settings: how to train it.

    Returns:
        Metrics of the validation queries; empty where there are none.

    Raises:
        NotPreparedError: the folder holds no training histories, or the file of auxiliary orders is not there.
        ProcessedFolderError: the auxiliary orders are of other products than the folder.
        SettingError: no training user has two orders.
        ModelFolderError: there is no such model folder, or it is of another catalogue.
    """
    model_record(model_dir)
    check_catalogue(model_dir, folder.corpus, str(folder.path))
    check_writable(model_dir / schema.RANKER, model_dir / schema.RANKER_WEIGHTS)
    begin = time.monotonic()
    quiet_lightning()
    seed_everything(settings.seed_used, verbose=False)
    training, targets, auxiliary_orders = inputs(folder, settings)
    aisle = aisles_of(list(folder.corpus.values()))
    dataset = RankingDataset.of(training, targets, aisle, auxiliary_orders, settings.seed_used)
    logger.info(
        "%s targets, %s products of their histories and %s new ones; %.0f s so far",
        *(f"{n:,}" for n in (len(targets), len(dataset.repeat.labels), len(dataset.explore.labels))),
        time.monotonic() - begin,
    )
    network = RankerNetwork(settings.hidden_size, settings.ensemble_size, settings.dropout)
    network.repeat.fit_scale(dataset.repeat.features.numpy())
    network.explore.fit_scale(dataset.explore.features.numpy())
    train(RankerModule(network, settings.learning_rate, settings.weight_decay), dataset, settings)
    ranker = Ranker(
        network.to_numpy(),
        ProductStatistics.fit(training, aisle, auxiliary_orders),
        ItemItemModel.fit(training, aisle, auxiliary_orders),
        list(folder.corpus),
        {},
    )
    metrics = _validated(ranker, folder)
    ranker.record = {
        "lit_rec_version": __version__,
        "packages": {name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
        "settings": {
            **asdict(settings),
            "auxiliary_orders": str(settings.auxiliary_orders) if settings.auxiliary_orders else None,
            "seed": settings.seed_used,
        },
        "data": {"processed_dir": str(folder.path.absolute()), "sha256": folder.sha256},
        "n_targets": len(targets),
        "seconds": round(time.monotonic() - begin, 1),
        "metrics": metrics,
    }
    ranker.save(model_dir)
    logger.info("The ranker is in %s; %.0f s", model_dir / schema.RANKER_WEIGHTS, time.monotonic() - begin)
    return metrics


def inputs(
    folder: ProcessedFolder, settings: RankerSettings
) -> tuple[PurchaseHistories, RollingTargets, AuxiliaryOrders | None]:
    """All that a ranker is trained on, read and checked. ``fit`` reads it too, before the hours of its own training.

    Args:
        folder: a processed folder with training users.
        settings: how.

    Raises:
        NotPreparedError: the folder holds no training histories, or the file of auxiliary orders is not there.
        ProcessedFolderError: the auxiliary orders are of other products than the folder.
        SettingError: no training user has two orders.
    """
    training = read_training_histories(folder)
    targets = chosen_targets(training, settings)
    if settings.auxiliary_orders is None:
        return training, targets, None
    auxiliary_orders = read_auxiliary_orders(settings.auxiliary_orders, folder)
    counts = np.stack(
        [np.bincount(some.product, minlength=len(folder.corpus)) for some in (training, auxiliary_orders)]
    )
    counts = counts[:, (counts > 0).all(axis=0)]
    # Ids of two shops are alike where both count from 1, but not what sells well.
    if counts.shape[1] >= _PRODUCTS_TO_COMPARE and spearmanr(*counts).statistic < _LEAST_CORRELATION:
        raise ProcessedFolderError(
            f"The auxiliary orders of {settings.auxiliary_orders} must be of the shop of {folder.path}",
            "their product ids are the same, but what sells well there does not sell well here",
            INSTEAD,
        )
    return training, targets, auxiliary_orders


def chosen_targets(training: PurchaseHistories, settings: RankerSettings) -> RollingTargets:
    """The past orders that are learned from.

    Args:
        training: whole histories of the training users.
        settings: how many.

    Raises:
        SettingError: no user has two orders.
    """
    targets = rolling_targets(training, settings.targets_per_user)
    if len(targets) == 0:
        raise SettingError(
            "The ranker learns from users with at least two orders",
            f"none of the {len(training):,} training users has",
            "Prepare more data",
        )
    if len(targets) > settings.max_targets:
        rng = np.random.default_rng(settings.seed_used)
        targets = targets.select(np.sort(rng.permutation(len(targets))[: settings.max_targets]))
    return targets


class _Passes(Callback):
    """A line a pass, where there is no progress bar."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        losses = [
            f"{name.removeprefix('train/').removesuffix('_loss_epoch')} {value:.4f}"
            for name, value in trainer.callback_metrics.items()
            if name.endswith("_epoch")
        ]
        logger.info("pass %s of %s: loss %s", trainer.current_epoch + 1, trainer.max_epochs, ", ".join(losses))


def train(module: RankerModule, dataset: RankingDataset, settings: RankerSettings) -> None:
    """Train a module on all candidates of all targets.

    Args:
        module: its network is changed.
        dataset: what it learns from.
        settings: how.
    """
    sampler = BatchSampler(
        np.zeros(len(dataset), dtype=np.int64), settings.batch_size, seed=settings.seed_used, by_length=False
    )
    loader: DataLoader[Any] = DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=0)
    has_bar = sys.stderr.isatty()
    trainer = Trainer(
        accelerator="cpu",  # networks this small are no work for a GPU
        devices=1,
        plugins=[LightningEnvironment()],  # fit's other processes, where it had some, have no part in this
        max_epochs=settings.max_epochs,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=has_bar,
        callbacks=[] if has_bar else [_Passes()],
        use_distributed_sampler=False,
    )
    trainer.fit(module, loader)


def _validated(ranker: Ranker, folder: ProcessedFolder) -> dict[str, float]:
    """Metrics of the validation queries."""
    queries = EvaluationQueries.read(folder)
    rows = [row for row in queries.of_split(Split.VAL).tolist() if len(queries.relevant[row])]
    if not rows:
        return {}
    histories = read_eval_histories(folder, [queries.query_ids[row] for row in rows])
    metrics = RetrievalMetrics(len(ranker.product_ids))
    for begin in range(0, len(rows), _QUERIES_AT_A_TIME):
        chunk = slice(begin, begin + _QUERIES_AT_A_TIME)
        scores = torch.from_numpy(ranker.scores(histories.select(chunk)))
        _, ranked = top_k(scores, min(MAX_RANK, len(ranker.product_ids)))
        some = rows[chunk]
        metrics.update(ranked, padded([queries.relevant[r] for r in some]), padded([queries.history[r] for r in some]))
    return {name: float(value) for name, value in metrics.compute().items()}
