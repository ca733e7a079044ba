"""What /metrics exposes, in a form that Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lit_rec.service.monitoring import Monitoring

OF_THE_REFERENCE = {
    "recommendation_requests": "counter",
    "feedback_events": "counter",
    "model_loaded": "gauge",
    "recommendation_latency_seconds": "histogram",
    "recommendation_encode_seconds": "histogram",
    "feedback_ingest_latency_seconds": "histogram",
}


@pytest.mark.parametrize(("name", "kind"), OF_THE_REFERENCE.items())
def test_the_names_of_the_reference_are_there(client, name, kind):
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    assert families[name].type == kind


def test_outcomes_that_never_came_stand_at_zero():
    assert Monitoring().registry.get_sample_value("recommendation_requests_total", {"status": "error"}) == 0


def test_apps_count_apart():
    first, second = Monitoring(), Monitoring()
    first.recommendations.labels("success").inc()
    assert second.registry.get_sample_value("recommendation_requests_total", {"status": "success"}) == 0


def test_a_loaded_model_is_named(client):
    version = client.get("/ready").json()["models"]["default"]
    assert f'model_info{{arm="default",model_version="{version}"}} 1.0' in client.get("/metrics").text
    assert "\nmodel_loaded 1.0" in client.get("/metrics").text
