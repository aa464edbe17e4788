"""Results that replace earlier results of the same study, because images came later or were corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodeContentItem, CodedConcept, RelationshipTypeValues, TextContentItem
from pydicom.dataset import Dataset

from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import derived_uid

_COMMENT: Final = CodedConcept("121106", "DCM", "Comment")
_MEASUREMENTS, _GROUP = "126010", "125007"  # Imaging Measurements, Measurement Group: TID 1500
_REJECTED: Final = CodedConcept("113001", "DCM", "Rejected for Quality Reasons")  # CID 7010
_MODIFIER: Final = CodedConcept("113011", "DCM", "Document Title Modifier")  # TID 2010
_OTHER_FAILURE: Final = CodedConcept("111220", "DCM", "Other failure")  # CID 7011
_NAMELESS: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")


def supersede(made: Sequence[Dataset], earlier: Sequence[Dataset], config: ResultsConfig) -> list[Dataset]:
    """Mark results as the successors of earlier results.

    The report names the earlier report as its predecessor and says so in a sentence. Instance numbers rise. A rejection
    note asks systems with IOCM (IHE Imaging Object Change Management) to hide the earlier objects.

    Args:
        made: The new results, with patient and study; they are changed.
        earlier: Headers of the earlier results of the same study.
        config: Manufacturer and software named in the results.

    Returns:
        The new results, then the rejection note; only the new results if there are no earlier ones.

    Source:
        DICOM PS3.3 C.17.2 (Predecessor Documents Sequence), A.35.4 (Key Object Selection), PS3.16 TID 2010, CID 7010
        and 7011.
    """
    if not earlier:
        return list(made)
    for modality in {str(item.Modality) for item in made}:
        last = max((int(item.InstanceNumber or 0) for item in earlier if item.Modality == modality), default=0)
        for item in made:
            if item.Modality == modality:
                item.InstanceNumber = int(item.InstanceNumber) + last
    reports = [item for item in earlier if item.Modality == "SR"]
    for item in made:
        if item.Modality == "SR" and reports:
            item.PredecessorDocumentsSequence = _references(reports)
            _comment(item, f"This report replaces {_named(reports)}: images came later or were corrected.")
    return [*made, _rejection_note(made[0], earlier, config)]


def _named(reports: Sequence[Dataset]) -> str:
    return " and ".join(f"report {item.InstanceNumber} of {item.ContentDate} {item.ContentTime}" for item in reports)


def _references(objects: Sequence[Dataset]) -> list[Dataset]:
    """Return the items of a Hierarchical SOP Instance Reference Macro, one per object (PS3.3 table C.17-3)."""
    found = []
    for item in objects:
        instance, series, study = Dataset(), Dataset(), Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = item.SOPClassUID, item.SOPInstanceUID
        series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], item.SeriesInstanceUID
        study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], item.StudyInstanceUID
        found.append(study)
    return found


def _comment(report: Dataset, text: str) -> None:
    """Add a comment to the first measurement group of a report."""

    def child(item: Dataset, code: str) -> Dataset:
        found: Dataset
        for found in item.ContentSequence:
            if found.ConceptNameCodeSequence[0].get("CodeValue") == code:
                return found
        raise KeyError(code)

    group = child(child(report, _MEASUREMENTS), _GROUP)
    group.ContentSequence.append(TextContentItem(_COMMENT, text, RelationshipTypeValues.CONTAINS))


def _rejection_note(first: Dataset, earlier: Sequence[Dataset], config: ResultsConfig) -> Dataset:
    evidence = []
    for item in earlier:
        blank = Dataset()
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(blank, keyword, item[keyword].value)
        for keyword in _NAMELESS:  # highdicom logs unusual names, so it gets none
            setattr(blank, keyword, "")
        blank.StudyDate = blank.StudyTime = None
        if "Rows" in item:
            blank.Rows, blank.Columns = item.Rows, item.Columns
        evidence.append(blank)
    content = KeyObjectSelection(
        document_title=_REJECTED, referenced_objects=evidence, description="Replaced by a newer result of this study."
    )
    content[0].ContentSequence.insert(
        0, CodeContentItem(_MODIFIER, _OTHER_FAILURE, RelationshipTypeValues.HAS_CONCEPT_MOD)
    )
    seed = "\n".join(sorted(str(item.SOPInstanceUID) for item in earlier))
    note = KeyObjectSelectionDocument(
        evidence=evidence,
        content=content,
        series_instance_uid=derived_uid(str(first.SOPInstanceUID), seed, "rejection series"),
        series_number=config.rejection_series_number,
        sop_instance_uid=derived_uid(str(first.SOPInstanceUID), seed, "rejection"),
        instance_number=1,
        manufacturer=config.manufacturer,
        manufacturer_model_name=config.model_name,
        software_versions=config.software_version,
        series_description="Breast density, research, replaced",
    )
    for keyword in (*_NAMELESS, "ReferringPhysicianName", "StudyDate", "StudyTime", "SpecificCharacterSet"):
        if keyword in first:
            note[keyword] = first[keyword]
        elif keyword == "SpecificCharacterSet" and keyword in note:
            del note[keyword]
    for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
        if keyword in first:
            note[keyword] = first[keyword]
    return note
