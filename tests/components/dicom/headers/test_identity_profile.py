"""Keys of the keyed hashes, and the de-identification profile, compared with the code that reads DICOM and the page."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from components.dicom.headers.deidentification import PROFILE, Action, as_markdown
from components.dicom.headers.header import parse_age
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import RESEARCH_KEY, HashKeyError, find_key, require_same_key

PROJECT = Path(__file__).parents[4]
READERS = [PROJECT / "components" / name for name in ("dicom", "exams", "sources", "dicom_example_gen")]
PAGE = PROJECT / "docs" / "deidentification.md"
VARIABLE = "BREAST_DENSITY_HASH_KEY"
KEY = "0123456789abcdef0123456789abcdef"


def key_file(tmp_path: Path, content: str, mode: int = 0o600) -> str:
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_the_key_comes_from_the_variable_or_a_file(tmp_path: Path) -> None:
    path = key_file(tmp_path, KEY + "\n", 0o640)
    found = [
        find_key(IngestConfig(), {VARIABLE: KEY}),
        find_key(IngestConfig(), {f"{VARIABLE}_FILE": path}),
        find_key(IngestConfig(hash_key_file=path), {}),
        find_key(IngestConfig(hash_key_variable="OTHER"), {"OTHER": f" {KEY}\n", VARIABLE: "x"}),
    ]
    assert {(key.key, key.is_research) for key in found} == {(KEY.encode(), False)}
    assert KEY not in repr(found[0])
    public = find_key(IngestConfig(), {})
    assert (public.key, public.is_research) == (RESEARCH_KEY, True)
    assert len({public.key_id, found[0].key_id}) == 2


@pytest.mark.parametrize(
    ("variables", "file", "content", "mode", "message"),
    [
        ({VARIABLE: ""}, False, "", 0o600, "BREAST_DENSITY_HASH_KEY holds an empty key"),
        ({VARIABLE: "geheim"}, False, "", 0o600, "a key of 6 bytes, at least 16"),
        ({}, True, " \n", 0o600, "holds an empty key"),
        ({}, True, "short", 0o600, "a key of 5 bytes, at least 16"),
        ({}, True, KEY, 0o604, r"everyone on this machine may read \(mode 0604\)"),
        ({VARIABLE: KEY}, True, KEY, 0o600, "Several hash keys are set"),
        ({f"{VARIABLE}_FILE": "/no/such/file"}, False, "", 0o600, "cannot be read: No such file"),
        ({f"{VARIABLE}_FILE": ""}, False, "", 0o600, "names no file"),
        ({f"{VARIABLE}_FILE": os.curdir}, False, "", 0o600, "not a regular file"),
    ],
)
def test_keys_that_protect_nothing_are_refused(
    variables: dict[str, str], file: bool, content: str, mode: int, message: str, tmp_path: Path
) -> None:
    path = key_file(tmp_path, content, mode)
    with pytest.raises(HashKeyError, match=message) as caught:
        find_key(IngestConfig(hash_key_file=path if file else ""), variables)
    assert KEY not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_worker_with_another_key_stops() -> None:
    own, public = find_key(IngestConfig(), {VARIABLE: KEY}), find_key(IngestConfig(), {})
    require_same_key(own, own.key_id)
    with pytest.raises(HashKeyError, match="This worker has no hash key"):
        require_same_key(public, own.key_id)
    with pytest.raises(HashKeyError, match="another hash key"):
        require_same_key(own, public.key_id)


def read_keywords(source: str) -> set[str]:
    """Keywords of the DICOM elements that code names: as text, as attribute, or as the number of a tag."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and tag_for_keyword(node.value):
            found.add(node.value)
        elif isinstance(node, ast.Attribute) and tag_for_keyword(node.attr):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 0xFFFF:
            found.add(keyword_for_tag(node.value))
    return found - {""}


def test_the_search_for_tags_finds_them() -> None:
    code = 'tags.text(d, "PatientName"); d.StationName; d[0x00100040]; d.get("AccessionNumber"); x = "Modalities"'
    assert read_keywords(code) == {"PatientName", "StationName", "PatientSex", "AccessionNumber"}


def test_the_profile_lists_exactly_what_is_read() -> None:
    read: dict[str, str] = {}
    for path in sorted(path for folder in READERS for path in folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        handles_dicom = "pydicom" in source or "import tags" in source
        if handles_dicom and path.name != "deidentification.py":
            read |= dict.fromkeys(read_keywords(source), path.name)
    listed = [attribute.keyword for attribute in PROFILE]
    assert len(set(listed)) == len(listed)
    unlisted = {keyword: file for keyword, file in read.items() if keyword not in listed}
    assert unlisted == {}, "add them to PROFILE of deidentification.py and say what becomes of them"
    assert set(listed) - set(read) == set(), "nothing reads these any more, take them out of PROFILE"


def test_what_the_standard_calls_identifying_does_not_pass_as_it_is() -> None:
    assert [a.keyword for a in PROFILE if a.action is Action.KEPT and a.basic_profile] == []


def test_the_page_shows_the_profile() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert as_markdown() in page, "run: python -m components.dicom.headers.deidentification, and put it in the page"


@given(st.integers(0, 130))
def test_ages_above_89_are_one(years: int) -> None:
    expected = min(years, 90) if years <= 120 else -1
    assert parse_age(f"{years:03d}Y") == parse_age(str(years)) == expected
