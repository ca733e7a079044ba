"""What a ranker knows of products, for another catalogue: new products are scored by similar ones.

Shapes: N products of the new catalogue, U of them new, K similar products of each.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of

Floats = NDArray[np.float32]

_N_SIMILAR = 5  # K, at most
_AT_A_TIME = 256  # new products: each holds a number for every product


def for_catalogue(
    statistics: ProductStatistics,
    item_item: ItemItemModel,
    product_ids: Sequence[str],
    corpus: Mapping[str, str],
    embeddings: Floats,
) -> tuple[ProductStatistics, ItemItemModel]:
    """Statistics and item-item model of another catalogue, or of another order of the same one.

    A new product has the mean statistics and the mean item-item scores of similar ones. What that takes is computed
    here, once: scoring a new product costs as little as scoring any other.

    Args:
        statistics: of the catalogue that the ranker was trained on.
        item_item: of the same.
        product_ids: of the same.
        corpus: product id to text of the other catalogue.
        embeddings: float32 ``(N, D)``, of length 1: of its texts.

    Raises:
        ValueError: the two have no product in common.
    """
    old_index = {product_id: index for index, product_id in enumerate(product_ids)}
    old = np.array([old_index.get(product_id, -1) for product_id in corpus], dtype=np.int64)  # (N,)
    is_known = old >= 0
    if not is_known.any():
        raise ValueError("it knows no product of this catalogue")
    aisle, new_products = aisles_of(list(corpus.values())), np.flatnonzero(~is_known)
    columns, popularity = statistics.columns[old], item_item.popularity[old]
    is_sold = is_known & (popularity > 0)  # a new product is on sale, which not all of a catalogue is
    similar = _similar_products(new_products, is_sold if is_sold.any() else is_known, aisle, embeddings)
    columns[new_products] = columns[similar].mean(axis=1)
    popularity[new_products] = np.expm1(np.log1p(popularity[similar]).mean(axis=1))
    candidate_products, cosine = _moved_cosines(item_item, old)
    weights = csr_array(
        (
            np.full(similar.size, 1 / max(similar.shape[1], 1), np.float32),
            (similar.ravel(), np.repeat(np.arange(len(new_products)), similar.shape[1])),
        ),
        shape=(len(old), len(new_products)),
    )
    weights_of_similar = weights[candidate_products] if len(new_products) else None
    moved = ItemItemModel(candidate_products, cosine, popularity, aisle, new_products, weights_of_similar)
    return ProductStatistics(columns), moved


def _moved_cosines(item_item: ItemItemModel, old: NDArray[np.int64]) -> tuple[NDArray[np.int64], csr_array]:
    """Candidate products of the new catalogue, ascending, and their cosines ``(N, P)``; of new products none.

    Args:
        item_item: of the old catalogue.
        old: ``(N,)``, product index in the old catalogue, -1 for a new product.
    """
    is_known = old >= 0
    new_index = np.full(len(item_item.aisle), -1, dtype=np.int64)
    new_index[old[is_known]] = np.flatnonzero(is_known)
    moved = new_index[item_item.candidate_products]
    columns = np.flatnonzero(moved >= 0)
    columns = columns[np.argsort(moved[columns])]
    cosine = item_item.cosine[np.where(is_known, old, 0)][:, columns]
    # A new product has the row of the first old one so far.
    return moved[columns], cosine.multiply(is_known[:, None].astype(np.float32)).tocsr()


def _similar_products(
    new_products: NDArray[np.int64], is_other: NDArray[np.bool_], aisle: NDArray[np.int32], embeddings: Floats
) -> NDArray[np.int64]:
    """int64 ``(U, K)``: of other products the most similar ones of each new product's aisle.

    Where the aisle has fewer than K of them, those of the whole catalogue.
    """
    n = min(_N_SIMILAR, int(is_other.sum()))
    similar = np.empty((len(new_products), n), dtype=np.int64)
    for number in np.unique(aisle[new_products]):
        of_aisle = np.flatnonzero(is_other & (aisle == number))
        among = of_aisle if len(of_aisle) >= n else np.flatnonzero(is_other)
        rows = np.flatnonzero(aisle[new_products] == number)
        for some in np.split(rows, range(_AT_A_TIME, len(rows), _AT_A_TIME)):
            cosine = embeddings[new_products[some]] @ embeddings[among].T
            similar[some] = among[np.argpartition(-cosine, n - 1, axis=1)[:, :n]]
    return similar
