"""Orders as a sparse matrix: every count, decayed count and co-occurrence is a product with it.

Shapes: S users, O orders of all of them, L order lines, N products, Q users who ask, U training users.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.data.histories import PurchaseHistories

_DENSE_CELLS = 2**25  # float64: 256 MiB


@dataclass(frozen=True)
class OrderMatrix:
    """Which product is in which order.

    The orders of user ``s`` are ``order_start[s]`` to ``order_start[s + 1]``, oldest first. An order without a
    line is not among them, but counts in ``orders_ago``.

    Args:
        incidence: float32 ``(O, N)``: 1 where the order holds the product, however many lines name it. Single
            precision is half the memory, and exact for sums up to 16 million.
        order_start: int64 ``(S + 1,)``.
        orders_ago: int32 ``(O,)``, 1 for the newest order.
    """

    incidence: csr_array
    order_start: NDArray[np.int64]
    orders_ago: NDArray[np.int32]

    @classmethod
    def of(cls, histories: PurchaseHistories, n_products: int) -> "OrderMatrix":
        """Orders of S users."""
        # Lines stand order by order, which is how a csr matrix stores rows: a row begins where the order changes.
        n_lines = len(histories.product)
        begins = np.ones(n_lines, dtype=bool)
        np.not_equal(histories.orders_ago[1:], histories.orders_ago[:-1], out=begins[1:])
        begins[histories.line_start[:-1][histories.n_lines > 0]] = True  # two users may meet at one orders_ago
        first_line = np.flatnonzero(begins)
        line_start = np.append(first_line, n_lines)
        content = (np.ones(n_lines, dtype=np.float32), histories.product, line_start)
        incidence = csr_array(content, shape=(len(first_line), n_products), copy=True)  # it is sorted in place
        incidence.sum_duplicates()
        incidence.data.fill(1)
        return cls(incidence, np.searchsorted(first_line, histories.line_start), histories.orders_ago[first_line])

    @property
    def n_orders(self) -> NDArray[np.int64]:
        """int64 ``(S,)``: orders ago of the oldest order; 0 for a user without any."""
        count = np.zeros(len(self.order_start) - 1, dtype=np.int64)
        has_any = np.diff(self.order_start) > 0
        count[has_any] = self.orders_ago[self.order_start[:-1][has_any]]
        return count

    @property
    def n_orders_of_order(self) -> NDArray[np.int64]:
        """int64 ``(O,)``: :attr:`n_orders` of the user of each order."""
        return np.repeat(self.n_orders, np.diff(self.order_start))

    @property
    def popularity(self) -> NDArray[np.int64]:
        """int64 ``(N,)``: orders that hold each product."""
        return np.bincount(self.incidence.indices, minlength=self.incidence.shape[1])

    def summed(self, weight: NDArray[np.float64]) -> csr_array:
        """float64 ``(S, N)``: the sum of the weights of the user's orders that hold the product.

        Equal weights in equal order give equal sums to the last bit: orders are added oldest first.

        Args:
            weight: ``(O,)``; an order of weight 0 leaves no entry.
        """
        n_orders = len(self.orders_ago)
        shape = (len(self.order_start) - 1, n_orders)
        sums = csr_array((weight, np.arange(n_orders), self.order_start), shape=shape) @ self.incidence
        sums.eliminate_zeros()
        sums.sort_indices()
        return sums

    def frequency(self) -> csr_array:
        """float64 ``(S, N)``: number of the user's orders that hold the product."""
        return self.summed(np.ones(len(self.orders_ago)))

    def decayed(self, decay: float) -> csr_array:
        """float64 ``(S, N)``: sum over the user's orders that hold the product of ``decay^(orders_ago - 1)``.

        Args:
            decay: above 0, at most 1.
        """
        return self.summed(np.power(decay, self.orders_ago - 1.0))

    def distinct(self) -> csr_array:
        """float64 ``(S, N)``: 1 where the user has ever bought the product."""
        bought = self.frequency()
        bought.data.fill(1)
        return bought


def rows_at_a_time(n_columns: int) -> int:
    """How many rows of a dense float64 matrix of so many columns take 256 MiB; at least 1."""
    return max(1, _DENSE_CELLS // max(1, n_columns))


def highest(values: NDArray[np.floating], k: int) -> NDArray[np.bool_]:
    """Marks of the k highest of each row; of equal ones at the cut those in front.

    Args:
        values: ``(Q, U)``.
        k: at least 1; all of a row where it has no more.

    Returns:
        ``(Q, U)``.

    >>> highest(np.array([[3.0, 1.0, 3.0, 2.0, 2.0]]), 3)
    array([[ True, False,  True,  True, False]])
    """
    if k >= values.shape[1]:
        return np.ones(values.shape, dtype=bool)
    cut = np.partition(values, -k, axis=1)[:, -k, np.newaxis]  # the k-th highest
    above, at = values > cut, values == cut
    at &= np.cumsum(at, axis=1, dtype=np.int32) <= k - above.sum(axis=1, keepdims=True)
    marked: NDArray[np.bool_] = above | at
    return marked
