"""The Comprehensive SR: TID 1500 of DICOM PS3.16 with one group for the exam and one per breast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
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
from pydicom.sr.codedict import codes

from components.exam_model.recipe import PreprocessingRecipe
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client.grades import Probabilities
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import derived_uid

_Image = TypeVar("_Image", bound=ImageContentItem)

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
# CID 4014 "View for Mammography" and CID 244 "Laterality".
PROJECTIONS: Final = {
    "CC": CodedConcept("399162004", "SCT", "cranio-caudal"),
    "MLO": CodedConcept("399368009", "SCT", "medio-lateral oblique"),
}
LATERALITIES: Final = {"R": CodedConcept("24028007", "SCT", "Right"), "L": CodedConcept("7771000", "SCT", "Left")}
_IMAGE_VIEW: Final = CodedConcept("111031", "DCM", "Image View")
_IMAGE_LATERALITY: Final = CodedConcept("111027", "DCM", "Image Laterality")
_SOURCE: Final = CodedConcept("260753009", "SCT", "Source")
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


def _shown_view(name: str) -> ContentSequence:
    """Return projection and side as acquisition context (TID 1602 and 1603); empty if it is not a standard view."""
    context = ContentSequence()
    if name in VIEWS:
        projection, side = name.split("_")
        for concept, value in ((_IMAGE_LATERALITY, LATERALITIES[side]), (_IMAGE_VIEW, PROJECTIONS[projection])):
            context.append(CodeContentItem(concept, value, RelationshipTypeValues.HAS_ACQ_CONTEXT))
    return context


def _with_view(item: _Image, name: str) -> _Image:
    if context := _shown_view(name):
        item.ContentSequence = context
    return item


def _library(images: Mapping[str, Dataset]) -> ContainerContentItem:
    """Return the list of images with their views, TID 1600; highdicom's own lacks film scans and views."""
    entries = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS)
    entries.ContentSequence = ContentSequence(
        [
            _with_view(
                ImageContentItem(
                    _SOURCE, i.SOPClassUID, i.SOPInstanceUID, relationship_type=RelationshipTypeValues.CONTAINS
                ),
                name,
            )
            for name, i in images.items()
        ]
    )
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([entries])
    return library


def algorithm(
    config: ResultsConfig, model_version: int | None, recipe: PreprocessingRecipe | None, heat_map: str = ""
) -> AlgorithmIdentification:
    """Return the algorithm, TID 4019, with version, recipe and heat maps of the model that graded the exam, if any."""
    version = f"software {config.software_version}" + ("" if model_version is None else f", model {model_version}")
    parameters = [] if model_version is None else [f"Model version: {model_version}"]
    if recipe is not None:
        parameters.append(f"Preprocessing recipe, SHA-256: {recipe.digest()}")
    if heat_map:
        parameters.append(f"Heat maps: {heat_map}")
    return AlgorithmIdentification(
        name=config.model_name, version=version, parameters=parameters or None, manufacturer=config.manufacturer
    )


def measurement_group(
    name: str,
    seed: str,
    probabilities: Probabilities | None,
    images: Mapping[str, Dataset],
    identified: AlgorithmIdentification,
    comments: Sequence[str],
    density: str = "",
) -> MeasurementsAndQualitativeEvaluations:
    """Return a measurement group, TID 1501.

    Args:
        name: ``exam``, ``right`` or ``left``.
        seed: Text from which the tracking UID of the group is derived.
        probabilities: Probability of each class; None for an exam that was refused.
        images: References to the images of the group, by view or another name.
        identified: The algorithm.
        comments: Texts for the reader.
        density: Class; empty is the most probable one.
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
        source_images=[
            _with_view(SourceImageForMeasurementGroup(i.SOPClassUID, i.SOPInstanceUID), name)
            for name, i in images.items()
        ],
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
    """Return the report, without patient and study. highdicom logs unusual names, so it gets no name."""
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
    content[0].ContentSequence.insert(len(content[0].ContentSequence) - 1, _library(images))
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
