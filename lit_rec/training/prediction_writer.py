"""The best products of every query, written by ``predict``."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rec.core import schema
from lit_rec.core.files import check_writable, replaced_file
from lit_rec.training.retrieval_evaluation import (
    PRODUCTS_LOADER,
    CatalogueSearch,
    check_whole_catalogue,
    data_module,
    is_fast_dev_run,
)


class PredictionWriter(Callback):
    """Writes the best products of every query to ``predictions/part-*.parquet``, one file a process.

    Columns: query_id, rank (1 is best), product_id, score. A prediction that is interrupted leaves the files of before.

    Args:
        top_k: products a query.
    """

    def __init__(self, top_k: int = 100) -> None:
        self.top_k = top_k

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._folder = Path(trainer.default_root_dir) / "predictions"
        self._file = self._folder / f"part-{trainer.global_rank:05d}.parquet"
        check_writable(self._file)
        check_whole_catalogue(trainer, trainer.num_predict_batches, trainer.predict_dataloaders)
        data = data_module(trainer)
        self._product_ids, self._query_ids = data.product_ids, data.query_ids_of(None)
        self._search = CatalogueSearch(len(self._product_ids), int(trainer.num_predict_batches[PRODUCTS_LOADER]))
        self._tables: list[pa.Table] = []

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
        if dataloader_idx == PRODUCTS_LOADER:
            self._search.add_products(trainer, batch_idx, batch["index"], outputs)
            return
        scores, ranked = (values.cpu() for values in self._search.search(outputs, self.top_k))
        n_ranks = ranked.shape[1]
        columns = {
            schema.QUERY_ID: [self._query_ids[index] for index in batch["index"].tolist() for _ in range(n_ranks)],
            "rank": list(range(1, n_ranks + 1)) * len(ranked),
            schema.PRODUCT_ID: [self._product_ids[index] for index in ranked.flatten().tolist()],
            "score": scores.flatten().numpy(),
        }
        self._tables.append(pa.table(columns))

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this process's file, whole or not at all; files of processes that are no more go."""
        if is_fast_dev_run(trainer):  # which has ranked a part of the catalogue
            return
        with replaced_file(self._file) as unfinished:
            pq.write_table(pa.concat_tables(self._tables), unfinished)
        if trainer.is_global_zero:
            for part in self._folder.glob("part-?????.parquet"):
                number = part.stem.removeprefix("part-")
                if number.isdecimal() and int(number) >= trainer.world_size:
                    part.unlink()
