"""A release writes its version everywhere, and nothing where it cannot be made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.release import EDITS, ROOT, ReleaseError, release, stated_version


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that state the version."""
    for name in EDITS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace("## [Unreleased]", "## [Unreleased]\n\n- A change.", 1), encoding="utf-8")
    return tmp_path


def test_a_release_is_written_everywhere(project: Path) -> None:
    old = stated_version(project)
    major = int(old.split(".")[0]) + 1
    assert release(f"{major}.0.0", "2031-02-03", project) == list(EDITS)
    texts = {name: (project / name).read_text(encoding="utf-8") for name in EDITS}
    assert stated_version(project) == f"{major}.0.0"
    assert f"\nversion: {major}.0.0\ndate-released: 2031-02-03\n" in texts["CITATION.cff"]
    assert f"## [Unreleased]\n\n## [{major}.0.0] - 2031-02-03\n\n- A change.\n" in texts["CHANGELOG.md"]
    assert f"\n## [{old}] - " in texts["CHANGELOG.md"]
    for name in set(EDITS) - {"CHANGELOG.md", "CITATION.cff", "pyproject.toml"}:
        assert old not in texts[name].replace(f"=={old}", ""), name
        assert f"{major}.0.0" in texts[name], name


@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.0", "1.0.0rc1", "01.0.0", "0.0.1", "CURRENT"])
def test_a_version_that_is_none_or_not_newer_writes_nothing(project: Path, version: str) -> None:
    before = {name: (project / name).read_bytes() for name in EDITS}
    with pytest.raises(ReleaseError, match="three numbers above"):
        release(version.replace("CURRENT", stated_version(project)), "2031-02-03", project)
    assert {name: (project / name).read_bytes() for name in EDITS} == before


def test_a_release_says_what_is_new(project: Path) -> None:
    release("98.0.0", "2031-02-03", project)
    with pytest.raises(ReleaseError, match="nothing under"):
        release("99.0.0", "2031-02-04", project)
    assert stated_version(project) == "98.0.0"
