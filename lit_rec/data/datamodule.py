"""The LightningDataModule: prepares raw data where needed, tokenises once, streams batches."""

import logging
import os
import signal
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lit_rec.core.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Split
from lit_rec.data.batching import BatchSampler, ResumableLoader
from lit_rec.data.contexts import ContextForm, product_name
from lit_rec.data.dataset import (
    Batch,
    EvaluationQueries,
    OrderDataset,
    PairDataset,
    QueryDataset,
    TextDataset,
    TokenCache,
)
from lit_rec.data.feedback_pairs import FeedbackPairs
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import ProcessedFolder, find_processed_folder
from lit_rec.data.settings import PrepareSettings, RawData, SourceName
from lit_rec.data.split import seeded_fractions
from lit_rec.data.tokens import Tokenizer

logger = logging.getLogger(__name__)

NEXT_BATCH = "next_batch"
"""What a checkpoint calls the place to resume at."""

_FEEDBACK_SHA256 = "feedback_sha256"
_CPU_ROWS_PER_FORWARD = 64


class NextOrderDataModule(LightningDataModule):
    """Orders to train on, the catalogue and the held-out queries.

    Either name a prepared folder, or name a source: it is then prepared when that has not been done yet.
    Validation, test and prediction each read the catalogue first and then the queries. Texts become tokens by
    ``tokenizer``, which is to be set before use; the command line sets it to the model's encoder:

    .. code-block:: python

        data.tokenizer = model.encoder

    Args:
        processed_dir: a prepared folder, or one that holds some (the newest is taken). With a source, this is not
            needed.
        source: raw data to prepare when needed: instacart, complete_journey or synthetic.
        data_dir: where the raw files are; none for the source's default place.
        output_dir: prepared folders are made inside.
        prepare: how pairs and queries are made from raw data.
        n_users: users to generate, for the synthetic source.
        n_products: products to generate, for the synthetic source.
        batch_by: 'order' makes batches of whole orders, each context encoded once for all its products; 'pair'
            makes batches of single pairs, as the Instacart seed has them.
        batch_size: orders, or pairs, a device and step.
        eval_batch_size: texts encoded at a time in evaluation.
        eval_queries: validate on this many queries only (seeded); none for all. Test and prediction take all.
        train_orders: train on this many orders only (seeded); none for all.
        feedback_dir: a folder that 'feedback to-pairs' wrote; its pairs are trained on beside the others.
        feedback_weight: its pairs' losses count this many times their inverse propensity, which is 1 in the mean.
        hard_negative_weight: its hard negatives, products that were shown and left alone, count this many times their
            weight beside products drawn at random; 0 leaves them out.
        micro_batch_size: training texts of like length are padded and encoded this many at a time; none for 64 on
            a CPU, and a whole batch on a GPU.
        num_workers: processes that load batches; none for the accelerator's sound number.
        pin_memory: page-locked batches; none for the accelerator's sound choice.
        seed: seed of the order of training and of what is drawn from it; none for that of fit's --seed_everything,
            and for 42 without one.
    """

    def __init__(
        self,
        processed_dir: Path | None = None,
        source: SourceName | None = None,
        data_dir: Path | None = None,
        output_dir: Path = Path("processed"),
        prepare: PrepareSettings = PrepareSettings(),  # noqa: B008 - frozen
        n_users: PositiveInt = 2_000,
        n_products: PositiveInt = 2_000,
        batch_by: Literal["order", "pair"] = "order",
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt = 64,
        eval_queries: PositiveInt | None = None,
        train_orders: PositiveInt | None = None,
        feedback_dir: Path | None = None,
        feedback_weight: PositiveFloat = 1.0,
        hard_negative_weight: NonNegativeFloat = 1.0,
        micro_batch_size: PositiveInt | None = None,
        num_workers: NonNegativeInt | None = None,
        pin_memory: bool | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.processed_dir, self.source, self.data_dir, self.output_dir = processed_dir, source, data_dir, output_dir
        self.settings, self.n_users, self.n_products = prepare, n_users, n_products
        self.batch_by, self.batch_size, self.eval_batch_size = batch_by, batch_size, eval_batch_size
        self.eval_queries, self.train_orders = eval_queries, train_orders
        self.micro_batch_size, self.num_workers, self.pin_memory = micro_batch_size, num_workers, pin_memory
        self.seed = 42 if seed is None else seed
        self.feedback = FeedbackPairs(feedback_dir, feedback_weight, hard_negative_weight) if feedback_dir else None
        self.folder: ProcessedFolder | None = None
        self.tokenizer: Tokenizer | None = None
        self._train_loader: ResumableLoader | None = None
        self._next_batch: dict[str, int] | None = None

    def prepare_data(self) -> None:
        """Prepare raw data where needed, and tokenise; done by one process."""
        cache = self._token_cache(self.prepared_folder())
        cache.build()
        if self.feedback is not None and self._is_fitting():
            self.feedback.build(cache)

    def setup(self, stage: str) -> None:
        """Open the arrays on disk; nothing is read whole."""
        self.folder = self.prepared_folder(prepare_if_needed=False)
        self.cache = self._token_cache(self.folder)
        self.queries = EvaluationQueries.read(self.folder)
        if stage == "fit":
            pairs = self.cache.training_pairs()
            if self.feedback is not None:
                pairs = self.feedback.beside(pairs, self.cache)
            dataset = OrderDataset if self.batch_by == "order" else PairDataset
            self.train_dataset = dataset(pairs, self._micro_batch_size())
            if not len(self.queries.of_split(Split.VAL)) and self._rank == 0:
                logger.info("No validation queries in %s: the last checkpoint is taken, none is best", self.folder.path)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint records of its data."""
        folder = self._open_folder()
        state: dict[str, Any] = {
            "processed_dir": str(folder.path.absolute()),  # a model is used from elsewhere too
            "sha256": folder.sha256,
            "context": asdict(ContextForm.from_record(folder.params)),
        }
        if self.feedback is not None:
            state |= {"feedback_dir": str(self.feedback.path), _FEEDBACK_SHA256: self.feedback.sha256}
        return state if self._train_loader is None else state | {NEXT_BATCH: self._train_loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn where a run goes on with other data than it began with; go on with the batch after the last one.

        Lightning restores loaders itself, but not where a schedule has asked for the number of steps before that:
        https://github.com/Lightning-AI/pytorch-lightning/issues/20550
        """
        self._next_batch = state_dict.get(NEXT_BATCH)
        if state_dict.get("sha256") != self._open_folder().sha256:
            logger.warning("The checkpoint was trained on %s, whose content differs", state_dict.get("processed_dir"))
        trained_with = self.feedback.sha256 if self.feedback else None
        if self._is_fitting() and state_dict.get(_FEEDBACK_SHA256) != trained_with:
            named = state_dict.get("feedback_dir", "none")
            logger.warning("The checkpoint was trained with other feedback: %s", named)

    @cached_property
    def product_ids(self) -> list[str]:
        """Product ids in catalogue order."""
        return list(self._open_folder().corpus)

    @cached_property
    def product_names(self) -> list[str]:
        """Product names in catalogue order."""
        return [product_name(text) for text in self._open_folder().corpus.values()]

    def query_ids_of(self, split: Split | None) -> list[str]:
        """Ids of a split's queries, as the loaders count them in ``index``."""
        return [self.queries.query_ids[row] for row in self._query_rows(split)]

    def query_text(self, query_id: str) -> str:
        """A query's context."""
        return self._open_folder().query(query_id)

    def train_dataloader(self) -> ResumableLoader:
        """Batches to train on; see :mod:`lit_rec.data.batching`."""
        sampler = BatchSampler(
            self.train_dataset.lengths,
            self.batch_size,
            seed=self.seed,
            rank=self._rank,
            world_size=self._world_size,
            items=self._training_items(),
            by_length=self.batch_by == "order",  # the pairs of one order are of one length: they would stand together
        )
        self._train_loader = ResumableLoader(self.train_dataset, sampler, **self._loader_options())
        if self._next_batch is not None:
            self._train_loader.load_state_dict(self._next_batch)
            self._next_batch = None  # a loader after this one begins at the beginning
        return self._train_loader

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The catalogue, then the validation queries; without any, fit trains and measures nothing."""
        in_fit = self.trainer is not None and self._is_fitting()
        if in_fit and not len(self.queries.of_split(Split.VAL)):
            return []
        return self._evaluation_loaders(Split.VAL)

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """The catalogue, then the test queries."""
        return self._evaluation_loaders(Split.TEST)

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """The catalogue, then all queries."""
        return self._evaluation_loaders(None)

    def _evaluation_loaders(self, split: Split | None) -> list[DataLoader[Batch]]:
        rows = self._query_rows(split)
        if len(rows) == 0:
            raise SettingError(
                f"No {split or ''} queries in {self._open_folder().path}",
                f"eval_frac {self._open_folder().params.get('eval_frac')}, "
                f"val_frac {self._open_folder().params.get('val_frac')}",
                "Prepare with a larger --eval_frac",
            )
        queries = QueryDataset(
            self.cache.queries().select(rows),
            [self.queries.relevant[row] for row in rows],
            [self.queries.history[row] for row in rows],
        )
        return [self._text_loader(TextDataset(self.cache.products())), self._text_loader(queries)]

    def _text_loader(self, dataset: TextDataset) -> DataLoader[Batch]:
        """This process's share of the texts, longest first: memory that is enough for one batch is enough for all."""
        rows = np.argsort(-dataset.texts.lengths, kind="stable")[self._rank :: self._world_size]
        size = self.eval_batch_size
        batches = np.split(rows, np.arange(size, len(rows), size))
        return DataLoader(dataset, sampler=batches, batch_size=None, **self._loader_options())

    def _query_rows(self, split: Split | None) -> NDArray[np.int64]:
        rows = self.queries.of_split(split)
        limit = self.eval_queries
        if limit is None or split != Split.VAL or limit >= len(rows):
            return rows
        ids = np.array([int(self.queries.query_ids[row]) for row in rows])
        lots = seeded_fractions(ids, seed=self.seed, question="eval_queries")
        return np.sort(rows[np.argsort(lots)[:limit]])

    def _training_items(self) -> NDArray[np.int64] | None:
        """The items of a seeded ``train_orders`` orders; None for all."""
        pairs, limit = self.train_dataset.pairs, self.train_orders
        if limit is None or limit >= len(pairs.anchors):
            return None
        orders = np.sort(np.random.default_rng(self.seed).permutation(len(pairs.anchors))[:limit])
        return orders if self.batch_by == "order" else pairs.pairs_of(orders)

    def prepared_folder(self, *, prepare_if_needed: bool = True) -> ProcessedFolder:
        """The folder that is trained on.

        Args:
            prepare_if_needed: make it from raw data where it is not there.
        """
        if self.processed_dir is not None or self.source is None:
            return ProcessedFolder(find_processed_folder(self.processed_dir or self.output_dir))
        if not prepare_if_needed:
            return ProcessedFolder(self.output_dir / self.settings.folder_name(self.source))
        raw = RawData(self.source, self.data_dir, self.output_dir, self.n_users, self.n_products)
        return ProcessedFolder(prepare(raw, self.settings))

    def _open_folder(self) -> ProcessedFolder:
        assert self.folder is not None, "setup() comes first"
        return self.folder

    def _token_cache(self, folder: ProcessedFolder) -> TokenCache:
        if self.tokenizer is None:
            raise SettingError(
                "A tokenizer is needed to read texts", "the data module has none", "Set data.tokenizer = model.encoder"
            )
        return TokenCache(folder, self.tokenizer)

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _is_fitting(self) -> bool:
        return self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _micro_batch_size(self) -> int | None:
        return self.micro_batch_size or (None if self._on_cuda() else _CPU_ROWS_PER_FORWARD)

    def _loader_options(self) -> dict[str, Any]:
        """Batches are slices of arrays, so a CPU needs no helpers (and MPS is best without); CUDA is fed by some."""
        workers, pin = self.num_workers, self.pin_memory
        workers = workers if workers is not None else (min(4, os.cpu_count() or 1) if self._on_cuda() else 0)
        return {
            "num_workers": workers,
            "pin_memory": pin if pin is not None else self._on_cuda(),
            "persistent_workers": workers > 0,
            "worker_init_fn": _leave_signals_to_parent if workers > 0 else None,
        }


def _leave_signals_to_parent(worker: int) -> None:
    """A terminal's Ctrl-C reaches the loader's processes too: those that ended by it would be an error of the fit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
