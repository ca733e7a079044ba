"""Per-query results on disk, and several folds of a cross-validation pooled into one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_rec.core.errors import ProcessedFolderError, SettingError
from lit_rec.core.files import replaced_file
from lit_rec.evaluation.measure import PerQuery

_METHOD, _QUERY_ID, _SHOWN = "method", "query_id", "shown_product_ids"
_OF_QUERIES = ("n_orders", "basket_size", "repeat_share")
_OF_METHOD = ("method", "n_products", "score_seconds", "fit_seconds", "peak_gb", "settings")
_METADATA = b"lit_rec_methods"


def save_per_query(file: Path, results: Sequence[PerQuery]) -> None:
    """Write one parquet file: a row for each method and query; what belongs to a method is in the file's metadata.

    Args:
        file: replaced if it exists.
        results: of methods with the same metrics.
    """
    tables = [_table(result) for result in results]
    methods = [{name: getattr(result, name) for name in _OF_METHOD} for result in results]
    table = pa.concat_tables(tables).replace_schema_metadata({_METADATA: json.dumps(methods, default=list).encode()})
    with replaced_file(file) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")


def load_per_query(file: Path) -> list[PerQuery]:
    """Read what :func:`save_per_query` wrote.

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
    names = (
        [result.method for result in folds[0] if all(result.method in _names(fold) for fold in folds)] if folds else []
    )
    if not names:
        raise SettingError("Folds are pooled for the methods that are in all of them", "there is none")
    return [_pooled([next(one for one in fold if one.method == name) for fold in folds]) for name in names]


def _names(fold: Sequence[PerQuery]) -> set[str]:
    return {result.method for result in fold}


def _pooled(parts: Sequence[PerQuery]) -> PerQuery:
    query_ids = [query for part in parts for query in part.query_ids]
    if (doubled := len(query_ids) - len(set(query_ids))) > 0:
        raise SettingError("Folds that are pooled share no query", f"{doubled:,} are in several", "Name each fold once")
    return PerQuery(
        method=parts[0].method,
        query_ids=query_ids,
        values={
            name: np.concatenate([part.values[name] for part in parts])
            for name in parts[0].values
            if all(name in part.values for part in parts)
        },
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
        values={name: rows[name].to_numpy() for name in metrics},
        shown=shown.flatten().to_numpy().reshape(len(rows), -1),
        **{name: rows[name].to_numpy() for name in _OF_QUERIES},
        **of_method,
    )
