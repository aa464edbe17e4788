"""STOW-RS (DICOM PS3.18 section 10.5): store instances by HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydicom.dataset import Dataset
from starlette.concurrency import run_in_threadpool

from serving.gateway.admission import DOES_NOT_MATCH, RefusedInstanceError, is_uid
from serving.gateway.monitoring import log
from serving.gateway.spool import SpoolFullError
from serving.gateway.studies import BUSY, Studies
from serving.gateway.uploads import BodyPart, HttpError, Uploads, busy, disk_full

CHANNEL: Final = "stow"
_MEDIA_TYPE: Final = "application/dicom+json"
_ACCEPTED: Final = ("*/*", "application/*", _MEDIA_TYPE, "application/json")


@dataclass(frozen=True)
class Stored:
    """Result of one instance; ``refused`` is ``None`` if it was stored."""

    sop_class: str
    sop_uid: str
    refused: RefusedInstanceError | None = None


def stow_response(results: Sequence[Stored]) -> tuple[int, dict[str, Any]]:
    """Return the response of PS3.18 section 10.5.3.

    Args:
        results: Result of each instance.

    Returns:
        Status (200 all stored, 202 some, 409 none) and the Store Instances Response Module as DICOM JSON. As the
        standard requires, it repeats the UIDs of the request. The reason is the Error Comment (0000,0902).
    """
    stored: list[Dataset] = []
    failed: list[Dataset] = []
    others: list[Dataset] = []
    for result in results:
        item = Dataset()
        if result.sop_uid:
            item.ReferencedSOPClassUID = result.sop_class
            item.ReferencedSOPInstanceUID = result.sop_uid
        if result.refused is None:
            stored.append(item)
            continue
        item.FailureReason = result.refused.status
        item.ErrorComment = result.refused.comment
        (failed if result.sop_uid else others).append(item)
    answer = Dataset()
    for keyword, items in (
        ("ReferencedSOPSequence", stored),
        ("FailedSOPSequence", failed),
        ("OtherFailuresSequence", others),
    ):
        if items:
            setattr(answer, keyword, items)
    status = 200 if not failed and not others else 202 if stored else 409
    return status, answer.to_json_dict()


def _store(studies: Studies, part: BodyPart, position: int, study_uid: str | None) -> Stored:
    """Accept one part."""
    try:
        instance = studies.inspect(part.file, f"file {position}")
        if study_uid is not None and instance.study_uid != study_uid:
            message = f"file {position}: Study Instance UID (0020,000D) is not the URL's."
            raise RefusedInstanceError("other_study", DOES_NOT_MATCH, message, instance.sop_class, instance.sop_uid)
        try:
            studies.accept([(part.file, instance)])
        except RefusedInstanceError as error:
            raise RefusedInstanceError(
                error.reason, error.status, error.message, instance.sop_class, instance.sop_uid
            ) from error
    except RefusedInstanceError as error:
        studies.metrics.refused.labels(CHANNEL, error.reason).inc()
        log.info("STOW: an instance refused, %s", error.reason)
        return Stored(error.sop_class, error.sop_uid, error)
    studies.metrics.accepted.labels(CHANNEL).inc()
    return Stored(instance.sop_class, instance.sop_uid)


def stow_router(studies: Studies, uploads: Uploads) -> APIRouter:
    """Return the routes ``POST /dicom-web/studies`` and ``POST /dicom-web/studies/{uid}``."""
    router = APIRouter()

    @router.post("/dicom-web/studies")
    @router.post("/dicom-web/studies/{study_uid}")
    async def store(request: Request, study_uid: str | None = None) -> JSONResponse:
        if study_uid is not None and not is_uid(study_uid):
            raise HttpError(400, "The study in the URL is no UID.")
        accepts = [kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "*/*").split(",")]
        if not any(kind in _ACCEPTED for kind in accepts):
            raise HttpError(406, f"Answers are {_MEDIA_TYPE}.")
        receiver = await uploads.receive(request, "related")
        try:
            parts = receiver.finish()
            if not parts:
                raise HttpError(400, "The body has no instance.")
            if any(part.content_type != "application/dicom" for part in parts):
                raise HttpError(415, "Every part must be of Content-Type application/dicom.")
            results = [
                await run_in_threadpool(_store, studies, part, position, study_uid)
                for position, part in enumerate(parts, start=1)
            ]
        except SpoolFullError as error:
            raise disk_full(error) from error
        finally:
            await run_in_threadpool(receiver.discard)
        if all(result.refused is not None and result.refused.reason == BUSY for result in results):
            raise busy("Too many studies wait for their grade: try again later.")
        status, document = stow_response(results)
        return JSONResponse(document, status, media_type=_MEDIA_TYPE)

    return router
