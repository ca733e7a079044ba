"""The repeat-explore ranker: scores the whole catalogue from what users' histories say.

Numpy alone, for it is on the serving path; :mod:`~lit_rec.ranking.network` is what is trained. Shapes: Q
users, M candidates of their histories, C candidates that they have not bought, N products, E members, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array

from lit_rec.artifacts.model_folder import damaged_ranker, ranker_record
from lit_rec.core import former_names, schema
from lit_rec.core.errors import ModelFolderError
from lit_rec.core.files import replaced_file, sha256_of_file, write_json
from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.explore_features import (
    EXPLORE_FEATURES,
    USER_FEATURES,
    Affinity,
    ItemItemModel,
    explore_candidates,
    user_features,
)
from lit_rec.ranking.repeat_features import REPEAT_FEATURES, repeat_features
from lit_rec.ranking.statistics import ProductStatistics, aisles_of

Floats = NDArray[np.float32]

LIMIT = 5.0  # standard deviations
LINEAR_LAYERS = (0, 3, 6)  # of a member; the others have no weights
_RELATIVES = 5  # known products that a new one is taken for the mean of
_NEW_PRODUCTS_AT_A_TIME = 256  # each holds a number for every product


@dataclass(frozen=True)
class NumpyEnsemble:
    """Several small trained networks over the same features.

    Args:
        is_log_scaled: bool ``(F,)``.
        mean: float32 ``(F,)``, after the logarithm.
        std: float32 ``(F,)``.
        layers: of each member the weights ``(inputs, outputs)`` and biases of its layers, in order.
    """

    is_log_scaled: NDArray[np.bool_]
    mean: Floats
    std: Floats
    layers: list[list[tuple[Floats, Floats]]]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], ensemble_size: int) -> Self:
        """From a state of :class:`~lit_rec.ranking.network.Ensemble`."""
        layers = [
            [
                (np.ascontiguousarray(arrays[f"members.{e}.{layer}.weight"].T), arrays[f"members.{e}.{layer}.bias"])
                for layer in LINEAR_LAYERS
            ]
            for e in range(ensemble_size)
        ]
        return cls(arrays["is_log_scaled"], arrays["mean"], arrays["std"], layers)

    def __call__(self, features: Floats) -> Floats:
        """Mean score of the members, ``(M,)``.

        Args:
            features: float32 ``(M, F)``; NaN where not known.
        """
        inputs = self._inputs(features)
        scores = np.zeros(len(features), dtype=np.float32)
        for first, second, last in self.layers:
            hidden = _silu(_silu(inputs @ first[0] + first[1]) @ second[0] + second[1])
            scores += (hidden @ last[0] + last[1])[:, 0]
        return scores / np.float32(len(self.layers))

    def _inputs(self, features: Floats) -> Floats:
        values = features.copy()
        logs = values[:, self.is_log_scaled]
        values[:, self.is_log_scaled] = np.sign(logs) * np.log1p(np.abs(logs))
        values = (values - self.mean) / self.std
        missing = np.isnan(values)
        values[missing] = 0
        return np.concatenate([values.clip(-LIMIT, LIMIT), missing.astype(np.float32)], axis=1)


@dataclass(frozen=True)
class NumpyRankerNetwork:
    """The trained networks of bought and of new products, and what puts their scores on one scale; numpy alone.

    Args:
        arrays: state of a :class:`~lit_rec.ranking.network.RankerNetwork`.
    """

    arrays: Mapping[str, NDArray[Any]]

    @cached_property
    def repeat(self) -> NumpyEnsemble:
        """Scores candidates of the history."""
        return NumpyEnsemble.from_arrays(_part(self.arrays, "repeat."), self._ensemble_size)

    @cached_property
    def explore(self) -> NumpyEnsemble:
        """Scores candidates that were not bought before."""
        return NumpyEnsemble.from_arrays(_part(self.arrays, "explore."), self._ensemble_size)

    def calibrate(self, explore: Floats, query: NDArray[np.int64], users: Floats) -> Floats:
        """Explore scores on the scale of repeat scores.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            users: float32 ``(Q, 4)``, :data:`~lit_rec.ranking.explore_features.USER_FEATURES`.
        """
        a = self.arrays
        hidden = _silu(users @ a["calibration_offset.0.weight"].T + a["calibration_offset.0.bias"])
        offset = (hidden @ a["calibration_offset.2.weight"].T + a["calibration_offset.2.bias"])[:, 0]
        scores: Floats = explore * np.exp(a["calibration_scale"]) + offset[query]
        return scores

    def check(self) -> None:
        """Score one made-up candidate of each kind.

        Raises:
            KeyError: an array is missing.
            ValueError: shapes do not fit together.
        """
        explore = self.explore(np.zeros((1, len(EXPLORE_FEATURES)), dtype=np.float32))
        self.repeat(np.zeros((1, len(REPEAT_FEATURES)), dtype=np.float32))
        self.calibrate(explore, np.zeros(1, dtype=np.int64), np.zeros((1, len(USER_FEATURES)), dtype=np.float32))

    @property
    def _ensemble_size(self) -> int:
        return sum(name.startswith("repeat.members.") and name.endswith(".0.weight") for name in self.arrays)


def _silu(values: Floats) -> Floats:
    activated = np.negative(values)
    with np.errstate(over="ignore"):  # of a large negative number: 0 is right
        np.exp(activated, out=activated)
    activated += 1
    return np.divide(values, activated, out=activated)


@dataclass
class Ranker:
    """A trained network with what it knows of the catalogue.

    Args:
        network: what scores candidates, trained.
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
        scores = np.full((len(histories), len(self.product_ids)), np.inf, dtype=np.float32)
        is_fallback = np.ones_like(scores, dtype=np.bool_)
        candidates = Candidates.of(histories, len(self.product_ids))
        affinity = Affinity.of(histories, self.item_item)
        new = explore_candidates(histories, affinity, self.item_item, self.statistics)
        if len(candidates):
            features = repeat_features(histories, candidates, affinity, self.statistics, self.item_item)
            scores[candidates.query, candidates.product] = self.network.repeat(features)
            is_fallback[candidates.query, candidates.product] = False
        if len(new.query):
            explore = self.network.explore(new.features)
            scores[new.query, new.product] = self.network.calibrate(explore, new.query, user_features(histories))
            is_fallback[new.query, new.product] = False
        last = scores.min(axis=1, initial=np.inf, keepdims=True)
        last[np.isinf(last)] = 0  # of nobody: there is no candidate
        return np.where(is_fallback, last - 2 + self._popularity_fallback, scores)

    @cached_property
    def _popularity_fallback(self) -> Floats:
        """``(N,)``, from 0 to below 1: ranks by popularity, for the products that are no candidates."""
        counts, places = np.unique(self.item_item.popularity, return_inverse=True)
        return (places / len(counts)).astype(np.float32)

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
                "repeat_features": REPEAT_FEATURES,
                "explore_features": EXPLORE_FEATURES,
                "product_ids": self.product_ids,
            }
            write_json(folder / schema.RANKER, content, indent=None)

    @classmethod
    def load(cls, folder: Path, corpus: Mapping[str, str], embeddings: Floats) -> Self:
        """Read what :meth:`save` wrote, for a catalogue.

        Args:
            folder: a model folder.
            corpus: product id to text, in catalogue order. A product that the ranker was not trained on is taken for
                the mean of those of its aisle that are bought and whose texts are the most similar.
            embeddings: float32 ``(N, D)``, of length 1: of the texts.

        Raises:
            ModelFolderError: it was written by another version, or is damaged.
        """
        try:
            record = ranker_record(folder)
            for key, features in (("repeat_features", REPEAT_FEATURES), ("explore_features", EXPLORE_FEATURES)):
                if tuple(former_names.FEATURES.get(name, name) for name in record[key]) != features:
                    raise KeyError(f"other {key}")
            written = load_file(folder / schema.RANKER_WEIGHTS)
            tensors = {former_names.TENSORS.get(name, name): value for name, value in written.items()}
            network = NumpyRankerNetwork(_part(tensors, "network."))
            network.check()
            arrays = dict(_part(tensors, "catalogue."))
            statistics = ProductStatistics(arrays.pop("statistics"))
            ranker = cls(network, statistics, ItemItemModel.from_arrays(arrays), record.pop("product_ids"), record)
            if not len(ranker.product_ids) == len(statistics.columns) == len(ranker.item_item.popularity):
                raise ValueError("the two files are of two catalogues")
            return ranker if ranker.product_ids == list(corpus) else ranker._of_catalogue(corpus, embeddings)
        except ModelFolderError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise damaged_ranker(folder, error) from error

    def _of_catalogue(self, corpus: Mapping[str, str], embeddings: Floats) -> Self:
        """The same ranker for another catalogue, or another order of it.

        What is not known of a new product is computed here, once, so that scoring it costs as little as any other.
        """
        place = {product_id: row for row, product_id in enumerate(self.product_ids)}
        row = np.array([place.get(product_id, -1) for product_id in corpus], dtype=np.int64)
        known = row >= 0
        if not known.any():
            raise ValueError("it knows no product of this catalogue")
        new_place = np.full(len(self.product_ids), -1, dtype=np.int64)
        new_place[row[known]] = np.flatnonzero(known)
        old = self.item_item
        aisle = aisles_of(list(corpus.values()))
        columns, popularity = self.statistics.columns[row], old.popularity[row]
        new_products = np.flatnonzero(~known)
        sold = known & (popularity > 0)  # a new product is on sale, which not all of a catalogue is
        relatives = _relatives(new_products, sold if sold.any() else known, aisle, embeddings)
        columns[new_products] = columns[relatives].mean(axis=1)
        popularity[new_products] = np.expm1(np.log1p(popularity[relatives]).mean(axis=1))
        in_catalogue = new_place[old.candidate_products] >= 0
        candidate_products = new_place[old.candidate_products[in_catalogue]]
        order = np.argsort(candidate_products)
        candidate_products = candidate_products[order]
        cosine = old.cosine[np.where(known, row, 0)][:, np.flatnonzero(in_catalogue)[order]]
        cosine = cosine.multiply(known[:, None].astype(np.float32)).tocsr()
        of_product = csr_array(
            (
                np.full(relatives.size, 1 / max(relatives.shape[1], 1), np.float32),
                (relatives.ravel(), np.repeat(np.arange(len(new_products)), relatives.shape[1])),
            ),
            shape=(len(row), len(new_products)),
        )
        return type(self)(
            self.network,
            ProductStatistics(columns),
            ItemItemModel(
                candidate_products,
                cosine,
                popularity,
                aisle,
                new_products,
                of_product[candidate_products] if len(new_products) else None,
            ),
            list(corpus),
            self.record,
        )


def _relatives(
    new_products: NDArray[np.int64], others: NDArray[np.bool_], aisle: NDArray[np.int32], embeddings: Floats
) -> NDArray[np.int64]:
    """int64 ``(U, K)``: of other products the most similar ones of each new product's aisle.

    Of an aisle that has fewer than K of them, those of the whole catalogue are taken.
    """
    n = min(_RELATIVES, int(others.sum()))
    relatives = np.empty((len(new_products), n), dtype=np.int64)
    for number in np.unique(aisle[new_products]):
        of_aisle = np.flatnonzero(others & (aisle == number))
        among = of_aisle if len(of_aisle) >= n else np.flatnonzero(others)
        rows = np.flatnonzero(aisle[new_products] == number)
        for some in np.split(rows, range(_NEW_PRODUCTS_AT_A_TIME, len(rows), _NEW_PRODUCTS_AT_A_TIME)):
            similarity = embeddings[new_products[some]] @ embeddings[among].T
            relatives[some] = among[np.argpartition(-similarity, n - 1, axis=1)[:, :n]]
    return relatives


def _part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
