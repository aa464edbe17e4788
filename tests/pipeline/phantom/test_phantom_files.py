"""Files on disk: DICOM, labels, truth, resuming."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.dicom import stable_uid
from pipeline.phantom.generate import PhantomFolderError, PhantomSummary, generate_phantoms
from schema.acquisition import REFERENCE_SYSTEMS, canonical_system
from schema.features import VIEWS
from tests.pictures import read_picture

pytestmark = pytest.mark.slow

_CONFIG = PhantomConfig(exams=8, seed=9, distribution="uniform", reduction=14, workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSummary:
    return generate_phantoms(_CONFIG, tmp_path_factory.mktemp("phantoms") / "set")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _files(made: PhantomSummary) -> list[Path]:
    return sorted((made.out / "images").rglob("*.dcm"))


def test_layout_and_summary(made: PhantomSummary) -> None:
    assert len(_files(made)) == 32
    assert made.exams == made.written == 8
    assert made.by_density == {"A": 2, "B": 2, "C": 2, "D": 2}
    assert sum(made.by_system.values()) == 8
    assert min(made.by_system.values()) >= 1
    labels = _rows(made.labels)
    assert list(labels[0]) == ["exam_id", "patient_id", "density", "age"]
    assert [r["exam_id"] for r in labels] == [f"PH{i:06d}" for i in range(8)]
    assert len({r["patient_id"] for r in labels}) == made.patients
    assert not list(made.out.rglob("*.partial"))
    assert not (made.out / ".partial").exists()


def test_header_agrees_with_labels_and_truth(made: PhantomSummary) -> None:
    labels = {r["exam_id"]: r for r in _rows(made.labels)}
    truth = {(r["exam_id"], r["view"]): r for r in _rows(made.out / "truth" / "truth.csv")}
    assert len(truth) == 32
    for path in _files(made):
        header = pydicom.dcmread(path)
        label, row = labels[header.AccessionNumber], truth[header.AccessionNumber, path.stem]
        assert header.StudyID == path.parent.name == header.AccessionNumber
        assert header.PatientID == label["patient_id"]
        assert header.PatientAge == f"{int(label['age']):03d}Y"
        assert f"{header.ViewPosition}_{header.ImageLaterality}" == path.stem
        key = canonical_system(header.Manufacturer, header.ManufacturerModelName, header.SoftwareVersions).key
        assert key == row["acquisition_system"]
        assert (header.Rows, header.Columns) == (int(row["rows"]), int(row["columns"]))
        assert [float(v) for v in header.ImagerPixelSpacing] == [float(row["pixel_spacing_mm"])] * 2
        assert label["density"] == row["density"]


def test_every_reference_system_is_recognised_with_its_field_of_view(made: PhantomSummary) -> None:
    fields = {}
    for path in _files(made):
        h = pydicom.dcmread(path, stop_before_pixels=True)
        system = canonical_system(h.Manufacturer, h.ManufacturerModelName, h.SoftwareVersions)
        fields[system.manufacturer, system.model_name] = h.Rows * float(h.ImagerPixelSpacing[0])
    for reference in REFERENCE_SYSTEMS:
        full = reference.rows * reference.pixel_spacing_mm
        assert fields[reference.system.manufacturer, reference.system.model_name] == pytest.approx(full, rel=0.01)


def test_files_are_presentation_mammograms_that_decode_within_their_bits(made: PhantomSummary) -> None:
    syntaxes, photometric, bits = set(), set(), set()
    for path in _files(made):
        dataset = pydicom.dcmread(path)
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
        assert dataset.PresentationIntentType == "FOR PRESENTATION"
        pixels = dataset.pixel_array
        assert pixels.dtype == np.uint16
        assert pixels.shape == (dataset.Rows, dataset.Columns)
        assert pixels.max() < 1 << dataset.BitsStored
        assert dataset.HighBit == dataset.BitsStored - 1
        inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
        assert dataset.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")
        syntaxes.add(dataset.file_meta.TransferSyntaxUID)
        photometric.add(dataset.PhotometricInterpretation)
        bits.add(dataset.BitsStored)
    assert syntaxes == {ExplicitVRLittleEndian, JPEGLSLossless}
    assert photometric == {"MONOCHROME1", "MONOCHROME2"}
    assert bits == {12, 13, 14}


def test_standard_window_shows_tissue_without_clipping_it_away(made: PhantomSummary) -> None:
    for path in _files(made):
        dataset = pydicom.dcmread(path)
        mask = made.out / "truth" / path.parent.name / f"{path.stem}.breast.png"
        breast = read_picture(mask) > 0
        shown = apply_voi_lut(dataset.pixel_array, dataset).astype(float)
        tissue = shown[breast]
        top = (1 << dataset.BitsStored) - 1
        assert np.mean((tissue <= 0.001 * top) | (tissue >= 0.999 * top)) < 0.05


def test_right_breast_has_its_chest_wall_where_the_header_says(made: PhantomSummary) -> None:
    for path in _files(made):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        mask_path = made.out / "truth" / path.parent.name / f"{path.stem}.breast.png"
        mask = read_picture(mask_path)
        assert mask.dtype == np.uint8
        assert mask.shape == (header.Rows, header.Columns)
        assert set(np.unique(mask)) == {0, 255}
        # Rows run towards the posterior (chest wall) in right breasts, towards the anterior in left ones.
        chest = mask[:, -1] if header.PatientOrientation[0] == "P" else mask[:, 0]
        assert chest.any()
        assert header.PatientOrientation[0] == ("P" if header.ImageLaterality == "R" else "A")


def test_uids_are_unique_valid_and_shared_within_a_study(made: PhantomSummary) -> None:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in _files(made)]
    assert len({h.SOPInstanceUID for h in headers}) == 32
    assert len({h.StudyInstanceUID for h in headers}) == 8
    for h in headers:
        assert h.SOPInstanceUID.is_valid
        assert h.file_meta.MediaStorageSOPInstanceUID == h.SOPInstanceUID
    assert stable_uid("a", 1) == stable_uid("a", 1) != stable_uid("a", 2)


def test_same_configuration_gives_the_same_bytes_whatever_the_workers(made: PhantomSummary, tmp_path: Path) -> None:
    again = generate_phantoms(_CONFIG.model_copy(update={"workers": 2}), tmp_path / "again")
    assert _digest(again.out) == _digest(made.out)


def test_another_seed_gives_other_pixels(made: PhantomSummary, tmp_path: Path) -> None:
    config = _CONFIG.model_copy(update={"exams": 1, "seed": 10})
    other = generate_phantoms(config, tmp_path / "other")
    ours = _digest(made.out)
    assert not set(ours.values()) & {digest for name, digest in _digest(other.out).items() if name.endswith(".dcm")}


def test_second_call_makes_nothing_and_an_unfinished_set_is_completed(tmp_path: Path) -> None:
    config = _CONFIG.model_copy(update={"exams": 3})
    out = tmp_path / "set"
    calls: list[tuple[int, int, str]] = []
    generate_phantoms(config, out, on_exam=lambda *event: calls.append(event))
    assert [c[:2] for c in calls] == [(1, 3), (2, 3), (3, 3)]
    before = _digest(out)

    assert generate_phantoms(config, out).written == 0

    for view in VIEWS:
        (out / "images" / "PH000001" / f"{view}.dcm").unlink()
    (out / "images" / "PH000001").rmdir()
    (out / ".partial" / "PH000001" / "images").mkdir(parents=True)
    (out / "labels.csv").unlink()
    calls.clear()
    assert generate_phantoms(config, out, on_exam=lambda *event: calls.append(event)).written == 1
    assert calls[-1] == (3, 3, "PH000001")
    assert _digest(out) == before


def test_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    config = _CONFIG.model_copy(update={"exams": 1})
    generate_phantoms(config, tmp_path / "set")
    with pytest.raises(PhantomFolderError, match=r"phantom\.json.*another configuration"):
        generate_phantoms(config.model_copy(update={"seed": 4}), tmp_path / "set")


def test_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(PhantomFolderError, match="not empty"):
        generate_phantoms(_CONFIG, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
