"""How many orders hold two products both, for all pairs of products, within a bound on memory.

Shapes: O orders, N products, C products of a chunk.
"""

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.sparse import csr_array

from lit_rec.ranking.order_matrix import rows_at_a_time


def co_occurrence(incidence: csr_array, neighbours: int | None = None) -> csr_array:
    """int32 ``(N, N)``: orders that hold both products; on the diagonal those that hold the one.

    Whole numbers, as sums over a user's products can exceed the 16 million that float32 is exact to.

    Args:
        incidence: ``(O, N)`` of ones.
        neighbours: keep so many a row, the most frequent; None keeps all.
    """
    ones = np.ones(incidence.shape[1], dtype=np.float32)
    return _in_chunks(incidence, incidence, ones, ones, neighbours).astype(np.int32)


def similarity(
    incidence: csr_array,
    neighbours: int | None = None,
    asymmetry: float = 0.5,
    columns: NDArray[np.int64] | None = None,
) -> csr_array:
    """float32 ``(N, N)``: ``c_ij / (c_ii^a c_jj^(1 - a))`` with c as of :func:`co_occurrence`; 1 on the diagonal.

    With a = 0.5 the cosine of two products' orders, with a = 1 the share of the orders of i that hold j too. A product
    that nobody bought has an empty row.

    Source: Deshpande and Karypis, "Item-based Top-N Recommendation Algorithms", TOIS 2004, section 4.2, of orders
    in the place of customers; one family of both by Aiolli, "Efficient Top-N Recommendation for Very Large Scale
    Binary Rated Datasets", RecSys 2013.

    Args:
        incidence: ``(O, N)`` of ones.
        neighbours: keep so many a row, the most similar; None keeps all.
        asymmetry: a, 0 to 1.
        columns: these products alone are kept, ``(N, len(columns))``; None keeps all.
    """
    popularity = np.maximum(np.bincount(incidence.indices, minlength=incidence.shape[1]), 1).astype(np.float64)
    scale = (popularity ** (-exponent) for exponent in (asymmetry, 1 - asymmetry))
    of_row, of_column = (values.astype(np.float32) for values in scale)
    if columns is None:
        return _in_chunks(incidence, incidence, of_row, of_column, neighbours)
    return _in_chunks(incidence, csr_array(incidence[:, columns]), of_row, of_column[columns], neighbours)


def _in_chunks(
    incidence: csr_array,
    of_columns: csr_array,
    of_row: NDArray[np.float32],
    of_column: NDArray[np.float32],
    neighbours: int | None,
) -> csr_array:
    """float32 ``(N, P)``: ``of_row_i c_ij of_column_j``, with c the number of orders that hold both.

    All pairs at once would not fit into memory: rows are multiplied and cut chunk by chunk, and only the entries that
    are kept are held.
    """
    n_products = incidence.shape[1]
    by_product = incidence.T.tocsr()  # (N, O)
    at_a_time = rows_at_a_time(of_columns.shape[1])
    begins = range(0, n_products, at_a_time)
    data, indices = [np.empty(0, np.float32)], [np.empty(0, np.int32)]
    n_kept = [np.zeros(1, np.int64)]
    for first in track(begins, description="Counting what is bought together", disable=len(begins) < 3):
        rows = by_product[first : first + at_a_time] @ of_columns
        rows.sort_indices()
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        rows.data *= of_row[first : first + at_a_time][row] * of_column[rows.indices]
        kept = _strongest(rows, row, neighbours)
        data.append(rows.data[kept])
        indices.append(rows.indices[kept])
        n_kept.append(np.bincount(row[kept], minlength=rows.shape[0]))
    row_start = np.cumsum(np.concatenate(n_kept))
    content = (np.concatenate(data), np.concatenate(indices), row_start)
    return csr_array(content, shape=(n_products, of_columns.shape[1]))


def _strongest(rows: csr_array, row: NDArray[np.int64], neighbours: int | None) -> NDArray[np.bool_]:
    """bool, one an entry: the highest of each row; of equal ones at the cut those first in the catalogue.

    Args:
        rows: ``(C, N)``, values above 0, entries in catalogue order.
        row: of each entry.
        neighbours: how many to keep; None for all.
    """
    if neighbours is None or neighbours >= rows.shape[1]:
        return np.ones(len(row), dtype=bool)
    is_long = np.diff(rows.indptr) > neighbours
    cut = np.zeros(rows.shape[0], dtype=rows.dtype)  # all are above 0
    # The lowest value that is kept: of a dense partition, which takes a tenth of the time of sorting the entries.
    cut[is_long] = np.partition(rows[is_long].toarray(), -neighbours, axis=1)[:, -neighbours]
    above, at = rows.data > cut[row], rows.data == cut[row]
    n_above = np.bincount(row[above], minlength=rows.shape[0])
    # Entries at the cut are counted from the left: a running count over all rows, less its value at the row's start.
    n_at_before = np.concatenate(([0], np.cumsum(at)))
    rank_among_equals = n_at_before[1:] - n_at_before[rows.indptr[row]]
    kept: NDArray[np.bool_] = above | (at & (rank_among_equals <= neighbours - n_above[row]))
    return kept
