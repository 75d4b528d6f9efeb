"""Errors as problem documents (RFC 9457): what happened and what to do, never a traceback."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from console.decisions import MissingError
from contracts.errors import ConflictError, DataError, FabpilotError

__all__ = ["AsPage", "install", "problem"]

AsPage = Callable[[Request, int, str], Response]
"""Makes a page of a status and what happened."""

# The first that fits; every other error of ours is a service that does not work now.
_STATUS = ((ConflictError, 409), (MissingError, 404), (DataError, 422))

_log = structlog.get_logger(__name__)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    """A problem document."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, **more},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def install(app: FastAPI, page: AsPage) -> None:
    """Answer every error of `app` with a problem document, or with a page where a person looks."""

    def answer(request: Request, status: int, detail: str, **more: Any) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "")
        if wants_page and not request.url.path.startswith("/api/"):
            return page(request, status, detail)
        return problem(status, detail, **more)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            {"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]}
            for one in error.errors()
        ]
        text = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults[:3])
        return answer(request, 422, text, faults=faults[:20])

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        response = answer(request, error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(FabpilotError)
    def known(request: Request, error: FabpilotError) -> Response:
        for kind, status in _STATUS:
            if isinstance(error, kind):
                return answer(request, status, str(error))
        _log.error("request failed", path=request.url.path, reason=str(error))
        return answer(request, 503, str(error))

    @app.exception_handler(SQLAlchemyError)
    def database(request: Request, error: SQLAlchemyError) -> Response:
        # The text of these errors has statements and values in it: for the log, not for the page.
        _log.error("database failed", path=request.url.path, reason=str(error)[:500])
        text = "the database does not answer; try again, then see the Health page"
        return answer(request, 503, text)
