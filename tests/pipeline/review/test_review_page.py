"""The page for reviewers: complete, offline, and proof against what an archive may have put into names."""

from __future__ import annotations

import base64
import json
import re

import numpy as np

from components.review.review_file import ReviewName, parse_review
from pipeline.review.page import PageView, review_page
from tests.pictures import decode_picture

HOSTILE = "</script><script>alert('x')</script> & \"Co\""


def view(rank: int) -> PageView:
    return PageView(
        stem=ReviewName(f"{rank:032x}", "MLO_L", "0" * 16).stem,
        pixels_sha256="0" * 64,
        rank=rank,
        title=f"MLO L, exam {rank:08x}",
        system=HOSTILE,
        status="removed",
        doubt=0.5,
        polygons=(((0.5, 0.5), (9.5, 0.5), (0.5, 19.5)),),
        picture=np.full((40, 30), 100 + rank, np.uint8),
    )


def data_of(page: str) -> list[dict[str, object]]:
    [found] = re.findall(r'<script type="application/json" id="views">(.*?)</script>', page, re.S)
    return json.loads(found)


def test_the_page_holds_every_view_in_order_with_its_picture_and_outline() -> None:
    page = review_page([view(1), view(2)])
    views = data_of(page)
    assert [entry["rank"] for entry in views] == [1, 2]
    assert [entry["stem"] for entry in views] == [view(1).stem, view(2).stem]
    assert {entry["found"] for entry in views} == {"muscle found"}  # "removed" is what the run does, not what is seen
    for entry in views:
        picture = str(entry["picture"]).removeprefix("data:image/jpeg;base64,")
        decoded = decode_picture(base64.b64decode(picture))
        assert decoded.shape == (entry["height"], entry["width"]) == (40, 30)
        outline = json.dumps({"polygons": entry["polygons"], "pixels_sha256": entry["pixelsSha256"]}).encode()
        assert parse_review(f"{entry['stem']}.json", outline).polygons == view(1).polygons


def test_the_page_asks_nobody_and_names_do_not_become_markup() -> None:
    page = review_page([view(1)])
    assert page == review_page([view(1)])
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:)\w+:", page)
    assert "alert" in page  # it is there, as text
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert data_of(page)[0]["system"] == HOSTILE
