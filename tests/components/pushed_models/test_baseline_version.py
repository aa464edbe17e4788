"""The choice of the pushed model that a candidate is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.exam_model.versions import baseline_version, copy_baseline, latest_version


@pytest.fixture
def serving_dir(tmp_path: Path) -> Path:
    """Create versions 9 and 10, an unfinished version 11, a hidden partial version and other files."""
    folder = tmp_path / "serving"
    for version in ("9", "10", ".abc.partial", "latest"):
        (folder / version / "variables").mkdir(parents=True)
        (folder / version / "saved_model.pb").write_text(f"model {version}")
        (folder / version / "variables" / "variables.index").write_text(f"weights {version}")
    (folder / "11").mkdir()
    (folder / "12").write_text("a file")
    return folder


def test_the_newest_whole_version_counts_by_number(serving_dir: Path) -> None:
    assert latest_version(str(serving_dir)) == "10"


def test_nothing_pushed_is_none(tmp_path: Path) -> None:
    assert latest_version(str(tmp_path / "absent")) is None
    assert latest_version(str(tmp_path)) is None


def test_a_copy_is_whole_and_names_its_version(serving_dir: Path, tmp_path: Path) -> None:
    uri = tmp_path / "artifact"
    assert copy_baseline(str(serving_dir), str(uri), str(uri / "Format-Serving")) == "10"
    assert (uri / "Format-Serving" / "saved_model.pb").read_text() == "model 10"
    assert (uri / "Format-Serving" / "variables" / "variables.index").read_text() == "weights 10"
    assert baseline_version(str(uri)) == "10"


def test_an_empty_artifact_says_so(tmp_path: Path) -> None:
    uri = tmp_path / "artifact"
    assert copy_baseline(str(tmp_path / "absent"), str(uri), str(uri / "Format-Serving")) is None
    assert list(uri.iterdir()) == []
    assert baseline_version(str(uri)) is None
