"""Feedback to training pairs: what was bought are positives, what was shown and left alone are hard negatives."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from sqlalchemy import select

from lit_rec import __version__
from lit_rec.core import schema
from lit_rec.core.errors import FeedbackStoreError
from lit_rec.core.files import check_replaceable, replaced_when_complete, write_json
from lit_rec.data.arrow_files import write_dataset
from lit_rec.data.contexts import ContextForm, context_string, product_name
from lit_rec.data.orders import UserHistory
from lit_rec.data.processed import ProcessedFolder, content_hashes
from lit_rec.feedback.impressions import left_out, left_out_in_words, read_products
from lit_rec.feedback.propensity import DEEPEST, Vector, examination_by_position, negative_weights, positive_weights
from lit_rec.feedback.settings import PairSettings
from lit_rec.store.database import FeedbackStore
from lit_rec.store.events import EventType
from lit_rec.store.tables import exposures

logger = logging.getLogger(__name__)

_MOST_ATTRACTIVE = 0.95
_AT_A_TIME = 1_000  # requests asked for, and rows written


def to_pairs(store: FeedbackStore, folder: ProcessedFolder, output_dir: Path, settings: PairSettings) -> dict[str, Any]:
    """Write a folder of pairs that ``fit`` takes beside the original ones.

    A request with a purchase or an add-to-cart is one order: its context is the anchor, what was bought are the
    positives, weighted by inverse propensity (mean 1), and what was shown and not clicked are its hard negatives.
    A request without a positive teaches nothing by comparison: it is counted and left out.

    Args:
        store: exposures and events.
        folder: the processed folder whose catalogue the products are in; its queries are the contexts of users who
            asked by user id.
        output_dir: where the pairs go; a folder of pairs that is there is replaced, anything else is refused.
        settings: which, and how they are weighted.

    Returns:
        What was recorded beside the pairs: settings, counts and propensities.

    Raises:
        FeedbackStoreError: there is no pair to be made.
        FileError: the folder cannot be written, or holds something that is not ours.
    """
    check_replaceable(output_dir, schema.FEEDBACK_PARAMS)
    products = read_products(store, settings).with_columns(pl.col("position").clip(upper_bound=DEEPEST))
    not_read = left_out(store, settings)
    is_shown = pl.col("shown_at").is_not_null()
    is_positive = pl.col(EventType.PURCHASE.value) | pl.col(EventType.ADD_TO_CART.value)
    in_catalogue = pl.col("product_id").is_in(list(folder.corpus))
    chosen = products.filter(is_positive)
    wanted = chosen.filter(in_catalogue)
    anchors = _anchors(store, folder, wanted)
    positives = wanted.filter(pl.col("request_id").is_in(list(anchors)))
    if positives.is_empty():
        raise FeedbackStoreError(
            "No training pairs in the feedback",
            f"{len(products):,} products in it, {len(chosen):,} of them bought or put into a cart, "
            f"{len(wanted):,} of those in the catalogue of {folder.path}, none with a context that is known"
            + "".join(f"; left out: {what}" for what in left_out_in_words(not_read)),
            "Collect more, name the --processed_dir that the service's users are from, or widen --since and --until",
        )
    orders = positives["request_id"].unique().to_list()
    is_left_alone = is_shown & ~(is_positive | pl.col(EventType.CLICK.value))
    negatives = products.filter(is_left_alone & in_catalogue & pl.col("request_id").is_in(orders))
    examination, attractiveness = _click_model(products.filter(is_shown & pl.col("position").is_not_null()))
    of_positives = positive_weights(examination, settings.max_weight)[_positions(positives, examination)]
    of_negatives = negative_weights(examination, attractiveness)[_positions(negatives, examination)]
    n_requests = products["request_id"].n_unique()
    record: dict[str, Any] = {
        "lit_rec_version": __version__,
        "database": store.where,
        "processed_dir": str(folder.path),
        **asdict(settings),
        "left_out": not_read,
        "n_requests": n_requests,
        "n_requests_without_positive": n_requests - len(orders),
        "n_positives_outside_catalogue": len(chosen) - len(wanted),
        "n_positives_without_context": len(wanted) - len(positives),
        "n_orders": len(orders),
        "n_pairs": len(positives),
        "n_negatives": len(negatives),
        "examination": examination[1:].round(4).tolist(),
        "attractiveness": round(attractiveness, 4),
    }
    texts = anchors, folder.corpus
    with replaced_when_complete(output_dir, schema.FEEDBACK_PARAMS) as unfinished:
        _write(
            unfinished / schema.TRAIN_DATASET, schema.POSITIVE, positives, of_positives / of_positives.mean(), *texts
        )
        _write(unfinished / schema.NEGATIVES_DATASET, schema.NEGATIVE, negatives, of_negatives, *texts)
        write_json(unfinished / schema.FEEDBACK_PARAMS, {**record, "sha256": content_hashes(unfinished)}, indent=2)
    for what in left_out_in_words(not_read):
        logger.info("Left out: %s", what)
    logger.info(
        "%s pairs and %s hard negatives of %s requests in %s",
        *(f"{record[name]:,}" for name in ("n_pairs", "n_negatives", "n_orders")),
        output_dir,
    )
    return record


def _click_model(shown: pl.DataFrame) -> tuple[Vector, float]:
    """Examination by position, and the mean chance that what is examined is clicked."""
    position, clicked = shown["position"].to_numpy(), shown[EventType.CLICK.value].to_numpy()
    has_scores = len(shown) > 0 and shown["score"].null_count() == 0
    examination = examination_by_position(position, clicked, shown["score"].to_numpy() if has_scores else None)
    examined = examination[position].sum()
    attractiveness = clicked.sum() / examined if examined > 0 else 0.0
    return examination, min(float(attractiveness), _MOST_ATTRACTIVE)


def _positions(table: pl.DataFrame, examination: Vector) -> Any:  # noqa: ANN401 - int64 (rows,)
    """Positions of the rows: 0, which counts as examined, where not known; at most the deepest that was shown."""
    return table["position"].fill_null(0).clip(upper_bound=len(examination) - 1).to_numpy()


def _anchors(store: FeedbackStore, folder: ProcessedFolder, wanted: pl.DataFrame) -> dict[str, str]:
    """The context of each request: that of its exposure, else written from its history, else that of the user's id."""
    query = select(exposures.c.request_id, exposures.c.context, exposures.c.history)
    form = ContextForm.from_record(folder.params)
    names = {product_id: product_name(text) for product_id, text in folder.corpus.items()}
    anchors: dict[str, str] = {}
    for some in wanted.select(pl.col("request_id").unique(maintain_order=True)).iter_slices(_AT_A_TIME):
        asked = exposures.c.request_id.in_(some["request_id"].to_list())
        for request_id, context, history in store.rows(query.where(asked)):
            if not context and history and history.get("orders"):
                context = context_string(UserHistory.from_record(history), names, form, in_training=True)
            if context:
                anchors[request_id] = context
    for request_id, user_id in wanted.select("request_id", "user_id").iter_rows():
        if request_id not in anchors and user_id in folder.queries:
            anchors[request_id] = folder.queries[user_id]
    return anchors


def _write(
    dataset: Path, text: str, rows: pl.DataFrame, weight: Vector, anchors: dict[str, str], corpus: dict[str, str]
) -> None:
    """Write one row a pair in the form of ``prepare``, with a weight; the rows of one request stand together.

    Args:
        dataset: the folder to write.
        text: name of the column of product texts.
        rows: ``request_id`` and ``product_id`` of R pairs.
        weight: float ``(R,)``.
        anchors: request id to context. A request's number, its place in their order, is the same in every dataset.
        corpus: product id to text.
    """
    number = {request_id: place for place, request_id in enumerate(sorted(anchors))}
    arrow_schema = pa.schema(
        {
            schema.ANCHOR: pa.string(),
            text: pa.string(),
            schema.QUERY_ID: pa.int64(),
            schema.PRODUCT_ID: pa.int64(),
            schema.WEIGHT: pa.float32(),
            schema.REQUEST_ID: pa.string(),
        }
    )

    def tables() -> Iterator[pa.Table]:
        chosen = rows.select("request_id", "product_id", weight=pl.Series(weight, dtype=pl.Float32))
        for some in chosen.iter_slices(_AT_A_TIME):
            requests, products, weights = some.to_dict(as_series=False).values()
            columns = {
                schema.ANCHOR: [anchors[each] for each in requests],
                text: [corpus[each] for each in products],
                schema.QUERY_ID: [number[each] for each in requests],
                schema.PRODUCT_ID: [int(each) for each in products],
                schema.WEIGHT: weights,
                schema.REQUEST_ID: requests,
            }
            yield pa.table(columns, schema=arrow_schema)

    write_dataset(tables(), arrow_schema, dataset)
