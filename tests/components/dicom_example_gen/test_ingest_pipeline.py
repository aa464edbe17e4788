"""The Beam pipeline of ingest: it does not contain the archive, and never mixes two lists of an archive."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest

from components.common.stages import Element, Gathered, LostRecordsError, gather
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.ingest_pipeline import ArtifactFolders, ingest, list_archive, plan_work
from components.dicom_example_gen.plan.planning import InspectedFile
from components.sources.candidates import Candidate
from components.sources.source import FolderSource

CONFIG, KEY = IngestConfig(), b"key"


def archive(folder: Path, files: int) -> FolderSource:
    (folder / "images").mkdir(parents=True)
    for number in range(files):
        (folder / "images" / f"{number:04}.dcm").touch()
    labels = folder / "labels.csv"
    labels.write_text("exam_id,density\n" + "".join(f"{number},A\n" for number in range(files)), encoding="utf-8")
    return FolderSource(folder / "images", labels)


def submitted(folder: Path, files: int) -> int:
    """Return the bytes of the pipeline that the runner receives."""
    pipeline = beam.Pipeline()
    ingest(pipeline, archive(folder, files), CONFIG, KEY, ArtifactFolders("examples", "report"))
    return len(pipeline.to_runner_api().SerializeToString())


def inspected(offered: list[Element]) -> Gathered:
    """Return the results of pass one if no file is readable."""

    def outcome(candidate: Candidate) -> InspectedFile:
        return InspectedFile(
            candidate, rejection=Rejection(RejectionReason.TRUNCATED, candidate.file, "file", "0 bytes", "")
        )

    done = [
        Element(element.index, [outcome(candidate) for candidate in element.value]) if element.index >= 0 else element
        for element in offered
    ]
    return gather(done, "Inspect")


def test_the_pipeline_is_no_larger_for_a_larger_archive(tmp_path: Path) -> None:
    # Beam draws some names, so that sizes differ by some bytes.
    assert submitted(tmp_path / "b", 2000) < submitted(tmp_path / "a", 2) + 500


def test_files_are_divided_into_parts_and_each_is_planned_once(tmp_path: Path) -> None:
    offered = list_archive(archive(tmp_path, 150))
    assert [len(element.value) for element in offered[:-1]] == [64, 64, 22]
    [mark] = plan_work(inspected(offered), CONFIG, KEY, "examples")  # nothing is readable, so there is no shard
    rejected = mark.value[1].files.rejected
    assert [rejection.file for rejection in rejected] == [f"{number:04}.dcm" for number in range(150)]


def test_a_part_of_another_list_stops_the_run(tmp_path: Path) -> None:
    source = archive(tmp_path, 150)
    first = list_archive(source)
    (tmp_path / "images" / "0000a.dcm").touch()
    second = list_archive(source)
    # Each part exists, none came twice: only the names tell that 0063.dcm is in both lists' parts and 0127.dcm in none.
    assert len(first) == len(second)
    mixed = [first[0], second[1], *first[2:]]
    with pytest.raises(LostRecordsError, match="another list of files"):
        plan_work(inspected(mixed), CONFIG, KEY, "examples")
