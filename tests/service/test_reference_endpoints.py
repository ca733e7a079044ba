"""Each endpoint of the reference, asked as its own callers ask it; and that its faults are not ours.

The other tests of this folder go into each; these are the list.
"""

import pytest

from lit_rec.service.settings import ServiceSettings

CONTEXT = "[+7d w4h14] Organic Milk, Whole Wheat Bread."


def test_post_recommend_by_context(client):
    """POST /recommend {"user_context", "top_k", "exclude_product_ids"}."""
    body = {"user_context": CONTEXT, "user_id": None, "top_k": 5, "exclude_product_ids": ["1"]}
    answer = client.post("/recommend", json=body).json()
    assert {"request_id", "recommendations", "stats"} <= set(answer)
    assert len(answer["recommendations"]) == 5


def test_post_recommend_by_the_id_of_a_held_out_order(client, queries):
    """POST /recommend {"user_id"}: a key of eval_queries.json beside the catalogue."""
    assert client.post("/recommend", json={"user_id": next(iter(queries))}).status_code == 200


def test_post_feedback_one_event_and_a_batch(client):
    """POST /feedback, in the form that the reference's simulator sends."""
    event = {
        "request_id": "0b5f897d", "event_type": "impression", "product_id": "24852", "user_id": "117",
        "metadata": {"position": 1},
    }  # fmt: skip
    one = client.post("/feedback", json=event)
    assert (one.status_code, one.json()["status"], one.json()["count"]) == (202, "accepted", 1)
    many = client.post("/feedback", json={"events": [event, {**event, "event_type": "click"}]})
    assert (many.status_code, many.json()["status"], many.json()["count"]) == (202, "accepted", 2)


def test_get_health(client):
    """GET /health."""
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_get_ready(client):
    """GET /ready; the reference says 200 also when it is not."""
    response = client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


def test_get_metrics(client):
    """GET /metrics."""
    text = client.get("/metrics").text
    for name in ("recommendation_requests_total", "recommendation_latency_seconds_bucket", "model_loaded"):
        assert f"\n{name}" in text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_get_documentation(client, path):
    """GET /docs, /redoc, /openapi.json; the reference's load their scripts from elsewhere."""
    assert client.get(path).status_code == 200


def test_post_admin_corpus_is_left_out(client):
    """POST /admin/corpus lets anybody replace the catalogue, in one worker: a catalogue comes with its bundle."""
    assert client.post("/admin/corpus", json={"corpus": {"1": "x"}}).status_code == 404


def test_its_environment_variables_are_settings():
    names = {"MODEL_DIR", "CORPUS_PATH", "FEEDBACK_DB_PATH", "INFERENCE_DEVICE", "API_KEY", "RATE_LIMIT"}
    assert names <= {name.upper() for name in ServiceSettings.model_fields}


def test_answers_to_many_at_once_have_their_own_stats(client, queries):
    """The reference keeps the last request's stats on the shared recommender."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(top_k):
        answer = client.post("/recommend", json={"user_context": CONTEXT, "top_k": top_k}).json()
        return answer["stats"]["num_recommendations"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(1, 25))) == list(range(1, 25))
