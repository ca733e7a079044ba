"""The repeat-explore ranker: scores the whole catalogue from what users' histories say.

Numpy alone, for it is on the serving path. Shapes: Q users, N products.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lit_rec.artifacts.model_record import damaged_ranker, ranker_record
from lit_rec.core import former_names, schema
from lit_rec.core.errors import ModelFolderError
from lit_rec.core.files import replaced_file, sha256_of_file, write_json
from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.features import EXPLORE_FEATURES, REPEAT_FEATURES, ranker_features
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.new_products import for_catalogue
from lit_rec.ranking.numpy_network import NumpyRankerNetwork, arrays_below
from lit_rec.ranking.product_statistics import ProductStatistics

Floats = NDArray[np.float32]

_FEATURE_NAMES = {
    "repeat_features": [feature.name for feature in REPEAT_FEATURES],
    "explore_features": [feature.name for feature in EXPLORE_FEATURES],
}


@dataclass
class Ranker:
    """A trained network with what it knows of the catalogue.

    Args:
        network: scores candidates.
        statistics: of the training users, in catalogue order.
        item_item: of the training users.
        product_ids: N, in catalogue order.
        record: how it came about.
    """

    network: NumpyRankerNetwork
    statistics: ProductStatistics
    item_item: ItemItemModel
    product_ids: list[str]
    record: dict[str, Any]

    def scores(self, histories: PurchaseHistories) -> Floats:
        """float32 ``(Q, N)``: bought and new products on one scale, all others after them by popularity.

        Args:
            histories: of a few users: N numbers are held for each.
        """
        repeat, explore, users = ranker_features(histories, self.statistics, self.item_item)
        scores = np.full((len(histories), len(self.product_ids)), np.inf, dtype=np.float32)
        scores[repeat.query, repeat.product] = self.network.repeat(repeat.features)
        explore_scores = self.network.calibrate(self.network.explore(explore.features), explore.query, users)
        scores[explore.query, explore.product] = explore_scores
        lowest = scores.min(axis=1, initial=np.inf, keepdims=True)
        lowest[np.isinf(lowest)] = 0  # there is no candidate
        return np.where(np.isinf(scores), lowest - 2 + self._popularity_fallback, scores)

    @cached_property
    def _popularity_fallback(self) -> Floats:
        """``(N,)``, from 0 to below 1: ranks by popularity, for the products that are no candidates."""
        counts, ranks = np.unique(self.item_item.popularity, return_inverse=True)
        return (ranks / len(counts)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write ``ranker.json`` and ``ranker.safetensors`` into a model folder.

        The record goes first: weights that a kill has left of before do not have the hash that it holds.
        """
        arrays = {"statistics": self.statistics.columns, **self.item_item.arrays()}
        tensors = {f"catalogue.{name}": np.ascontiguousarray(value) for name, value in arrays.items()}
        tensors |= {f"network.{name}": value for name, value in self.network.arrays.items()}
        with replaced_file(folder / schema.RANKER_WEIGHTS) as unfinished:
            save_file(tensors, unfinished)
            content = {
                **self.record,
                "weights_sha256": sha256_of_file(unfinished),
                **_FEATURE_NAMES,
                "product_ids": self.product_ids,
            }
            write_json(folder / schema.RANKER, content, indent=None)

    @classmethod
    def load(cls, folder: Path, corpus: Mapping[str, str], embeddings: Floats) -> Self:
        """The ranker that :meth:`save` wrote, for a catalogue.

        Args:
            folder: a model folder.
            corpus: product id to text, in catalogue order. A product that the ranker was not trained on is scored as
                the mean of those of its aisle that are bought and whose texts are the most similar.
            embeddings: float32 ``(N, D)``, of length 1: of the texts.

        Raises:
            ModelFolderError: it was written by another version, or is damaged.
        """
        try:
            record = ranker_record(folder)
            for key, names in _FEATURE_NAMES.items():
                if [former_names.FEATURES.get(name, name) for name in record[key]] != names:
                    raise KeyError(f"other {key.replace('_', ' ')}")
            written = load_file(folder / schema.RANKER_WEIGHTS)
            tensors = {former_names.TENSORS.get(name, name): value for name, value in written.items()}
            network = NumpyRankerNetwork(arrays_below("network.", tensors))
            network.check()
            arrays = arrays_below("catalogue.", tensors)
            statistics, item_item = ProductStatistics(arrays.pop("statistics")), ItemItemModel.from_arrays(arrays)
            ranker = cls(network, statistics, item_item, record.pop("product_ids"), record)
            if not len(ranker.product_ids) == len(statistics.columns) == len(item_item.popularity):
                raise ValueError("the two files are of two catalogues")
            if ranker.product_ids == list(corpus):
                return ranker
            statistics, item_item = for_catalogue(statistics, item_item, ranker.product_ids, corpus, embeddings)
            return replace(ranker, statistics=statistics, item_item=item_item, product_ids=list(corpus))
        except ModelFolderError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise damaged_ranker(folder, error) from error
