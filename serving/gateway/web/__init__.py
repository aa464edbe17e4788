"""The gateway's web page: plain HTML, CSS and JavaScript. It gets its data from the gateway's JSON routes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

DATA_FILES: Final = ("assets/*",)
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No other hosts, no inline code, no frames. Pictures are blobs, because an <img> sends no token.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def mount_page(app: FastAPI) -> None:
    """Add the page at ``/`` and its files under ``/web/``.

    The files contain no data, so they require no token. The page asks the user for the token and sends it with every
    call of the API.

    Args:
        app: Application of the gateway.
    """
    for file in sorted(Path(__file__).parent.glob(DATA_FILES[0])):
        path = "/" if file.name == "index.html" else f"/web/{file.name}"
        _add(app, path, file.read_bytes(), _MEDIA_TYPES[file.suffix])


def _add(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    def answer() -> Response:
        return Response(content, headers=PAGE_HEADERS, media_type=media_type)

    app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
