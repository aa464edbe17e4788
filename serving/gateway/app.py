"""The gateway's web application: DICOMweb, JSON routes, page, health and metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.api import api_router
from serving.gateway.monitoring import log
from serving.gateway.stow import stow_router
from serving.gateway.studies import Studies
from serving.gateway.uploads import HttpError, Uploads
from serving.gateway.web import mount_page

PROBES: Final = ("/healthz", "/readyz")
_OPEN: Final = ("/", *PROBES)  # the page contains no data, and probes send no token
_OPEN_FOLDER: Final = "/web/"
_PROBE_THREADS: Final = 2
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


def is_authorised(header: str | None, token: str) -> bool:
    """Return True if an ``Authorization`` header has the bearer token (RFC 6750).

    The time of the comparison does not depend on the position of a difference.

    Args:
        header: Value of the header; ``None`` if it is absent.
        token: Token of the gateway.
    """
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


class Guard:
    """Checks the token before a request is read, and sets the headers of every response."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        path = scope["path"]
        is_open = path in _OPEN or path.startswith(_OPEN_FOLDER)
        if is_open or is_authorised(Headers(scope=scope).get("authorization"), self._token):
            await self._app(scope, receive, guarded_send)
            return
        detail = "Give the gateway's token as Authorization: Bearer TOKEN."
        response = JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
        await response(scope, receive, guarded_send)


def create_app(studies: Studies, token: str, model_is_ready: Callable[[], bool]) -> FastAPI:
    """Return the application.

    Args:
        studies: The studies.
        token: Bearer token; only the page and the probes do not require it.
        model_is_ready: Returns True if the model server can grade.
    """
    # FastAPI's documentation pages load scripts from other hosts.
    app = FastAPI(title="breast-density gateway", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token)
    uploads = Uploads(studies)

    @app.exception_handler(HttpError)
    def refused(request: Request, error: HttpError) -> JSONResponse:
        return JSONResponse({"detail": error.message}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    def not_found(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": f"{error.detail}."}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": "A parameter of the request is out of bounds."}, 422)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> JSONResponse:
        log.error("HTTP: a request broke", exc_info=error)
        return JSONResponse({"detail": "The gateway broke: its log says where."}, 500)

    probing = CapacityLimiter(_PROBE_THREADS)  # probes need no token, so they must not occupy the threads of uploads

    @app.get("/healthz")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readiness() -> JSONResponse:
        model, disk = await to_thread.run_sync(lambda: (model_is_ready(), studies.spool.has_room()), limiter=probing)
        return JSONResponse(
            {"ready": model and disk, "model_server": model, "disk": disk}, 200 if model and disk else 503
        )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(studies.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(stow_router(studies, uploads))
    app.include_router(api_router(studies, uploads))
    mount_page(app)
    return app
