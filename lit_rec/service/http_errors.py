"""The one form in which every error leaves the service."""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError
from lit_rec.service.logs import request_id_of_context

logger = logging.getLogger(__name__)

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class FieldError(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="Where it is.")
    type: str = Field(description="Kind of the problem.")
    msg: str = Field(description="The problem.")


class ErrorContent(BaseModel):
    """What went wrong."""

    code: str = Field(description="For programs.")
    message: str = Field(description="For people.")
    request_id: str = Field(description="That of the answer's `X-Request-ID`, and of the log.")
    fields: list[FieldError] | None = Field(None, description="What is wrong with the body; of status 422 alone.")


class ErrorBody(BaseModel):
    """Body of every answer of status 400 and above."""

    error: ErrorContent


ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "No key, or one that is not accepted"},
    413: {"model": ErrorBody, "description": "The body is too large"},
    422: {"model": ErrorBody, "description": "Fields that cannot be used"},
    429: {"model": ErrorBody, "description": "Too many requests; see Retry-After"},
    503: {"model": ErrorBody, "description": "Loading, overloaded or draining; see Retry-After"},
}
"""Answers that any call may get, for the documentation."""

UNKNOWN_USER: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody, "description": "The service does not know this user_id"}
}


class ApiError(Exception):
    """Ends a request with an error.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people.
        fields: what is wrong, field by field.
        retry_after: seconds; None for no ``Retry-After``.
        headers: others.
        refused: why the request was not let in, as ``requests_refused_total`` counts it; empty where it was.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Sequence[FieldError] | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        refused: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields
        self.refused = refused
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))

    def response(self) -> JSONResponse:
        """The answer."""
        fields = None if self.fields is None else list(self.fields)
        content = ErrorContent(
            code=self.code, message=self.message, request_id=request_id_of_context.get(), fields=fields
        )
        return JSONResponse(ErrorBody(error=content).model_dump(exclude_none=True), self.status, self.headers)


def fields_of(error: ValidationError | RequestValidationError) -> list[FieldError]:
    """Errors of pydantic without the input, which is nobody's to see again, and may be huge or no JSON."""
    return [FieldError(loc=list(each["loc"]), type=each["type"], msg=each["msg"]) for each in error.errors()]


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of an app the one form; what nobody expected is left to the middleware."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        if error.refused:
            app.state.monitoring.refused.labels(error.refused).inc()
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
        return ApiError(error.status_code, code, f"{error.detail}.", headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        fields = fields_of(error)
        message = f"{len(fields)} of the request's fields cannot be used."
        return ApiError(422, "invalid_request", message, fields=fields).response()

    @app.exception_handler(FeedbackStoreError)
    async def store_error(_: Request, error: FeedbackStoreError) -> Response:
        logger.error("feedback_store_failed", extra={"reason": str(error)})  # where the database is stays in the log
        code, message = "store_unavailable", "The feedback store does not answer; nothing was stored."
        if isinstance(error, OutcomeUnknownError):
            code = "outcome_unknown"
            message = (
                "The feedback store did not answer in time; some may be stored. Send the same again: what has an "
                "event_id, or the same content, is stored once."
            )
        return ApiError(503, code, message, retry_after=5).response()
