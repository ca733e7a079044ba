"""Errors as answers."""

import json

import pytest

from lit_rec.service.http_errors import ApiError, FieldError


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.2, "2"), (60, "60")])
def test_a_wait_is_in_whole_seconds_and_at_least_one(seconds, header):
    assert ApiError(429, "x", "y", retry_after=seconds).response().headers["Retry-After"] == header


def test_fields_are_there_where_there_are_some():
    assert "fields" not in json.loads(ApiError(400, "x", "y").response().body)["error"]
    field = {"loc": ["body"], "type": "t", "msg": "m"}
    assert json.loads(ApiError(422, "x", "y", fields=[FieldError(**field)]).response().body)["error"]["fields"] == [
        field
    ]


def test_of_a_body_that_cannot_be_used_nothing_is_sent_back(client):
    response = client.post("/recommend", json={"user_context": ["secret"], "top_k": "secret"})
    assert response.status_code == 422
    assert "secret" not in response.text
    assert {"loc", "type", "msg"} == set(response.json()["error"]["fields"][0])
