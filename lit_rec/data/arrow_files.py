"""Hugging Face datasets on disk: written from a stream of tables, so that a long one is never whole in memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, disable_progress_bars
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.core.errors import ProcessedFolderError


def write_dataset(tables: Iterator[pa.Table], arrow_schema: pa.Schema, folder: Path) -> None:
    """Stream tables into a dataset at ``folder``."""
    disable_progress_bars()  # of the empty cut; the chunks above have one
    stream_file = folder.with_name(f"{folder.name}.arrow")
    with pa.OSFile(str(stream_file), "wb") as sink, pa.ipc.new_stream(sink, arrow_schema) as stream:
        for table in tables:
            stream.write_table(table)
    # The records of a dataset from an empty cut of it; the stream is its file already, and need not be copied.
    Dataset.from_file(str(stream_file)).select(range(0)).save_to_disk(folder, num_shards=1)
    (data_file,) = folder.glob("*.arrow")
    stream_file.replace(data_file)


def product_indices(
    products: pa.Array | pa.ChunkedArray, catalogue: Iterable[object], path: Path, do: str
) -> NDArray[np.int32]:
    """int32 ``(n,)``: the place of each product in the catalogue.

    Args:
        products: ids or texts, ``n`` of them.
        catalogue: the same of the whole catalogue.
        path: where the products are from.
        do: what to do where one is not in the catalogue.

    Raises:
        ProcessedFolderError: one is not.
    """
    indices = pc.index_in(products, value_set=pa.array(catalogue, products.type))
    if indices.null_count:
        unknown = products.filter(indices.is_null())[0].as_py()
        raise ProcessedFolderError(
            f"{path} does not fit {schema.EVAL_CORPUS}",
            f"{indices.null_count:,} of its {len(products):,} products are not there, such as {unknown!r}",
            do,
        )
    found: NDArray[np.int32] = indices.to_numpy().astype(np.int32)
    return found


def run_starts(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """int64 ``(runs + 1,)``: where each run of equal values begins, and where the last one ends."""
    changes = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy()
    return np.concatenate(([0], np.flatnonzero(changes) + 1, [len(values)])).astype(np.int64)
