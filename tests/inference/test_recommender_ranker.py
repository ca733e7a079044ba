"""The recommender with a ranker: purchases in, contexts in, reasons out, and what serving needs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_rec.artifacts.model_folder import product_digests
from lit_rec.core import schema
from lit_rec.core.errors import CatalogueError, SettingError, ShapeError
from lit_rec.data.contexts import product_text
from lit_rec.data.orders import Order, UserHistory
from lit_rec.inference.reasons import Explainer
from lit_rec.inference.recommender import Recommender, load_recommender
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.network import RankerNetwork
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
from lit_rec.ranking.ranker import Ranker

NAMES = ["Milk", "Bread, Rye, Sliced", "Soap", "Bread", *(f"Product {row}" for row in range(36))]
CORPUS = {f"p{row}": product_text(name, f"aisle {row % 4}", "food") for row, name in enumerate(NAMES)}


def save_ranker(build, model_dir, seed=0):
    """A network of chance weights: what it says is no advice, but always the same."""
    torch.manual_seed(seed)
    training, aisle = build.histories(*build.users(50, len(CORPUS), seed)), aisles_of(list(CORPUS.values()))
    known = ProductStatistics.fit(training, aisle), ItemItemModel.fit(training, aisle)
    record = {"settings": {"hidden_size": 8, "ensemble_size": 2, "dropout": 0.1}}
    Ranker(RankerNetwork(8, 2, 0.1).to_numpy(), *known, list(CORPUS), record).save(model_dir)


@pytest.fixture
def own(build, tiny_model, tmp_path):
    """A model folder with a ranker, and its corpus; a test may change both."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    save_ranker(build, model)
    corpus = tmp_path / "catalogue" / schema.EVAL_CORPUS
    corpus.parent.mkdir()
    corpus.write_text(json.dumps(CORPUS), encoding="utf-8")
    return model, corpus


@pytest.fixture
def recommender(own):
    return Recommender(*own)


CONTEXTS = [
    "[w1h8] Milk, Bread, Rye, Sliced; [+9d w2h9] Milk. Next: +4d w0h9",
    "(no prior orders).",
    "soap that smells of product 7",
    "[w1h8] Product 3, Unheard of, Product 5.",
    "[w1h8] Unheard of.",
]


def ids(answer):
    return [item.product_id for item in answer]


def test_a_context_names_purchases_and_moments(recommender):
    assert recommender.history_from_context(CONTEXTS[0]) == UserHistory(
        [Order(["p0", "p1"], None, 1, 8), Order(["p0"], 9, 2, 9)], 4, 0, 9
    )
    assert recommender.history_from_context("[w1h8] Bread, Rye, Soap.").orders[0].product_ids == ["p3", "p2"]
    assert recommender.history_from_context(CONTEXTS[2]) == UserHistory([])


def test_of_equal_names_the_first_of_the_catalogue_is_meant(own):
    own[1].write_text(json.dumps({"a": "Product: Tea. Aisle: x. Department: y.", **CORPUS, "b": "Tea"}))
    assert Recommender(*own).history_from_context("[w1h2] Tea.").orders[0].product_ids == ["a"]


def test_many_at_a_time_are_answered_as_one_by_one(recommender):
    recommender.batch_size = 2
    together = recommender.recommend_many(CONTEXTS, 7)
    for context, answer in zip(CONTEXTS, together, strict=True):
        alone = recommender.recommend(context, 7)
        assert ids(answer) == ids(alone)
        assert [item.reason for item in answer] == [item.reason for item in alone]
        assert [item.score for item in answer] == pytest.approx([item.score for item in alone], abs=1e-4)
    assert recommender.recommend_many([]) == []


def test_the_answer_is_the_ranking_of_the_scores(recommender):
    queries = recommender.queries_of(CONTEXTS)
    scores = recommender.scores(queries)
    assert scores.shape == (len(CONTEXTS), len(CORPUS))
    for row, answer in zip(scores, recommender.rank(queries, 1000), strict=True):
        assert ids(answer) == [f"p{place}" for place in np.argsort(-row, kind="stable")]


def test_encoding_apart_from_ranking_gives_the_same_answer(recommender):
    queries = recommender.queries_of(CONTEXTS)
    assert recommender.needs_text(queries.histories.n_lines).tolist() == [False, True, True, False, True]
    embeddings = recommender.encoder.encode([CONTEXTS[row] for row in (1, 2, 4)])
    for row, scores in enumerate(recommender.scores(queries, embeddings)):
        answer = recommender.best(scores, queries.select(slice(row, row + 1)), 7, ["p0"])
        alone = recommender.recommend(CONTEXTS[row], 7, ["p0"])
        assert ids(answer) == ids(alone)
        assert [item.score for item in answer] == pytest.approx([item.score for item in alone], abs=1e-4)


def test_where_a_history_is_known_nothing_is_encoded(recommender, monkeypatch):
    texts = []
    encode = recommender.encoder.encode
    monkeypatch.setattr(recommender.encoder, "encode", lambda some, **how: texts.extend(some) or encode(some, **how))
    recommender.recommend(CONTEXTS[0])
    recommender.recommend(UserHistory([Order(["p5"])]))
    assert texts == []
    recommender.recommend(CONTEXTS[2])
    assert texts == [CONTEXTS[2]]


@pytest.mark.parametrize("n_embeddings", [0, 2, 4])
def test_one_embedding_a_text_is_needed(recommender, n_embeddings):
    queries = recommender.queries_of(CONTEXTS)
    with pytest.raises(ShapeError, match="One embedding a text is needed"):
        recommender.scores(queries, np.zeros((n_embeddings, 16), np.float32))


def test_a_history_is_ranked_by_the_ranker_and_words_by_the_text(recommender):
    text = Recommender.text_scores(recommender, CONTEXTS)
    queries = recommender.queries_of(CONTEXTS)
    scores = recommender.scores(queries)
    alone = recommender.ranker.scores(queries.histories.select(np.array([0, 3])))
    np.testing.assert_allclose(scores[[0, 3]], alone, atol=1e-5)
    popularity = np.log1p(recommender.ranker.item_item.popularity)
    for row in (1, 2, 4):
        lift = scores[row] - text[row]
        assert np.corrcoef(lift, popularity)[0, 1] == pytest.approx(1, abs=1e-4)
    assert np.ptp(scores[1] - text[1]) > 10 * np.ptp(scores[2] - text[2]), "little beside words that were typed"


def test_without_any_purchase_the_most_popular_product_comes_first(recommender):
    best = recommender.recommend(UserHistory(), 3)
    assert recommender.product_index[best[0].product_id] == recommender.ranker.item_item.popularity.argmax()
    assert {item.reason for item in best} == {"bought by many"}
    assert {item.reason for item in recommender.recommend("no name of the catalogue", 3)} == {"fits the words"}


@pytest.mark.parametrize("context", CONTEXTS)
def test_excluded_products_are_never_recommended_and_the_list_is_full(recommender, context):
    best = ids(recommender.recommend(context, 12))
    assert ids(recommender.recommend(context, 7, {*best[:5], "no such product"})) == best[5:12]
    assert recommender.recommend(context, 7, list(CORPUS)) == []


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one(recommender, top_k):
    with pytest.raises(SettingError, match=f"at least 1: got {top_k}"):
        recommender.recommend(UserHistory(), top_k)


@pytest.mark.parametrize(
    ("days_ago", "expected"),
    [
        ([12], "bought once, 12 days ago"),
        ([1], "bought once, 1 day ago"),
        ([0], "bought once, today"),
        ([None], "bought once"),
        ([None, None], "bought 2 times"),
        ([9, 9], "bought 2 times"),
        ([2, 1], "bought 2 times, about every 1 day"),
        ([22, 15, 8], "bought 3 times, about every 7 days"),
        ([40, 19, 9], "bought 3 times, about every 16 days"),
        ([13, 10, 10], "bought 3 times, about every 2 days"),  # two orders on one day are two
    ],
)
def test_reasons_tell_how_often(recommender, days_ago, expected):
    orders = [Order(["p5", "p5"], days_ago=days) for days in days_ago]
    reasons = {item.product_id: item.reason for item in recommender.recommend(UserHistory(orders), 100)}
    assert reasons["p5"] == expected
    assert sum(reason.startswith("bought once") or " times" in reason for reason in reasons.values()) == 1


def test_of_a_context_that_does_not_say_when_the_order_to_come_is_only_the_gaps_are_told(recommender):
    def of(context):
        return {item.product_id: item.reason for item in recommender.recommend(context, len(CORPUS))}

    context = "[w1h8] Milk, Soap; [+9d w3h9] Milk, Product 1."
    assert [of(context)[each] for each in ("p0", "p2", "p5")] == [
        "bought 2 times, about every 9 days",
        "bought once",
        "bought once",
    ]
    assert [of(f"{context} Next: +4d w0h9")[each] for each in ("p0", "p2", "p5")] == [
        "bought 2 times, about every 9 days",
        "bought once, 13 days ago",
        "bought once, 4 days ago",
    ]


def test_reasons_for_products_not_bought_yet_are_true(recommender):
    embeddings = np.zeros_like(recommender.index.embeddings)
    embeddings[:, 0] = 1
    embeddings[5], embeddings[6] = np.roll(embeddings[5], 1), np.roll(embeddings[6], 1)
    recommender.index.embeddings[:] = embeddings
    item_item = recommender.ranker.item_item
    cosine = item_item.cosine.tolil()
    cosine[5] = 0
    cosine[5, np.flatnonzero(item_item.candidate_products == 0)[0]] = 0.5
    recommender.ranker.item_item = item_item = replace(item_item, cosine=cosine.tocsr())
    reasons = {
        item.product_id: item.reason
        for item in recommender.recommend(UserHistory([Order(["p5"], days_ago=3)]), len(CORPUS))
    }
    assert reasons.pop("p6") == "similar to Product 1"
    assert reasons.pop("p5") == "bought once, 3 days ago"
    assert reasons.pop("p0") == "goes with what you buy"
    many = item_item.popularity > item_item.popularity.mean()
    for product_id, reason in reasons.items():
        product = recommender.product_index[product_id]
        of_others = "bought by many" if many[product] else "bought by few"
        assert reason == ("from an aisle that you buy from" if product % 4 == 5 % 4 else of_others)
    assert set(reasons.values()) == {"from an aisle that you buy from", "bought by many", "bought by few"}


def test_a_product_that_the_ranker_has_never_seen_is_scored_by_its_text_and_aisle_and_called_new(own, monkeypatch):
    model, corpus = own
    kinds = {"twin": (NAMES[0], "aisle 0"), "elsewhere": ("Unheard of", "aisle 99")}
    texts = {each: product_text(name, aisle, "food") for each, (name, aisle) in kinds.items()}
    corpus.write_text(json.dumps({**CORPUS, **texts}), encoding="utf-8")
    recommender = Recommender(model, corpus)
    encoded = []
    encode = recommender.encoder.encode
    monkeypatch.setattr(recommender.encoder, "encode", lambda some, **how: encoded.extend(some) or encode(some, **how))
    monkeypatch.setattr(Explainer, "_similar_from", 2)
    answer = recommender.recommend(UserHistory([Order(["p4", "p8"], days_ago=3)]), len(CORPUS) + 2)
    found = {item.product_id: item for item in answer}
    nobody_bought = recommender.ranker.item_item.popularity == 0
    others = [item.score for item in answer if item.product_id not in texts]
    assert min(others) <= found["twin"].score <= max(others)
    assert min(others) <= found["elsewhere"].score <= max(others)
    assert not nobody_bought[[recommender.product_index[each] for each in texts]].any()
    assert found["twin"].reason == "from an aisle that you buy from"
    assert found["elsewhere"].reason == "new in the catalogue"
    assert encoded == []
    new_user = {item.product_id: item.reason for item in recommender.recommend(UserHistory(), len(CORPUS) + 2)}
    assert {new_user[each] for each in texts} == {"new in the catalogue"}
    assert new_user["p0"] == "bought by many"


def test_products_that_the_catalogue_does_not_hold_change_only_the_age_of_orders(recommender):
    known = UserHistory([Order(["p5"], days_ago=9), Order(["p6"], days_ago=2)])
    with_others = UserHistory([Order(["gone", "p5", "gone"], days_ago=9), Order(["p6"], days_ago=2)])
    assert recommender.recommend(with_others) == recommender.recommend(known)


def test_without_a_ranker_past_orders_are_put_into_words(own):
    for file in (schema.RANKER, schema.RANKER_WEIGHTS):
        (own[0] / file).unlink()
    recommender = Recommender(*own)
    assert recommender.ranker is None
    assert {item.reason for item in recommender.recommend("milk")} == {""}
    user = UserHistory([Order(["p0", "gone", "p1"], None, 1, 8), Order(["p5"], 9)], 4, 2, 10)
    context = "[w1h8] Milk, Bread, Rye, Sliced; [+9d w0h0] Product 1."
    assert recommender.context_from_history(user) == context
    assert recommender.context_from_history(UserHistory()) == "(no prior orders)."
    assert recommender.needs_text(recommender.queries_of([user]).histories.n_lines).all()
    answer = recommender.recommend(user, len(CORPUS))
    assert ids(answer) == ids(recommender.recommend(context, len(CORPUS)))
    reasons = {item.product_id: item.reason for item in answer}
    assert reasons["p0"] == "bought once, 13 days ago"
    assert reasons["p5"] == "bought once, 4 days ago"
    assert "goes with what you buy" not in reasons.values(), "nothing is known of what others buy"


def test_past_orders_are_put_into_words_as_in_training(own):
    model, corpus = own
    form = {"max_prior_orders": 2, "max_product_names": 3, "truncate": "keep_oldest", "next_segment": True}
    (model / schema.MODEL_RECORD).write_text(json.dumps({"context": form}), encoding="utf-8")
    recommender = Recommender(model, corpus, use_ranker=False)
    orders = [
        Order(["p2"], days_ago=30),
        Order(["p0", "p1"], None, 1, 8, days_ago=21),
        Order(["p5", "p6", "p7"], None, 3, days_ago=12),
    ]
    context = "[+9d w1h8] Milk, Bread, Rye, Sliced; [+9d w3h0] Product 1."
    assert recommender.context_from_history(UserHistory(orders)) == context
    assert recommender.context_from_history(UserHistory(orders, 4, 2, 10)) == f"{context} Next: +4d w2h10"
    assert recommender.context_from_history(UserHistory(orders, None, 2, 10)) == f"{context} Next: +12d w2h10"


def test_the_catalogue_of_another_shop_is_refused_and_changes_are_said(own, caplog):
    model, corpus = own
    (model / schema.MODEL_CATALOGUE).write_text(json.dumps(product_digests(CORPUS)), encoding="utf-8")
    corpus.write_text(json.dumps({product_id: f"Product: other {product_id}." for product_id in CORPUS}))
    with pytest.raises(CatalogueError, match=r"eval_corpus.json is not the catalogue of this model"):
        Recommender(*own)
    corpus.write_text(json.dumps({**CORPUS, "new": "Product: Tea."}))
    assert len(Recommender(*own).recommend("tea", 100)) == len(CORPUS) + 1
    assert "1 are new to the model" in caplog.text


def test_a_ranker_can_be_left_aside(own):
    assert Recommender(*own, use_ranker=False).ranker is None


def test_a_ranker_trained_anew_is_loaded_anew(build, own):
    first = load_recommender(*own)
    assert load_recommender(*own) is first
    save_ranker(build, own[0], seed=1)
    second = load_recommender(*own)
    assert [item.score for item in second.recommend(CONTEXTS[0])] != [
        item.score for item in first.recommend(CONTEXTS[0])
    ]


SERVING = """
from lit_rec.data.orders import Order, UserHistory
from lit_rec.inference.recommender import load_recommender

recommender = load_recommender(sys.argv[1], sys.argv[2])
print([item.product_id for item in recommender.recommend(UserHistory([Order(["p3", "p5"])]))])
training = ("lit_rec.data.prepare", "lit_rec.data.dat", "lit_rec.ranking.training", "lit_rec.training")
assert not [name for name in sys.modules if name.startswith(training)]
"""


def test_serving_with_a_ranker_works_where_nothing_that_only_training_needs_is_installed(own, run_without):
    served = run_without("lightning torchmetrics wandb datasets polars matplotlib pyarrow", SERVING, *own)
    expected = ids(Recommender(*own).recommend(UserHistory([Order(["p3", "p5"])])))
    assert served == str(expected)
