from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from components.common.png import decode_png, encode_png
from components.common.views import parse_view
from components.dicom.reading import load_view
from components.dicom.rejections import DEFAULT_MAX_PIXELS
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.planning import inspect, plan
from components.dicom_example_gen.view_shards import to_example
from components.sources.candidates import Label
from components.sources.source import FolderSource, find_candidates
from schema import features
from tests.components.dicom.dicom_files import MakeDicom

CONTRACT = {
    features.IMAGE,
    features.IMAGE_HEIGHT,
    features.IMAGE_WIDTH,
    features.PIXEL_SPACING_MM,
    features.VIEW,
    features.LATERALITY,
    features.EXAM_ID,
    features.PATIENT_ID,
    features.DENSITY,
    features.ACQUISITION_SYSTEM,
    features.MANUFACTURER,
    features.MODEL_NAME,
    features.SOFTWARE_VERSION,
    features.PATIENT_AGE,
    features.ACQUISITION_YEAR,
}


def test_example_holds_the_contract_and_no_identity(make_dicom: MakeDicom) -> None:
    path: Path = make_dicom("E1/a.dcm")
    labels = path.parents[1] / "labels.csv"
    labels.write_text("exam_id,density\nACC7,3\n")
    candidates = find_candidates(FolderSource(path.parents[1], labels))
    assert candidates.labels == {"ACC7": Label("ACC7", "C")}
    outcomes = [inspect(c, candidates.root, DEFAULT_MAX_PIXELS) for c in candidates.found]
    (view,) = plan(outcomes, candidates.labels, IngestConfig(), b"key").accepted
    loaded = load_view(candidates.root / view.file, view.view, 32)
    example = to_example(view, loaded)

    feature = example.features.feature
    assert set(feature) == CONTRACT
    pixels = decode_png(feature[features.IMAGE].bytes_list.value[0])
    np.testing.assert_array_equal(pixels, loaded.pixels)
    assert pixels.dtype == np.uint16
    assert pixels.shape == (32, 24)
    assert feature[features.IMAGE_HEIGHT].int64_list.value[0] == 32
    assert np.isclose(feature[features.PIXEL_SPACING_MM].float_list.value[0], 0.2)
    assert feature[features.DENSITY].bytes_list.value[0] == b"C"
    assert feature[features.PATIENT_AGE].int64_list.value[0] == 58
    assert feature[features.ACQUISITION_SYSTEM].bytes_list.value[0] == b"GE Senograph DS ADS 53.40"

    data = example.SerializeToString(deterministic=True)
    assert data == to_example(view, loaded).SerializeToString(deterministic=True)
    header = outcomes[0].header
    assert header is not None
    for secret in ("Rossi", "PAT-4711", "1.2.3.4", "ACC7", "19601231", header.sop_uid, "a.dcm"):
        assert secret.encode() not in data


def test_png_is_lossless_and_deterministic() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (50, 31), dtype=np.uint16)
    assert encode_png(image) == encode_png(image.copy())
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)


def test_readings_are_in_the_example_only_if_there_are_several(make_dicom: MakeDicom) -> None:
    path: Path = make_dicom("E1/a.dcm")
    labels = path.parents[1] / "labels.csv"

    def example_of(table: str) -> bytes:
        labels.write_text(table)
        candidates = find_candidates(FolderSource(path.parents[1], labels))
        outcomes = [inspect(c, candidates.root, DEFAULT_MAX_PIXELS) for c in candidates.found]
        (view,) = plan(outcomes, candidates.labels, IngestConfig(), b"key").accepted
        data = to_example(view, load_view(candidates.root / view.file, view.view, 32))
        return bytes(data.SerializeToString(deterministic=True))

    plain = example_of("exam_id,density\nACC7,3\n")
    assert example_of("exam_id,reader,density\nACC7,rossi,C\n") == plain
    assert example_of("exam_id,density_reader1,density_reader2\nACC7,,C\n") == plain
    several = parse_view(example_of("exam_id,density_reader1,density_reader2\nACC7,C,B\n"))
    assert (several.density, several.readings) == ("C", (("1", "C"), ("2", "B")))
    assert not several.is_agreed
    assert replace(several, readings=()) == parse_view(plain)
