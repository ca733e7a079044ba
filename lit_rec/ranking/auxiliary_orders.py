"""Auxiliary orders: single orders of other users, whose histories are not known. They tell about the products alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError, first_line
from lit_rec.data.processed import ProcessedFolder

INSTEAD = "Name a file with this shop's ids, or do without: auxiliary_orders null"

_COLUMNS = (schema.ORDER_ID, schema.PRODUCT_ID, schema.CART_POSITION, schema.REORDERED)
_MOST_UNKNOWN = 0.5  # share of the lines


@dataclass(frozen=True)
class AuxiliaryOrders:
    """Order lines of single orders. L order lines.

    Args:
        order: int64 ``(L,)``, ascending; 0 for the first order.
        product: int32 ``(L,)``, product index.
        place: float32 ``(L,)``, relative place in the cart, 0 (first) to 1.
        reordered: bool ``(L,)``, whether the user had bought the product before.
    """

    order: NDArray[np.int64]
    product: NDArray[np.int32]
    place: NDArray[np.float32]
    reordered: NDArray[np.bool_]

    def incidence(self, n_products: int) -> csr_array:
        """float32 ``(orders, N)``: 1 where the order holds the product."""
        n_orders = int(self.order[-1]) + 1 if len(self.order) else 0
        ones = np.ones(len(self.order), dtype=np.float32)
        incidence = csr_array((ones, (self.order, self.product)), shape=(n_orders, n_products))
        incidence.sum_duplicates()
        incidence.data.fill(1)
        return incidence


def read_auxiliary_orders(file: Path, folder: ProcessedFolder) -> AuxiliaryOrders:
    """Auxiliary orders of a file; lines of the few products that are not in the catalogue are left out.

    Args:
        file: parquet with the columns of Kaggle's order_products files.
        folder: whose catalogue.

    Raises:
        NotPreparedError: there is no such file.
        ProcessedFolderError: it is no such file, or most of its products are not in the catalogue.
    """
    check_auxiliary_orders(file)
    numbers = pa.schema([(name, pa.int64()) for name in _COLUMNS])
    try:
        table = pq.read_table(file, columns=numbers.names).cast(numbers).sort_by([(schema.ORDER_ID, "ascending")])
    except (pa.ArrowException, OSError) as error:
        asked = f"{file} must hold whole numbers in the columns {', '.join(numbers.names)}"
        raise ProcessedFolderError(asked, first_line(error), INSTEAD) from error
    catalogue = pa.array(map(int, folder.corpus), pa.int64())
    product = pc.index_in(table[schema.PRODUCT_ID], value_set=catalogue).combine_chunks()
    if product.null_count > len(product) * _MOST_UNKNOWN:
        raise ProcessedFolderError(
            f"The auxiliary orders of {file} must be of the catalogue of {folder.path}",
            f"{product.null_count:,} of their {len(product):,} lines are of products that it does not hold",
            INSTEAD,
        )
    order = np.unique(table[schema.ORDER_ID].to_numpy(), return_inverse=True)[1]
    size = np.bincount(order)[order]
    place = ((table[schema.CART_POSITION].to_numpy() - 0.5) / size).clip(0, 1).astype(np.float32)
    known = pc.is_valid(product).to_numpy(zero_copy_only=False)
    index = pc.fill_null(product, 0).to_numpy().astype(np.int32)
    return AuxiliaryOrders(order[known], index[known], place[known], table[schema.REORDERED].to_numpy()[known] > 0)


def check_auxiliary_orders(file: Path) -> None:
    """Refuse a file of auxiliary orders that is not there or lacks a column; its lines are not read.

    Raises:
        NotPreparedError: there is no such file.
        ProcessedFolderError: it is not parquet, or a column is missing.
    """
    if not file.is_file():
        raise NotPreparedError(f"No auxiliary orders at {file}", "there is no such file", INSTEAD)
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise ProcessedFolderError(f"{file} must be parquet", first_line(error), INSTEAD) from error
    if missing := set(_COLUMNS) - set(names):
        raise ProcessedFolderError(f"{file} needs the columns {', '.join(_COLUMNS)}", f"without {', '.join(missing)}")
