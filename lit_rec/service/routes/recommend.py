"""``POST /recommend``."""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

from fastapi import FastAPI, Request

from lit_rec.data.orders import UserHistory
from lit_rec.service.batching import OverloadedError
from lit_rec.service.engine import Engine, NotReadyError, RankRequest, RankResult
from lit_rec.service.http_errors import ERRORS, UNKNOWN_USER, ApiError, ErrorBody
from lit_rec.service.logs import request_id_of_context
from lit_rec.service.schemas import TO_COME, RecommendedProduct, RecommendRequest, RecommendResponse, Stats
from lit_rec.store.database import Exposure

logger = logging.getLogger(__name__)

_NAMED = 20  # unknown products of an answer

RECOMMEND = "/recommend"


def add_recommend(app: FastAPI) -> None:
    """Add the route."""

    @app.post(
        RECOMMEND,
        response_model_exclude_none=True,
        responses=ERRORS | UNKNOWN_USER | {400: {"model": ErrorBody, "description": "Nothing to recommend for"}},
        summary="The best products for a user",
        tags=["recommend"],
    )
    async def recommend(body: RecommendRequest, request: Request) -> RecommendResponse:
        monitoring = request.app.state.monitoring
        began = time.perf_counter()
        try:
            answer = await _answer(body, request.app)
        except Exception:
            monitoring.recommendations.labels("error").inc()
            raise
        seconds = time.perf_counter() - began
        monitoring.recommendations.labels("success").inc()
        monitoring.recommendation_seconds.observe(seconds)
        monitoring.rank_seconds.observe(answer.rank_ms / 1_000)
        if answer.mode == "text":
            monitoring.encode_seconds.observe(answer.encode_ms / 1_000)
        monitoring.by_arm.labels(answer.arm, answer.model_version, answer.mode).inc()
        if not (body.says_what_was_bought or request.app.state.settings.serve_users):
            # Reasons, and ids that the catalogue does not hold, would tell what the stored user has bought.
            answer = replace(
                answer,
                recommendations=[replace(each, reason="") for each in answer.recommendations],
                unknown_product_ids=(),
            )
        response = _response(answer, body, seconds * 1_000)
        if (recorder := request.app.state.recorder) is not None:
            recorder.record(_served(body, answer, response))
        logger.info(
            "recommendation_served",
            extra={
                "answer": response.request_id,
                "top_k": len(answer.recommendations),
                "arm": answer.arm,
                "model_version": answer.model_version,
                "mode": answer.mode,
                "latency_ms": round(seconds * 1_000, 2),
            },
        )
        return response


async def _answer(body: RecommendRequest, app: FastAPI) -> RankResult:
    engine: Engine = app.state.engine
    if not engine.is_ready:
        _not_loaded(app, "The models are not loaded yet.")
    question = _question(body, app)
    try:
        return await engine.recommend(question, body.user_id or _hash(body) or request_id_of_context.get())
    except OverloadedError as error:
        raise _overloaded(app, error) from error
    except NotReadyError:
        _not_loaded(app, "The models are not loaded.")


def check_room(app: FastAPI) -> None:
    """Refuse a call of /recommend that would only wait in vain, before its body is read.

    Raises:
        ApiError: it would.
    """
    try:
        app.state.engine.check_room()
    except OverloadedError as error:
        raise _overloaded(app, error) from error


def _overloaded(app: FastAPI, error: OverloadedError) -> ApiError:
    app.state.monitoring.refused.labels("overload").inc()
    return ApiError(503, "overloaded", "Too many requests at once.", retry_after=error.retry_after)


def _not_loaded(app: FastAPI, message: str) -> NoReturn:
    app.state.monitoring.refused.labels("loading").inc()
    raise ApiError(503, "loading", message, retry_after=5)


def _question(body: RecommendRequest, app: FastAPI) -> RankRequest:
    context, past_orders = body.context, body.past_orders()
    user = app.state.users.get(body.user_id or "")
    if context is None and past_orders is None and user is not None:
        context, past_orders = user.context, user.history
    if body.words is not None:  # text alone: what was bought is words among words
        context, past_orders = " ".join(filter(None, (body.words, context))), UserHistory()
    if context is None and past_orders is None:
        if body.user_id:
            message = "This service does not know the user_id; send a user_context or a history with it."
            raise ApiError(404, "unknown_user", message)
        message = "Send a user_context with a word in it, a history, a query, or a user_id that this service knows."
        raise ApiError(400, "nothing_to_recommend_for", message)
    return RankRequest(context, past_orders, body.top_k, body.exclude_product_ids, body.to_come)


def _hash(body: RecommendRequest) -> str | None:
    """Stands for what was bought, and so for a user without an id."""
    if body.history is not None:
        content = json.dumps([order.model_dump() for order in body.history])
    elif (text := _text(body)) is not None:
        content = text
    else:
        return None
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _text(body: RecommendRequest) -> str | None:
    return " ".join(filter(None, (body.words, body.context))) or None


def _response(answer: RankResult, body: RecommendRequest, latency_ms: float) -> RecommendResponse:
    scores, unknown = [each.score for each in answer.recommendations], answer.unknown_product_ids
    return RecommendResponse(
        request_id=str(uuid.uuid4()),  # never the caller's: two answers of one id would be one in the store
        model_version=answer.model_version,
        arm=answer.arm,
        recommendations=[
            RecommendedProduct(
                product_id=each.product_id,
                score=each.score,
                product_text=each.product_text,
                rank=rank,
                reason=each.reason if body.explain else None,
            )
            for rank, each in enumerate(answer.recommendations, 1)
        ],
        stats=Stats(
            total_latency_ms=latency_ms,
            query_embedding_time_ms=answer.encode_ms,
            similarity_compute_time_ms=answer.rank_ms,
            num_recommendations=len(scores),
            top_score=scores[0] if scores else 0.0,
            avg_score=_mean(scores),
            timestamp=datetime.now(UTC),
            history_products_left_out=body.lines_left_out or None,
            unknown_products=len(unknown) or None,
            unknown_product_ids=list(unknown[:_NAMED]) or None,
        ),
    )


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0


def _served(body: RecommendRequest, answer: RankResult, response: RecommendResponse) -> Exposure:
    history = None
    if body.history is not None:
        to_come = body.model_dump(include=set(TO_COME))
        history = {"orders": [order.model_dump() for order in body.history], **to_come}
    return Exposure(
        request_id=response.request_id,
        product_ids=[each.product_id for each in answer.recommendations],
        scores=[each.score for each in answer.recommendations],
        model_version=answer.model_version,
        arm=answer.arm,
        user_id=body.user_id,
        user_context_hash=_hash(body),
        context=_text(body),
        history=history,
        latency_ms=response.stats.total_latency_ms,
    )
