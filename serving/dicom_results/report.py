"""The Comprehensive SR: TID 1500 of DICOM PS3.16, a group for the exam and one a breast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset

from schema.features import DENSITY_CLASSES
from serving.client import Probabilities
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import derived_uid

# CID 6000 "Overall Breast Composition"; the terms of BI-RADS' classes A to D.
COMPOSITIONS: Final = {
    "A": CodedConcept("129716005", "SCT", "Almost entirely fat"),
    "B": CodedConcept("129717001", "SCT", "Scattered fibroglandular densities"),
    "C": CodedConcept("129718006", "SCT", "Heterogeneously dense"),
    "D": CodedConcept("129719003", "SCT", "Extremely dense"),
}
BREAST_COMPOSITION: Final = CodedConcept("129715009", "SCT", "Breast composition")
PROBABILITY: Final = CodedConcept("122157", "DCM", "Probability")
# CID 6022 "Side".
SITES: Final = {
    "exam": CodedConcept("63762007", "SCT", "Both breasts"),
    "right": CodedConcept("73056007", "SCT", "Right breast"),
    "left": CodedConcept("80248007", "SCT", "Left breast"),
}
_ANALYSIS: Final = CodedConcept("111004", "DCM", "Analysis Performed")
_COMPOSITION_ANALYSIS: Final = CodedConcept("133890006", "SCT", "Breast composition analysis")
_FAILED: Final = CodedConcept("111024", "DCM", "Failed Analyses")
_MAMMOGRAPHY: Final = CodedConcept("71651007", "SCT", "Mammography")
_COMMENT: Final = CodedConcept("121106", "DCM", "Comment")
_NO_UNITS: Final = CodedConcept("1", "UCUM", "no units")


def _comment(text: str) -> TextContentItem:
    return TextContentItem(name=_COMMENT, value=text, relationship_type=RelationshipTypeValues.CONTAINS)


def _probability(density: str, value: float) -> Measurement:
    measurement = Measurement(name=PROBABILITY, value=round(value, 6), unit=_NO_UNITS)
    modifier = CodeContentItem(
        name=BREAST_COMPOSITION,
        value=COMPOSITIONS[density],
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    item = measurement[0]
    item.ContentSequence = [*item.get("ContentSequence", []), modifier]
    return measurement


def algorithm(config: ResultsConfig, model_version: int | None) -> AlgorithmIdentification:
    """Identifies the algorithm, TID 4019."""
    version = f"software {config.software_version}" + ("" if model_version is None else f", model {model_version}")
    return AlgorithmIdentification(name=config.model_name, version=version)


def group(
    name: str,
    seed: str,
    probabilities: Probabilities | None,
    images: Sequence[Dataset],
    identified: AlgorithmIdentification,
    comments: Sequence[str],
    density: str = "",
) -> MeasurementsAndQualitativeEvaluations:
    """Makes a measurement group, TID 1501.

    Args:
        name: ``exam``, ``right`` or ``left``.
        seed: What the group's tracking UID is derived from.
        probabilities: Of each class; None for an exam that was refused.
        images: References to the images it is of.
        identified: The algorithm.
        comments: Texts for the reader.
        density: Class, where it is not the most probable one.
    """
    evaluation, measurements = QualitativeEvaluation(_FAILED, _COMPOSITION_ANALYSIS), None
    if probabilities is not None:
        by_class = dict(zip(DENSITY_CLASSES, probabilities, strict=True))
        density = density or max(by_class, key=lambda found: by_class[found])
        evaluation = QualitativeEvaluation(BREAST_COMPOSITION, COMPOSITIONS[density])
        measurements = [_probability(of, value) for of, value in by_class.items()]
    made = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier=f"Breast composition, {name}", uid=derived_uid(seed, name)),
        finding_sites=[FindingSite(SITES[name])],
        algorithm_id=identified,
        measurements=measurements,
        qualitative_evaluations=[evaluation],
        source_images=[SourceImageForMeasurementGroup(i.SOPClassUID, i.SOPInstanceUID) for i in images],
    )
    for text in comments:
        made[0].ContentSequence.append(_comment(text))
    return made


def report(
    groups: Sequence[MeasurementsAndQualitativeEvaluations],
    images: Mapping[str, Dataset],
    config: ResultsConfig,
    now: datetime,
    seed: str,
) -> ComprehensiveSR:
    """Makes the report, without patient and study; highdicom logs names that it finds odd, so it gets none."""
    observer = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("observer", config.manufacturer, config.model_name),
        manufacturer_name=config.manufacturer,
        model_name=config.model_name,
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=observer
            )
        ),
        procedure_reported=_MAMMOGRAPHY,
        imaging_measurements=list(groups),
    )
    evidence = []
    for image in images.values():
        blank = Dataset()
        blank.update(image)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(blank, keyword, "")
        blank.StudyDate = blank.StudyTime = None
        evidence.append(blank)
    made = ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=derived_uid(seed, "report series"),
        series_number=config.report_series_number,
        sop_instance_uid=derived_uid(seed, "report"),
        instance_number=1,
        manufacturer=config.manufacturer,
        is_complete=True,
        manufacturer_model_name=config.model_name,
        software_versions=config.software_version,
        series_description="Breast density, research, report",
        content_date=now.date(),
        content_time=now.time(),
    )
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    return made
