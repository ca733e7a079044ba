"""Feedback to training pairs: what was bought are positives, what was shown and left alone are hard negatives."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from sqlalchemy import select

from lit_rec import __version__
from lit_rec.core import schema
from lit_rec.core.errors import FeedbackStoreError
from lit_rec.core.files import check_replaceable, replaced_when_complete, write_json
from lit_rec.data.contexts import ContextForm, context_string, product_name
from lit_rec.data.orders import UserHistory
from lit_rec.data.prepare import write_dataset
from lit_rec.data.processed import ProcessedFolder, content_hashes
from lit_rec.feedback.impressions import left_out, read_products, said, span
from lit_rec.feedback.propensity import DEEPEST, Vector, examination_by_position, negative_weights, positive_weights
from lit_rec.feedback.settings import PairSettings
from lit_rec.store.database import FeedbackStore
from lit_rec.store.events import EventType
from lit_rec.store.tables import exposures

logger = logging.getLogger(__name__)

_MOST_ATTRACTIVE = 0.95
_AT_A_TIME = 1_000  # requests asked for, and rows written


@dataclass(frozen=True)
class _Names:
    """Columns and folder of one of the two datasets."""

    dataset: str
    text: str


_POSITIVES = _Names(schema.TRAIN_DATASET, schema.POSITIVE)
_NEGATIVES = _Names(schema.NEGATIVES_DATASET, schema.NEGATIVE)


def to_pairs(store: FeedbackStore, folder: ProcessedFolder, output_dir: Path, settings: PairSettings) -> dict[str, Any]:
    """Write a folder of pairs that ``fit`` takes beside the original ones.

    A request with a purchase or an add-to-cart is one order: its context is the anchor, what was bought are the
    positives, weighted by inverse propensity (mean 1), and what was shown and not clicked are its hard negatives.
    Of a request without a positive nothing can be learned by comparison: it is counted and left out.

    Args:
        store: what was served and what came of it.
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
    since, until = span(settings.since, settings.until)
    check_replaceable(output_dir, schema.FEEDBACK_PARAMS)
    table = read_products(store, since=since, until=until, include_page=settings.include_page)
    table = table.with_columns(pl.col("position").clip(upper_bound=DEEPEST))
    shown = table.filter(pl.col("shown_at").is_not_null() & pl.col("position").is_not_null())
    examination, attractiveness = _click_model(shown)
    is_positive = pl.col(EventType.PURCHASE.value) | pl.col(EventType.ADD_TO_CART.value)
    in_catalogue = pl.col("product_id").is_in(list(folder.corpus))
    wanted = table.filter(is_positive & in_catalogue)
    not_read = left_out(store, since, until, include_page=settings.include_page)
    anchors = _anchors(store, folder, wanted)
    positives = wanted.filter(pl.col("request_id").is_in(list(anchors)))
    if positives.is_empty():
        raise FeedbackStoreError(
            "No training pairs in the feedback",
            f"{len(table):,} products in it, {len(table.filter(is_positive)):,} of them bought or put into a cart, "
            f"{len(wanted):,} of those in the catalogue of {folder.path}, none with a context that is known"
            + "".join(f"; left out: {what}" for what in said(not_read)),
            "Collect more, name the --processed_dir that the service's users are from, or widen --since and --until",
        )
    left_alone = pl.col("shown_at").is_not_null() & ~(is_positive | pl.col(EventType.CLICK.value))
    has_positive = pl.col("request_id").is_in(positives["request_id"].unique().to_list())
    negatives = table.filter(left_alone & in_catalogue & has_positive)
    weight = positive_weights(examination, settings.max_weight)[_positions(positives, examination)]
    record: dict[str, Any] = {
        "lit_rec_version": __version__,
        "database": store.url.render_as_string(hide_password=True),
        "processed_dir": str(folder.path),
        **asdict(settings),
        "left_out": not_read,
        "n_requests": table["request_id"].n_unique(),
        "n_requests_without_positive": table["request_id"].n_unique() - positives["request_id"].n_unique(),
        "n_positives_outside_catalogue": len(table.filter(is_positive)) - len(wanted),
        "n_positives_without_context": len(wanted) - len(positives),
        "n_orders": positives["request_id"].n_unique(),
        "n_pairs": len(positives),
        "n_negatives": len(negatives),
        "examination": examination[1:].round(4).tolist(),
        "attractiveness": round(attractiveness, 4),
    }
    with replaced_when_complete(output_dir, schema.FEEDBACK_PARAMS) as unfinished:
        _write(unfinished, _POSITIVES, positives, weight / weight.mean(), anchors, folder.corpus)
        of_negatives = negative_weights(examination, attractiveness)[_positions(negatives, examination)]
        _write(unfinished, _NEGATIVES, negatives, of_negatives, anchors, folder.corpus)
        write_json(unfinished / schema.FEEDBACK_PARAMS, {**record, "sha256": content_hashes(unfinished)}, indent=2)
    for what in said(not_read):
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
    """0 where not known, which counts as examined; the deepest one shown for what was chosen below it."""
    return table["position"].fill_null(0).clip(upper_bound=len(examination) - 1).to_numpy()


def _anchors(store: FeedbackStore, folder: ProcessedFolder, wanted: pl.DataFrame) -> dict[str, str]:
    """The context of each request: as it was served, else written from the history served, else by the user's id."""
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
    folder: Path, names: _Names, rows: pl.DataFrame, weight: Vector, anchors: dict[str, str], corpus: dict[str, str]
) -> None:
    """One row a pair in the form of ``prepare``, with a weight; the rows of one request stand together.

    A request's number is the same in both datasets: requests are numbered by the anchors' order.
    """
    number = {request_id: place for place, request_id in enumerate(sorted(anchors))}
    arrow_schema = pa.schema(
        [
            (schema.ANCHOR, pa.string()),
            (names.text, pa.string()),
            (schema.QUERY_ID, pa.int64()),
            (schema.PRODUCT_ID, pa.int64()),
            (schema.WEIGHT, pa.float32()),
            (schema.REQUEST_ID, pa.string()),
        ]
    )

    def tables() -> Iterator[pa.Table]:
        chosen = rows.select("request_id", "product_id", weight=pl.Series(weight, dtype=pl.Float32))
        for some in chosen.iter_slices(_AT_A_TIME):
            requests, products, weights = some.to_dict(as_series=False).values()
            columns: Iterable[Any] = (
                [anchors[each] for each in requests],
                [corpus[each] for each in products],
                [number[each] for each in requests],
                [int(each) for each in products],
                weights,
                requests,
            )
            yield pa.table(dict(zip(arrow_schema.names, columns, strict=True)), schema=arrow_schema)

    write_dataset(tables(), arrow_schema, folder / names.dataset)
