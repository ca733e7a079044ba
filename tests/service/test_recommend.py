"""POST /recommend: what is asked, what is answered, and what the reference's callers rely on."""

import json
import time
from datetime import datetime

import pytest
from sqlalchemy import select

from lit_rec.data.orders import Order, UserHistory
from lit_rec.inference.recommender import Recommender
from lit_rec.store.tables import exposed_products, exposures

CONTEXT = "[+7d w4h14] Organic Milk, Whole Wheat Bread."


def recommend(client, **body):
    return client.post("/recommend", json=body)


def ids(response):
    assert response.status_code == 200, response.text
    return [each["product_id"] for each in response.json()["recommendations"]]


@pytest.fixture(scope="module")
def text_recommender(tiny_model, corpus_path):
    return Recommender(tiny_model, corpus_path)


@pytest.fixture(scope="module")
def ranked_recommender(ranked_model, corpus_path):
    return Recommender(ranked_model, corpus_path)


@pytest.fixture(scope="module")
def bought(ranked_recommender, queries):
    """A user's orders, by id."""
    request = ranked_recommender.history_from_context(max(queries.values(), key=len))
    assert len(request.orders) > 1
    return request


def history_of(request):
    return [
        {
            "product_ids": list(order.product_ids),
            "days_since_prior_order": order.days_since_prior_order,
            "order_dow": order.order_dow,
            "order_hour_of_day": order.order_hour_of_day,
        }
        for order in request.orders
    ]


def test_the_answer_has_everything_the_reference_has(client, corpus):
    answer = recommend(client, user_context=CONTEXT, top_k=3).json()
    assert [each["rank"] for each in answer["recommendations"]] == [1, 2, 3]
    for each in answer["recommendations"]:
        assert set(each) == {"product_id", "score", "product_text", "rank"}
        assert each["product_text"] == corpus[each["product_id"]]
    stats, scores = answer["stats"], [each["score"] for each in answer["recommendations"]]
    assert set(stats) == {
        "total_latency_ms", "query_embedding_time_ms", "similarity_compute_time_ms", "num_recommendations",
        "top_score", "avg_score", "timestamp",
    }  # fmt: skip
    assert stats["num_recommendations"] == 3
    assert stats["top_score"] == max(scores) == scores[0]
    assert stats["avg_score"] == pytest.approx(sum(scores) / 3)
    assert datetime.fromisoformat(stats["timestamp"]).tzinfo is not None
    parts = stats["query_embedding_time_ms"] + stats["similarity_compute_time_ms"]
    assert 0 < parts <= stats["total_latency_ms"]


def test_it_recommends_what_the_recommender_recommends(client, ranked_client, text_recommender, ranked_recommender):
    for one, recommender in ((client, text_recommender), (ranked_client, ranked_recommender)):
        for context in (CONTEXT, "(no prior orders).", "milk"):
            expected = recommender.recommend(context, 7)
            answer = recommend(one, user_context=context, top_k=7)
            assert ids(answer) == [each.product_id for each in expected]
            scores = [each["score"] for each in answer.json()["recommendations"]]
            assert scores == pytest.approx([each.score for each in expected], abs=1e-5)


def test_by_default_ten_and_as_many_as_are_asked_for(client, corpus):
    assert len(ids(recommend(client, user_context=CONTEXT))) == 10
    assert len(ids(recommend(client, user_context=CONTEXT, top_k="3"))) == 3
    assert len(ids(recommend(client, user_context=CONTEXT, top_k=100))) == 100


def test_excluded_products_make_room_for_the_next(client):
    best = ids(recommend(client, user_context=CONTEXT, top_k=12))
    without = recommend(client, user_context=CONTEXT, top_k=7, exclude_product_ids=[*best[:5], "no such product"])
    assert ids(without) == best[5:12]


def test_with_everything_excluded_the_stats_are_zero(client, corpus):
    answer = recommend(client, user_context=CONTEXT, exclude_product_ids=list(corpus)).json()
    assert answer["recommendations"] == []
    assert (answer["stats"]["top_score"], answer["stats"]["avg_score"]) == (0, 0)


def test_a_known_user_is_recommended_for_by_what_was_bought(client, ranked_client, queries):
    user_id, context = next(iter(queries.items()))
    for one in (client, ranked_client):
        assert ids(recommend(one, user_id=user_id)) == ids(recommend(one, user_context=context))


def test_a_context_wins_over_the_user_that_sends_it(client, queries):
    user_id = next(iter(queries))
    assert ids(recommend(client, user_id=user_id, user_context="soap")) == ids(recommend(client, user_context="soap"))


def test_a_query_is_searched_for_by_its_words_before_the_context(client, ranked_client, queries):
    user_id, context = next(iter(queries.items()))
    for one in (client, ranked_client):
        alone = recommend(one, query="soap")
        assert ids(alone) == ids(recommend(one, user_context="soap"))
        assert alone.json()["stats"]["query_embedding_time_ms"] > 0
        for whose in ({"user_context": context}, {"user_id": user_id}):
            assert recommend(one, query="soap", **whose).json()["stats"]["query_embedding_time_ms"] > 0
    for whose in ({"user_context": context}, {"user_id": user_id}):
        both = recommend(client, query="soap", **whose)
        assert ids(both) == ids(recommend(client, user_context=f"soap {context}"))
    assert recommend(client, query="soap", history=[]).status_code == 422
    assert recommend(client, query=" ").status_code == 400


def test_a_blank_context_is_none(client, queries):
    user_id, context = next(iter(queries.items()))
    assert ids(recommend(client, user_id=user_id, user_context=" ")) == ids(recommend(client, user_context=context))


@pytest.mark.parametrize("body", [{}, {"user_context": ""}, {"user_context": " \n"}, {"user_id": ""}, {"top_k": 3}])
def test_with_nothing_to_recommend_for_it_is_the_callers_fault(client, body):
    response = client.post("/recommend", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "nothing_to_recommend_for"


def test_an_unknown_user_is_not_found(client):
    response = recommend(client, user_id="nobody")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_user"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_context": CONTEXT, "top_k": 0}, "top_k"),
        ({"user_context": CONTEXT, "top_k": 101}, "top_k"),
        ({"user_context": CONTEXT, "top_k": "many"}, "top_k"),
        ({"user_context": "x" * 10_001}, "user_context"),
        ({"user_context": 7}, "user_context"),
        ({"user_id": 7}, "user_id"),
        ({"user_context": CONTEXT, "exclude_product_ids": [7]}, "exclude_product_ids"),
        ({"user_context": CONTEXT, "exclude_product_ids": ["x"] * 1_001}, "exclude_product_ids"),
        ({"history": [{"product_ids": ["1"], "order_dow": 7}]}, "history"),
        ({"history": [{"product_ids": ["1"], "order_hour_of_day": 24}]}, "history"),
        ({"history": [{"product_ids": ["1"], "days_since_prior_order": -1}]}, "history"),
        ({"history": [{}]}, "history"),
        ({"history": [], "order_dow": 9}, "order_dow"),
    ],
)
def test_what_cannot_be_used_is_named(client, body, field):
    response = client.post("/recommend", json=body)
    assert response.status_code == 422
    assert {each["loc"][1] for each in response.json()["error"]["fields"]} == {field}


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b"", 422),
        (b"\xff", 400),
        (b'{"user_context": "\\ud800"}', 422),
        (b'{"history": [{"product_ids": [], "days_since_prior_order": NaN}]}', 422),
    ],
)
def test_what_is_no_request_is_the_callers_fault_and_never_ours(client, raw, status):
    response = client.post("/recommend", content=raw, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["code"] in {"invalid_request", "bad_request"}


def test_a_history_and_a_context_together_say_two_things(client):
    response = recommend(client, user_context=CONTEXT, history=[])
    assert response.status_code == 422
    assert "one of them" in response.json()["error"]["fields"][0]["msg"]


def test_a_field_that_nobody_knows_is_refused_and_named(client):
    refused = recommend(client, user_context=CONTEXT, campaign="spring")
    assert refused.status_code == 422
    assert refused.json()["error"]["fields"][0]["loc"] == ["body", "campaign"]


@pytest.mark.parametrize("sent_as", ["user_id", "user_context", "history"])
def test_the_time_of_the_order_to_come_counts_whoever_is_named(ranked_client, bought, queries, sent_as, monkeypatch):
    user_id = max(queries, key=lambda each: len(queries[each]))
    asked = {"user_id": user_id, "user_context": queries[user_id], "history": history_of(bought)}[sent_as]
    scores, ranked = Recommender.scores, []
    monkeypatch.setattr(Recommender, "scores", lambda *arguments: (ranked.append(arguments[1]), scores(*arguments))[1])
    to_come = {"days_since_prior_order": 28, "order_dow": 5, "order_hour_of_day": 20}
    assert recommend(ranked_client, **{sent_as: asked}, **to_come).status_code == 200
    (histories,) = [queries.histories for queries in ranked]
    assert (histories.days_since_prior.tolist(), histories.dow.tolist(), histories.hour.tolist()) == ([28], [5], [20])


def test_products_that_the_catalogue_does_not_hold_are_counted_and_named(ranked_client, corpus):
    known = next(iter(corpus))
    history = [{"product_ids": ["no-1", known]}, {"product_ids": ["no-2", "no-1"]}]
    stats = recommend(ranked_client, history=history).json()["stats"]
    assert (stats["unknown_products"], stats["unknown_product_ids"]) == (2, ["no-1", "no-2"])
    many = recommend(ranked_client, history=[{"product_ids": [f"no-{n}" for n in range(300)]}]).json()["stats"]
    assert (many["unknown_products"], len(many["unknown_product_ids"])) == (300, 20)
    assert "unknown_products" not in recommend(ranked_client, history=[{"product_ids": [known]}]).json()["stats"]


def test_of_a_very_long_history_the_answer_says_what_did_not_count(ranked_client, corpus):
    orders = [{"product_ids": list(corpus)[:50]}] * 61
    stats = recommend(ranked_client, history=orders).json()["stats"]
    assert stats["history_products_left_out"] == 50


def test_a_history_is_ranked_without_the_text_encoder(ranked_client, ranked_recommender, bought):
    answer = recommend(ranked_client, history=history_of(bought))
    assert ids(answer) == [each.product_id for each in ranked_recommender.recommend(bought)]
    assert answer.json()["stats"]["query_embedding_time_ms"] == 0


def test_when_the_order_to_come_is_counts(ranked_client, ranked_recommender, bought):
    soon = UserHistory(bought.orders, 1.0, 3, 9)
    when = {"days_since_prior_order": 1, "order_dow": 3, "order_hour_of_day": 9}
    answer = recommend(ranked_client, history=history_of(bought), **when).json()
    expected = ranked_recommender.recommend(soon)
    assert [each["score"] for each in answer["recommendations"]] == pytest.approx([each.score for each in expected])


def test_without_a_ranker_a_history_becomes_the_context_of_training(client, text_recommender, bought):
    context = text_recommender.context_from_history(bought)
    assert ids(recommend(client, history=history_of(bought))) == ids(recommend(client, user_context=context))


def test_a_new_user_is_recommended_the_popular(ranked_client, ranked_recommender):
    expected = [each.product_id for each in ranked_recommender.recommend(UserHistory())]
    assert ids(recommend(ranked_client, history=[])) == expected
    unknown = [{"product_ids": ["never heard of"]}]
    assert ids(recommend(ranked_client, history=unknown)) == expected


def test_reasons_are_given_where_they_are_asked_for(ranked_client, ranked_recommender, bought):
    new = list(set(ranked_recommender.corpus) - {each for order in bought.orders for each in order.product_ids})
    plain = recommend(ranked_client, history=history_of(bought)).json()["recommendations"]
    explained = recommend(ranked_client, history=history_of(bought), explain=True, exclude_product_ids=new).json()
    assert all("reason" not in each for each in plain)
    reasons = [each["reason"] for each in explained["recommendations"]]
    assert reasons == [each.reason for each in ranked_recommender.recommend(bought, 10, new)]
    assert all(reason.startswith("bought ") for reason in reasons)


def test_reasons_do_not_tell_what_a_stored_user_has_bought(start, ranked_model, queries, bought):
    user_id = max(queries, key=lambda each: len(queries[each]))
    with start(model_dir=ranked_model, serve_users=False) as one:
        plain = recommend(one, user_id=user_id, explain=True)
        sent = recommend(one, user_id=user_id, history=history_of(bought), explain=True)
        assert ids(plain) == ids(sent)
        assert not any("bought" in each.get("reason", "") for each in plain.json()["recommendations"])
        assert not any(each.get("reason") for each in plain.json()["recommendations"])
        assert any(each["reason"] for each in sent.json()["recommendations"]), "the caller has said it all"


def test_a_large_body_of_wrong_ids_is_soon_refused_in_short(client):
    body = {"history": [{"product_ids": list(range(400))}] * 400}
    began = time.perf_counter()
    response = client.post("/recommend", json=body)
    assert response.status_code == 422
    assert len(response.content) < 10_000
    assert time.perf_counter() - began < 2


def test_what_was_served_is_stored(start, until, queries):
    user_id = next(iter(queries))
    with start() as one:
        answer = recommend(one, user_id=user_id, top_k=4, explain=True).json()
        context = recommend(one, user_context=CONTEXT, top_k=2).json()
        store = one.app.state.store
        until(lambda: len(store.rows(select(exposures.c.request_id))) == 2)
        products = store.rows(
            select(exposed_products).where(exposed_products.c.request_id == answer["request_id"]).order_by("rank")
        )
        assert [row.product_id for row in products] == [each["product_id"] for each in answer["recommendations"]]
        assert [row.score for row in products] == pytest.approx([each["score"] for each in answer["recommendations"]])
        by_id = {row.request_id: row for row in store.rows(select(exposures))}
        kept = by_id[answer["request_id"]]
        assert (kept.user_id, kept.model_version, kept.arm) == (user_id, answer["model_version"], "default")
        assert by_id[context["request_id"]].context == CONTEXT
        assert len(by_id[context["request_id"]].user_context_hash) == 16


def test_answers_to_requests_of_one_id_are_told_apart(start, until):
    mine = {"X-Request-ID": "mine"}
    with start() as one:
        answers = [one.post("/recommend", json={"user_context": words}, headers=mine) for words in ("milk", "soap")]
        assert [answer.headers["X-Request-ID"] for answer in answers] == ["mine", "mine"]
        store, served = one.app.state.store, {answer.json()["request_id"] for answer in answers}
        assert len(served) == 2
        until(lambda: {row.request_id for row in store.rows(select(exposures.c.request_id))} == served)


@pytest.mark.parametrize(
    "body",
    [
        {"user_context": "mi\0lk"},
        {"query": "mi\0lk"},
        {"user_context": "milk", "user_id": "u\0"},
        {"history": [{"product_ids": ["1\0"]}]},
        {"user_context": "milk", "exclude_product_ids": ["\0"]},
    ],
)
def test_what_no_database_stores_is_refused(client, body):
    response = client.post("/recommend", json=body)
    assert response.status_code == 422
    assert "NUL" in response.json()["error"]["fields"][0]["msg"]


def test_a_history_is_stored_as_it_was_sent(start, until):
    history = [{"product_ids": ["1", "2"], "days_since_prior_order": None, "order_dow": 1, "order_hour_of_day": 8}]
    with start() as one:
        recommend(one, history=history, order_dow=3)
        store = one.app.state.store
        until(lambda: store.rows(select(exposures.c.request_id)))
        kept = store.rows(select(exposures.c.history))[0][0]
        kept = json.loads(kept) if isinstance(kept, str) else kept
        to_come = {"days_since_prior_order": None, "order_dow": 3, "order_hour_of_day": None}
        assert kept == {"orders": history, **to_come}


def test_outcomes_are_counted_by_the_names_of_the_reference(start, metric):
    with start() as one:
        recommend(one, user_context=CONTEXT)
        recommend(one, user_id="nobody")
        recommend(one)
        assert metric(one, "recommendation_requests_total", status="success") == 1
        assert metric(one, "recommendation_requests_total", status="error") == 2
        assert metric(one, "recommendation_latency_seconds_count") == 1
        assert metric(one, "recommendation_encode_seconds_count") == 1


def test_a_request_for_orders_is_the_recommenders_own():
    from lit_rec.service.schemas import RecommendRequest

    order = {"product_ids": ["1"], "days_since_prior_order": 2.0, "order_dow": 1, "order_hour_of_day": 5}
    asked = RecommendRequest.model_validate({"history": [order], "order_dow": 6})
    assert asked.user_history() == UserHistory([Order(["1"], 2.0, 1, 5)])
    assert asked.to_come == {"order_dow": 6}
