"""Gradient-boosted trees over what a user's history says of each product: the usual strong model of reorders."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import NonNegativeInt, PositiveFloat, PositiveInt
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.data.rolling_targets import rolling_targets
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.history_features import history_features
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of

_GROUPS = 5


@dataclass(eq=False)
class BoostedTrees(WithPopularityFallback):
    """Probability that a product of the history is in the next order; the rest of the catalogue follows by popularity.

    The features are those that the ranker has of a product's own purchases. The statistics of products are counted over
    other users than the one whose order is to be predicted.

    Source: scikit-learn's HistGradientBoostingClassifier, log loss.

    Args:
        targets_per_user: newest orders of each user to learn from; 0 for all.
        max_iter: trees.
        learning_rate: of each tree.
        seed: of the groups and the trees.
    """

    name = "boosted_trees"

    targets_per_user: NonNegativeInt = 8
    max_iter: PositiveInt = 200
    learning_rate: PositiveFloat = 0.06
    seed: int = 0

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Learn from past orders, each with only the orders before it as its history."""
        super().fit(training, product_texts)
        n_products = len(product_texts)
        self._aisle = aisles_of(product_texts)
        self._statistics = ProductStatistics.fit(training, self._aisle)
        self._trees: HistGradientBoostingClassifier | None = None
        targets = rolling_targets(training, self.targets_per_user)
        group = np.random.default_rng(self.seed).integers(0, _GROUPS, len(training))
        features, bought = [], []
        for number in range(_GROUPS):
            some = targets.select(np.flatnonzero(group[targets.user] == number))
            statistics = ProductStatistics.fit(training.select(np.flatnonzero(group != number)), self._aisle)
            candidates = Candidates.of(some.histories, n_products)
            features.append(history_features(some.histories, candidates, statistics))
            bought.append(some.is_in_target(candidates.query, candidates.product))
        labels = np.concatenate(bought)
        if labels.any() and not labels.all():
            self._trees = self.grown(np.concatenate(features), labels)
        return self

    def grown(self, features: NDArray[np.float32], labels: NDArray[np.bool_]) -> HistGradientBoostingClassifier:
        """The trees of some candidates.

        Args:
            features: ``(M, F)``; a column of NaN alone is filled with 0 in place.
            labels: ``(M,)``, bought or not; both occur.
        """
        return HistGradientBoostingClassifier(
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            min_samples_leaf=200 if len(labels) > 100_000 else 20,
            l2_regularization=1.0,
            random_state=self.seed,
        ).fit(_without_empty_columns(features), labels)

    def scores(self, queries: Queries) -> Scores:
        """1 to 2 for products of the history, below 0 for others."""
        scores = score_with_popularity_fallback(np.zeros((len(queries), len(self._aisle))), self._popularity)
        candidates = Candidates.of(queries.histories, len(self._aisle))
        if self._trees is not None and len(candidates):
            features = history_features(queries.histories, candidates, self._statistics)
            scores[candidates.query, candidates.product] = 1 + self._trees.predict_proba(features)[:, 1]
        return scores


def _without_empty_columns(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """scikit-learn cannot bin a column of NaN alone, such as weekdays that nobody wrote down."""
    features[:, np.isnan(features).all(axis=0)] = 0
    return features
