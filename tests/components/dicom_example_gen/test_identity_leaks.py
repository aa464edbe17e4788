"""No identifier in the input of ingest is in its outputs, logs or warnings.

Every kind of file is there, taken and rejected, each full of identifiers, some of them malformed. The search is for the
identifiers themselves and for what encodings make of them. Names of files and folders hold identifiers too: they may
stand in ``files.jsonl``, which is for the owner of the archive, and nowhere else.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import shutil
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID

from components.common.png import decode_png
from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.sources.source import FolderSource
from schema import features as f
from schema.features import VIEWS
from tests.components.dicom.dicom_files import mammogram, write
from tests.components.executor_harness import NodeOutput, run_ingest

# In headers alone: never in any output.
IN_HEADERS = {
    "PatientName": "Garibaldi^Annunziata",
    "PatientBirthDate": "19390731",
    "PatientBirthName": "Ribottini",
    "PatientMotherBirthName": "Saragozza",
    "OtherPatientIDs": "OTHER-ID-9982",
    "PatientAddress": "Via Larghissima 3",
    "PatientTelephoneNumbers": "0508812345",
    "PatientComments": "known as Nunzia Garibaldina",
    "AdditionalPatientHistory": "hysterectomy in Quarrata",
    "EthnicGroup": "Etruscan",
    "AccessionNumber": "ACCNR0815471",
    "StudyID": "STUDYNR5512",
    "InstitutionName": "Ospedale Privatissimo",
    "InstitutionAddress": "Lungarno Serristori 9",
    "InstitutionalDepartmentName": "Senologia Terza",
    "ReferringPhysicianName": "Biancardi^Ugo",
    "PerformingPhysicianName": "Neracci^Ezio",
    "OperatorsName": "Verdastri^Ida",
    "PhysiciansOfRecord": "Giallini^Rina",
    "RequestingPhysician": "Marroncini^Leo",
    "StationName": "MAMMOSTATION77",
    "DeviceSerialNumber": "SERIAL-778812",
    "StudyDescription": "Mammografia di controllo Garibaldi",
    "SeriesDescription": "per la signora Garibaldi",
    "ProtocolName": "PROTGARIBALDI",
    "RequestedProcedureDescription": "RICHIESTA 44512",
    "ImageComments": "seen by Biancardi on Tuesday",
    "DerivationDescription": "made for Nunzia",
    "StudyTime": "081533.417",
    "AcquisitionTime": "081612.993",
    "StudyDate": "20190304",
    "AcquisitionDate": "20190304",
    "ContentDate": "20190304",
    "SeriesInstanceUID": "1.2.826.0.2.99.1",
    "FrameOfReferenceUID": "1.2.826.0.4.99.1",
}
# Values that violate their VR, which parsers like to quote.
MALFORMED = {
    "SeriesDate": ("DA", "GARIBALDI 31-07-1939"),
    "ContentTime": ("TM", "nunzia o'clock"),
    "EstimatedRadiographicMagnificationFactor": ("DS", "that of Nunzia"),
}
PATIENTS = ("MRN-00417-X", "MRN-00418-X", "MRN-00419-X")
# In names of files and folders: in ``files.jsonl`` alone.
FOLDERS = ("Rossellini Maria 1951-02-28", "Mastroianni Lea", "MRN-00419-X")
CONFIG = IngestConfig(longest_side=64, accept=(RejectionReason.IMPLANT_PRESENT,))


def identifying(**changes: object) -> FileDataset:
    pixels = np.random.default_rng(zlib.crc32(str(changes).encode())).integers(0, 4096, (40, 32), dtype=np.uint16)
    dataset = mammogram(pixels, **{**IN_HEADERS, **changes})
    for keyword, (vr, value) in MALFORMED.items():
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, vr, len(value), value.encode(), 0, False, True)
    dataset.file_meta.SourceApplicationEntityTitle = "AE-GARIBALDI"
    dataset.file_meta.ImplementationVersionName = "PACS-OSPEDALE"
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.3.4711.99")
    block = dataset.private_block(0x0011, "SEGRETO", create=True)
    block.add_new(1, "LO", "private Garibaldi")
    dataset.add_new(Tag(0x60004000), "LT", "overlay comment of Biancardi")
    return dataset


class RecordsHandler(logging.Handler):
    """Keep all records of level INFO and above."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.INFO)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass(frozen=True)
class Leaked:
    """Output of a run: files by name, and all logs, printed texts and warnings."""

    output: NodeOutput
    chatter: str


@pytest.fixture(scope="module")
def leaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leaked]:
    root = tmp_path_factory.mktemp("archive")
    labels = ["exam_id,patient_id,density,split"]
    for number, (patient, folder, split) in enumerate(zip(PATIENTS, FOLDERS, ("train", "eval", "test"), strict=True)):
        study = f"1.2.826.0.1.{4711 + number}"
        labels.append(f"{study},{patient},{'ABC'[number]},{split}")
        for view in VIEWS:
            position, side = view.split("_")
            uid = f"1.2.826.0.3.{4711 + number}.{VIEWS.index(view)}"
            tags = {"StudyInstanceUID": study, "SOPInstanceUID": uid, "PatientID": patient, "ViewPosition": position}
            dataset = identifying(ImageLaterality=side, BreastImplantPresent="YES", **tags)
            write(dataset, root / "images" / folder / f"{folder} {view}.dcm")
    bad, whole = root / "images" / FOLDERS[0], (root / "images" / FOLDERS[0] / f"{FOLDERS[0]} CC_R.dcm").read_bytes()
    tags = {"StudyInstanceUID": "1.2.826.0.1.4711", "PatientID": PATIENTS[0], "BreastImplantPresent": "YES"}
    special: dict[str, dict[str, object]] = {
        "spot": {"ViewPosition": "SCC"},
        "series says C-View": {"SeriesDescription": "C-View of Garibaldi"},
        "burned in": {"BurnedInAnnotation": "YES"},
        "ct": {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
        "no view": {"ViewPosition": None},
        "second of its view": {"ViewPosition": "CC", "ImageLaterality": "R"},
        "without label": {"StudyInstanceUID": "1.2.826.0.1.9999", "AccessionNumber": "ACCNR7777777"},
        "colour": {"SamplesPerPixel": 3},
        "malformed uid": {"StudyInstanceUID": "1.2.GARIBALDI", "SOPInstanceUID": "1.2.NUNZIA"},
        "no pixels": {"PixelData": None},
        "flat": {"ViewPosition": "MLO", "PixelData": bytes(40 * 32 * 2)},
    }
    for name, changes in special.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(identifying(**tags | changes), bad / f"{name}.dcm")
    (bad / "truncated.dcm").write_bytes(whole[: len(whole) * 2 // 3])
    (bad / "copy.dcm").write_bytes(whole)
    (bad / "letter.dcm").write_text("Dear Mrs Garibaldi, MRN-00417-X,", encoding="utf-8")
    (bad / "letter.Rossellini").write_text("Dear Mrs Rossellini", encoding="utf-8")
    (root / "labels.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")

    patch = pytest.MonkeyPatch()
    patch.setenv("BREAST_DENSITY_HASH_KEY", "the secret of this test")
    records: list[logging.LogRecord] = []
    handler = RecordsHandler(records)
    logger, level = logging.getLogger(), logging.getLogger().level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            source = FolderSource(root / "images", root / "labels.csv")
            output = run_ingest(source, CONFIG, tmp_path_factory.mktemp("ingested"), workers=2)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        patch.undo()
    formatter = logging.Formatter()
    chatter = [formatter.format(record) for record in records] + [str(w.message) for w in warned]
    yield Leaked(output, "\n".join(chatter))
    shutil.rmtree(root)


def forms(identifier: str) -> set[bytes]:
    """Return the identifier as text, and in encodings that would hide it."""
    found = set()
    texts = {identifier, identifier.lower(), identifier.upper(), *identifier.split("^")}
    if len(identifier) == 8 and identifier.isdigit():
        year, month, day = identifier[:4], identifier[4:6], identifier[6:]
        texts |= {separator.join(parts) for separator in "-./" for parts in ((year, month, day), (day, month, year))}
        texts |= {day + month + year, month + day + year, f"{month}/{day}/{year}"}
    for text in (text for text in texts if len(text) > 3):
        raw = text.encode()
        found |= {raw, text.encode("utf-16-le"), raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]}
        for shift in range(3):  # base64 depends on where in its triples a text begins
            encoded = base64.b64encode(b"\0" * shift + raw)
            found.add(encoded[(0, 2, 3)[shift] : len(raw) * 8 // 6])
    return {form for form in found if len(form) > 3}


def contents(name: str, data: bytes) -> Iterator[bytes]:
    """A file's bytes as they are, decompressed, and the images in its records decoded."""
    yield data
    if name.endswith(".gz"):
        yield gzip.decompress(data)


def header_identifiers() -> list[str]:
    values = [*IN_HEADERS.values(), *(value for _, value in MALFORMED.values())]
    values += ["GARIBALDI", "Nunzia", "SEGRETO", "AE-GARIBALDI", "PACS-OSPEDALE", "1.2.826.0", "ACCNR7777777"]
    return [*values, "overlay comment", "private Garibaldi", "Dear Mrs", "MRN-00417", "MRN-00418"]


def test_ingest_took_and_rejected_what_it_should(leaked: Leaked) -> None:
    summary = leaked.output.summary()
    assert summary["accepted"] == 12
    assert set(summary["by_reason"]) == {
        "spot_compression",
        "synthetic_2d",
        "burned_in_annotation",
        "not_mammography",
        "unknown_view",
        "duplicate_view",
        "no_label",
        "unsupported_image",
        "no_pixel_data",
        "truncated",
        "duplicate",
        "not_dicom",
    }


def test_no_identifier_of_a_header_is_in_any_output_byte(leaked: Leaked) -> None:
    outputs = leaked.output.files()
    assert len(outputs) > 4
    for name, data in outputs.items():
        for content in contents(name, data):
            for identifier in header_identifiers():
                assert [form for form in forms(identifier) if form in content] == [], (name, identifier)
    for views in leaked.output.views().values():
        for view in views:
            feature = view.features.feature
            pixels = decode_png(feature[f.IMAGE].bytes_list.value[0]).tobytes()
            assert not any(form in pixels for identifier in IN_HEADERS.values() for form in forms(identifier))
            values = {k: tuple(v.bytes_list.value) for k, v in feature.items() if k != f.IMAGE}
            text = repr(values).encode()
            assert not any(form in text for identifier in header_identifiers() for form in forms(identifier))
            assert feature[f.ACQUISITION_YEAR].int64_list.value[0] == 2019


def test_logs_output_and_warnings_contain_no_identifier(leaked: Leaked) -> None:
    assert "Done consuming work" in leaked.chatter  # so the rest would have been seen too
    chatter = leaked.chatter.encode()
    for identifier in (*header_identifiers(), *FOLDERS, "Rossellini", "Mastroianni"):
        assert [form for form in forms(identifier) if form in chatter] == [], identifier


def test_file_names_are_only_in_the_list_of_files(leaked: Leaked) -> None:
    outputs = leaked.output.files()
    assert b"Rossellini" in outputs.pop("report/files.jsonl")
    for name, data in outputs.items():
        for content in contents(name, data):
            for identifier in (*FOLDERS, "Rossellini", "Mastroianni", "MRN-00419"):
                assert [form for form in forms(identifier) if form in content] == [], (name, identifier)
    assert json.loads(outputs["report/summary.json"])["ignored"] == {"other": 1}


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_encoded_identifiers(shift: int) -> None:
    data = b"x" * shift + b"Garibaldi, born 31/07/1939"
    for content in (data, base64.b64encode(data), data.hex().encode(), data.decode().encode("utf-16-le")):
        assert any(form in content for form in forms("Garibaldi"))
    assert any(form in data for form in forms("19390731"))
    assert not any(form in b"Garibald 1939-07-30" for form in (*forms("Garibaldi"), *forms("19390731")))
