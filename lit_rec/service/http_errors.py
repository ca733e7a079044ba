"""The one form in which every error leaves the service."""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError
from lit_rec.service.logs import request_id_of_context

logger = logging.getLogger(__name__)

FieldErrors = Sequence[Mapping[str, Any]]

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class FieldError(BaseModel):
    """What is wrong with one field.

    Args:
        loc: where it is.
        type: kind of the problem.
        msg: the problem.
    """

    loc: list[str | int]
    type: str
    msg: str


class ErrorContent(BaseModel):
    """What went wrong.

    Args:
        code: for programs.
        message: for people.
        request_id: that of the answer's ``X-Request-ID``, and of the log.
        fields: what is wrong with the body, field by field; of status 422 alone.
    """

    code: str
    message: str
    request_id: str
    fields: list[FieldError] | None = Field(None)


class ErrorBody(BaseModel):
    """Body of every answer of status 400 and above."""

    error: ErrorContent


class ApiError(Exception):
    """Ends a request with an error.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people.
        fields: what is wrong, field by field.
        retry_after: seconds; None for no ``Retry-After``.
        headers: others.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: FieldErrors | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))

    def response(self) -> JSONResponse:
        """The answer."""
        content: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "request_id": request_id_of_context.get(),
        }
        if self.fields is not None:
            content["fields"] = list(self.fields)
        return JSONResponse({"error": content}, self.status, self.headers)


def internal_error() -> ApiError:
    """The error that tells nothing; the log does."""
    return ApiError(500, "internal_error", "Something went wrong here; the log has it under this request_id.")


def fields_of(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Errors of pydantic without the input, which is nobody's to see again, and may be huge or no JSON."""
    return [{"loc": list(error["loc"]), "type": error["type"], "msg": error["msg"]} for error in errors]


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of an app the one form; what nobody expected is left to the middleware."""

    async def api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
        return ApiError(error.status_code, code, f"{error.detail}.", headers=error.headers).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        message = f"{len(error.errors())} of the request's fields cannot be used."
        return ApiError(422, "invalid_request", message, fields=fields_of(error.errors())).response()

    async def store_error(_: Request, error: Exception) -> Response:
        return store_unavailable(error).response()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(FeedbackStoreError, store_error)


def store_unavailable(error: Exception) -> ApiError:
    """The database does not answer; where it is stays in the log."""
    logger.error("feedback_store_failed", extra={"reason": str(error)})
    if isinstance(error, OutcomeUnknownError):
        message = (
            "The feedback store did not answer in time; some may be stored. Send the same again: what has an event_id, "
            "or the same content, is stored once."
        )
        return ApiError(503, "outcome_unknown", message, retry_after=5)
    return ApiError(503, "store_unavailable", "The feedback store does not answer; nothing was stored.", retry_after=5)
