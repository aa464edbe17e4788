"""The curated schema against the names in code, and acquisition systems of real headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from schema import features as f
from schema.acquisition import REFERENCE_SYSTEMS, AcquisitionSystem, canonical_system

PBTXT = Path(__file__).parents[2] / "schema" / "schema.pbtxt"
OF_READERS = (f.READERS, f.READINGS, f.DENSITY_SHARES)  # of exams with several readers: a value per reader or class
BYTES, INT, FLOAT = schema_pb2.BYTES, schema_pb2.INT, schema_pb2.FLOAT


@pytest.fixture(scope="module")
def schema() -> schema_pb2.Schema:
    return text_format.Parse(PBTXT.read_text(encoding="utf-8"), schema_pb2.Schema())


def test_schema_names_and_types_are_those_of_the_code(schema: schema_pb2.Schema) -> None:
    numbers = {
        f.IMAGE_HEIGHT: INT,
        f.IMAGE_WIDTH: INT,
        f.PATIENT_AGE: INT,
        f.ACQUISITION_YEAR: INT,
        f.PIXEL_SPACING_MM: FLOAT,
        f.PECTORAL_AREA_FRACTION: FLOAT,
        f.BREAST_AREA_FRACTION: FLOAT,
        f.DENSITY_SHARES: FLOAT,
    }
    texts = (
        *(f.IMAGE, f.VIEW, f.LATERALITY, f.EXAM_ID, f.PATIENT_ID, f.DENSITY, f.ACQUISITION_SYSTEM, f.MANUFACTURER),
        *(f.MODEL_NAME, f.SOFTWARE_VERSION, f.PECTORAL_STATUS, f.REGIONS),
        *(f.READERS, f.READINGS),
    )
    assert {feature.name: feature.type for feature in schema.feature} == {**numbers, **dict.fromkeys(texts, BYTES)}


def test_every_feature_that_is_trained_on_is_required_and_scalar(schema: schema_pb2.Schema) -> None:
    for feature in schema.feature:
        of_some = feature.lifecycle_stage == schema_pb2.DEBUG_ONLY
        assert of_some == (feature.name in {f.REGIONS, *OF_READERS}), feature.name
        assert feature.presence.min_fraction == (0.0 if of_some else 1.0), feature.name
        assert feature.HasField("shape") == (feature.name not in OF_READERS), feature.name
        assert not feature.shape.dim, feature.name


def test_vocabularies_are_those_of_the_code(schema: schema_pb2.Schema) -> None:
    domains = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    by_feature = {feature.name: domains[feature.domain] for feature in schema.feature if feature.domain}
    assert by_feature == {
        f.VIEW: f.VIEWS,
        f.LATERALITY: ("R", "L"),
        f.DENSITY: f.DENSITY_CLASSES,
        f.PECTORAL_STATUS: f.PECTORAL_STATUSES,
    }


def test_unknown_numbers_are_within_their_domains(schema: schema_pb2.Schema) -> None:
    domains = {feature.name: feature for feature in schema.feature}
    for name in (f.PATIENT_AGE, f.ACQUISITION_YEAR):
        assert domains[name].int_domain.min <= f.UNKNOWN_INT
    assert domains[f.PIXEL_SPACING_MM].float_domain.min == 0.0


def test_pictures_and_readings_are_left_out_of_statistics(schema: schema_pb2.Schema) -> None:
    left_out = {feature.name for feature in schema.feature if "STATISTICS" in feature.not_in_environment}
    assert left_out == {f.IMAGE, f.REGIONS, *OF_READERS}
    assert set(schema.default_environment) == {"EXAMPLES", "STATISTICS"}


def test_views_have_a_side_and_a_projection() -> None:
    assert [f.laterality_of(view) for view in f.VIEWS] == ["R", "L", "R", "L"]
    assert [f.is_mlo(view) for view in f.VIEWS] == [False, False, True, True]
    assert set(f.DENSITY_MEANINGS) == set(f.DENSITY_CLASSES)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (("GE MEDICAL SYSTEMS", "Senographe DS VERSION ADS_53.40", None), "GE Senograph DS ADS 53.40"),
        (("GE MEDICAL SYSTEMS", "Senograph DS", ["ADS Application Package VERSION ADS_54.11"]), None),
        (("GE MEDICAL SYSTEMS", "Senograph DS", "ADS 54.11"), "GE Senograph DS ADS 54.11"),
        (("HOLOGIC, Inc.", "Selenia Dimensions", None), "Hologic Selenia Dimensions"),
        (("I.M.S. S.r.l.", "GIOTTO IMAGE 3DL", ""), "IMS Giotto Image SDL"),
        (("Acme", "X-1", ["1.0", "2"]), "Acme X-1 1.0/2"),
        ((None, None, None), f.UNKNOWN),
    ],
)
def test_headers_become_canonical_systems(header: tuple[str, str, str], key: str | None) -> None:
    system = canonical_system(*header)
    if key is None:
        assert system.manufacturer == "GE"
        assert system.model_name == "Senograph DS"
        assert "54.11" in system.software_version
    else:
        assert system.key == key


def test_reference_systems_canonicalise_to_themselves() -> None:
    assert sum(reference.exams for reference in REFERENCE_SYSTEMS) == 1964
    for reference in REFERENCE_SYSTEMS:
        system = reference.system
        version = None if system.software_version == f.UNKNOWN else system.software_version
        assert canonical_system(reference.dicom_manufacturer, system.model_name, version) == system
    assert len({reference.system.key for reference in REFERENCE_SYSTEMS}) == 4


texts = st.none() | st.text(max_size=80)


@given(texts, texts, texts | st.lists(st.text(max_size=20), max_size=3))
def test_any_header_gives_a_short_clean_name_that_stays(
    manufacturer: str | None, model: str | None, version: str | list[str] | None
) -> None:
    system = canonical_system(manufacturer, model, version)
    for part in (system.manufacturer, system.model_name, system.software_version):
        assert 0 < len(part) <= 70
        assert "\n" not in part
        assert part == part.strip()
    assert isinstance(system, AcquisitionSystem)
    assert system.key
