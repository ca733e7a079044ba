"""Scores of the whole catalogue, files and back, other catalogues."""

import json

import numpy as np
import pytest
import torch

from lit_rec import schema
from lit_rec.errors import ModelFolderError
from lit_rec.features.explore import CoPurchases
from lit_rec.features.statistics import ProductStatistics, aisles_of
from lit_rec.models.ranker import Ranker
from lit_rec.models.ranker_network import RankerNetwork
from lit_rec.text import product_text

N = 40
CORPUS = {str(100 + row): product_text(f"Product {row}", f"aisle {row % 4}", "food") for row in range(N)}


@pytest.fixture
def ranker(build):
    torch.manual_seed(0)
    training, aisle = build.histories(*build.shoppers(50, N - 5, seed=1)), aisles_of(list(CORPUS.values()))
    statistics, co_purchases = ProductStatistics.fit(training, aisle), CoPurchases.fit(training, aisle)
    return Ranker(RankerNetwork(8, 2, 0.1).frozen(), statistics, co_purchases, list(CORPUS), {})


@pytest.fixture
def histories(build):
    return build.histories([], [[38], [3, 38]], *build.shoppers(6, N, seed=2))


def test_the_whole_catalogue_is_scored_candidates_in_front_and_the_rest_by_popularity(ranker, histories):
    scores = ranker.scores(histories)
    assert scores.shape == (len(histories), N)
    assert np.isfinite(scores).all()
    popularity = ranker.co_purchases.popularity
    never = np.flatnonzero(popularity == 0)
    for shopper in range(len(histories)):
        bought = histories.distinct_products(shopper)
        others = np.setdiff1d(never, bought)  # nobody bought them: no candidates of anyone
        assert (scores[shopper, bought] > scores[shopper, others].max()).all()
    behind = scores[0, scores[0] < -1e5]
    assert (np.diff(behind[np.argsort(popularity[scores[0] < -1e5], kind="stable")]) >= 0).all()


def test_a_shopper_is_scored_alike_alone_and_among_others(ranker, histories):
    together = ranker.scores(histories)
    for row in range(len(histories)):
        alone = ranker.scores(histories.select(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_saved_and_loaded_it_scores_the_same(ranker, histories, tmp_path):
    ranker.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {schema.RANKER, schema.RANKER_WEIGHTS}
    np.testing.assert_allclose(Ranker.load(tmp_path, CORPUS).scores(histories), ranker.scores(histories), atol=1e-6)


def test_a_catalogue_with_products_it_does_not_know_gives_the_known_ones_their_scores(ranker, build, tmp_path):
    ranker.save(tmp_path)
    ids = ["new", *CORPUS]
    other = Ranker.load(tmp_path, {product_id: CORPUS.get(product_id, "Product: new.") for product_id in ids})
    shoppers = build.shoppers(5, N, seed=3)
    place = {row: ids.index(product_id) for row, product_id in enumerate(CORPUS)}
    moved = [[[place[product] for product in order] for order in orders] for orders in shoppers]
    expected, found = ranker.scores(build.histories(*shoppers)), other.scores(build.histories(*moved))
    np.testing.assert_allclose(found[:, [place[row] for row in range(N)]], expected, atol=1e-4)
    assert (found[:, 0] < -1e5).all()


@pytest.mark.parametrize("damage", ["weights", "json", "features"])
def test_a_damaged_ranker_or_one_of_another_version_says_what_to_do(ranker, tmp_path, damage):
    ranker.save(tmp_path)
    if damage == "weights":
        (tmp_path / schema.RANKER_WEIGHTS).write_bytes(b"no tensors")
    elif damage == "json":
        (tmp_path / schema.RANKER).write_text("{", encoding="utf-8")
    else:
        record = json.loads((tmp_path / schema.RANKER).read_text(encoding="utf-8"))
        record["repeat_features"][0] = "of another version"
        (tmp_path / schema.RANKER).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"cannot be loaded.*fit_ranker"):
        Ranker.load(tmp_path, CORPUS)
