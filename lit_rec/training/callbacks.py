"""What happens around the steps: retrieval metrics over the whole catalogue, curves, predictions."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lit_rec.core import schema
from lit_rec.core.errors import SettingError
from lit_rec.core.files import check_writable, replaced_file
from lit_rec.core.schema import Split
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.evaluation.plots import learning_curve
from lit_rec.metrics.headline import CHOOSING_METRIC, CURVE_METRICS
from lit_rec.metrics.retrieval import MAX_RANK, RetrievalMetrics
from lit_rec.metrics.spread import embedding_spread
from lit_rec.metrics.top_k import top_k

logger = logging.getLogger(__name__)

UNTRAINED = "untrained"

_PRODUCTS_LOADER = 0
_STEPS_PER_POINT = 5

# Q queries, N products, D embedding, K ranks


class CatalogueSearch:
    """Collects the catalogue's embeddings batch by batch, then ranks all of it for each batch of queries.

    The evaluation loaders give the catalogue first; each process encodes a share of it, and all hold the whole
    when the first query comes.

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
        if batch_idx == self.n_batches - 1:
            reduced = trainer.strategy.reduce(self.embeddings, reduce_op="sum")
            assert isinstance(reduced, Tensor)
            self.embeddings = reduced

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores ``(Q, K)`` and product indices ``(Q, K)`` of the best products; K is at most N.

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
        n_samples: recommendations of this many queries are logged as a table.
    """

    def __init__(self, n_samples: int = 5) -> None:
        self.n_samples = n_samples
        self.results: dict[str, dict[str, float]] = {}
        self._samples: list[list[str]] = []

    @property
    def best(self) -> dict[str, float]:
        """The evaluation with the highest NDCG@10; empty before the first."""
        return max(self.results.values(), key=lambda values: values[CHOOSING_METRIC], default={})

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
        _check_whole_catalogue(trainer, trainer.num_val_batches, trainer.val_dataloaders)
        self._begin(trainer, trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an evaluation."""
        _check_whole_catalogue(trainer, trainer.num_test_batches, trainer.test_dataloaders)
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
        if dataloader_idx == _PRODUCTS_LOADER:
            self._search.add_products(trainer, batch_idx, batch["index"], outputs)
            return
        _, ranked = self._search.search(outputs, MAX_RANK)
        self._metrics.update(ranked, batch["relevant"], batch["history"])
        self._keep_samples(trainer, batch, ranked)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the validation queries."""
        values = self._finish()
        if trainer.sanity_checking:
            if trainer.ckpt_path is not None or trainer.num_sanity_val_batches != trainer.num_val_batches:
                return  # a resumed model is not untrained, and a part of the catalogue is no catalogue
            self._keep(trainer, UNTRAINED, values)
            for run_logger in trainer.loggers:
                run_logger.log_metrics({f"val/{name}": value for name, value in values.items()}, step=0)
            return
        epoch: int | None = trainer.current_epoch
        if trainer.state.fn == TrainerFn.VALIDATING:  # the trainer has no epochs then
            epoch, self.results = (
                getattr(pl_module, "checkpoint_epoch", None),
                {},
            )  # nor are its training's results ours
        label = UNTRAINED if epoch is None else f"epoch {epoch}"
        self._keep(trainer, label if label not in self.results else f"{label}, step {trainer.global_step}", values)
        pl_module.log_dict({f"val/{name}": value for name, value in values.items()}, sync_dist=trainer.world_size > 1)
        self._log_samples(trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the test queries."""
        values = self._finish()
        self.results["test"] = values
        pl_module.log_dict({f"test/{name}": value for name, value in values.items()}, sync_dist=trainer.world_size > 1)

    def _begin(self, trainer: Trainer, n_batches: list[int | float]) -> None:
        n_products = len(_data(trainer).product_ids)
        if trainer.is_global_zero:
            logger.info("Ranking %s products for each held-out query", f"{n_products:,}")
        self._search = CatalogueSearch(n_products, int(n_batches[_PRODUCTS_LOADER]))
        self._metrics = RetrievalMetrics(n_products).to(trainer.strategy.root_device)
        self._samples = []

    def _keep(self, trainer: Trainer, label: str, values: dict[str, float]) -> None:
        self.results[label] = {"step": trainer.global_step, **values}
        if trainer.is_global_zero:
            logger.info("%s: %s", label, ", ".join(f"{name} {values[name]:.4f}" for name in CURVE_METRICS))

    def _finish(self) -> dict[str, float]:
        values = {name: float(value) for name, value in self._metrics.compute().items()}
        return {**values, **embedding_spread(self._search.embeddings)}

    def _keep_samples(self, trainer: Trainer, batch: Any, ranked: Tensor) -> None:  # noqa: ANN401
        if len(self._samples) >= self.n_samples:
            return
        data = _data(trainer)
        ids = data.query_ids_of(Split.TEST if trainer.testing else Split.VAL)
        for row, index in enumerate(batch["index"].tolist()):
            if index < self.n_samples and len(self._samples) < self.n_samples:
                bought = set(batch["relevant"][row].tolist()) - {-1}
                names = [data.product_names[position] for position in ranked[row, :10].tolist()]
                hits = [position in bought for position in ranked[row, :10].tolist()]
                self._samples.append(
                    [
                        ids[index],
                        data.query_text(ids[index]),
                        "; ".join(f"{'* ' if hit else ''}{name}" for name, hit in zip(names, hits, strict=True)),
                        "; ".join(data.product_names[position] for position in sorted(bought)),
                    ]
                )

    def _log_samples(self, trainer: Trainer) -> None:
        for run_logger in trainer.loggers:
            if isinstance(run_logger, WandbLogger):
                columns = ["query_id", "context", "recommended (* bought)", "bought"]
                run_logger.log_table("samples", columns=columns, data=self._samples)


class LearningCurve(Callback):
    """Draws ``learning_curve.png`` into the run's folder after each evaluation, and says each epoch's loss.

    Args:
        evaluation: whose results to draw.
    """

    def __init__(self, evaluation: RetrievalEvaluation) -> None:
        self.evaluation = evaluation
        self.losses: list[tuple[int, float]] = []
        self._loss_of_epoch, self._n_batches = torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the whole curve."""
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a curve."""
        self.losses = list(state_dict["losses"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Note the loss now and then."""
        step = trainer.global_step  # stays while gradients accumulate
        last_step = self.losses[-1][0] if self.losses else 0
        if step % _STEPS_PER_POINT == 0 and step != last_step:
            self.losses.append((step, float(outputs["loss"]) * trainer.accumulate_grad_batches))
        loss = outputs["loss"].detach()  # a number of it now would wait for the device
        self._loss_of_epoch, self._n_batches = self._loss_of_epoch.to(loss.device) + loss, self._n_batches + 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say the mean loss of the epoch."""
        if trainer.is_global_zero and self._n_batches:
            loss = float(self._loss_of_epoch) / self._n_batches * trainer.accumulate_grad_batches
            logger.info("epoch %s: mean training loss %.4f", trainer.current_epoch, loss)
        self._loss_of_epoch, self._n_batches = torch.zeros(()), 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what is known so far."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the loss of a run without validation."""
        if not self.evaluation.results:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and not _is_fast_dev_run(trainer):
            file = Path(trainer.default_root_dir) / "learning_curve.png"
            learning_curve(file, self.losses, list(self.evaluation.results.values()))
            for run_logger in trainer.loggers:
                if isinstance(run_logger, WandbLogger):
                    run_logger.log_image("learning_curve", [str(file)])


class PredictionWriter(Callback):
    """Writes the best products of every query to ``predictions/part-*.parquet``, one file a process.

    Columns: query_id, rank (1 is best), product_id, score. A prediction that is interrupted leaves the files of before.

    Args:
        top_k: products a query.
    """

    def __init__(self, top_k: int = 100) -> None:
        self.top_k = top_k

    def folder(self, trainer: Trainer) -> Path:
        """Where the files go."""
        return Path(trainer.default_root_dir) / "predictions"

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        check_writable(self._part(trainer, trainer.global_rank))
        _check_whole_catalogue(trainer, trainer.num_predict_batches, trainer.predict_dataloaders)
        data = _data(trainer)
        self._product_ids = data.product_ids
        self._query_ids = data.query_ids_of(None)
        self._search = CatalogueSearch(len(self._product_ids), int(trainer.num_predict_batches[_PRODUCTS_LOADER]))
        self._rows: list[pa.Table] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch of products, or rank the catalogue for a batch of queries."""
        if dataloader_idx == _PRODUCTS_LOADER:
            self._search.add_products(trainer, batch_idx, batch["index"], outputs)
            return
        scores, ranked = (values.cpu() for values in self._search.search(outputs, self.top_k))
        n_ranks = ranked.shape[1]
        queries = [self._query_ids[index] for index in batch["index"].tolist() for _ in range(n_ranks)]
        self._rows.append(
            pa.table(
                {
                    schema.QUERY_ID: queries,
                    "rank": list(range(1, n_ranks + 1)) * len(ranked),
                    schema.PRODUCT_ID: [self._product_ids[position] for position in ranked.flatten().tolist()],
                    "score": scores.flatten().numpy(),
                }
            )
        )

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this process's file, whole or not at all; those of more processes than now go."""
        with replaced_file(self._part(trainer, trainer.global_rank)) as unfinished:
            pq.write_table(pa.concat_tables(self._rows), unfinished)
        if trainer.is_global_zero:
            for part in self.folder(trainer).glob("part-?????.parquet"):
                if part.stem[5:].isdecimal() and int(part.stem[5:]) >= trainer.world_size:
                    part.unlink()

    def _part(self, trainer: Trainer, number: int) -> Path:
        return self.folder(trainer) / f"part-{number:05d}.parquet"


class StopOnSignal(Checkpoint):
    """Ends training on SIGTERM or Ctrl-C where a resumed run can go on as if nothing had been: between two steps.

    Lightning would end it with status 0, and without a checkpoint of where it was. A second signal ends it at once.

    Args:
        file: the checkpoint to write.
        resume: the command that goes on with it.
    """

    def __init__(self, file: Path, resume: str) -> None:
        self.file, self.resume = file, resume
        self._received = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler; it puts back at the end what was there before."""
        if current_thread() is main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            raise SystemExit(128 + number)
        self._received = number
        name = signal.Signals(number).name
        logger.warning("%s: a checkpoint is written after this step or evaluation; once more to end at once", name)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Stop here, but not between a last step and its evaluation: a resumed run would leave that out."""
        every = trainer.val_check_batch
        if not trainer.is_last_batch and not (every and (batch_idx + 1) % every == 0):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the evaluation."""
        self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        # All processes stop at the same step; of one alone nothing has to be asked.
        received = bool(self._received)
        if trainer.world_size > 1:
            received = trainer.strategy.reduce_boolean_decision(received, all=False)
        if not received:
            return
        if not _is_fast_dev_run(trainer):  # which leaves the checkpoints of a run in the same folder alone
            trainer.save_checkpoint(self.file)
            if trainer.is_global_zero:
                logger.info("Stopped after step %s. To go on:\n  %s", f"{trainer.global_step:,}", self.resume)
        raise SystemExit(128 + (self._received or signal.SIGTERM))


def _is_fast_dev_run(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _check_whole_catalogue(trainer: Trainer, n_batches: Sequence[int | float], loaders: Any) -> None:  # noqa: ANN401
    """A part of the catalogue would be ranked as if it were all of it."""
    n_products_batches = len(loaders[_PRODUCTS_LOADER])
    if n_batches[_PRODUCTS_LOADER] < n_products_batches and not _is_fast_dev_run(trainer):
        raise SettingError(
            "Evaluation ranks the whole catalogue",
            f"a limit leaves {n_batches[_PRODUCTS_LOADER]} of its {n_products_batches} batches",
            "To validate on fewer queries, pass --data.eval_queries instead of --trainer.limit_val_batches",
        )


def _data(trainer: Trainer) -> NextOrderDataModule:
    data: NextOrderDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return data
