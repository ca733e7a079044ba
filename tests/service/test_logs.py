"""A line of JSON a record, with the id of its request."""

import io
import json
import logging

import pytest

from lit_rec.service.logs import configure_logging, request_id_of_context, restore_logging


@pytest.fixture
def logged():
    stream = io.StringIO()
    handler = configure_logging("INFO", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    restore_logging(handler)


def test_a_line_holds_what_was_logged_and_the_request(logged):
    token = request_id_of_context.set("r1")
    logging.getLogger("lit_rec.service.x").info("served %s", 3, extra={"latency_ms": 1.5, "other": object})
    request_id_of_context.reset(token)
    logging.getLogger("lit_rec.service.x").warning("line\nbreak")
    first, second = logged()
    assert first["message"] == "served 3"
    assert (first["level"], first["logger"], first["request_id"]) == ("INFO", "lit_rec.service.x", "r1")
    assert first["latency_ms"] == 1.5
    assert first["time"].endswith("+00:00")
    assert second["message"] == "line\nbreak"
    assert "request_id" not in second


def test_an_error_brings_its_traceback(logged):
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError:
        logging.getLogger("lit_rec").exception("failed")
    (line,) = logged()
    assert "ZeroDivisionError: why" in line["traceback"]


def test_less_than_the_level_is_not_logged(logged):
    logging.getLogger("lit_rec").debug("detail")
    assert logged() == []


def test_configured_twice_a_record_is_one_line(logged):
    second = io.StringIO()
    handler = configure_logging("INFO", second)
    logging.getLogger("lit_rec").info("once")
    restore_logging(handler)
    assert logged() == []
    assert len(second.getvalue().splitlines()) == 1


def test_an_answer_and_its_lines_share_an_id(start, capsys):
    with start() as one:
        request_id = one.post("/recommend", json={"user_context": "milk"}).headers["X-Request-ID"]
        one.post("/recommend", json={"user_context": "secret words"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    mine = {line["message"] for line in lines if line.get("request_id") == request_id}
    assert mine == {"recommendation_served", "request"}
    assert "secret" not in json.dumps(lines), "what a user bought is in no log"
