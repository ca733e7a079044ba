"""The ranker learns from past orders, nothing of a target is in its features, and the commands carry it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_rec.baselines.popularity import Popularity
from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, ProcessedFolderError, SettingError
from lit_rec.core.files import write_json
from lit_rec.data.histories import Queries, histories_of
from lit_rec.data.history_files import read_training_histories
from lit_rec.data.orders import Order, UserHistory
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.rolling_targets import RollingTargets, rolling_targets
from lit_rec.inference.recommender import Recommender
from lit_rec.ranking import dataset as ranking_dataset
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.dataset import RankingDataset, target_chunks
from lit_rec.ranking.history_features import HISTORY_FEATURES
from lit_rec.ranking.module import RankerModule
from lit_rec.ranking.product_statistics import STATISTICS
from lit_rec.ranking.ranker import Ranker
from lit_rec.ranking.settings import RankerSettings
from lit_rec.ranking.training import chosen_targets, fit_ranker, inputs, train

QUICK = RankerSettings(hidden_size=16, ensemble_size=1, max_epochs=4, batch_size=16, learning_rate=5e-3)


@pytest.fixture(scope="module")
def model_dir(tiny_model, tmp_path_factory):
    """The tiny model as export leaves it, with a ranker."""
    import shutil

    folder = tmp_path_factory.mktemp("ranked") / "final"
    shutil.copytree(tiny_model, folder)
    write_json(folder / schema.MODEL_RECORD, {"data": {}})
    return folder


@pytest.fixture(scope="module")
def metrics(model_dir, processed_dir):
    return fit_ranker(ProcessedFolder(processed_dir), model_dir, QUICK)


def with_other_products(targets: RollingTargets) -> RollingTargets:
    return replace(targets, target_product=(targets.target_product + 7) % 30)


def test_nothing_of_a_target_order_is_in_the_features(build):
    users = build.users(60, 30, seed=4)
    aisle = (np.arange(30) % 3).astype(np.int32)
    training = build.histories(*users)
    others = [[*orders[:-1], [(p + 7) % 30 for p in orders[-1]]] if len(orders) > 1 else orders for orders in users]
    targets = rolling_targets(training, per_user=1)
    once = RankingDataset.of(training, targets, aisle, None, seed=0)
    again = RankingDataset.of(training, with_other_products(targets), aisle, None, seed=0)
    np.testing.assert_array_equal(once.repeat.features, again.repeat.features)
    np.testing.assert_array_equal(once.explore.features, again.explore.features)
    assert (once.repeat.labels != again.repeat.labels).any()
    # With the targets changed in the users' own histories too, only what is counted over the others may differ: a
    # user whose group is alone in changing keeps every feature.
    changed = RankingDataset.of(
        build.histories(*others), rolling_targets(build.histories(*others), 1), aisle, None, seed=0
    )
    n_own = len(HISTORY_FEATURES) - len(STATISTICS)
    np.testing.assert_array_equal(once.repeat.features[:, :n_own], changed.repeat.features[:, :n_own])


def test_a_users_own_target_is_not_counted_in_what_is_known_of_products(build):
    users = build.users(40, 30, seed=5)
    aisle = np.zeros(30, dtype=np.int32)
    alone = [list(orders) for orders in users]
    alone[0] = [*alone[0], [29] * 1, [28]]
    other = [list(orders) for orders in alone]
    other[0] = [*alone[0][:-1], [27]]
    features = []
    for some in (alone, other):
        training = build.histories(*some)
        targets = rolling_targets(training, per_user=1)
        rows = np.flatnonzero(targets.user == 0)
        examples = RankingDataset.of(training, targets.select(rows), aisle, None, seed=0)
        features.append((examples.repeat.features, examples.explore.features))
    np.testing.assert_array_equal(features[0][0], features[1][0])
    np.testing.assert_array_equal(features[0][1], features[1][1])


def test_it_beats_popularity_and_with_shuffled_targets_the_gain_is_gone(build, monkeypatch):
    import torch

    from lit_rec.ranking.item_item import ItemItemModel
    from lit_rec.ranking.network import RankerNetwork
    from lit_rec.ranking.product_statistics import ProductStatistics

    def staples(n_users, seed):
        """Three products of 40 in most orders, and three others in each."""
        rng = np.random.default_rng(seed)
        own = [rng.choice(40, 3, replace=False) for _ in range(n_users)]
        return [
            [[*o[rng.random(3) < 0.8].tolist(), *rng.integers(40, size=3).tolist()] for _ in range(rng.integers(4, 9))]
            for o in own
        ]

    training, held_out = build.histories(*staples(150, 0)), build.histories(*staples(60, 1))
    aisle = np.zeros(40, dtype=np.int32)
    targets, test = rolling_targets(training, 2), rolling_targets(held_out, 1)

    def hit_rate(scores):
        return np.mean(
            [
                row.argmax() in test.target_product[a:b]
                for row, a, b in zip(scores, test.target_start[:-1], test.target_start[1:], strict=True)
            ]
        )

    def trained(on):
        torch.manual_seed(0)
        network = RankerNetwork(16, 1, 0.0)
        examples = RankingDataset.of(training, on, aisle, None, seed=0)
        network.repeat.fit_scale(examples.repeat.features.numpy())
        network.explore.fit_scale(examples.explore.features.numpy())
        train(RankerModule(network), examples, QUICK)
        known = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
        return Ranker(network.to_numpy(), *known, [str(p) for p in range(40)], {}).scores(test.histories)

    shuffled = replace(targets, target_product=np.random.default_rng(0).permutation(targets.target_product))
    popularity = build.fitted(Popularity(), 40, *staples(150, 0)).scores(build.queries(*[[]] * len(test)))
    true, chance = hit_rate(trained(targets)), hit_rate(trained(shuffled))
    assert true > 0.6 > chance + 0.2
    assert true > 2 * hit_rate(popularity)


def test_chunks_of_targets_come_in_the_order_of_the_examples(build, monkeypatch):
    monkeypatch.setattr(ranking_dataset, "_TARGETS_AT_A_TIME", 7)
    training = build.histories(*build.users(40, 30, seed=6))
    targets, aisle = rolling_targets(training, 3), np.zeros(30, dtype=np.int32)
    examples = RankingDataset.of(training, targets, aisle, None, seed=5)
    counts, bought, before = [], [], []
    for others, some in target_chunks(training, targets, seed=5):
        candidates = Candidates.of(some.histories, 30)
        counts.append(np.bincount(candidates.query, minlength=len(some)))
        bought.append(some.is_in_target(candidates.query, candidates.product))
        before += [others] if not before or before[-1] is not others else []
    np.testing.assert_array_equal(np.concatenate(counts), np.bincount(examples.repeat.target))
    np.testing.assert_array_equal(np.concatenate(bought), examples.repeat.labels)
    assert len(counts) > 4 == len(before)  # one object of other users for all chunks of a group
    assert sum(len(others) for others in before) == 3 * len(training)


def test_what_it_writes_is_measured_and_can_be_loaded(metrics, model_dir, processed_dir):
    assert 0 < metrics["ndcg@10"] <= 1
    record = json.loads((model_dir / schema.RANKER).read_text(encoding="utf-8"))
    assert record["metrics"] == metrics
    assert record["settings"]["hidden_size"] == 16
    assert record["n_targets"] > 0
    assert Recommender(model_dir, processed_dir / schema.EVAL_CORPUS).ranker is not None


def test_a_folder_that_is_no_model_is_refused_before_any_work(processed_dir, tmp_path):
    with pytest.raises(ModelFolderError, match="export"):
        fit_ranker(ProcessedFolder(processed_dir), tmp_path, QUICK)


def test_users_of_one_order_are_nothing_to_learn_from(build):
    with pytest.raises(SettingError, match="at least two orders"):
        chosen_targets(build.histories([[1, 2]], [[3]]), QUICK)


def test_baskets_of_another_shop_that_has_the_same_ids_are_refused(processed_dir, tmp_path):
    folder = ProcessedFolder(processed_dir)
    product = read_training_histories(folder).product
    sold = np.unique(product)
    by_sales = sold[np.argsort(-np.bincount(product)[sold], kind="stable")]
    mirrored = np.zeros(len(folder.corpus), dtype=np.int64)
    mirrored[by_sales] = by_sales[::-1]

    def settings(name, products):
        ids = np.array(list(map(int, folder.corpus)))[products]
        columns = {
            "product_id": ids,
            **dict.fromkeys(("order_id", "add_to_cart_order", "reordered"), np.ones_like(ids)),
        }
        pq.write_table(pa.table(columns), tmp_path / name)
        return replace(QUICK, auxiliary_orders=tmp_path / name)

    assert inputs(folder, settings("own.parquet", product))[2] is not None
    with pytest.raises(ProcessedFolderError, match="does not sell well here"):
        inputs(folder, settings("others.parquet", mirrored[product]))


def test_at_most_so_many_targets_are_taken(build):
    training = build.histories(*build.users(40, 20, seed=1))
    assert len(chosen_targets(training, replace(QUICK, max_targets=7))) == 7


@pytest.mark.usefixtures("metrics")
def test_the_commands_train_it_evaluate_it_and_say_why(model_dir, processed_dir, capsys, caplog):
    caplog.set_level("INFO", "lit_rec")
    folder = ["--processed_dir", str(processed_dir), "--model_dir", str(model_dir)]
    main(["fit_ranker", *folder, "--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "9"])
    passes = [message for message in caplog.messages if message.startswith("pass ")]
    assert [words.partition(":")[0] for words in passes] == [f"pass {n} of 9" for n in range(1, 10)]
    first, last = (float(words.split()[words.split().index("repeat") + 1].rstrip(",")) for words in passes[::8])
    assert last < first
    report = main(["evaluate", *folder, "--baselines", "popularity", "--split", "all", "--n_resamples", "20"])
    assert set(report["methods"]) == {str(model_dir), f"{model_dir}, encoder only", "popularity"}
    assert report["methods"][str(model_dir)]["ndcg@10"] > 0
    capsys.readouterr()
    main(["recommend", *folder, "--n_samples", "2"])
    assert "about every" in capsys.readouterr().out


@pytest.fixture(scope="module")
def recommender(model_dir, processed_dir, metrics):
    return Recommender(model_dir, processed_dir / schema.EVAL_CORPUS)


def test_past_orders_are_answered_with_reasons(recommender):
    ids = list(recommender.corpus)
    request = UserHistory([Order(ids[:2], order_dow=1), Order([ids[0], "unknown"], days_since_prior_order=9)], 4)
    answer = recommender.recommend(request, top_k=len(ids))
    assert len({item.product_id for item in answer}) == len(ids)
    reasons = {item.product_id: item.reason for item in answer}
    assert reasons[ids[0]] == "bought 2 times, about every 9 days"
    assert reasons[ids[1]] == "bought once, 13 days ago"
    assert all(reasons.values())
    left = recommender.recommend(request, top_k=5, exclude_product_ids=[answer[0].product_id])
    assert [item.product_id for item in left] == [item.product_id for item in answer[1:6]]


def test_a_context_string_counts_as_the_purchases_that_it_names(recommender):
    ids = list(recommender.corpus)
    names = [text.removeprefix("Product: ").rpartition(". Aisle: ")[0] for text in recommender.corpus.values()]
    context = f"[w1h8] {names[3]}, Unheard of, {names[5]}; [+9d w2h9] {names[3]}."
    request = recommender.history_from_context(context)
    known = {product_id for product_id, name in zip(ids, names, strict=True) if name in (names[3], names[5])}
    assert [set(order.product_ids) <= known for order in request.orders] == [True, True]
    by_orders = recommender.recommend(request, top_k=5)
    assert recommender.recommend(context, top_k=5) == by_orders


def test_without_a_history_the_popular_comes_first_and_words_are_heeded(recommender):
    popularity = recommender.ranker.item_item.popularity
    first = [recommender.product_index[item.product_id] for item in recommender.recommend(UserHistory(), top_k=10)]
    assert popularity[first].mean() > 2 * popularity.mean()
    words = ["chocolate cake", "(no prior orders)."]
    scores = recommender.scores(Queries(words, histories_of([UserHistory(), UserHistory()], recommender.product_index)))
    share = np.log1p(popularity) / np.log1p(popularity.max())
    np.testing.assert_allclose(scores - recommender.text_scores(words), [0.1 * share, 3 * share], atol=1e-5)
