"""``POST /feedback``."""

import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Request, Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError, UnstorableError
from lit_rec.service.exposures import ExposureRecorder
from lit_rec.service.http_errors import ApiError, ErrorBody, FieldError, fields_of
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.routes.recommend import ERRORS
from lit_rec.service.schemas import MAX_EVENTS, EventResult, FeedbackBatch, FeedbackResponse
from lit_rec.store.database import FeedbackStore, Outcome
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.tables import exposed_products

logger = logging.getLogger(__name__)

_FEEDBACK_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    207: {"model": FeedbackResponse, "description": "Some events were rejected; the others are stored"},
    400: {"model": ErrorBody, "description": "No events"},
}
_SCHEMA = TypeAdapter(FeedbackEvent | FeedbackBatch).json_schema(ref_template="#/components/schemas/{model}")
SCHEMAS: dict[str, Any] = _SCHEMA.pop("$defs")
"""Components of the documentation that the body of this route names."""

_Sent = Annotated[Any, Body()]
Rejected = dict[int, list[dict[str, Any]]]
Result = Outcome | Literal["rejected"]
_UNSTORABLE: dict[str, Any] = {"loc": [], "type": "unstorable", "msg": "holds a value that the database refuses"}


def add_feedback(app: FastAPI) -> None:
    """Add the route."""

    @app.post(
        "/feedback",
        status_code=202,
        response_model_exclude_none=True,
        responses=_FEEDBACK_ERRORS,
        summary="What a user did with a recommendation",
        tags=["feedback"],
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
    )
    async def feedback(body: _Sent, request: Request, response: Response) -> FeedbackResponse:
        """One event, or `{"events": [...]}`; answered once they are committed.

        An event whose `event_id` was stored before is not stored again; without one, it is made from the content.
        """
        state = request.app.state
        events, rejected, is_batch = _events(body)
        state.monitoring.feedback_rejected.inc(len(rejected))
        if not events:
            where = [
                {**each, "loc": ["body", *(("events", index) if is_batch else ()), *each["loc"]]}
                for index, each in ((index, each) for index, fields in rejected.items() for each in fields)
            ]
            raise ApiError(422, "invalid_request", "No event of these can be used.", fields=where)
        began = time.perf_counter()
        outcomes, unattributed = await state.store_access.run(
            lambda: _store(state.store_access.store, state.recorder, events)
        )
        state.monitoring.feedback_seconds.observe(time.perf_counter() - began)
        _count(state.monitoring, events, outcomes, unattributed)
        n_refused = outcomes.count("rejected")
        if n_refused == len(events):
            raise ApiError(422, "invalid_request", "No event of these can be stored.", fields=[_UNSTORABLE])
        answer = FeedbackResponse(
            status="partial" if rejected or n_refused else "accepted",
            count=len(events) - n_refused,
            duplicates=outcomes.count("duplicate"),
            unattributed=unattributed,
        )
        if answer.status == "partial":
            response.status_code = 207
            answer.results = _results(events, outcomes, rejected)
        return answer


def _events(body: Any) -> tuple[list[FeedbackEvent], Rejected, bool]:  # noqa: ANN401 - whatever was sent
    """The events that can be used, why others cannot, and whether it is a batch."""
    is_batch = isinstance(body, dict) and "events" in body
    sent = body["events"] if is_batch else [body]
    if not isinstance(sent, list):
        raise _invalid("list_type", "events must be a list")
    if not sent:
        raise ApiError(400, "no_events", "No feedback events provided.")
    if len(sent) > MAX_EVENTS:
        raise _invalid("too_long", f"at most {MAX_EVENTS} events a call; got {len(sent):,}")
    events, rejected = [], {}
    for index, each in enumerate(sent):
        try:
            events.append(FeedbackEvent.model_validate(each))
        except ValidationError as error:
            rejected[index] = fields_of(error.errors(include_input=False, include_url=False))
    return events, rejected, is_batch


def _invalid(kind: str, message: str) -> ApiError:
    field = {"loc": ["body", "events"], "type": kind, "msg": message}
    return ApiError(422, "invalid_request", f"{message}.", fields=[field])


def _store(
    store: FeedbackStore, recorder: ExposureRecorder | None, events: Sequence[FeedbackEvent]
) -> tuple[list[Result], int | None]:
    """What became of each event, and how many are of what was never served; None where that cannot be said."""
    # Asked before the store is: what is on its way there then, is found here or there.
    awaited = {
        (e.request_id, e.product_id) for e in events if recorder and recorder.has_waiting(e.request_id, e.product_id)
    }
    outcomes = _recorded(store, events)
    columns = exposed_products.c
    query = select(columns.request_id, columns.product_id)
    try:
        served = store.rows(query.where(columns.request_id.in_({event.request_id for event in events})))
    except FeedbackStoreError as error:  # they are stored all the same
        logger.warning("feedback_not_attributed", extra={"reason": str(error)})
        return outcomes, None
    known = awaited | {(row.request_id, row.product_id) for row in served}
    return outcomes, sum((event.request_id, event.product_id) not in known for event in events)


def _recorded(store: FeedbackStore, events: Sequence[FeedbackEvent]) -> list[Result]:
    try:
        return [*store.record(events)]
    except UnstorableError:
        outcomes: list[Result] = []
    for event in events:  # the others are not to blame
        try:
            outcomes += store.record([event])
        except UnstorableError as error:
            logger.warning("feedback_not_storable", extra={"reason": str(error)})
            outcomes.append("rejected")
        except FeedbackStoreError as error:
            if outcomes.count("rejected") == len(outcomes):  # nothing was stored so far
                raise
            raise OutcomeUnknownError("Events were stored one by one, and then the store failed", str(error)) from error
    return outcomes


def _count(
    monitoring: Monitoring, events: Sequence[FeedbackEvent], outcomes: Sequence[Result], unattributed: int | None
) -> None:
    for event, outcome in zip(events, outcomes, strict=True):
        if outcome == "accepted":
            monitoring.feedback_events.labels(event.event_type.value).inc()
    monitoring.feedback_duplicates.inc(outcomes.count("duplicate"))
    monitoring.feedback_rejected.inc(outcomes.count("rejected"))
    monitoring.feedback_unattributed.inc(unattributed or 0)
    types = sorted({event.event_type.value for event in events})
    logger.info("feedback_ingested", extra={"count": len(events), "types": types, "unattributed": unattributed})


def _results(events: Sequence[FeedbackEvent], outcomes: Sequence[Result], rejected: Rejected) -> list[EventResult]:
    stored = iter(zip(events, outcomes, strict=True))
    results = []
    for index in range(len(events) + len(rejected)):
        if index in rejected:
            fields = [FieldError(**field) for field in rejected[index]]
            results.append(EventResult(index=index, status="rejected", fields=fields))
        else:
            event, outcome = next(stored)
            why = [FieldError(**_UNSTORABLE)] if outcome == "rejected" else None
            results.append(EventResult(index=index, status=outcome, event_id=event.event_id, fields=why))
    return results
