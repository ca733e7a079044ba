"""The forms of requests and answers."""

import pytest
from pydantic import ValidationError

from lit_rec.service.schemas import MAX_LINES, FeedbackBatch, RecommendRequest


def test_by_default_ten_products_without_reasons_and_nothing_excluded():
    asked = RecommendRequest(user_context="milk")
    assert (asked.top_k, asked.explain, asked.exclude_product_ids) == (10, False, [])


@pytest.mark.parametrize(("sent", "context"), [(None, None), ("", None), (" \t", None), (" milk ", " milk ")])
def test_a_context_without_a_word_is_none(sent, context):
    assert RecommendRequest(user_context=sent).context == context


def test_limits_are_part_of_the_contract():
    RecommendRequest(user_context="x" * 10_000, exclude_product_ids=["1"] * 1_000, top_k=100)
    for wrong in ({"user_context": "x" * 10_001}, {"exclude_product_ids": ["1"] * 1_001}, {"top_k": 101}):
        with pytest.raises(ValidationError):
            RecommendRequest(**wrong)


def test_a_blank_context_beside_a_history_says_nothing_else():
    assert RecommendRequest(user_context="", history=[]).user_history().orders == []


@pytest.mark.parametrize(
    "sent",
    [
        {"user_contxt": "milk"},
        {"user_context": "milk", "topk": 3},
        {"history": [{"product_ids": ["1"], "days_ago": 3}]},
    ],
)
def test_a_name_that_nobody_knows_is_refused_and_named(sent):
    with pytest.raises(ValidationError, match=r"user_contxt|topk|days_ago"):
        RecommendRequest(**sent)


def test_of_a_very_long_history_the_newest_orders_count():
    orders = [{"product_ids": [f"{order}-{line}" for line in range(100)]} for order in range(1_000)]
    asked = RecommendRequest(history=orders)
    assert asked.lines_left_out == 1_000 * 100 - MAX_LINES
    assert [order.product_ids[0] for order in asked.user_history().orders] == [f"{n}-0" for n in range(970, 1_000)]
    just = RecommendRequest(history=orders[-MAX_LINES // 100 :])
    assert (just.lines_left_out, len(just.history)) == (0, 30)
    for empty in ([], [{"product_ids": []}]):
        assert RecommendRequest(history=empty).lines_left_out == 0


def test_a_query_has_no_order_to_come():
    with pytest.raises(ValidationError, match="leave out order_dow"):
        RecommendRequest(query="milk", order_dow=3)


def test_an_order_keeps_a_float_where_days_are_not_whole():
    order = {"product_ids": ["1"], "days_since_prior_order": 1.5}
    assert RecommendRequest(history=[order]).user_history().orders[0].days_since_prior_order == 1.5


def test_examples_of_the_documentation_are_requests():
    for example in RecommendRequest.model_json_schema()["examples"]:
        RecommendRequest.model_validate(example)


def test_a_batch_has_events():
    with pytest.raises(ValidationError):
        FeedbackBatch(events=[])


@pytest.mark.parametrize(
    "sent",
    [
        {"history": [], "exclude_product_ids": list(range(100_000))},
        {"history": [{"product_ids": list(range(500))}] * 1_000},
        {"history": [{"product_ids": [], **{f"f{n}": 1 for n in range(99)}}] * 1_000},
        {f"field{n}": 1 for n in range(100_000)},
    ],
)
def test_a_large_wrong_body_gets_few_errors(sent):
    with pytest.raises(ValidationError) as raised:
        RecommendRequest.model_validate(sent)
    assert raised.value.error_count() <= 100


def test_of_many_wrong_ids_the_first_is_named():
    with pytest.raises(ValidationError) as raised:
        RecommendRequest.model_validate({"history": [{"product_ids": ["1", 2, 3]}]})
    assert [error["loc"] for error in raised.value.errors()] == [("history", 0, "product_ids", 1)]
