"""Every error of the service as problem details (RFC 9457)."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.pool import BusyError, StoppingError, WorkerDiedError
from api.problems import InvalidRequestError
from api.schemas.problem_details import ProblemDetails, ProblemEntry
from api.work import FailedError
from profiles.errors import HetplanError, InputError

__all__ = ["MEDIA_TYPE", "add_handlers", "declared", "problem_response"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_log = logging.getLogger("hetplan")
_TITLES = {422: "The request cannot be used"}


def problem_response(
    path: str,
    status: int,
    detail: str,
    errors: list[ProblemEntry] | None = None,
    headers: dict[str, str] | None = None,
    title: str | None = None,
) -> JSONResponse:
    """A response of this status with problem details."""
    body = ProblemDetails(
        title=title or _TITLES.get(status, HTTPStatus(status).phrase),
        status=status,
        detail=detail,
        instance=path,
        errors=errors or [],
    )
    return JSONResponse(
        body.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route declares the errors it may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        status: {"description": _TITLES.get(status, HTTPStatus(status).phrase), "content": content}
        for status in statuses
    }


def add_handlers(app: FastAPI) -> None:
    """Answer every exception with problem details."""
    app.add_exception_handler(InvalidRequestError, _invalid)
    app.add_exception_handler(InputError, _input)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(StoppingError, _busy)
    app.add_exception_handler(WorkerDiedError, _failed)
    app.add_exception_handler(HetplanError, _failed)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    found = error.problems if isinstance(error, InvalidRequestError) else ()
    entries = [ProblemEntry(pointer=problem.pointer, detail=problem.detail) for problem in found]
    detail = entries[0].detail if len(entries) == 1 else f"{len(entries)} errors; see errors."
    return problem_response(request.url.path, 422, detail, entries)


def _input(request: Request, error: Exception) -> JSONResponse:
    pointer = error.pointer if isinstance(error, InputError) else ""
    entries = [ProblemEntry(pointer=pointer, detail=str(error))]
    return problem_response(request.url.path, 422, str(error), entries)


def _parameters(request: Request, error: Exception) -> JSONResponse:
    return problem_response(request.url.path, 422, str(error))


def _busy(request: Request, error: Exception) -> JSONResponse:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    status = 503 if isinstance(error, StoppingError) else 429
    return problem_response(request.url.path, status, str(error), headers=headers)


def _failed(request: Request, error: Exception) -> JSONResponse:
    title = error.failure.title if isinstance(error, FailedError) else None
    return problem_response(request.url.path, 500, str(error), title=title)


def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _bug(request, error)
    path = request.url.path
    details = {
        404: f"There is nothing at {path}; see /docs for what there is.",
        405: f"{request.method} is not possible at {path}; see /docs.",
    }
    is_stock = error.detail == HTTPStatus(error.status_code).phrase
    detail = details.get(error.status_code, error.detail) if is_stock else error.detail
    headers = dict(error.headers) if error.headers else None
    return problem_response(path, error.status_code, detail, headers=headers)


def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("Unexpected failure at %s", request.url.path, exc_info=error)
    return problem_response(request.url.path, 500, "An unexpected failure; it has been logged.")
