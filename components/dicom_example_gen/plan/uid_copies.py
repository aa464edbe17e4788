"""Files that are one image by their SOP Instance UID (0008,0018), and UIDs that several images have.

A copy of a file has its UID and its pixels. The same UID over other pixels is a broken UID, as some anonymisers write
one for all images: it joins nothing, and is told as a remark. Which it is, only the pixel data tell; they are hashed as
they are stored, only of files that share a UID. The same image compressed in two ways counts as two here;
``pixel_copies`` finds it once both are decoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from components.dicom.headers import tags
from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import Rejection, RejectionReason
from components.sources.labels import Label, RowProblem

_UID: Final = tags.tag_name("SOPInstanceUID")


@dataclass(frozen=True)
class Labelled:
    """A file with header and label. It identifies a person: it stays inside planning.

    Attributes:
        file: File.
        header: Its header.
        label: Its label.
        label_by: What gave it its label, such as ``folder level 1``; ``row`` where a row names the file.
        pixels: Hash of its pixel data as they are stored, empty where no other file has its UID.
        image: The image's name, see :func:`with_images`.
    """

    file: str
    header: ViewHeader
    label: Label
    label_by: str
    pixels: str = ""
    image: str = ""


def sharing(files: Sequence[tuple[str, str]]) -> list[int]:
    """Finds the files whose UID another file has too.

    Args:
        files: Names, each with the SOP Instance UID, empty = unknown.

    Returns:
        Their positions.
    """
    first: dict[str, str] = {}
    shared: set[str] = set()
    for name, uid in files:
        if first.setdefault(uid, name) != name:
            shared.add(uid)
    return [position for position, (_, uid) in enumerate(files) if uid and uid in shared]


def broken_uids(images: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Finds the UIDs over different pixels; each image is given as UID and hash of its pixels."""
    hashes: dict[str, set[str]] = defaultdict(set)
    for uid, pixels in images:
        hashes[uid].add(pixels)
    return frozenset(uid for uid, found in hashes.items() if uid and len(found) > 1)


def _copies(views: Iterable[Labelled]) -> list[list[Labelled]]:
    """Groups files that are one image: one file named twice, or equal UID and pixels."""
    groups: list[list[Labelled]] = []
    by_mark: dict[tuple[str, ...], list[Labelled]] = {}
    for view in views:
        marks: list[tuple[str, ...]] = [("file", view.file)]
        if view.header.sop_uid:
            marks.append(("uid", view.header.sop_uid, view.pixels))
        group = next((by_mark[mark] for mark in marks if mark in by_mark), None)
        if group is None:
            groups.append(group := [])
        group.append(view)
        for mark in marks:
            by_mark.setdefault(mark, group)
    return groups


def _contradiction(copies: Sequence[Labelled]) -> RowProblem | None:
    """Finds what the rows of one image contradict each other in."""
    densities, views = ({v.label.density for v in copies}, {v.header.view for v in copies})
    one_file = len({v.file for v in copies}) == 1
    where, what = ("column", "rows of one image") if one_file else (f"equal {_UID} and pixels,", "copies of one image")
    if len(densities) > 1:
        allowed = f"{what} must have one density"
        return RowProblem(RejectionReason.INVALID_LABEL, f"{where} density", " and ".join(sorted(densities)), allowed)
    if len(views) > 1:
        allowed = f"{what} must have one view"
        return RowProblem(RejectionReason.INVALID_ROW, f"{where} view", " and ".join(sorted(views)), allowed)
    return None


def with_images(views: Sequence[Labelled]) -> tuple[list[Labelled], list[Rejection]]:
    """Names the image that each file is: by the first of its files.

    Args:
        views: Files, sorted.

    Returns:
        The files, sorted, and the rejections of those that contradict a copy.
    """
    named: list[Labelled] = []
    rejected: list[Rejection] = []
    for copies in _copies(views):
        problem = _contradiction(copies)
        if problem is not None:
            rejected += [problem.rejection(view.file) for view in copies]
        else:
            named += [replace(view, image=copies[0].file) for view in copies]
    return sorted(named, key=lambda view: view.file), rejected
