"""JSON routes for the page and other clients: upload an exam, get its state and results."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from schema.features import VIEWS
from serving.gateway.admission import Instance, RefusedInstanceError
from serving.gateway.monitoring import log
from serving.gateway.spool import SpoolFullError, Staged
from serving.gateway.studies import BUSY, SharedUidError, Studies
from serving.gateway.uploads import BodyPart, HttpError, Uploads, busy, disk_full

CHANNEL: Final = "page"
_KEY: Final = re.compile(r"[0-9a-f]{20}")
_PICTURE: Final = re.compile(rf"({'|'.join(VIEWS)})(\.(heatmap|texture|sum|muscle))?\.png")
_UNKNOWN: Final = "There is no such study: its results may have been deleted."


def _accept(studies: Studies, parts: list[BodyPart]) -> tuple[int, dict[str, Any]]:
    """Accept an uploaded exam; return status and document of the response."""
    taken: list[tuple[int, tuple[Staged, Instance]]] = []
    refused: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        try:
            taken.append((index, (part.file, studies.inspect(part.file, f"file {index + 1}"))))
        except RefusedInstanceError as error:
            refused.append({"index": index, "reason": error.reason, "message": error.message})
            studies.metrics.refused.labels(CHANNEL, error.reason).inc()
    if not taken:
        detail = "None of the files is a mammogram that can be read." if refused else "The upload has no file."
        return 422, {"detail": detail, "keys": [], "files": [], "refused": refused}
    files: list[dict[str, Any]] = []
    for (index, _), outcome in zip(taken, studies.accept_exam([file for _, file in taken]), strict=True):
        if isinstance(outcome, SharedUidError):
            message = f"file {index + 1}: {outcome.comment}"
            refused.append({"index": index, "reason": outcome.reason, "message": message})
            studies.metrics.refused.labels(CHANNEL, outcome.reason).inc()
        else:
            files.append({"index": index, "key": outcome.key, "name": outcome.name})
    studies.metrics.accepted.labels(CHANNEL).inc(len(files))
    refused.sort(key=lambda found: int(found["index"]))
    if not files:
        return 409, {"detail": "Other images have the UIDs of all files.", "keys": [], "files": [], "refused": refused}
    return 202, {"keys": sorted({file["key"] for file in files}), "files": files, "refused": refused}


def api_router(studies: Studies, uploads: Uploads) -> APIRouter:
    """Return the routes under ``/api``."""
    router = APIRouter(prefix="/api")
    limits = studies.config.limits

    @router.get("/studies")
    def listed(limit: int = Query(50, ge=1, le=500)) -> JSONResponse:
        bounds = {"files": limits.instances, "bytes": limits.request_bytes}
        return JSONResponse({"studies": studies.summaries(limit), "limits": bounds})

    @router.post("/studies")
    async def upload(request: Request) -> JSONResponse:
        receiver = await uploads.receive(request, "form-data")
        try:
            status, document = await run_in_threadpool(_accept, studies, receiver.finish())
        except RefusedInstanceError as error:
            studies.metrics.refused.labels(CHANNEL, error.reason).inc()
            raise (busy(error.message) if error.reason == BUSY else HttpError(413, error.message)) from error
        except SpoolFullError as error:
            raise disk_full(error) from error
        finally:
            await run_in_threadpool(receiver.discard)
        log.info("page: %d files accepted, %d refused", len(document["files"]), len(document["refused"]))
        return JSONResponse(document, status)

    @router.get("/studies/{key}")
    def one(key: str) -> JSONResponse:
        summary = studies.summary(key) if _KEY.fullmatch(key) else None
        if summary is None:
            raise HttpError(404, _UNKNOWN)
        return JSONResponse(summary)

    @router.post("/studies/{key}/retry")
    def retry(key: str) -> JSONResponse:
        if not (_KEY.fullmatch(key) and studies.retry(key)):
            raise HttpError(409, "The study has not failed, or there is no such study.")
        return JSONResponse({"key": key}, 202)

    @router.get("/studies/{key}/views/{name}")
    def picture(key: str, name: str) -> FileResponse:
        known = _KEY.fullmatch(key) and _PICTURE.fullmatch(name)
        path = studies.picture(key, name) if known else None
        if path is None:
            raise HttpError(404, "There is no such picture: the study is not graded, or its images were deleted.")
        return FileResponse(path, media_type="image/png")

    return router
