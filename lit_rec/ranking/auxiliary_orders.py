"""Single orders of further users, whose histories are not known: what they tell about the products."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError, first_line
from lit_rec.data.processed import ProcessedFolder
from lit_rec.ranking.statistics import AuxiliaryOrders

_COLUMNS = (schema.ORDER_ID, schema.PRODUCT_ID, schema.CART_POSITION, schema.REORDERED)
_MOST_UNKNOWN = 0.5  # share of the lines
_DO = "Name a file with this shop's ids, or do without: auxiliary_orders null"


def read_auxiliary_orders(file: Path, folder: ProcessedFolder) -> AuxiliaryOrders:
    """Single orders of further users; of the few products that are not in the catalogue nothing is kept.

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
        raise ProcessedFolderError(asked, first_line(error), _DO) from error
    catalogue = pa.array(map(int, folder.corpus), pa.int64())
    position = pc.index_in(table[schema.PRODUCT_ID], value_set=catalogue).combine_chunks()
    if position.null_count > len(position) * _MOST_UNKNOWN:
        raise ProcessedFolderError(
            f"The auxiliary orders of {file} must be of the catalogue of {folder.path}",
            f"{position.null_count:,} of their {len(position):,} lines are of products that it does not hold",
            _DO,
        )
    order = np.unique(table[schema.ORDER_ID].to_numpy(), return_inverse=True)[1]
    size = np.bincount(order)[order]
    place = ((table[schema.CART_POSITION].to_numpy() - 0.5) / size).clip(0, 1).astype(np.float32)
    known = pc.is_valid(position).to_numpy(zero_copy_only=False)
    product = pc.fill_null(position, 0).to_numpy().astype(np.int32)
    return AuxiliaryOrders(order[known], product[known], place[known], table[schema.REORDERED].to_numpy()[known] > 0)


def check_auxiliary_orders(file: Path) -> None:
    """Whether a file of auxiliary orders is there and has what it needs; what it holds is not read.

    Raises:
        NotPreparedError: there is no such file.
        ProcessedFolderError: it is not parquet, or a column is missing.
    """
    if not file.is_file():
        raise NotPreparedError(f"No auxiliary orders at {file}", "there is no such file", _DO)
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise ProcessedFolderError(f"{file} must be parquet", first_line(error), _DO) from error
    if missing := set(_COLUMNS) - set(names):
        needed = ", ".join(_COLUMNS)
        raise ProcessedFolderError(f"{file} needs the columns {needed}", f"without {', '.join(missing)}")
