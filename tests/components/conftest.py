"""A small data set of preprocessed views and the transform graph over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import text_format
from pydicom.uid import UID

from tests.components.dicom.dicom_files import BOTH, MakeDicom, mammogram, names, write
from tests.components.preprocessing.synthetic_views import Dice, MakeView, dice_of, draw_view
from tests.sharing import once

SIZE = 64


@dataclass(frozen=True)
class SmallDataSet:
    """Preprocessed views as raw features, their shards, and what tf.Transform made of them.

    Attributes:
        rows: Raw features by name, scalars.
        files: Two gzip TFRecord shards of the rows, in order.
        transform_folder: TFTransformOutput's folder.
        transformed: Transformed features of the rows, in no certain order.
    """

    rows: tuple[dict[str, Any], ...]
    files: tuple[str, ...]
    transform_folder: str
    transformed: tuple[dict[str, Any], ...]


def _rows() -> tuple[dict[str, Any], ...]:
    from schema import features as f

    random = np.random.default_rng(11)
    systems = (b"GE Senograph DS ADS 53.40",) * 3 + (b"IMS Giotto Image SDL",) * 2
    rows = []
    for number in range(20):
        view, exam = f.VIEWS[number % 4], number // 4
        grey = random.integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
        rows.append(
            {
                f.IMAGE: cv2.imencode(".png", grey)[1].tobytes(),
                f.IMAGE_HEIGHT: SIZE,
                f.IMAGE_WIDTH: SIZE,
                f.PIXEL_SPACING_MM: 0.5,
                f.VIEW: view.encode(),
                f.LATERALITY: f.laterality_of(view).encode(),
                f.EXAM_ID: f"exam{exam}".encode(),
                f.PATIENT_ID: f"patient{exam}".encode(),
                f.DENSITY: f.DENSITY_CLASSES[exam % 4].encode(),
                f.ACQUISITION_SYSTEM: systems[number % 5],
                f.MANUFACTURER: b"GE",
                f.MODEL_NAME: b"Senograph DS",
                f.SOFTWARE_VERSION: b"ADS 53.40",
                f.PATIENT_AGE: f.UNKNOWN_INT if number % 5 == 0 else 40 + number,
                f.ACQUISITION_YEAR: 2015,
                f.PECTORAL_STATUS: b"removed",
                f.PECTORAL_AREA_FRACTION: 0.1,
                f.BREAST_AREA_FRACTION: 0.4,
            }
        )
    return tuple(rows)


@pytest.fixture(scope="session")
def small_data_set(tmp_path_factory: pytest.TempPathFactory) -> SmallDataSet:
    """Twenty views, five a projection, analysed and transformed by Beam."""
    return once(tmp_path_factory, "small_data_set", _transform)


def _transform(folder: Path) -> SmallDataSet:
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

    from components.common.shards import shard_name, write_shard
    from components.transform.preprocessing import preprocessing_fn

    rows = _rows()
    schema_file = Path(__file__).parents[2] / "schema" / "schema.pbtxt"
    schema = text_format.Parse(schema_file.read_text(encoding="utf-8"), schema_pb2.Schema())
    records = [tft.coders.ExampleProtoCoder(schema).encode(row) for row in rows]
    files = tuple(str(folder / "Split-train" / shard_name(index, 2)) for index in range(2))
    for index, file in enumerate(files):
        write_shard(file, records[index * 10 : index * 10 + 10])
    metadata = dataset_metadata.DatasetMetadata(schema)
    with tft_beam.Context(temp_dir=str(folder / "temporary")):
        (transformed, _), transform_fn = (list(rows), metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, {})
        )
        transform_fn | tft_beam.WriteTransformFn(str(folder / "transform"))
    metadata_io.write_metadata(metadata, str(folder / "transform" / "metadata"))
    return SmallDataSet(rows, files, str(folder / "transform"), tuple(transformed))


@pytest.fixture(scope="module", params=BOTH, ids=names(BOTH))
def syntax(request: pytest.FixtureRequest) -> UID:
    """Implicit and Explicit VR: tests of headers write what they read in both."""
    found: UID = request.param
    return found


@pytest.fixture
def make_dicom(tmp_path: Path) -> MakeDicom:
    """Writes a mammogram: ``make_dicom("a.dcm", pixels, Modality="CT")``."""

    def make(name: str = "image.dcm", pixels: np.ndarray | None = None, **changes: Any) -> Path:
        return write(mammogram(pixels, **changes), tmp_path / name)

    return make


@pytest.fixture(scope="session")
def make_view() -> MakeView:
    return draw_view


@pytest.fixture(scope="session")
def dice() -> Dice:
    return dice_of
