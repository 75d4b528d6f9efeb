"""Errors as problem documents (RFC 9457): what happened and what to do, never a traceback."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from console.decisions import MissingError
from contracts.errors import ConflictError, DataError, FabpilotError

__all__ = ["install", "problem"]

_log = structlog.get_logger(__name__)


def problem(status: int, detail: str, **more: object) -> JSONResponse:
    """A problem document."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, **more},
        status_code=status,
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            {"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]}
            for one in error.errors()
        ]
        text = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults[:3])
        return problem(422, text, faults=faults[:20])

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(FabpilotError)
    def known(request: Request, error: FabpilotError) -> Response:
        if isinstance(error, ConflictError):
            return problem(409, str(error))
        if isinstance(error, MissingError):
            return problem(404, str(error))
        if isinstance(error, DataError):
            return problem(422, str(error))
        _log.error("request failed", path=request.url.path, reason=str(error))
        return problem(503, str(error))

    @app.exception_handler(SQLAlchemyError)
    def database(request: Request, error: SQLAlchemyError) -> Response:
        # The text of these errors has statements and values in it: for the log, not for the page.
        _log.error("database failed", path=request.url.path, reason=str(error)[:500])
        return problem(503, "the database does not answer; try again, then see the Health page")

    @app.exception_handler(Exception)
    def unknown(request: Request, error: Exception) -> Response:
        _log.error("request failed", path=request.url.path, exc_info=error)
        return problem(500, "something here is broken; the console's log says what")
