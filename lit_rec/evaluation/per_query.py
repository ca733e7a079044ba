"""Results query by query: what means, intervals, slices and pools of folds are made of; in memory and as parquet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lit_rec.core.errors import ProcessedFolderError, SettingError
from lit_rec.core.files import replaced_file
from lit_rec.core.former_names import present_method, present_metric
from lit_rec.metrics.headline import CHOOSING_METRIC

SHOWN_RANKS = 10
"""What a user is shown, for coverage."""
NO_PRODUCT = -1

_METHOD, _QUERY_ID, _SHOWN = "method", "query_id", "shown_product_ids"
_OF_QUERIES = ("n_orders", "basket_size", "repeat_share")
_OF_METHOD = ("method", "n_products", "score_seconds", "fit_seconds", "peak_gb", "settings")
_METADATA = b"lit_rec_methods"


@dataclass(frozen=True)
class PerQuery:
    """One method's results, query by query.

    Args:
        method: its name.
        query_ids: Q of them.
        values: metric name to float32 ``(Q,)``; NaN where the metric does not apply.
        shown: int64 ``(Q, 10)``, product ids of the first 10 ranks; -1 where the catalogue is smaller.
        n_products: size of the catalogue.
        n_orders: int64 ``(Q,)``, past orders of the user.
        basket_size: int64 ``(Q,)``, relevant products.
        repeat_share: float32 ``(Q,)``, share of the relevant products that the user had bought before.
        score_seconds: for the scores of all queries; ranking and metrics are not in it.
        fit_seconds: to fit it on the training histories; NaN where that was done elsewhere.
        peak_gb: see :class:`~lit_rec.evaluation.cost.Cost`: the higher of fitting and scoring.
        settings: hyper-parameters; one mapping for each fold that is pooled here.
    """

    method: str
    query_ids: list[str]
    values: Mapping[str, NDArray[np.float32]]
    shown: NDArray[np.int64]
    n_products: int
    n_orders: NDArray[np.int64]
    basket_size: NDArray[np.int64]
    repeat_share: NDArray[np.float32]
    score_seconds: float
    fit_seconds: float = nan
    peak_gb: float = nan
    settings: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.query_ids)

    def coverage(self) -> float:
        """Distinct products in the first 10 ranks of all queries / N; NaN of no query."""
        shown = np.unique(self.shown)
        return float((shown != NO_PRODUCT).sum() / self.n_products) if len(self) else nan

    def means(self) -> dict[str, float]:
        """The mean of each metric over the queries that it applies to; NaN where there is none."""
        known = {name: values[~np.isnan(values)] for name, values in self.values.items()}
        return {name: float(of.mean(dtype=np.float64)) if len(of) else nan for name, of in known.items()}

    def summary(self) -> dict[str, float]:
        """Means, coverage, how many queries these are of, and cost."""
        counts = {
            f"n_queries{which}": float((~np.isnan(self.values[name])).sum())
            for which, name in (
                ("", CHOOSING_METRIC),
                ("_repeat", "repeat_recall@10"),
                ("_explore", "explore_recall@10"),
            )
        }
        return {
            **self.means(),
            f"coverage@{SHOWN_RANKS}": self.coverage(),
            **counts,
            "ms_per_query": 1000 * self.score_seconds / len(self) if len(self) else nan,
            "fit_seconds": self.fit_seconds,
            "peak_gb": self.peak_gb,
        }


def save_per_query(file: Path, results: Sequence[PerQuery]) -> None:
    """Write one parquet file: a row for each method and query; what belongs to a method is in the file's metadata.

    Args:
        file: replaced if it exists.
        results: of methods with the same metrics.
    """
    methods = [{name: getattr(result, name) for name in _OF_METHOD} for result in results]
    table = pa.concat_tables([_table(result) for result in results])
    table = table.replace_schema_metadata({_METADATA: json.dumps(methods, default=list).encode()})
    with replaced_file(file) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")


def load_per_query(file: Path) -> list[PerQuery]:
    """Results that :func:`save_per_query` wrote; those of version 0.1 come under the present names.

    Raises:
        ProcessedFolderError: the file is of another make, or cannot be read.
    """
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise ProcessedFolderError(f"{file} cannot be read", str(error), "Run evaluate with --per_query") from error
    metadata = (table.schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise ProcessedFolderError(f"{file} holds no per-query results", "no lit_rec_methods in its metadata")
    return [_result(table, of_method) for of_method in json.loads(metadata)]


def pool(folds: Sequence[Sequence[PerQuery]]) -> list[PerQuery]:
    """The results of several evaluations as one, for methods that are in all of them.

    Queries are put one after the other, so that means weigh each query alike; coverage counts products over all of
    them. Seconds for fitting are the mean of the folds, for scoring their sum, memory is the highest.

    Args:
        folds: results of each evaluation, on queries that no other has.

    Raises:
        SettingError: a query is in two of them, or no method is in all.
    """
    by_name = [{result.method: result for result in fold} for fold in folds]
    names = [name for name in (by_name[0] if by_name else ()) if all(name in fold for fold in by_name)]
    if not names:
        raise SettingError("Folds are pooled for the methods that are in all of them", "there is none")
    return [_pooled([fold[name] for fold in by_name]) for name in names]


def _pooled(parts: Sequence[PerQuery]) -> PerQuery:
    query_ids = [query for part in parts for query in part.query_ids]
    if (doubled := len(query_ids) - len(set(query_ids))) > 0:
        raise SettingError("Folds that are pooled share no query", f"{doubled:,} are in several", "Name each fold once")
    metrics = [name for name in parts[0].values if all(name in part.values for part in parts)]
    return PerQuery(
        method=parts[0].method,
        query_ids=query_ids,
        values={name: np.concatenate([part.values[name] for part in parts]) for name in metrics},
        shown=np.concatenate([part.shown for part in parts]),
        n_products=max(part.n_products for part in parts),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_QUERIES},
        score_seconds=sum(part.score_seconds for part in parts),
        fit_seconds=float(np.mean([part.fit_seconds for part in parts])),
        peak_gb=max(part.peak_gb for part in parts),
        settings=[settings for part in parts for settings in part.settings],
    )


def _table(result: PerQuery) -> pa.Table:
    shown = pa.FixedSizeListArray.from_arrays(pa.array(result.shown.ravel()), result.shown.shape[1])
    return pa.table(
        {
            _METHOD: pa.array([result.method] * len(result)).dictionary_encode(),
            _QUERY_ID: pa.array(result.query_ids, pa.string()),
            **{name: pa.array(getattr(result, name)) for name in _OF_QUERIES},
            _SHOWN: shown,
            **{name: pa.array(values) for name, values in result.values.items()},
        }
    )


def _result(table: pa.Table, of_method: dict[str, Any]) -> PerQuery:
    rows = table.filter(pa.compute.equal(table[_METHOD].cast(pa.string()), of_method["method"]))
    metrics = [name for name in rows.column_names if name not in {_METHOD, _QUERY_ID, _SHOWN, *_OF_QUERIES}]
    shown = rows[_SHOWN].combine_chunks()
    return PerQuery(
        query_ids=rows[_QUERY_ID].to_pylist(),
        values={present_metric(name): rows[name].to_numpy() for name in metrics},
        shown=shown.flatten().to_numpy().reshape(len(rows), -1),
        **{name: rows[name].to_numpy() for name in _OF_QUERIES},
        **of_method | {"method": present_method(of_method["method"])},
    )
