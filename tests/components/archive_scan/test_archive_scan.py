"""ArchiveScan: the span that it finds, and its parameters for other nodes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.common.location import location
from components.dicom.rejections import ManifestError
from components.dicom_example_gen.config import IngestConfig
from components.sources.source import FolderSource, Source, archive_fingerprint, source_from_json, source_to_json
from components.sources.spans import choose_span


def archive(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name / "images").mkdir(parents=True)
        (folder / name / "images" / "a.dcm").write_bytes(name.encode())
        (folder / name / "labels.csv").write_text("exam_id,density\n1,A\n")


def source(folder: Path, name: str) -> Source:
    return FolderSource(location(str(folder / name / "images")), location(str(folder / name / "labels.csv")))


def test_the_latest_span_or_the_requested_one(tmp_path: Path) -> None:
    archive(tmp_path, "span-1", "span-2", "span-10")
    pattern = source(tmp_path, "span-{SPAN}")
    latest, second = choose_span(pattern, "latest"), choose_span(pattern, "2")
    assert (latest.source, latest.span and latest.span.number) == (source(tmp_path, "span-10"), 10)
    assert (second.source, second.span and second.span.number) == (source(tmp_path, "span-2"), 2)
    with pytest.raises(ManifestError, match="no span 3: give latest, or one of 1, 2, 10"):
        choose_span(pattern, "3")


def test_a_window_of_spans_ends_with_the_newest(tmp_path: Path) -> None:
    archive(tmp_path, "span-1", "span-2", "span-10")
    pattern = source(tmp_path, "span-{SPAN}")
    found = [choose_span(pattern, wanted, 1).span for wanted in ("latest", "2")]
    assert [span and span.number for span in found] == [2, 1]
    with pytest.raises(ManifestError, match=r"has 2 spans up to 2: compile .* kubeflow.spans 2\. Received: 3 or more"):
        choose_span(pattern, "2", 2)
    archive(tmp_path, "all")
    with pytest.raises(ManifestError, match=r"has no spans.*Received: kubeflow.spans=2"):
        choose_span(source(tmp_path, "all"), "latest", 1)


def test_an_archive_without_spans_is_used_as_a_whole(tmp_path: Path) -> None:
    archive(tmp_path, "all")
    assert choose_span(source(tmp_path, "all"), "latest").span is None
    with pytest.raises(ManifestError, match=r"has no spans.*Received: span=3"):
        choose_span(source(tmp_path, "all"), "3")


def test_other_nodes_get_what_the_local_runner_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx.types.standard_artifacts import String

    from components.archive_scan.component import FOUND
    from components.archive_scan.executor import Executor

    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "0123456789abcdef0123456789abcdef")
    archive(tmp_path, "span-1", "span-2")
    reviews = tmp_path / "reviewed"
    reviews.mkdir()
    outputs = {name: [String()] for name in FOUND}
    for name, (artifact,) in outputs.items():
        artifact.uri = str(tmp_path / name)
    properties = {
        "archive": source_to_json(source(tmp_path, "span-{SPAN}")),
        "wanted_span": "latest",
        "newest_span": "",
        "before": 0,
        "reviews_folder": str(reviews),
        "config": IngestConfig().model_dump_json(),
    }

    Executor().Do({}, outputs, properties)

    found = {name: artifact.read() for name, (artifact,) in outputs.items()}
    latest = source(tmp_path, "span-2")
    assert source_from_json(found["source"]) == latest
    assert found["fingerprint"] == archive_fingerprint(latest)
    assert json.loads(found["span"]) == {"number": 2, "version": -1}
    assert json.loads(found["reviews"])["folder"] == str(reviews)
    assert len(found["key_id"]) == 16
    # The node of the span before is told which the newest is, whatever has come since.
    archive(tmp_path, "span-3")
    Executor().Do({}, outputs, {**properties, "newest_span": found["span"], "before": 1})
    assert source_from_json(outputs["source"][0].read()) == source(tmp_path, "span-1")
    (tmp_path / "span-3" / "labels.csv").unlink()
    shutil.rmtree(tmp_path / "span-3" / "images")
    # A new file is noticed.
    (tmp_path / "span-2" / "images" / "b.dcm").write_bytes(b"new")
    Executor().Do({}, outputs, properties)
    assert outputs["fingerprint"][0].read() != found["fingerprint"]
