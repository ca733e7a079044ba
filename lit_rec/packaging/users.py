"""Users to try a bundle on: their past orders, what they really bought next, and nothing that names them."""

import logging
import random
from typing import Any

from lit_rec.core.schema import Split
from lit_rec.data.dataset import EvaluationQueries
from lit_rec.data.history_files import read_eval_histories
from lit_rec.data.processed import ProcessedFolder

logger = logging.getLogger(__name__)


def held_out_users(folder: ProcessedFolder, n_users: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """A sample of the users that nothing was trained or chosen on, under names that say nothing about them.

    Args:
        folder: a processed folder.
        n_users: how many at most.
        seed: of the sample.

    Returns:
        ``demo-1`` and so on, in an order that says nothing either, to ``context``, ``orders`` (oldest first, each with
        ``product_ids``, ``days_since_prior_order``, ``order_dow`` and ``order_hour_of_day``), the last three of the
        order to come, and ``next``: ids of what was really bought in it. None where something is not known.

    Raises:
        NotPreparedError: the folder holds no histories.
    """
    every = EvaluationQueries.read(folder)
    rows = every.of_split(Split.TEST)
    ids = sorted(every.query_ids[row] for row in (rows if len(rows) else every.of_split(None)))
    ids = random.Random(seed).sample(ids, min(n_users, len(ids)))
    histories = read_eval_histories(folder, ids)
    product_ids = list(folder.corpus)
    return {
        f"demo-{row + 1}": {
            "context": folder.queries[query_id],
            **histories.user_history(row, product_ids).to_record(),
            "next": folder.relevant_docs.get(query_id, []),
        }
        for row, query_id in enumerate(ids)
    }
