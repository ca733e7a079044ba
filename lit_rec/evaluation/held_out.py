"""Queries with what was really bought, and the histories that baselines are fitted on, from processed folders.

Shapes: Q queries, L order lines, N products.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from datasets import load_from_disk
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.core.errors import ProcessedFolderError
from lit_rec.core.schema import Split
from lit_rec.data.dataset import EvaluationQueries
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.data.history_files import read_eval_histories, read_training_histories
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.ragged import starts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Queries, and what was really bought.

    Args:
        query_ids: Q of them.
        queries: the users who ask.
        relevant: product indices of what each bought next, ascending, each once; at least one a query.
        product_ids: int64 ``(N,)``, the catalogue.
        n_left_out: queries that are not here because nothing of what was bought is in the catalogue.
    """

    query_ids: list[str]
    queries: Queries
    relevant: list[NDArray[np.int64]]
    product_ids: NDArray[np.int64]
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.query_ids)

    @cached_property
    def history(self) -> list[NDArray[np.int64]]:
        """Catalogue positions of what each had bought before, ascending, each once."""
        return [self.queries.histories.distinct_products(row).astype(np.int64) for row in range(len(self))]

    @property
    def basket_size(self) -> NDArray[np.int64]:
        """How many products are relevant, int64 ``(Q,)``."""
        return np.array([len(products) for products in self.relevant], dtype=np.int64)

    @property
    def repeat_share(self) -> NDArray[np.float32]:
        """Share of the relevant products that are in the history, float32 ``(Q,)``."""
        shares = [np.isin(r, h).mean() for r, h in zip(self.relevant, self.history, strict=True)]
        return np.array(shares, dtype=np.float32)

    def select(self, rows: NDArray[np.int64]) -> "HeldOut":
        """Some of the queries.

        Args:
            rows: int64, in the order wanted.
        """
        return replace(
            self,
            query_ids=[self.query_ids[row] for row in rows],
            queries=self.queries.select(rows),
            relevant=[self.relevant[row] for row in rows],
        )

    def on(self, product_ids: NDArray[np.int64]) -> "HeldOut":
        """These queries on another catalogue: products that it lacks are dropped, and queries left without any.

        Args:
            product_ids: int64 ``(N,)``.
        """
        place = _places(self.product_ids, product_ids)
        relevant = [np.sort(found[found >= 0]) for found in (place[products] for products in self.relevant)]
        rows = np.array([row for row, products in enumerate(relevant) if len(products)], dtype=np.int64)
        queries = Queries(self.queries.contexts, onto_catalogue(self.queries.histories, place))
        left_out = self.n_left_out + len(self) - len(rows)
        return HeldOut(self.query_ids, queries, relevant, product_ids, left_out).select(rows)


@dataclass(frozen=True)
class Training:
    """What baselines may learn from.

    Args:
        histories: whole histories of training users.
        product_texts: N texts, in catalogue order.
        validation: queries that may choose hyper-parameters; None where there are none.
        source: where the histories are from, in words.
    """

    histories: PurchaseHistories
    product_texts: Sequence[str]
    validation: HeldOut | None
    source: str


def catalogue(folder: ProcessedFolder) -> NDArray[np.int64]:
    """Product ids in catalogue order, int64 ``(N,)``."""
    return np.fromiter(map(int, folder.corpus), dtype=np.int64, count=len(folder.corpus))


def read_held_out(folder: ProcessedFolder, split: Split | None) -> HeldOut:
    """The queries of a split of a folder; of all, where it is None.

    Raises:
        NotPreparedError: a part of the folder is missing.
        ProcessedFolderError: the folder's parts do not fit together.
    """
    every = EvaluationQueries.read(folder)
    of_split = every.of_split(split)
    rows = [row for row in of_split.tolist() if len(every.relevant[row])]
    ids = [every.query_ids[row] for row in rows]
    queries = Queries([folder.queries[query] for query in ids], read_eval_histories(folder, ids))
    return HeldOut(ids, queries, [every.relevant[row] for row in rows], catalogue(folder), len(of_split) - len(rows))


def read_training(folder: ProcessedFolder, train_folder: ProcessedFolder | None, reported: HeldOut) -> Training:
    """What baselines are fitted on and chosen by, mapped to the folder's catalogue.

    The histories are those of ``train_folder`` where one is named, else the folder's own training users, else (a
    folder prepared with eval_frac 1) what the evaluation users had bought before they asked: no target is in them.

    Args:
        folder: whose queries are evaluated.
        train_folder: another folder, to fit and choose on.
        reported: the queries that are evaluated.

    Raises:
        NotPreparedError: ``train_folder`` has no training histories.
        ProcessedFolderError: an order that is evaluated is in the histories of ``train_folder``.
    """
    source = train_folder or folder
    texts = list(folder.corpus.values())
    if train_folder is None and not (folder.path / schema.TRAIN_HISTORY).is_dir():
        described = f"the evaluation users' own past orders ({folder.path} has no training users)"
        histories = read_eval_histories(folder, list(folder.queries))
    else:
        described = f"the {schema.TRAIN_HISTORY} of {source.path}"
        histories = read_training_histories(source)
        if train_folder is not None:
            _check_apart(source, histories, reported)
            histories = onto_catalogue(histories, _places(catalogue(source), reported.product_ids))
    validation = _validation(folder, train_folder, reported)
    logger.info("Baselines are fitted on %s: %s users", described, f"{len(histories):,}")
    return Training(histories, texts, validation, described)


def onto_catalogue(histories: PurchaseHistories, place: NDArray[np.int64]) -> PurchaseHistories:
    """The same histories with other product indices.

    Args:
        histories: with positions of the catalogue they come from.
        place: int64, the new position of each of those; -1 drops its lines.
    """
    product = place[histories.product]
    kept = product >= 0
    n_lines = np.bincount(histories.query[kept], minlength=len(histories))
    return replace(
        histories,
        line_start=starts(n_lines),
        product=product[kept].astype(np.int32),
        orders_ago=histories.orders_ago[kept],
        days_ago=histories.days_ago[kept],
        cart_position=histories.cart_position[kept],
        line_dow=histories.line_dow[kept],
        line_hour=histories.line_hour[kept],
    )


def _validation(folder: ProcessedFolder, train_folder: ProcessedFolder | None, reported: HeldOut) -> HeldOut | None:
    """The validation queries of the folder; of ``train_folder`` where the folder has none."""
    for source in (folder, train_folder):
        if source is not None and len(found := read_held_out(source, Split.VAL)):
            validation = found if source is folder else found.on(reported.product_ids)
            if shared := len(set(validation.query_ids) & set(reported.query_ids)):
                logger.warning("%s of the queries reported also choose hyper-parameters: too good", f"{shared:,}")
            return validation if len(validation) else None
    return None


def _check_apart(source: ProcessedFolder, histories: PurchaseHistories, reported: HeldOut) -> None:
    """The newest order of no training history may be one that is asked about: of its id, and with its products.

    Ids alone would not do: generated data count from 1 in every folder.
    """
    asked, ids = {query: row for row, query in enumerate(reported.query_ids)}, catalogue(source)
    newest = load_from_disk(source.path / schema.TRAIN_HISTORY).data.table[schema.QUERY_ID].to_pylist()
    shared = []
    for row, order in enumerate(map(str, newest)):
        if order in asked:
            lines = slice(histories.line_start[row], histories.line_start[row + 1])
            bought = ids[histories.product[lines][histories.orders_ago[lines] == 1]]
            if np.isin(reported.product_ids[reported.relevant[asked[order]]], bought).all():
                shared.append(order)
    if shared:
        raise ProcessedFolderError(
            f"Baselines must not be fitted on the orders that are evaluated, but {source.path} trains on them",
            f"{len(shared):,} of {len(reported):,}, such as {shared[0]}",
            "Name a --train_dir of other users, or leave it out",
        )


def _places(from_ids: NDArray[np.int64], to_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each id stands in ``to_ids``, int64 ``(len(from_ids),)``; -1 where it does not."""
    place = {product_id: row for row, product_id in enumerate(to_ids.tolist())}
    return np.array([place.get(product_id, -1) for product_id in from_ids.tolist()], dtype=np.int64)
