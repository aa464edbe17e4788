"""MammogramPreprocessor's executor through Beam, on phantoms that DicomExampleGen's executor ingested."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from components.common.png import decode_png, encode_png
from components.common.shards import shards_of, split_folder
from components.dicom_example_gen.config import IngestConfig, SplitFractions
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.region_map import make_region_map
from components.sources.source import FolderSource
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema import features as f
from tests.components.executor_harness import NodeOutput, run_ingest, run_preprocess, text_of
from tests.pictures import read_picture

pytestmark = pytest.mark.slow

CONFIG = PreprocessConfig(output_size=48)
EXAMS = 10


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    wanted = PhantomConfig(exams=EXAMS, seed=11, distribution="uniform", reduction=16, repeat_share=0.5, workers=1)
    assert generate_phantoms(wanted, folder).patients < EXAMS  # some patients have two exams
    return folder


@pytest.fixture(scope="module")
def ingested(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    config = IngestConfig(
        longest_side=160, shard_size=3, splits=SplitFractions(train=0.4, eval=0.3, test=0.3), split_seed=1
    )
    source = FolderSource(phantoms / "images", phantoms / "labels.csv")
    return run_ingest(source, config, tmp_path_factory.mktemp("ingested"))


@pytest.fixture(scope="module")
def preprocessed(ingested: NodeOutput, tmp_path_factory: pytest.TempPathFactory) -> NodeOutput:
    return run_preprocess(ingested, CONFIG, tmp_path_factory.mktemp("preprocessed"))


def png_of(example: Any) -> bytes:
    return example.features.feature[f.IMAGE].bytes_list.value[0]


def test_every_view_keeps_its_shard_and_order(ingested: NodeOutput, preprocessed: NodeOutput) -> None:
    before, after = ingested.views(), preprocessed.views()
    assert sum(len(views) for views in after.values()) == EXAMS * 4
    for split, views in before.items():
        names = [(text_of(v, f.EXAM_ID), text_of(v, f.VIEW)) for v in views]
        assert [(text_of(v, f.EXAM_ID), text_of(v, f.VIEW)) for v in after[split]] == names
        assert [Path(s).name for s in shards_of(split_folder(preprocessed.examples.uri, split))] == [
            Path(s).name for s in shards_of(split_folder(ingested.examples.uri, split))
        ]


def test_the_image_equals_the_result_of_the_pure_function(ingested: NodeOutput, preprocessed: NodeOutput) -> None:
    after = preprocessed.views()
    for split, views in ingested.views().items():
        for before, done in zip(views, after[split], strict=True):
            pixels, view = decode_png(png_of(before)), text_of(before, f.VIEW)
            result = preprocess_view(pixels, view, CONFIG)
            assert png_of(done) == encode_png(result.image)
            feature = done.features.feature
            assert feature[f.IMAGE_HEIGHT].int64_list.value[0] == feature[f.IMAGE_WIDTH].int64_list.value[0] == 48
            assert text_of(done, f.PECTORAL_STATUS) == result.status
            assert feature[f.PECTORAL_AREA_FRACTION].float_list.value[0] == pytest.approx(result.pectoral_area_fraction)
            spacing = before.features.feature[f.PIXEL_SPACING_MM].float_list.value[0]
            now = feature[f.PIXEL_SPACING_MM].float_list.value[0]
            assert now == pytest.approx(spacing * result.input_pixels_per_pixel, rel=1e-6)
            assert now > spacing
            regions = decode_png(feature[f.REGIONS].bytes_list.value[0])
            np.testing.assert_array_equal(regions, make_region_map(pixels, view, result, CONFIG))


def test_features_of_ingest_are_kept(ingested: NodeOutput, preprocessed: NodeOutput) -> None:
    changed = {f.IMAGE, f.IMAGE_HEIGHT, f.IMAGE_WIDTH, f.PIXEL_SPACING_MM}
    added = {f.PECTORAL_STATUS, f.PECTORAL_AREA_FRACTION, f.BREAST_AREA_FRACTION, f.REGIONS}
    after = preprocessed.views()
    for split, views in ingested.views().items():
        for before, done in zip(views, after[split], strict=True):
            assert set(done.features.feature) == set(before.features.feature) | added
            for name in set(before.features.feature) - changed:
                assert done.features.feature[name] == before.features.feature[name], name


def test_the_report_has_one_row_per_view_and_its_pictures(preprocessed: NodeOutput) -> None:
    rows = preprocessed.rows("views.jsonl")
    assert len(rows) == EXAMS * 4
    drawn = {row["overlay"] for row in rows if row.get("overlay")}
    pictures = {p.relative_to(preprocessed.report).as_posix() for p in preprocessed.report.rglob("*.png")}
    assert drawn == pictures
    assert pictures
    for name in pictures:
        picture = read_picture(preprocessed.report / name, cv2.IMREAD_COLOR)
        assert picture.shape[2] == 3
    statuses: dict[str, set[str]] = {row["view"][:3]: set() for row in rows}
    for row in rows:
        statuses[row["view"][:3]].add(row["status"])
        assert 0 <= row["doubt"] <= 1
    assert statuses["CC_"] == {"not_applicable"}
    assert statuses["MLO"] <= {"removed", "absent", "failed"}


def test_two_runs_and_two_workers_give_the_same_bytes(
    ingested: NodeOutput, preprocessed: NodeOutput, tmp_path: Path
) -> None:
    first = preprocessed.files()
    for workers in (1, 2):
        again = run_preprocess(ingested, CONFIG, tmp_path / str(workers), workers).files()
        assert again.keys() == first.keys()
        assert [name for name, data in again.items() if data != first[name]] == [], workers


def test_outputs_contain_no_identity_of_a_phantom(phantoms: Path, preprocessed: NodeOutput) -> None:
    lines = (phantoms / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = {cell.encode() for line in lines for cell in line.split(",")[:2]}
    assert len(names) > EXAMS
    for file, data in preprocessed.files().items():
        content = gzip.decompress(data) if file.endswith(".gz") else data
        assert [name for name in names if name in content] == [], file


def test_method_none_leaves_the_muscle_in(ingested: NodeOutput, preprocessed: NodeOutput, tmp_path: Path) -> None:
    kept = run_preprocess(ingested, CONFIG.model_copy(update={"method": "none"}), tmp_path).views()
    differing = 0
    for split, views in preprocessed.views().items():
        for with_method, without in zip(views, kept[split], strict=True):
            same = np.array_equal(decode_png(png_of(with_method)), decode_png(png_of(without)))
            if text_of(with_method, f.PECTORAL_STATUS) == "not_applicable":
                assert same
            differing += not same
    assert differing >= EXAMS  # most of the 20 oblique views have a muscle
