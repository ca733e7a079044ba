"""``POST /feedback``."""

import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Request, Response
from pydantic import SkipValidation, ValidationError
from sqlalchemy import select

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError, UnstorableError
from lit_rec.service.exposures import ExposureRecorder
from lit_rec.service.http_errors import ERRORS, ApiError, ErrorBody, FieldError, fields_of
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.schemas import MAX_EVENTS, EventResult, FeedbackBatch, FeedbackResponse
from lit_rec.store.database import FeedbackStore, Outcome
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.tables import exposed_products

logger = logging.getLogger(__name__)

_UNSTORABLE = FieldError(loc=[], type="unstorable", msg="holds a value that the database refuses")

Result = Outcome | Literal["rejected"]


def add_feedback(app: FastAPI) -> None:
    """Add the route."""

    @app.post(
        "/feedback",
        status_code=202,
        response_model_exclude_none=True,
        responses=ERRORS
        | {
            207: {"model": FeedbackResponse, "description": "Some events were rejected; the others are stored"},
            400: {"model": ErrorBody, "description": "No events"},
        },
        summary="What a user did with a recommendation",
        tags=["feedback"],
    )
    async def feedback(
        # Each event is validated by itself below: one that is wrong costs no other.
        body: Annotated[SkipValidation[FeedbackEvent | FeedbackBatch], Body()],
        request: Request,
        response: Response,
    ) -> FeedbackResponse:
        """One event, or `{"events": [...]}`; answered once they are committed.

        An event whose `event_id` was stored before is not stored again; without one, it is made from the content.
        """
        state = request.app.state
        sent = _sent_events(body)
        events: dict[int, FeedbackEvent] = {}
        results: dict[int, EventResult] = {}
        for index, each in enumerate(sent):
            try:
                events[index] = FeedbackEvent.model_validate(each)
            except ValidationError as error:
                results[index] = EventResult(index=index, status="rejected", fields=fields_of(error))
        state.monitoring.feedback_rejected.inc(len(results))
        unattributed: int | None = 0
        if events:
            began = time.perf_counter()
            outcomes, unattributed = await state.store_access.run(
                lambda: _store(state.store_access.store, state.recorder, [*events.values()])
            )
            state.monitoring.feedback_seconds.observe(time.perf_counter() - began)
            _count(state.monitoring, [*events.values()], outcomes, unattributed)
            for (index, event), outcome in zip(events.items(), outcomes, strict=True):
                why = [_UNSTORABLE] if outcome == "rejected" else None
                results[index] = EventResult(index=index, status=outcome, event_id=event.event_id, fields=why)
        statuses = [result.status for result in results.values()]
        n_rejected = statuses.count("rejected")
        if n_rejected == len(sent):
            raise ApiError(422, "invalid_request", "No event of these can be used.", fields=_all_fields(body, results))
        if n_rejected:
            response.status_code = 207
        return FeedbackResponse(
            status="partial" if n_rejected else "accepted",
            count=len(sent) - n_rejected,
            duplicates=statuses.count("duplicate"),
            unattributed=unattributed,
            results=[results[index] for index in range(len(sent))] if n_rejected else None,
        )


def _sent_events(body: Any) -> list[Any]:  # noqa: ANN401 - whatever was sent
    sent = body["events"] if isinstance(body, dict) and "events" in body else [body]
    if sent == []:
        raise ApiError(400, "no_events", "No feedback events provided.")
    if isinstance(sent, list) and len(sent) <= MAX_EVENTS:
        return sent
    if isinstance(sent, list):
        kind, message = "too_long", f"at most {MAX_EVENTS} events a call; got {len(sent):,}"
    else:
        kind, message = "list_type", "events must be a list"
    field = FieldError(loc=["body", "events"], type=kind, msg=message)
    raise ApiError(422, "invalid_request", f"{message}.", fields=[field])


def _all_fields(body: Any, results: dict[int, EventResult]) -> list[FieldError]:  # noqa: ANN401
    """What is wrong with every event, each field by its place in the body."""
    is_batch = isinstance(body, dict) and "events" in body
    return [
        field.model_copy(update={"loc": ["body", *(("events", index) if is_batch else ()), *field.loc]})
        for index, result in sorted(results.items())
        for field in result.fields or ()
    ]


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
    """What became of each event: stored together, or, where the store refuses one of them, one by one."""
    try:
        return [*store.record(events)]
    except UnstorableError:
        outcomes: list[Result] = []
    for event in events:
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
