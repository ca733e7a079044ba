"""Scores of the whole catalogue, files and back, other catalogues."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lit_rec.core import former_names, schema
from lit_rec.core.errors import ModelFolderError
from lit_rec.data.contexts import product_text
from lit_rec.ranking.affinity import Affinity
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.network import RankerNetwork
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
from lit_rec.ranking.ranker import Ranker

N = 40
CORPUS = {str(100 + row): product_text(f"Product {row}", f"aisle {row % 4}", "food") for row in range(N)}
EMBEDDINGS = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)


@pytest.fixture
def ranker(build):
    torch.manual_seed(0)
    training, aisle = build.histories(*build.users(50, N - 5, seed=1)), aisles_of(list(CORPUS.values()))
    statistics, item_item = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
    return Ranker(RankerNetwork(8, 2, 0.1).to_numpy(), statistics, item_item, list(CORPUS), {})


@pytest.fixture
def histories(build):
    return build.histories([], [[38], [3, 38]], *build.users(6, N, seed=2))


def test_the_whole_catalogue_is_scored_candidates_in_front_and_the_rest_by_popularity(ranker, histories):
    scores = ranker.scores(histories)
    assert scores.shape == (len(histories), N)
    assert np.isfinite(scores).all()
    popularity = ranker.item_item.popularity
    never = np.flatnonzero(popularity == 0)
    for user in range(len(histories)):
        bought = histories.distinct_products(user)
        others = np.setdiff1d(never, bought)  # nobody bought them: no candidates of anyone
        assert (scores[user, bought] > scores[user, others].max()).all()


def test_what_is_not_looked_at_closely_comes_right_behind_the_rest_by_popularity(ranker, histories):
    item_item = replace(
        ranker.item_item,
        candidate_products=ranker.item_item.candidate_products[:3],
        cosine=ranker.item_item.cosine[:, :3],
    )
    few = replace(ranker, item_item=item_item)
    popularity = item_item.popularity
    for user, scores in enumerate(few.scores(histories)):
        candidates = np.union1d(item_item.candidate_products, histories.distinct_products(user))
        behind = np.setdiff1d(np.arange(N), candidates)
        last = scores[candidates].min()
        assert (scores[behind] < last).all()
        assert (scores[behind] >= last - 2 - 1e-5).all(), "a score that can be shown beside the others"
        by_popularity = behind[np.argsort(popularity[behind], kind="stable")]
        assert ((np.diff(scores[by_popularity]) > 0) == (np.diff(popularity[by_popularity]) > 0)).all()


def test_a_user_is_scored_alike_alone_and_among_others(ranker, histories):
    together = ranker.scores(histories)
    for row in range(len(histories)):
        alone = ranker.scores(histories.select(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_saved_and_loaded_it_scores_the_same(ranker, histories, tmp_path):
    ranker.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {schema.RANKER, schema.RANKER_WEIGHTS}
    np.testing.assert_allclose(
        Ranker.load(tmp_path, CORPUS, EMBEDDINGS).scores(histories), ranker.scores(histories), atol=1e-6
    )


def test_a_ranker_that_version_0_1_wrote_scores_the_same(ranker, histories, tmp_path):
    ranker.save(tmp_path)
    tensors = load_file(tmp_path / schema.RANKER_WEIGHTS)
    former = {present: name for name, present in former_names.TENSORS.items()}
    assert former.keys() <= tensors.keys()
    save_file({former.get(name, name): value for name, value in tensors.items()}, tmp_path / schema.RANKER_WEIGHTS)
    record = json.loads((tmp_path / schema.RANKER).read_text(encoding="utf-8"))
    del record["weights_sha256"]
    for key in ("repeat_features", "explore_features"):
        others = "goes_with_others" if key == "repeat_features" else "goes_with"
        former = {
            present: name
            for name, present in former_names.FEATURES.items()
            if not name.startswith("goes_with") or (name.removeprefix(others) in ("", "_cosine", "_last"))
        }
        record[key] = [former.get(name, name) for name in record[key]]
    assert {"goes_with_others_last", "again_rate", "orders_due"} < set(record["repeat_features"])
    assert {"goes_with_last", "aisle_choice", "market_log_popularity"} < set(record["explore_features"])
    (tmp_path / schema.RANKER).write_text(json.dumps(record), encoding="utf-8")
    found = Ranker.load(tmp_path, CORPUS, EMBEDDINGS).scores(histories)
    np.testing.assert_array_equal(found, ranker.scores(histories))


def with_a_twin(ranker, tmp_path, of, aisle):
    """The ranker of a catalogue with a new product in front, in an aisle, whose text is nearest to that of another."""
    ranker.save(tmp_path)
    corpus = {"new": product_text("New", f"aisle {aisle}", "food"), **CORPUS}
    return Ranker.load(tmp_path, corpus, np.concatenate([EMBEDDINGS[[of]], EMBEDDINGS]))


def moved(users):
    return [[[product + 1 for product in order] for order in orders] for orders in users]


def test_a_new_product_leaves_the_scores_of_the_others_as_they_were(ranker, build, tmp_path):
    users = build.users(5, N, seed=3)
    expected = ranker.scores(build.histories(*users))
    found = with_a_twin(ranker, tmp_path, 0, 0).scores(build.histories(*moved(users)))
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-4)
    assert np.isfinite(found).all()


def test_a_new_product_is_taken_for_the_mean_of_the_most_similar_ones_of_its_aisle_that_are_bought(
    ranker, build, tmp_path
):
    of = 6
    other = with_a_twin(ranker, tmp_path, of, 2)
    in_aisle = np.arange(2, N, 4)
    in_aisle = in_aisle[ranker.item_item.popularity[in_aisle] > 0]  # all that nobody has bought is not on sale
    similar = in_aisle[np.argsort(-(EMBEDDINGS[in_aisle] @ EMBEDDINGS[of]))[:5]]
    assert similar[0] == of
    expected = ranker.statistics.columns[similar].mean(axis=0)
    np.testing.assert_allclose(other.statistics.columns[0], expected, rtol=1e-5)
    popularity = np.expm1(np.log1p(ranker.item_item.popularity[similar]).mean())
    assert other.item_item.popularity[0] == pytest.approx(popularity, rel=1e-5)
    users = build.histories(*moved(build.users(20, N, seed=3)))
    by_name = Affinity.of(users, other.item_item).scores
    candidate_products = other.item_item.candidate_products
    for name in ("item_item_confidence", "item_item_cosine", "item_item_confidence_newest"):
        of_similar = by_name[name][:, np.flatnonzero(np.isin(candidate_products, similar + 1))].sum(axis=1) / len(
            similar
        )
        np.testing.assert_allclose(by_name[name][:, -1], of_similar, atol=1e-5)
    scores = other.scores(users)
    known = np.flatnonzero(ranker.item_item.popularity == 0) + 1
    assert (scores[:, 0] > scores[:, known].min(axis=1)).all(), "it is among those that are looked at closely"
    some_aisle = with_a_twin(ranker, tmp_path, of, 77)  # of which nothing is known
    assert some_aisle.item_item.popularity[0] > 0


def test_a_twin_of_a_popular_product_is_ranked_before_that_of_an_unpopular_one(ranker, build, tmp_path):
    ranker.save(tmp_path)
    popular, rare = {"a": product_text("A", "of its own", "x")}, {"b": product_text("B", "of its own", "x")}
    most, least = np.argsort(-ranker.item_item.popularity, kind="stable")[[0, -1]]
    embeddings = np.concatenate([EMBEDDINGS[[most, least]], EMBEDDINGS])
    both = Ranker.load(tmp_path, popular | rare | CORPUS, embeddings).item_item.popularity
    assert both[0] > both[1]


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
        Ranker.load(tmp_path, CORPUS, EMBEDDINGS)
