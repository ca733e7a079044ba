"""Product names that a static encoder knows as one token each.

A mean of word pieces cannot tell "Organic Whole Milk" from the same pieces of other names around it. A name that was
bought often enough to learn a vector of its own becomes one token; rarer names stay made of pieces.
"""

from pathlib import Path

import pyarrow.compute as pc
from datasets import load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError
from lit_rec.data.contexts import product_name
from lit_rec.data.processed import find_processed_folder


def frequent_names(processed_dir: Path, min_count: int) -> list[str]:
    """Names of the products that occur in at least so many training pairs, in alphabetical order.

    Args:
        processed_dir: a processed folder, or one that holds some (the newest is taken).
        min_count: pairs.

    Raises:
        NotPreparedError: the folder is none, or holds nothing to train on.
    """
    pairs = find_processed_folder(processed_dir) / schema.TRAIN_DATASET
    if not pairs.is_dir():
        raise NotPreparedError(f"No training pairs to count names in at {pairs}", "there is no such folder")
    texts, counts = pc.value_counts(load_from_disk(pairs).data.column(schema.POSITIVE)).flatten()
    frequent = texts.filter(pc.greater_equal(counts, min_count)).to_pylist()
    return sorted({product_name(text) for text in frequent})
