"""Reading files warns of nothing on the console: pydicom's warnings quote values of the data set."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from components.exam_model.recipe import PreprocessingRecipe
from pipeline.predict.find import find_exams


def test_predict_finds_exams_without_warnings_of_pydicom(tmp_path: Path) -> None:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = BytesIO()
    image.save_as(stream, enforce_file_format=True)
    explicit = BytesIO()
    write_dataset_as(explicit, image, implicit=False)
    implicit = BytesIO()
    write_dataset_as(implicit, image, implicit=True)
    data = stream.getvalue().removesuffix(explicit.getvalue()) + implicit.getvalue()
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.dcm").write_bytes(data)
    (tmp_path / "images/cut.dcm").write_bytes(data[:-5])
    cv2.imwrite(str(tmp_path / "images/b.png"), np.zeros((120, 120), np.uint8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_exams([tmp_path / "images"], PreprocessingRecipe(), b"k")
    assert sum(len(exam.files) for exam in found.exams) + len(found.strays) == 3
    assert [str(warning.message) for warning in caught] == []


def write_dataset_as(stream: BytesIO, dataset: Dataset, implicit: bool) -> None:
    target = DicomFileLike(stream)
    target.is_little_endian, target.is_implicit_VR = True, implicit
    write_dataset(target, dataset)
