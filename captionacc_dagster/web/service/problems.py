"""Errors as ``application/problem+json`` (RFC 9457), from the platform's typed errors.

A route raises :class:`Problem`, or lets a typed error pass. A module with errors of its own adds them to
:data:`STATUSES`.
"""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from captionacc_dagster.operations.caption_edits import CaptionsMissingError
from captionacc_dagster.resources.catalog import (
    AlreadyRegisteredError,
    InvalidArgumentError,
    LockHeldError,
    LockLostError,
    NotPermittedError,
    TooManyCallsError,
    UnknownRequestError,
    UnknownTenantError,
    UnknownVersionError,
    UnknownVideoError,
    VideoDeletedError,
    WrongStateError,
)
from captionacc_dagster.web.service.request_ids import request_id
from captionacc_dagster.web.service.tokens import TokenError
from modal_gpu.captions.edits import EditError
from modal_gpu.errors import (
    CaptionAccError,
    ConfigurationError,
    InvalidCropRegionError,
    InvalidIdError,
    InvalidKeyError,
    ObjectNotFoundError,
)

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
#: When a request that met an unavailable part may be repeated, in seconds.
RETRY_AFTER = 5

#: The status of a typed error: that of the first of its classes that is listed.
STATUSES: dict[type[CaptionAccError], int] = {
    TokenError: 401,
    NotPermittedError: 403,
    UnknownVideoError: 404,
    UnknownTenantError: 404,
    UnknownVersionError: 404,
    UnknownRequestError: 404,
    ObjectNotFoundError: 404,
    CaptionsMissingError: 404,
    VideoDeletedError: 404,
    LockHeldError: 409,
    LockLostError: 409,
    WrongStateError: 409,
    AlreadyRegisteredError: 409,
    InvalidArgumentError: 422,
    InvalidCropRegionError: 422,
    InvalidIdError: 422,
    InvalidKeyError: 422,
    EditError: 422,
    TooManyCallsError: 429,
    ConfigurationError: 503,
}


class FaultBody(BaseModel):
    """A fault in a request, and its place."""

    at: str = Field(description="the place, such as `body.text` or `query.limit`")
    message: str
    kind: str = Field(description="the kind of fault, for programs")


class ProblemBody(BaseModel):
    """The answer for an error."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what is wrong, and what to do")
    reason: str = Field(description="the kind of error, for programs")
    request_id: str = Field(description="the request in the service's log")
    errors: list[FaultBody] | None = Field(
        None, description="only if the request does not fit the route: at most 100 faults"
    )


#: The errors that any route may answer, for the OpenAPI document.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": ProblemBody,
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503)
}


class Problem(Exception):
    """An error with its status. ``extra`` are further members of the answer, as JSON."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason = status, detail, reason
        self.headers, self.extra = dict(headers or {}), extra


def problem_response(
    status: int,
    detail: str,
    *,
    reason: str = "",
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return the answer for an error."""
    title = HTTPStatus(status).phrase
    body = {
        **(extra or {}),
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason or title.lower().replace(" ", "_"),
        "request_id": request_id.get(),
    }
    return _ProblemResponse(body, status, dict(headers or {}), MEDIA_TYPE)


class _ProblemResponse(JSONResponse):
    """JSON in ASCII: a message may repeat lone surrogates, which JSON allows and UTF-8 does not."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def status_of(error: CaptionAccError) -> int:
    """Return the status of a typed error: the listed one, 503 if a retry may help, else 409."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 503 if error.retryable else 409


def problem_of(error: CaptionAccError) -> JSONResponse:
    """Return the answer for a typed error, whose message is for people and holds no secret."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 503:
        _log.warning("request %s: %s: %s", request_id.get(), type(error).__name__, error)
        headers["retry-after"] = str(RETRY_AFTER)
    elif isinstance(error, LockHeldError):
        headers["retry-after"] = "1"
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    elif status == 429:
        headers["retry-after"] = "60"
    reason = type(error).__name__.removesuffix("Error")
    return problem_response(status, str(error), reason=_snake(reason), headers=headers)


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every error that is expected as a problem."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return problem_response(
            error.status, error.detail, reason=error.reason, headers=error.headers, extra=error.extra
        )

    @app.exception_handler(CaptionAccError)
    async def _typed(request: Request, error: CaptionAccError) -> Response:
        return problem_of(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return problem_response(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = [
            {"at": ".".join(map(str, each["loc"])), "message": each["msg"], "kind": each["type"]}
            for each in error.errors()
        ]
        detail = "; ".join(f"{each['at']}: {each['message']}" for each in found[:5])
        extra = {"errors": found[:100]}
        return problem_response(422, detail, reason="invalid_request", extra=extra)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
