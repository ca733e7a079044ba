"""The repeat-explore ranker: scores the whole catalogue from what shoppers' histories say.

Torch and numpy, no Lightning: the serving path loads it. Shapes: Q shoppers, M candidates of their histories, C
candidates that they have not bought, N products, E members, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lit_rec import schema
from lit_rec.errors import ModelFolderError
from lit_rec.features.candidates import Candidates
from lit_rec.features.explore import (
    EXPLORE_FEATURES,
    SHOPPER_FEATURES,
    CoPurchases,
    ExploreCandidates,
    explore_candidates,
    shopper_features,
)
from lit_rec.features.history import HISTORY_FEATURES, history_features
from lit_rec.features.statistics import ProductStatistics, aisles_of
from lit_rec.files import read_json, write_json
from lit_rec.purchases import PurchaseHistories

Floats = NDArray[np.float32]

_COUNTS = ("since", "gap", "n_", "in_last", "decayed", "due", "size", "streak", "rank")  # long tails: on a log scale
_LIMIT = 5.0  # standard deviations
_BEHIND = 1e6


class MemberScores(nn.Module):
    """Several small networks over the same features.

    Args:
        names: F features.
        hidden_size: width of both layers.
        n_members: E.
        dropout: in training.
    """

    log: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, names: Sequence[str], hidden_size: int, n_members: int, dropout: float) -> None:
        super().__init__()
        size = len(names)
        self.register_buffer("log", torch.tensor([any(part in name for part in _COUNTS) for name in names]))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * size, hidden_size),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, hidden_size),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, 1),
            )
            for _ in range(n_members)
        )

    def fit_scale(self, features: Floats) -> None:
        """Take mean and standard deviation from training candidates.

        Args:
            features: ``(M, F)``; NaN where not known.
        """
        if len(features):
            values = self._on_scale(torch.from_numpy(features)).numpy()
            known = ~np.isnan(values)
            count = known.sum(axis=0).clip(1)
            mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / count
            square = np.where(known, values - mean, 0) ** 2
            self.mean.copy_(torch.from_numpy(mean))
            self.std.copy_(torch.from_numpy(np.sqrt(square.sum(axis=0, dtype=np.float64) / count) + 1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Score candidates.

        Args:
            features: float32 ``(M, F)``; NaN where not known.

        Returns:
            ``(E, M)``.
        """
        values = (self._on_scale(features) - self.mean) / self.std
        missing = values.isnan()
        inputs = torch.cat([values.nan_to_num(0.0).clamp(-_LIMIT, _LIMIT), missing.to(values.dtype)], dim=1)
        return torch.stack([member(inputs)[:, 0] for member in self.members])

    def _on_scale(self, features: Tensor) -> Tensor:
        return torch.where(self.log, features.sign() * features.abs().log1p(), features)


class RankerNetwork(nn.Module):
    """Scores of bought and of new products, and what makes the two comparable.

    Args:
        hidden_size: width of the networks' two layers.
        n_members: networks whose scores are averaged.
        dropout: in training.
    """

    def __init__(self, hidden_size: int = 128, n_members: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.repeat = MemberScores(HISTORY_FEATURES, hidden_size, n_members, dropout)
        self.explore = MemberScores(EXPLORE_FEATURES, hidden_size // 2, n_members, dropout)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.offset = nn.Sequential(nn.Linear(len(SHOPPER_FEATURES), 16), nn.GELU(), nn.Linear(16, 1))

    def comparable(self, explore: Tensor, query: Tensor, shoppers: Tensor) -> Tensor:
        """Explore scores on the scale of repeat scores.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            shoppers: ``(Q, 4)``, :data:`~lit_rec.features.explore.SHOPPER_FEATURES`.
        """
        offset: Tensor = self.offset(shoppers)[query, 0]
        return explore * self.log_scale.exp() + offset


@dataclass
class Ranker:
    """A trained network with what it knows of the catalogue.

    Args:
        network: what scores candidates.
        statistics: of the training shoppers, in catalogue order.
        co_purchases: of the training shoppers.
        product_ids: N, in catalogue order.
        record: how it came about.
    """

    network: RankerNetwork
    statistics: ProductStatistics
    co_purchases: CoPurchases
    product_ids: list[str]
    record: dict[str, Any]

    def scores(self, histories: PurchaseHistories) -> Floats:
        """float32 ``(Q, N)``: bought and new products on one scale, all others behind them by popularity.

        Args:
            histories: of a few shoppers: N numbers are held for each.
        """
        # Places, not counts: float32 holds no fractions at this distance.
        behind = -_BEHIND + np.unique(self.co_purchases.popularity, return_inverse=True)[1]
        scores = np.tile(behind.astype(np.float32), (len(histories), 1))
        candidates = Candidates.of(histories, len(self.product_ids))
        new = explore_candidates(histories, self.co_purchases, self.statistics)
        self.network.eval()
        with torch.inference_mode():
            if len(candidates):
                features = history_features(histories, candidates, self.statistics)
                repeat = self.network.repeat(torch.from_numpy(features)).mean(dim=0)
                scores[candidates.query, candidates.product] = repeat.numpy()
            if len(new.query):
                scores[new.query, new.product] = self._explore_scores(histories, new)
        return scores

    def _explore_scores(self, histories: PurchaseHistories, new: ExploreCandidates) -> Floats:
        explore = self.network.explore(torch.from_numpy(new.features)).mean(dim=0)
        shoppers = torch.from_numpy(shopper_features(histories))
        scores: Floats = self.network.comparable(explore, torch.from_numpy(new.query), shoppers).numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Write ``ranker.safetensors`` and ``ranker.json`` into a model folder."""
        arrays = {"statistics": self.statistics.columns, **self.co_purchases.arrays()}
        tensors = {f"catalogue.{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in arrays.items()}
        tensors |= {f"network.{name}": value.contiguous() for name, value in self.network.state_dict().items()}
        unfinished = folder / f".{schema.RANKER_WEIGHTS}.unfinished"
        save_file(tensors, unfinished)
        unfinished.replace(folder / schema.RANKER_WEIGHTS)
        content = {
            **self.record,
            "history_features": HISTORY_FEATURES,
            "explore_features": EXPLORE_FEATURES,
            "product_ids": self.product_ids,
        }
        write_json(folder / schema.RANKER, content, indent=None)

    @classmethod
    def load(cls, folder: Path, corpus: Mapping[str, str]) -> Self:
        """Read what :meth:`save` wrote, for a catalogue.

        Args:
            folder: a model folder.
            corpus: product id to text, in catalogue order. Products that the ranker was not trained on are taken for
                average ones that nobody has bought.

        Raises:
            ModelFolderError: it was written by another version, or is damaged.
        """
        try:
            record = read_json(folder / schema.RANKER)
            if tuple(record["history_features"]) != HISTORY_FEATURES:
                raise KeyError("other history features")
            if tuple(record["explore_features"]) != EXPLORE_FEATURES:
                raise KeyError("other explore features")
            tensors = load_file(folder / schema.RANKER_WEIGHTS)
            shape = record["settings"]
            network = RankerNetwork(shape["hidden_size"], shape["n_members"], shape["dropout"])
            network.load_state_dict(_part(tensors, "network."))
            arrays = {name: tensor.numpy() for name, tensor in _part(tensors, "catalogue.").items()}
            statistics = ProductStatistics(arrays.pop("statistics"))
            ranker = cls(network, statistics, CoPurchases.from_arrays(arrays), record.pop("product_ids"), record)
            if not len(ranker.product_ids) == len(statistics.columns) == len(ranker.co_purchases.popularity):
                raise ValueError("the two files are of two catalogues")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelFolderError(f"The ranker of {folder} cannot be loaded", why, "Run fit_ranker again") from error
        return ranker if ranker.product_ids == list(corpus) else ranker._of_catalogue(corpus)

    def _of_catalogue(self, corpus: Mapping[str, str]) -> Self:
        """The same ranker for another catalogue, or another order of it."""
        place = {product_id: row for row, product_id in enumerate(self.product_ids)}
        row = np.array([place.get(product_id, -1) for product_id in corpus], dtype=np.int64)
        known = row >= 0
        new_place = np.full(len(self.product_ids), -1, dtype=np.int64)
        new_place[row[known]] = np.flatnonzero(known)
        old = self.co_purchases
        columns = np.tile(np.median(self.statistics.columns, axis=0), (len(row), 1)).astype(np.float32)
        columns[known] = self.statistics.columns[row[known]]
        popularity = np.where(known, old.popularity[row], 0).astype(np.float32)
        in_catalogue = new_place[old.pool] >= 0
        pool = new_place[old.pool[in_catalogue]]
        order = np.argsort(pool)
        cosine = old.cosine[np.where(known, row, 0)][:, np.flatnonzero(in_catalogue)[order]]
        cosine = cosine.multiply(known[:, None].astype(np.float32)).tocsr()
        aisle = aisles_of(list(corpus.values()))
        return type(self)(
            self.network,
            ProductStatistics(columns),
            CoPurchases(pool[order], cosine, popularity, aisle),
            list(corpus),
            self.record,
        )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
