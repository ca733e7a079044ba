"""What the user has bought most often."""

import numpy as np

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, rank_with_popularity_fallback
from lit_rec.data.histories import Queries
from lit_rec.ranking.order_matrix import OrderMatrix


class PersonalFrequency(WithPopularityFallback):
    """Number of the user's orders that hold the product; ties by the last purchase, then by popularity.

    The rest of the catalogue follows by popularity. Known as P-TopFreq, and with that rest as GP-TopFreq.

    Source: Li et al., "A Next Basket Recommendation Reality Check", TOIS 2023, section 4.2.
    """

    name = "personal_frequency"

    def scores(self, queries: Queries) -> Scores:
        """Of equal frequency the product bought last is first, of equal last purchase the more popular one."""
        histories = queries.histories
        shape = (len(queries), len(self._popularity))
        frequency = OrderMatrix.of(histories, shape[1]).frequency()
        last_purchase = np.zeros(shape, dtype=np.int32)
        last_purchase[histories.query, histories.product] = -histories.orders_ago  # oldest first: the newest one stays
        row = np.repeat(np.arange(shape[0]), np.diff(frequency.indptr))
        keys = [frequency.data, last_purchase[row, frequency.indices]]
        return rank_with_popularity_fallback(frequency, keys, self._popularity)
