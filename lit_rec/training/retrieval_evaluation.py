"""Retrieval metrics over the whole catalogue, in validation and test."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Split
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.metrics.headline import CHOOSING_METRIC, CURVE_METRICS
from lit_rec.metrics.retrieval import MAX_RANK, RetrievalMetrics
from lit_rec.metrics.spread import embedding_spread
from lit_rec.metrics.top_k import top_k

logger = logging.getLogger(__name__)

UNTRAINED = "untrained"
PRODUCTS_LOADER = 0
"""The evaluation loaders give the catalogue first, and then the queries."""

# Q queries, N products, B products of a batch, D embedding, K ranks


class CatalogueSearch:
    """Collects the catalogue's embeddings batch by batch, then ranks all of it for each batch of queries.

    Each process encodes a share of the catalogue. All hold the whole of it when the first query comes.

    Args:
        n_products: N.
        n_batches: batches of products that this process will be given.
    """

    def __init__(self, n_products: int, n_batches: int) -> None:
        self.n_products, self.n_batches = n_products, n_batches
        self.embeddings = torch.empty(0)

    def add_products(self, trainer: Trainer, batch_idx: int, index: Tensor, embeddings: Tensor) -> None:
        """Keep a batch of products; after the last one, exchange them with the other processes.

        Args:
            trainer: whose processes.
            batch_idx: number of this batch.
            index: int64 ``(B,)``, product indices.
            embeddings: ``(B, D)``.
        """
        if batch_idx == 0:
            self.embeddings = embeddings.new_zeros(self.n_products, embeddings.shape[1], dtype=torch.float32)
        self.embeddings[index] = embeddings.float()
        if batch_idx == self.n_batches - 1:  # each row is one process's, and zeros in the others
            reduced = trainer.strategy.reduce(self.embeddings, reduce_op="sum")
            assert isinstance(reduced, Tensor)
            self.embeddings = reduced

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and product indices of the best products, both ``(Q, K)``; K is at most N.

        Args:
            queries: ``(Q, D)``.
            k: ranks wanted.
        """
        return top_k(queries.float() @ self.embeddings.T, min(k, self.n_products))


class RetrievalEvaluation(Callback):
    """Ranks the whole catalogue for each held-out query and logs what :mod:`lit_rec.metrics.retrieval` makes of it.

    Before the first epoch it measures the untrained model, when the trainer's sanity check covers all batches
    (``trainer.num_sanity_val_steps: -1``).

    Args:
        n_samples: recommendations of this many queries are logged to Weights & Biases as a table.
    """

    def __init__(self, n_samples: int = 5) -> None:
        self.n_samples = n_samples
        self.results: dict[str, dict[str, float]] = {}
        self._samples: list[list[str]] = []

    def best(self, metric: str = CHOOSING_METRIC, mode: str = "max") -> dict[str, float]:
        """The evaluation that is best by a metric; empty before the first, or where there is no such metric.

        Args:
            metric: its name, such as ``recall@10``.
            mode: 'max' where more is better, 'min' where less is.
        """
        choose = max if mode == "max" else min
        measured = [values for values in self.results.values() if metric in values]
        return choose(measured, key=lambda values: values[metric], default={})

    def state_dict(self) -> dict[str, Any]:
        """All evaluations so far."""
        return {"results": self.results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a run."""
        self.results = dict(state_dict["results"])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an evaluation."""
        if trainer.sanity_checking:
            self._begin(trainer, trainer.num_sanity_val_batches)
            return
        check_whole_catalogue(trainer, trainer.num_val_batches, trainer.val_dataloaders)
        self._begin(trainer, trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an evaluation."""
        check_whole_catalogue(trainer, trainer.num_test_batches, trainer.test_dataloaders)
        self._begin(trainer, trainer.num_test_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch of products, or rank the catalogue for a batch of queries."""
        if dataloader_idx == PRODUCTS_LOADER:
            self._search.add_products(trainer, batch_idx, batch["index"], outputs)
            return
        _, ranked = self._search.search(outputs, MAX_RANK)
        self._metrics.update(ranked, batch["relevant"], batch["history"])
        self._keep_samples(trainer, batch, ranked[:, :10].tolist())

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the validation queries."""
        values = self._metric_values()
        named = {f"val/{name}": value for name, value in values.items()}
        if trainer.sanity_checking:
            if trainer.ckpt_path is not None or trainer.num_sanity_val_batches != trainer.num_val_batches:
                return  # a resumed model is not untrained, and a part of the catalogue is no catalogue
            self._keep(trainer, UNTRAINED, values)
            for run_logger in trainer.loggers:
                run_logger.log_metrics(named, step=0)
            return
        epoch: int | None = trainer.current_epoch
        if trainer.state.fn == TrainerFn.VALIDATING:  # outside of training: the checkpoint knows its epoch
            epoch, self.results = getattr(pl_module, "checkpoint_epoch", None), {}
        label = UNTRAINED if epoch is None else f"epoch {epoch}"
        self._keep(trainer, label if label not in self.results else f"{label}, step {trainer.global_step}", values)
        pl_module.log_dict(named, sync_dist=trainer.world_size > 1)
        for run_logger in trainer.loggers:
            if isinstance(run_logger, WandbLogger):
                columns = ["query_id", "context", "recommended (* bought)", "bought"]
                run_logger.log_table("samples", columns=columns, data=self._samples)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the test queries."""
        values = self.results["test"] = self._metric_values()
        pl_module.log_dict({f"test/{name}": value for name, value in values.items()}, sync_dist=trainer.world_size > 1)

    def _begin(self, trainer: Trainer, n_batches: list[int | float]) -> None:
        n_products = len(data_module(trainer).product_ids)
        if trainer.is_global_zero:
            logger.info("Ranking %s products for each held-out query", f"{n_products:,}")
        self._search = CatalogueSearch(n_products, int(n_batches[PRODUCTS_LOADER]))
        self._metrics = RetrievalMetrics(n_products).to(trainer.strategy.root_device)
        self._samples = []

    def _metric_values(self) -> dict[str, float]:
        values = {name: float(value) for name, value in self._metrics.compute().items()}
        return {**values, **embedding_spread(self._search.embeddings)}

    def _keep(self, trainer: Trainer, label: str, values: dict[str, float]) -> None:
        self.results[label] = {"step": trainer.global_step, **values}
        if trainer.is_global_zero:
            logger.info("%s: %s", label, ", ".join(f"{name} {values[name]:.4f}" for name in CURVE_METRICS))

    def _keep_samples(self, trainer: Trainer, batch: Any, ranked: list[list[int]]) -> None:  # noqa: ANN401
        data = data_module(trainer)
        ids = data.query_ids_of(Split.TEST if trainer.testing else Split.VAL)
        for row, index in enumerate(batch["index"].tolist()):
            if index < self.n_samples and len(self._samples) < self.n_samples:
                bought = set(batch["relevant"][row].tolist()) - {-1}
                recommended = [f"{'* ' if i in bought else ''}{data.product_names[i]}" for i in ranked[row]]
                names = [data.product_names[i] for i in sorted(bought)]
                self._samples.append(
                    [ids[index], data.query_text(ids[index]), "; ".join(recommended), "; ".join(names)]
                )


def check_whole_catalogue(trainer: Trainer, n_batches: Sequence[int | float], loaders: Any) -> None:  # noqa: ANN401
    """Refuse to rank a part of the catalogue as if it were all of it, unless it is a fast_dev_run.

    Args:
        trainer: of the run.
        n_batches: of each loader, as limits leave them.
        loaders: the catalogue's and the queries'.

    Raises:
        SettingError: a limit leaves a part of the catalogue.
    """
    n_products_batches = len(loaders[PRODUCTS_LOADER])
    if n_batches[PRODUCTS_LOADER] < n_products_batches and not is_fast_dev_run(trainer):
        raise SettingError(
            "Evaluation ranks the whole catalogue",
            f"a limit leaves {n_batches[PRODUCTS_LOADER]} of its {n_products_batches} batches",
            "To validate on fewer queries, pass --data.eval_queries instead of --trainer.limit_val_batches",
        )


def is_fast_dev_run(trainer: Trainer) -> bool:
    """Whether the run only tries whether everything works, and keeps nothing."""
    return bool(getattr(trainer, "fast_dev_run", False))


def data_module(trainer: Trainer) -> NextOrderDataModule:
    """The data module of a run."""
    data: NextOrderDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return data
