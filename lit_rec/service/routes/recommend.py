"""``POST /recommend``."""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import FastAPI, Request

from lit_rec.data.orders import UserHistory
from lit_rec.service.batching import OverloadedError
from lit_rec.service.engine import Engine, NotReadyError, RankRequest, RankResult
from lit_rec.service.http_errors import ERRORS, UNKNOWN_USER, ApiError, ErrorBody
from lit_rec.service.logs import request_id_of_context
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.schemas import TO_COME, RecommendedProduct, RecommendRequest, RecommendResponse, Stats
from lit_rec.service.users import User
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
        state = request.app.state
        monitoring: Monitoring = state.monitoring
        began = time.perf_counter()
        try:
            result = await _rank(body, request.app)
        except Exception:
            monitoring.recommendations.labels("error").inc()
            raise
        seconds = time.perf_counter() - began
        monitoring.recommendations.labels("success").inc()
        monitoring.recommendation_seconds.observe(seconds)
        monitoring.rank_seconds.observe(result.rank_ms / 1_000)
        if result.mode == "text":
            monitoring.encode_seconds.observe(result.encode_ms / 1_000)
        monitoring.by_arm.labels(result.arm, result.model_version, result.mode).inc()
        # Reasons, and ids that the catalogue does not hold, would tell what a stored user has bought.
        may_tell = body.says_what_was_bought or state.settings.serve_users
        response = _response(result, body, seconds * 1_000, may_tell=may_tell)
        if state.recorder is not None:
            state.recorder.record(_exposure(body, response))
        logger.info(
            "recommendation_served",
            extra={
                "answer": response.request_id,
                "top_k": len(result.recommendations),
                "arm": result.arm,
                "model_version": result.model_version,
                "mode": result.mode,
                "latency_ms": round(seconds * 1_000, 2),
            },
        )
        return response


def check_room(engine: Engine) -> None:
    """Refuse a call of /recommend that would only wait in vain, before its body is read.

    Raises:
        ApiError: it would.
    """
    try:
        engine.check_room()
    except OverloadedError as error:
        raise _refused(error) from error


async def _rank(body: RecommendRequest, app: FastAPI) -> RankResult:
    engine: Engine = app.state.engine
    try:
        if not engine.is_ready:  # nor are the users whom it knows
            raise NotReadyError(engine.state)
        return await engine.recommend(
            _rank_request(body, app.state.users), body.user_id or _hash(body) or request_id_of_context.get()
        )
    except (OverloadedError, NotReadyError) as error:
        raise _refused(error) from error


def _refused(error: OverloadedError | NotReadyError) -> ApiError:
    if isinstance(error, OverloadedError):
        message = "Too many requests at once."
        return ApiError(503, "overloaded", message, retry_after=error.retry_after, refused="overload")
    return ApiError(503, "loading", "The models are not loaded.", retry_after=5, refused="loading")


def _rank_request(body: RecommendRequest, users: Mapping[str, User]) -> RankRequest:
    """What the request says of a user, or the service knows of its ``user_id``."""
    context, history = body.context, body.user_history()
    user = users.get(body.user_id or "")
    if user is not None and not body.says_what_was_bought:
        context, history = user.context, user.history
    if body.words is not None:  # encoder only: what was bought is words among words
        context, history = " ".join(filter(None, (body.words, context))), UserHistory()
    if context is None and history is None:
        if body.user_id:
            message = "This service does not know the user_id; send a user_context or a history with it."
            raise ApiError(404, "unknown_user", message)
        message = "Send a user_context with a word in it, a history, a query, or a user_id that this service knows."
        raise ApiError(400, "nothing_to_recommend_for", message)
    return RankRequest(context, history, body.top_k, body.exclude_product_ids, body.to_come)


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


def _response(result: RankResult, body: RecommendRequest, latency_ms: float, *, may_tell: bool) -> RecommendResponse:
    scores = [each.score for each in result.recommendations]
    unknown = result.unknown_product_ids if may_tell else ()
    return RecommendResponse(
        request_id=str(uuid.uuid4()),  # never the caller's: two answers of one id would be one in the store
        model_version=result.model_version,
        arm=result.arm,
        recommendations=[
            RecommendedProduct(
                product_id=each.product_id,
                score=each.score,
                product_text=each.product_text,
                rank=rank,
                reason=each.reason if body.explain and may_tell else None,
            )
            for rank, each in enumerate(result.recommendations, 1)
        ],
        stats=Stats(
            total_latency_ms=latency_ms,
            query_embedding_time_ms=result.encode_ms,
            similarity_compute_time_ms=result.rank_ms,
            num_recommendations=len(scores),
            top_score=scores[0] if scores else 0.0,
            avg_score=sum(scores) / len(scores) if scores else 0.0,
            timestamp=datetime.now(UTC),
            history_products_left_out=body.lines_left_out or None,
            unknown_products=len(unknown) or None,
            unknown_product_ids=list(unknown[:_NAMED]) or None,
        ),
    )


def _exposure(body: RecommendRequest, response: RecommendResponse) -> Exposure:
    history = None
    if body.history is not None:
        to_come = body.model_dump(include=set(TO_COME))
        history = {"orders": [order.model_dump() for order in body.history], **to_come}
    return Exposure(
        request_id=response.request_id,
        product_ids=[each.product_id for each in response.recommendations],
        scores=[each.score for each in response.recommendations],
        model_version=response.model_version,
        arm=response.arm,
        user_id=body.user_id,
        user_context_hash=_hash(body),
        context=_text(body),
        history=history,
        latency_ms=response.stats.total_latency_ms,
    )
