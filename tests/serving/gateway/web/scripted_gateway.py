"""A gateway with responses from the test, for rare states of the real gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile

from components.common.png import encode_png
from components.exam_model.heat_layer import heat_layer_png
from schema.features import VIEWS
from serving.gateway.web import mount_page
from tests.waiting import HANG, wait_until

TOKEN = "a-token-of-the-test"


@dataclass
class ScriptedGateway:
    """What the JSON routes answer.

    Attributes:
        address: Where it listens.
        studies: Documents by key, the newest first.
        answer: Status and body of the next upload.
        received: File names and sizes of the uploads.
        token: The right one.
        down: Answers nothing but 503.
    """

    address: str = ""
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: tuple[int, dict[str, Any]] = (202, {"keys": [], "files": [], "refused": []})
    received: list[list[tuple[str, int]]] = field(default_factory=list)
    token: str = TOKEN
    down: bool = False
    limits: dict[str, int] = field(default_factory=dict)


def picture(name: str) -> bytes:
    """A grey ramp for ``CC_R.png``, its heat layer for ``CC_R.heatmap.png``."""
    grey = encode_png(np.tile(np.arange(0, 128, 2, dtype=np.uint8), (64, 1)))
    if "heatmap" not in name:
        return grey
    return heat_layer_png(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64), grey)


def scripted_app(script: ScriptedGateway) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    mount_page(app)

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[..., Any]) -> Response:
        if request.url.path.startswith("/api/"):
            if script.down:
                return JSONResponse({"detail": "The gateway is full."}, 503)
            if request.headers.get("authorization") != f"Bearer {script.token}":
                return JSONResponse({"detail": "Wrong token."}, 401)
        return await go_on(request)

    @app.get("/api/studies")
    def listed() -> dict[str, Any]:
        keys = ("key", "state", "received_at", "files")
        studies = [
            {**{key: study.get(key) for key in keys}, "density": (study.get("exam") or {}).get("density")}
            for study in script.studies.values()
        ]
        return {"studies": studies, "limits": script.limits}

    @app.post("/api/studies")
    async def upload(request: Request) -> Response:
        form = await request.form()
        files = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        script.received.append([(file.filename or "", file.size or 0) for file in files])
        status, body = script.answer
        return JSONResponse(body, status)

    @app.get("/api/studies/{key}")
    def study(key: str) -> Response:
        if key not in script.studies:
            return JSONResponse({"detail": "No such study."}, 404)
        return JSONResponse(script.studies[key])

    @app.get("/api/studies/{key}/views/{name}")
    def view(key: str, name: str) -> Response:
        return Response(picture(name), media_type="image/png")

    return app


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Run an application on a free port of this machine; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def alive() -> None:
        assert thread.is_alive()

    wait_until(lambda: server.started, alive)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(HANG)


def probabilities(a: float, b: float, c: float, d: float) -> dict[str, float]:
    return {"A": a, "B": b, "C": c, "D": d}


def exam_document(**changes: Any) -> dict[str, Any]:
    """Return a grade as ``serving.client.grading.exam_document`` does."""
    views: dict[str, dict[str, Any]] = {
        view: {
            "density": "C",
            "probabilities": probabilities(0.05, 0.2, 0.6, 0.15),
            "pectoral_status": "removed" if view.startswith("MLO") else "not_applicable",
            "pectoral_area_fraction": 0.12 if view.startswith("MLO") else 0.0,
            "doubt": 0.1,
            "acquisition_system": "HOLOGIC|SELENIA|1.8",
            "system_status": "seen",
            "familiarity": 1.2,
            "flags": [],
        }
        for view in VIEWS
    }
    return {
        "density": "C",
        "probabilities": probabilities(0.051234, 0.198766, 0.62, 0.13),
        "raw_probabilities": probabilities(0.05, 0.2, 0.6, 0.15),
        "right": probabilities(0.04, 0.21, 0.65, 0.1),
        "left": probabilities(0.06, 0.19, 0.59, 0.16),
        "unseen_system": False,
        "unlike_training": False,
        "familiarity": 1.2,
        "warnings": [],
        "missing_views": [],
        "views": views,
        "rejected_files": 0,
        "model_version": 7,
        "notice": "Research software. Not a medical device.",
        **changes,
    }


def study_document(key: str, state: str, **changes: Any) -> dict[str, Any]:
    """Return a study as the route of the gateway does."""
    return {
        "key": key,
        "state": state,
        "received_at": "2026-11-23T10:00:00Z",
        "files": 4,
        "exam": None,
        "refusal": None,
        "failure": None,
        "rejected": [],
        "deliveries": [],
        **changes,
    }
