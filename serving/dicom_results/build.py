"""From a grade or a refusal to DICOM objects for a PACS."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from components.common.files import write_whole
from schema.features import VIEWS, laterality_of
from schema.software import NOTICE
from serving.client.grading import ExamRefusedError, GradedExam, quality_flags, warnings_of
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.heat_maps import heat_map
from serving.dicom_results.report import algorithm, measurement_group, report
from serving.dicom_results.source import (
    ResultsError,
    derived_uid,
    identify,
    of_one_study,
    patient_and_study,
    reference_of,
)
from serving.dicom_results.supersede import supersede


def _seed(images: Mapping[str, Dataset], config: ResultsConfig, *parts: str) -> str:
    uids = sorted(str(image.SOPInstanceUID) for image in images.values())
    first = next(iter(images.values()))
    return "\n".join([str(first.StudyInstanceUID), *uids, config.model_name, config.software_version, *parts])


def _uids(objects: Sequence[Dataset]) -> list[str]:
    return sorted(str(item.SOPInstanceUID) for item in objects)


def build_results(
    sources: Mapping[str, Dataset], graded: GradedExam, config: ResultsConfig, earlier: Sequence[Dataset] = ()
) -> list[Dataset]:
    """Return the report and one heat map per view.

    The same files, model and software yield the same UIDs. So a second delivery replaces the first.

    Args:
        sources: Headers of the graded images by view; pixels are not read.
        graded: The grade.
        config: Manufacturer and software named in the results.
        earlier: Headers of the results of the same study that these replace, see :func:`supersede`.

    Returns:
        Comprehensive SR, then Secondary Captures in the order of ``schema.features.VIEWS``; they name the patient. If
        there are earlier results, then the note that withdraws them.

    Raises:
        ResultsError: A graded view has no source, or a source cannot carry results.
    """
    views: list[str] = [view for view in VIEWS if view in graded.prepared.views]
    if missing := [view for view in views if view not in sources]:
        raise ResultsError(f"The source images of {', '.join(missing)} are missing: give those of all graded views.")
    images = {view: reference_of(sources[view]) for view in views}
    whole = patient_and_study(sources[views[0]])
    now = config.created_at or datetime.now()
    seed = _seed(images, config, str(graded.model_version), "graded", *_uids(earlier))
    method = graded.explanations[views[0]].method
    identified = algorithm(config, graded.model_version, graded.recipe, method)
    flags = [f"{view}: {', '.join(found)}" for view, found in quality_flags(graded).items() if found]
    absent = [view for view in VIEWS if view not in images]
    comments = [NOTICE, *warnings_of(graded), *flags, *([f"Missing views: {', '.join(absent)}"] if absent else [])]
    grade = graded.grade
    groups = [measurement_group("exam", seed, grade.probabilities, images, identified, comments, grade.density)]
    for name, side, probabilities in (("right", "R", grade.right), ("left", "L", grade.left)):
        if probabilities is not None:
            of_side = {view: image for view, image in images.items() if laterality_of(view) == side}
            groups.append(measurement_group(name, seed, probabilities, of_side, identified, [NOTICE]))
    made: list[Dataset] = [report(groups, images, config, now, seed)]
    study = images[views[0]].StudyInstanceUID
    for number, view in enumerate(views, start=1):
        made.append(heat_map(view, number, graded, images[view], config, now, seed))
    for result in made:
        result.StudyInstanceUID = study
        identify(result, whole)
    return supersede(made, earlier, config)


def build_refusal(
    sources: Mapping[str, Dataset], refusal: ExamRefusedError, config: ResultsConfig, earlier: Sequence[Dataset] = ()
) -> list[Dataset]:
    """Return the report that an exam was not graded, with the reason.

    Args:
        sources: Headers of the images by view or another name; only those in the study of the first one are used.
        refusal: The reason.
        config: Manufacturer and software named in the results.
        earlier: Headers of the results of the same study that this replaces, see :func:`supersede`.

    Returns:
        One Comprehensive SR. Its text is the name of the reason, because messages may name files.

    Raises:
        ResultsError: There is no image, or an image cannot carry results.
    """
    if not sources:
        raise ResultsError("The exam has no image to refer to: a refusal cannot be written as DICOM.")
    images = of_one_study({name: reference_of(source) for name, source in sources.items()})
    seed = _seed(images, config, "refused", refusal.reason, *_uids(earlier))
    comments = [NOTICE, f"The exam was not graded: {refusal.reason.replace('_', ' ')}."]
    only = measurement_group("exam", seed, None, images, algorithm(config, None, None), comments)
    made = report([only], images, config, config.created_at or datetime.now(), derived_uid(seed))
    identify(made, patient_and_study(next(iter(sources.values()))))
    return supersede([made], earlier, config)


def write_results(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    """Write results atomically as DICOM files, named ``report.dcm`` and ``VIEW.heatmap.dcm``.

    Raises:
        OSError: A file cannot be written.
    """
    paths = []
    for dataset in datasets:
        is_report = dataset.Modality == "SR"
        name = "report.dcm" if is_report else f"{dataset.ViewPosition}_{dataset.ImageLaterality}.heatmap.dcm"
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        write_whole(folder / name, buffer.getvalue())
        paths.append(folder / name)
    return paths
