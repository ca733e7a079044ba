"""Model folders as methods: the text tower, and the ranker where a folder has one."""

import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.devices import one_thread
from lit_rec.core.errors import ModelFolderError
from lit_rec.data.histories import Queries
from lit_rec.evaluation.contenders import Contender, Ready
from lit_rec.inference.recommender import Recommender

logger = logging.getLogger(__name__)

TEXT_ALONE = "{}, text alone"

# Q queries, N products


class TextTower:
    """Ranks by the cosine between a context's embedding and a product's.

    Args:
        recommender: encoder and catalogue.
        name: what tables call it.
    """

    def __init__(self, recommender: Recommender, name: str) -> None:
        self.recommender, self.name = recommender, name

    def scores(self, queries: Queries) -> NDArray[np.float32]:
        """float32 ``(Q, N)``: cosines, -1 to 1.

        Args:
            queries: whose contexts are encoded; histories are not looked at.
        """
        return self.recommender.text_scores(queries.contexts)


class Ranker:
    """Ranks by the ranker of a model folder.

    Args:
        recommender: with a ranker.
        name: what tables call it.
    """

    def __init__(self, recommender: Recommender, name: str) -> None:
        self._recommender = recommender
        self.name = name

    def scores(self, queries: Queries) -> NDArray[np.floating[Any]]:
        """Float ``(Q, N)``.

        Args:
            queries: contexts and histories.
        """
        with one_thread():
            return self._recommender.scores(queries)


def model_contenders(model_dir: str, corpus: Path, device: str | None = None) -> list[Contender]:
    """The methods of a model folder: its ranker, where it has one, and its text tower; loaded once for both.

    Args:
        model_dir: a model folder, or a hub id; also the name.
        corpus: the catalogue, product id to text.
        device: see :class:`~lit_rec.inference.recommender.Recommender`.
    """

    @cache
    def load() -> Recommender:
        return Recommender(model_dir, corpus, device=device, show_progress=True)

    try:
        has_ranker = (local_model(model_dir) / schema.RANKER).is_file()
    except ModelFolderError:
        has_ranker = False  # loading says it again, and the other methods go on
    if not has_ranker:
        return [Contender(model_dir, lambda: Ready(TextTower(load(), model_dir)))]
    alone = TEXT_ALONE.format(model_dir)
    return [
        Contender(model_dir, lambda: Ready(Ranker(load(), model_dir))),
        Contender(alone, lambda: Ready(TextTower(load(), alone))),
    ]
